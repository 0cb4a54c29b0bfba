"""The paper's training runs as data: what to give open_clip, and what the paper says came out. None was run here.

A recipe is a YAML file in the folder of the same name. What neither the paper's released code nor open_clip's own
recipes state is listed in its ``unverified``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from laclip_aug.errors import ConfigurationError, UnknownNameError
from laclip_aug.evaluation.protocols import read_yaml

FOLDER = Path(__file__).parent / "recipes"
PUBLISHED = "cc12m"
"""The recipe whose figures a table shows by default: the paper counts texts on this data set only."""
PLACEHOLDER = "TRAIN_DATA"
_NODE = 8


@dataclass(frozen=True)
class Published:
    """The paper's figures for a recipe, in percent.

    Attributes:
        title: what was measured.
        none: without augmented texts.
        by_texts: by what made the texts (``laclip``, ``eda``, ``back-translation``) and their number.
    """

    title: str
    none: float
    by_texts: dict[str, dict[int, float]]


@dataclass(frozen=True)
class Recipe:
    """One training run.

    Attributes:
        status: whether anybody has run it with this package.
        batch: images a step, over all GPUs.
        samples: images an epoch; the warm-up is counted in steps, so it depends on them.
        warmup_epochs: or None where ``train`` has the steps.
        model_config: a file beside the recipe that describes the model, if open_clip has none.
        protocol: of ``laclip-aug eval``, with the paper's prompt templates.
        departures: in what open_clip cannot do the same.
        unverified: values that were not found in a source.
    """

    name: str
    title: str
    status: str
    source: str
    gpus: int
    batch: int
    samples: int
    train: dict[str, Any]
    protocol: str
    published: Published
    warmup_epochs: float | None = None
    model_config: str | None = None
    departures: str = ""
    unverified: str = ""

    def options(self, gpus: int | None = None, samples: int | None = None) -> list[str]:
        """The options of ``open_clip train`` for so many GPUs and images.

        Raises:
            ConfigurationError: the batch cannot be divided among the GPUs.
        """
        gpus, samples = gpus or self.gpus, samples or self.samples
        if gpus < 1 or self.batch % gpus:
            raise ConfigurationError(
                f"a batch of {self.batch} cannot be divided among {gpus} GPUs; take a power of two"
            )
        given = dict(self.train)
        if self.warmup_epochs is not None:
            given["warmup"] = max(1, round(self.warmup_epochs * samples / self.batch))
        words = ["--train-num-samples", str(samples), "--batch-size", str(self.batch // gpus)]
        if self.model_config is not None:
            words += ["--model-config", str(FOLDER / self.model_config)]
        for name, value in given.items():
            words += [f"--{name}"] if value is True else [f"--{name}", *(map(str, _list(value)))]
        return words

    def command(self, more: Sequence[str] = (), gpus: int | None = None, samples: int | None = None) -> list[str]:
        """The whole line, with ``torchrun`` where there are several GPUs; ``more`` come last, and so win."""
        gpus = gpus or self.gpus
        start = ["open_clip", "train"]
        if gpus > 1:
            nodes = [] if gpus <= _NODE else ["--nnodes", str(-(-gpus // _NODE))]
            start = ["torchrun", *nodes, "--nproc-per-node", str(min(gpus, _NODE)), "--no-python", "--", *start]
        data = [] if "--train-data" in more else ["--train-data", PLACEHOLDER]
        return [*start, *data, *self.options(gpus, samples), *more]


def recipe_names() -> list[str]:
    """The recipes that there are."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load_recipe(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        UnknownNameError: there is none.
    """
    if name not in recipe_names():
        raise UnknownNameError("recipe", name, recipe_names())
    content = read_yaml(FOLDER / f"{name}.yaml")
    published = content.pop("published")
    figures = Published(published.pop("title"), published.pop("none"), published)
    return Recipe(**content, published=figures)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
