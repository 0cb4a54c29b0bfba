"""From an ablation to its cells: which texts, which model, which seed, and the command line of each.

A cell without augmented texts is the same for all caches and modes and is trained once. Texts are counted as in the
paper (figure 5 there): M augmented texts beside the original, strategies added in the cache's order.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from laclip_aug import openclip
from laclip_aug.cache.lookup import CaptionCache
from laclip_aug.errors import ConfigurationError
from laclip_aug.evaluation.ablation.config import PLAIN, Ablation
from laclip_aug.exchange.files import replace_file

TRAIN = ("open_clip", "train")
EVAL = ("laclip-aug", "eval")
RUNS, MODELS = "runs", "models"
_ON_THE_FLY = 4  # texts of eda without a cache, as many as in the paper
_OF_A_CACHE = ("text-aug-on-miss", "text-aug-max-miss")


@dataclass(frozen=True)
class Arm:
    """What texts are trained on: ``texts`` augmented ones per caption, of ``cache`` or made while loading.

    ``kind`` is what made them: ``eda``, ``back-translation``, ``llm`` and others that a cache's manifest names.
    """

    mode: str
    cache: str = ""
    texts: int = 0
    kind: str = ""
    strategies: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Cell:
    """One training run. ``group`` is what its repetitions with other seeds share."""

    model: str
    encoder: str
    arm: Arm
    seed: int

    @property
    def group(self) -> tuple[str, str, Arm]:
        """Model, text encoder and texts."""
        return self.model, self.encoder, self.arm

    @property
    def name(self) -> str:
        """The name of its directory."""
        arm = self.arm
        texts = [arm.mode, arm.cache, str(arm.texts)] if arm.texts else [arm.mode]
        encoder = [] if self.encoder == PLAIN else [self.encoder]
        whole = "_".join([*filter(None, texts), self.model, *encoder, f"seed{self.seed}"])
        safe = re.sub(r"[^A-Za-z0-9._+-]", "-", whole)[:120]
        return safe if safe == whole else f"{safe}-{hashlib.sha256(whole.encode()).hexdigest()[:8]}"


def cells_of(ablation: Ablation, caches: Mapping[str, CaptionCache]) -> list[Cell]:
    """Every cell of the grid, seed by seed, so that a table can be made of what is there early."""
    arms = list(dict.fromkeys(_arms(ablation, caches)))
    return [
        Cell(model, encoder, arm, seed)
        for seed in ablation.seeds
        for model in ablation.models
        for encoder in ablation.encoders
        for arm in arms
    ]


def open_caches(ablation: Ablation) -> dict[str, CaptionCache]:
    """The caches by name.

    Raises:
        CacheError: one is no cache, or damaged.
        ConfigurationError: one has not a strategy that is asked for.
    """
    caches = {name: CaptionCache(source.directory) for name, source in ablation.caches.items()}
    for name, source in ablation.caches.items():
        for strategy in source.strategies or ():
            if strategy not in caches[name].sources:
                raise ConfigurationError(
                    f"the cache {name} has no strategy {strategy!r}; it has {', '.join(caches[name].sources)}"
                )
    return caches


def _arms(ablation: Ablation, caches: Mapping[str, CaptionCache]) -> Iterator[Arm]:
    kinds = {name: cache.manifest.configs[0].augmenter for name, cache in caches.items()}
    used = set()
    for mode in ablation.modes:
        if mode == "none":
            yield Arm("none")
            continue
        # a cache of EDA trains in mode eda where the grid has it, and would train on the same texts in mode laclip
        own = [name for name, kind in kinds.items() if kind == mode]
        chosen = own if mode in ("eda", "back-translation") else list(caches)
        if mode == "laclip":
            chosen = [name for name in chosen if kinds[name] not in ablation.modes]
        used |= set(chosen)
        if mode == "eda" and not own:
            for number in ablation.texts or (_ON_THE_FLY,):
                yield Arm("eda", texts=number, kind="eda") if number else Arm("none")
        elif not chosen:
            raise ConfigurationError(
                f"mode {mode} needs a cache; make one with laclip-aug build, and name it: grid: cache: {{NAME: DIR}}"
            )
        for name in chosen:
            for texts in ablation.texts or (None,):
                yield _cached(mode, name, kinds[name], caches[name], ablation.caches[name].strategies, texts)
    if unused := sorted(set(caches) - used):
        raise ConfigurationError(
            f"no mode of the grid uses the cache {', '.join(unused)}; add laclip or laclip-mt to its modes"
        )


def _cached(
    mode: str, name: str, kind: str, cache: CaptionCache, chosen: tuple[str, ...] | None, texts: int | None
) -> Arm:
    if texts == 0:
        return Arm("none")
    sources = chosen or cache.sources
    most = cache.most(sources)
    if not most:
        raise ConfigurationError(f"the cache {name} has no texts ({', '.join(sources)}); build it, or leave it out")
    if texts is None or texts == most:
        return Arm(mode, name, most, kind, chosen)
    for number in range(1, len(sources)):
        if cache.most(sources[:number]) == texts:
            return Arm(mode, name, texts, kind, tuple(sources[:number]))
    counts = sorted({cache.most(sources[:number]) for number in range(1, len(sources) + 1)})
    raise ConfigurationError(
        f"the cache {name} cannot give {texts} texts per caption, taking its strategies in turn "
        f"({', '.join(sources)}): only {', '.join(map(str, counts))}; ask for those, or build a cache with --n {texts}"
    )


def train_command(cell: Cell, ablation: Ablation, out: Path, models: Mapping[tuple[str, str], list[str]]) -> list[str]:
    """The ``open_clip train`` line of a cell. Run again, it goes on at the last whole epoch."""
    arm = cell.arm
    words = [*TRAIN, *_options({"save-frequency": 0} | _for_arm(ablation.train, arm))]
    words += [*models[cell.model, cell.encoder], "--seed", str(cell.seed), "--text-aug", arm.mode]
    if ablation.encoders[cell.encoder].frozen:
        words += ["--lock-text", "--lock-text-freeze-layer-norm"]  # the first alone leaves the norms free
    if arm.mode != "none":
        words += ["--text-aug-seed", str(cell.seed)]
        if arm.cache:
            words += ["--text-aug-cache", ablation.caches[arm.cache].directory]
            words += ["--text-aug-strategies", ",".join(arm.strategies)] if arm.strategies else []
        else:
            words += ["--text-aug-num-texts", str(arm.texts + 1)]
    return [*words, "--logs", str(out / RUNS), "--name", cell.name, "--save-most-recent", "--resume", "latest"]


def eval_command(line: tuple[str, ...], model: list[str], checkpoint: Path, result: Path, features: Path) -> list[str]:
    """The ``laclip-aug eval`` line of an evaluation of a checkpoint."""
    places = ("--pretrained", str(checkpoint), "--features", str(features), "--json", str(result))
    return [*EVAL, *line, *model, *places]


def model_options(ablation: Ablation, out: Path) -> dict[tuple[str, str], list[str]]:
    """``--model`` and ``--model-config`` by model and text encoder; writes the configurations that these need.

    Raises:
        ConfigurationError: a model is unknown, or has no configuration in which to put a text encoder.
    """
    found = {}
    for name, model in ablation.models.items():
        for encoder, tower in ablation.encoders.items():
            if not tower.settings:
                found[name, encoder] = ["--model", name] + (["--model-config", model] if model != name else [])
                continue
            config = openclip.model_config(name) if model == name else _configuration(Path(model))
            if not config:
                raise ConfigurationError(
                    f"text encoder {encoder}: open_clip has no model {name!r} to put it in; see open_clip.list_models()"
                )
            text = {"hf_pooler_type": "mean_pooler", "hf_proj_type": "mlp", **tower.settings}
            made = out / MODELS / f"{re.sub(r'[^A-Za-z0-9._+-]', '-', f'{name}_{encoder}')}.json"
            made.parent.mkdir(parents=True, exist_ok=True)
            replace_file(made, (json.dumps({**config, "text_cfg": text}, indent=1) + "\n").encode())
            found[name, encoder] = ["--model", made.stem, "--model-config", str(made)]
    return found


def _configuration(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"{path} cannot be read as a model configuration ({error})") from None
    return found if isinstance(found, dict) else {}


def _for_arm(train: Mapping[str, Any], arm: Arm) -> dict[str, Any]:
    """The training options that have a meaning for these texts."""

    def fits(name: str) -> bool:
        if not name.startswith("text-aug") or name == "text-aug-trim":
            return True
        if name.startswith("text-aug-mt-"):
            return arm.mode == "laclip-mt"
        if name == "text-aug-original-prob":
            return arm.mode not in ("none", "laclip-mt")
        if name == "text-aug-weights":
            return arm.mode == "laclip"  # laclip-mt takes all texts of an arm
        if name == "text-aug-with":
            return arm.mode in ("laclip", "laclip-mt")
        if name == "text-aug-option":
            made = "text-aug-with" in train and arm.mode in ("laclip", "laclip-mt")
            return made or (arm.mode != "none" and not arm.cache)
        return bool(arm.cache) if name in _OF_A_CACHE else arm.mode != "none"

    return {name: value for name, value in train.items() if fits(name)}


def _options(train: Mapping[str, Any]) -> list[str]:
    words: list[str] = []
    for name, value in train.items():
        if value is False:
            continue
        words.append(f"--{name}")
        if value is not True:
            words += [str(item) for item in (value if isinstance(value, list) else [value])]
    return words
