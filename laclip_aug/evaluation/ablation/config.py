"""What to compare: a YAML file of training options, evaluations, and the axes of a grid.

::

    train:                      # options of open_clip train, without the dashes
      train-data: captions.tsv
      epochs: 30
    evaluate:                   # laclip-aug eval, without the model
      - retrieval --data photos.tar --captions captions_val.tsv
    grid:
      model: [ViT-B-16, small.json]           # names of open_clip, or JSON files of its form
      mode: [none, laclip, laclip-mt]
      cache: {llm: rewrites, gated: stricter} # by the name that the table has; which examples made the texts
      texts: [0, 1, 2, 4]                     # augmented texts per caption (default: all there are)
      seed: [0, 1, 2]
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from laclip_aug.errors import ConfigurationError, LaclipError, UnknownNameError
from laclip_aug.evaluation.datasets import load_dataset
from laclip_aug.evaluation.protocols import load_protocol, read_yaml
from laclip_aug.evaluation.recipes import PUBLISHED, recipe_names

MODES = ("none", "eda", "back-translation", "laclip", "laclip-mt")
PLAIN = "random"
"""The name of the text encoder that is the model's own, without pre-trained weights."""
_KEYS = ("train", "evaluate", "grid", "paper")
_AXES = ("model", "mode", "cache", "texts", "text-encoder", "seed")
_OURS = (
    *(
        "model",
        "model-config",
        "seed",
        "lock-text",
        "lock-text-freeze-layer-norm",
        "logs",
        "name",
        "resume",
        "save-most-recent",
        "text-aug",
    ),
    *("text-aug-cache", "text-aug-strategies", "text-aug-num-texts", "text-aug-seed"),
)
_EVALUATED = ("--model", "--model-config", "--pretrained", "--json", "--features")


@dataclass(frozen=True)
class TextSource:
    """A cache under the name that the table has, or the texts of some of its strategies only."""

    directory: str
    strategies: tuple[str, ...] | None = None


@dataclass(frozen=True)
class TextEncoder:
    """The text tower: ``settings`` stand for ``text_cfg`` of the model's configuration; empty is the model's own."""

    settings: dict[str, Any] = field(default_factory=dict)
    frozen: bool = False


@dataclass(frozen=True)
class Ablation:
    """A grid of runs, as its file describes it; ``content`` is the file as it was read."""

    name: str
    content: dict[str, Any]
    train: dict[str, Any]
    evaluate: tuple[tuple[str, ...], ...]
    models: dict[str, str]
    modes: tuple[str, ...]
    caches: dict[str, TextSource]
    texts: tuple[int, ...] | None
    encoders: dict[str, TextEncoder]
    seeds: tuple[int, ...]
    paper: str


def read_ablation(path: Path) -> Ablation:
    """The ablation that ``path`` describes.

    Raises:
        UnknownNameError: a key, a mode or a set of published figures is none of those that there are.
        ConfigurationError: the file cannot be read, or a value has not the form that it needs.
    """
    content = read_yaml(path)
    at = path.name
    _known(content, _KEYS, f"key in {at}:")
    train, grid = _mapping(content, "train", at), _mapping(content, "grid", at)
    _known(grid, _AXES, f"axis of the grid in {at}:")
    modes = _several(grid.get("mode", ["none", "laclip"]), f"{at}: grid: mode", str)
    for mode in modes:
        if mode not in MODES:
            raise UnknownNameError("mode", mode, MODES)
    paper = content.get("paper", PUBLISHED)
    if paper not in recipe_names():
        raise UnknownNameError("published figures", str(paper), recipe_names())
    texts = None if grid.get("texts") is None else _several(grid["texts"], f"{at}: grid: texts", int, least=0)
    return Ablation(
        name=path.stem,
        content=content,
        train=_train(train, at),
        evaluate=_evaluate(content.get("evaluate"), at),
        models=_models(_several(grid.get("model"), f"{at}: grid: model", str), at),
        modes=modes,
        caches=_caches(grid.get("cache", {}), at),
        texts=texts,
        encoders=_encoders(grid.get("text-encoder", {PLAIN: {}}), at),
        seeds=_several(grid.get("seed", [0, 1, 2]), f"{at}: grid: seed", int, least=0),
        paper=str(paper),
    )


def _train(given: Mapping[str, Any], at: str) -> dict[str, Any]:
    for name, value in given.items():
        plain = name.lstrip("-").replace("_", "-")
        if plain != name:
            raise ConfigurationError(f"{at}: train: write {plain!r} for {name!r}")
        if name in _OURS:
            raise ConfigurationError(
                f"{at}: train: {name} is set for each run by the grid; leave it out, or make it an axis: "
                f"{', '.join(_AXES)}"
            )
        items = value if isinstance(value, list) else [value]
        if not items or any(not isinstance(item, str | int | float) for item in items):
            raise ConfigurationError(f"{at}: train: {name} must be text, a number, true, or a list of them: {value!r}")
    if "train-data" not in given and given.get("dataset-type") != "synthetic":
        raise ConfigurationError(f"{at}: train: there is no train-data; name the data set that open_clip trains on")
    return dict(given)


def _evaluate(given: Any, at: str) -> tuple[tuple[str, ...], ...]:
    if not isinstance(given, list) or not given or not all(isinstance(line, str) and line.strip() for line in given):
        raise ConfigurationError(
            f"{at}: evaluate must be a list of evaluations, such as: - zero-shot --data photos (the options of "
            "laclip-aug eval, without the model)"
        )
    try:
        lines = tuple(tuple(shlex.split(line)) for line in given)
    except ValueError as error:
        raise ConfigurationError(f"{at}: evaluate: {error}; check the quotation marks") from None
    for line in lines:
        if set_by_us := [word for word in line if word.split("=")[0] in _EVALUATED]:
            raise ConfigurationError(f"{at}: evaluate: {set_by_us[0]} is set for each run; leave it out")
        _told_apart(line, at)
    return lines


def _told_apart(line: Sequence[str], at: str) -> None:
    """Refuse a line of which two results would have one name; lines are told apart by their options."""
    names: dict[str, Callable[[str], str]] = {
        "--data": lambda given: load_dataset(given).spec.name,
        "--protocol": lambda given: load_protocol(given).name,
    }
    for option, name_of in names.items():
        given = [value for word, value in pairwise(line) if word == option]
        given += [word.partition("=")[2] for word in line if word.startswith(f"{option}=")]
        called = Counter[str]()
        for value in given if len(given) > 1 else ():
            with suppress(LaclipError):  # what cannot be read is for the evaluation to say
                called[name_of(value)] += 1
        for name, count in called.items():
            if count > 1:
                raise ConfigurationError(
                    f"{at}: evaluate: {count} of {option} are called {name!r} in {shlex.join(line)!r}; give each of "
                    "them a line of its own"
                )


def _models(given: Iterable[str], at: str) -> dict[str, str]:
    models: dict[str, str] = {}
    for model in given:
        name = Path(model).stem if model.endswith(".json") else model
        if name in models:
            raise ConfigurationError(f"{at}: grid: model: two are called {name!r}; rename one of the files")
        if model.endswith(".json") and not Path(model).is_file():
            raise ConfigurationError(f"{at}: grid: model: there is no file {model}; check the path")
        models[name] = model
    return models


def _caches(given: Any, at: str) -> dict[str, TextSource]:
    where = f"{at}: grid: cache"
    if not isinstance(given, dict):
        raise ConfigurationError(f"{where} must give each cache a name: {{llm: DIRECTORY, human: DIRECTORY}}")
    caches = {}
    for name, value in given.items():
        entry = {"directory": value} if isinstance(value, str) else value
        if not isinstance(entry, dict) or not isinstance(entry.get("directory"), str):
            raise ConfigurationError(f"{where}: {name} must be a directory, or {{directory: D, strategies: [A, B]}}")
        _known(entry, ("directory", "strategies"), f"key of a cache in {at}:")
        strategies = entry.get("strategies")
        chosen = None if strategies is None else _several(strategies, f"{where}: {name}: strategies", str)
        caches[str(name)] = TextSource(entry["directory"], chosen)
    return caches


def _encoders(given: Any, at: str) -> dict[str, TextEncoder]:
    where = f"{at}: grid: text-encoder"
    if not isinstance(given, dict) or not given:
        raise ConfigurationError(
            f"{where} must give each encoder a name: {{random: {{}}, bert: {{hf_model_name: bert-base-uncased}}}}"
        )
    encoders = {}
    for name, value in given.items():
        settings = dict(value) if isinstance(value, dict) else None
        frozen = settings.pop("frozen", False) if settings is not None else None
        if settings is None or not isinstance(frozen, bool):
            raise ConfigurationError(f"{where}: {name} must be {{}}, or settings of text_cfg and frozen: true or false")
        if settings and "hf_model_name" not in settings:
            raise ConfigurationError(f"{where}: {name} has no hf_model_name; {{}} is the model's own text tower")
        if "hf_model_pretrained" in settings:
            raise ConfigurationError(
                f"{where}: {name}: open_clip's trainer always loads a Hugging Face tower with its weights; leave out "
                "hf_model_pretrained"
            )
        if settings:
            settings.setdefault("hf_tokenizer_name", settings["hf_model_name"])
        elif frozen:
            raise ConfigurationError(f"{where}: {name}: the model's own text tower has no weights to freeze yet")
        encoders[str(name)] = TextEncoder(settings, frozen)
    return encoders


def _mapping(content: Mapping[str, Any], key: str, at: str) -> dict[str, Any]:
    found = content.get(key)
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise ConfigurationError(f"{at} needs {key!r} with settings below it; see laclip-aug ablate --help")
    return found


def _known(given: Iterable[Any], known: Iterable[str], kind: str) -> None:
    for key in given:
        if key not in known:
            raise UnknownNameError(kind, str(key), known)


def _several(given: Any, where: str, kind: type, least: int | None = None) -> tuple[Any, ...]:
    """A value or a list of values, each of them once."""
    values = given if isinstance(given, list) else [given]
    right = all(isinstance(value, kind) and not isinstance(value, bool) for value in values)
    if not values or not right or (least is not None and min(values) < least):
        wanted = {int: "a whole number", str: "a name"}[kind] + ("" if least is None else f" from {least}")
        raise ConfigurationError(f"{where} must be {wanted}, or a list of them, not {given!r}")
    if len(set(values)) < len(values):
        raise ConfigurationError(f"{where} names one twice: {given!r}")
    return tuple(values)
