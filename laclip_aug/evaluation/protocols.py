"""Protocols: how figures are made of features. Each is a small YAML file with a name and a version.

Those of the package are in ``evaluation/protocols``; a path to a file of your own works wherever a name does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

from laclip_aug.errors import ConfigurationError, UnknownNameError
from laclip_aug.evaluation.logistic import OBJECTIVES

FOLDER = Path(__file__).parent / "protocols"
TEMPLATE_SETS = ("openai", "simple")


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """What every protocol has: a name, a version that changes when a figure could, and where it comes from."""

    kind: ClassVar[str] = ""
    name: str
    version: int
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class ZeroShot(Protocol):
    """Zero-shot classification.

    Attributes:
        templates: ``openai`` (80), ``simple`` (7), ``own`` (the data's), or a list with ``{c}`` for the class.

    Raises:
        ConfigurationError: there are no such templates, or one has no place for the class.
    """

    kind: ClassVar[str] = "zero-shot"
    templates: str | Sequence[str]

    def __post_init__(self) -> None:
        if not self.templates or (isinstance(self.templates, str) and self.templates not in ("own", *TEMPLATE_SETS)):
            raise ConfigurationError(f"templates must be own, {', '.join(TEMPLATE_SETS)} or a list; correct it")
        for template in () if isinstance(self.templates, str) else self.templates:
            if "{c}" not in template and "{}" not in template:
                raise ConfigurationError(
                    f"templates: {template!r} has no {{c}} for the class; write: a photo of a {{c}}."
                )


@dataclass(frozen=True, kw_only=True)
class FewShot(Protocol):
    """Few-shot classification by class means.

    Raises:
        ConfigurationError: a number is below 1, ``ways`` below 2, or the seed below 0.
    """

    kind: ClassVar[str] = "few-shot"
    episodes: int
    ways: int
    shots: int
    queries: int
    seed: int

    def __post_init__(self) -> None:
        _at_least(self, 1, "episodes", "shots", "queries")
        _at_least(self, 2, "ways")
        _at_least(self, 0, "seed")


@dataclass(frozen=True, kw_only=True)
class LinearProbe(Protocol):
    """Logistic regression on features.

    Attributes:
        objective: ``norm`` or ``scikit-learn``; see :mod:`laclip_aug.evaluation.logistic`.
        costs: the coarse values of C, ascending.
        fine: values around the best of them, log-spaced from a coarse step below it to one above; 0 for none.

    Raises:
        ConfigurationError: there is no such objective, no values of C, or they do not ascend; or a number is too low.
    """

    kind: ClassVar[str] = "linear-probe"
    objective: str
    iterations: int
    costs: Sequence[float]
    fine: int

    def __post_init__(self) -> None:
        if self.objective not in OBJECTIVES:
            raise ConfigurationError(f"objective must be {' or '.join(OBJECTIVES)}, not {self.objective!r}")
        bounds = (0.0, *self.costs, float("inf"))
        if not self.costs or not all(low < high for low, high in pairwise(bounds)):
            raise ConfigurationError("costs must be above 0, and each above the one before; correct them")
        _at_least(self, 1, "iterations")
        _at_least(self, 0, "fine")


@dataclass(frozen=True, kw_only=True)
class Retrieval(Protocol):
    """Image-text retrieval; ``at`` are the ranks k of the recalls.

    Raises:
        ConfigurationError: there is no rank, or one below 1.
    """

    kind: ClassVar[str] = "retrieval"
    at: Sequence[int]

    def __post_init__(self) -> None:
        if not self.at or min(self.at) < 1:
            raise ConfigurationError(f"at must be ranks of at least 1, such as [1, 5, 10], not {list(self.at)}")


@dataclass(frozen=True, kw_only=True)
class Composition(Protocol):
    """Choosing the right caption of an image among hard negatives."""

    kind: ClassVar[str] = "composition"


KINDS: dict[str, type[Protocol]] = {
    protocol.kind: protocol for protocol in (ZeroShot, FewShot, LinearProbe, Retrieval, Composition)
}


def _at_least(protocol: Protocol, least: int, *names: str) -> None:
    for name in names:
        if (value := getattr(protocol, name)) < least:
            raise ConfigurationError(f"{name} must be at least {least}, not {value}")


def protocol_names() -> list[str]:
    """The protocols of the package."""
    return sorted(file.stem for file in FOLDER.glob("*.yaml"))


def load_protocol(name: str) -> Protocol:
    """The protocol of that name, or of a YAML file.

    Raises:
        UnknownNameError: there is none, or the file has a field that its kind does not know.
        ConfigurationError: the file cannot be read, lacks a field, or has one that cannot be meant.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else FOLDER / f"{name}.yaml"
    if path.parent == FOLDER and name not in protocol_names():
        raise UnknownNameError("protocol", name, protocol_names())
    content = read_yaml(path)
    kind = str(content.pop("kind", ""))
    if kind not in KINDS:
        raise UnknownNameError(f"kind of protocol in {path.name}:", kind, KINDS)
    found: Protocol = filled(KINDS[kind], content, path)
    return found


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; only plain values, no objects.

    Raises:
        ConfigurationError: it cannot be read, or is no mapping.
    """
    import yaml

    try:
        found = yaml.safe_load(path.read_bytes())
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise ConfigurationError(f"{path} cannot be read as YAML ({error}); check the file") from error
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise ConfigurationError(f"{path} holds no settings; write 'name: ...' and others, one a line")
    return found


def filled(kind: type[Any], content: Mapping[str, Any], path: Path) -> Any:
    """``kind(**content)``, each value of the type that the field has by its annotation; a blank line is none."""
    known = {field.name: field for field in fields(kind)}
    for key in content:
        if key not in known:
            raise UnknownNameError(f"setting in {path.name}:", key, known)
    needed = {field.name for field in known.values() if field.default is field.default_factory is MISSING}
    if lacking := [name for name in known if name in needed and name not in content]:
        raise ConfigurationError(f"{path} lacks {', '.join(lacking)}; add a line for each")
    given = {key: value for key, value in content.items() if value is not None or key in needed}
    typed = {key: _typed(value, str(known[key].type), f"{path.name}: {key}") for key, value in given.items()}
    try:
        return kind(**typed)
    except ConfigurationError as error:
        raise ConfigurationError(f"{path.name}: {error}") from None


def _typed(value: Any, kind: str, place: str) -> Any:
    simple = {"int": int, "str": str, "Sequence[float]": float, "Sequence[int]": int, "Sequence[str]": str}

    def one(item: Any, to: type) -> Any:
        if item is None or isinstance(item, bool | list | dict) or (to is int and int(item) != float(item)):
            raise TypeError(f"{item!r}")
        return to(item)

    form = kind
    if kind == "str | Sequence[str]":
        form = "Sequence[str]" if isinstance(value, list) else "str"
    try:
        if form.startswith("Sequence"):
            if isinstance(value, str | Mapping):
                raise TypeError("not a list")
            return tuple(one(item, simple[form]) for item in value)
        if form in simple:
            return one(value, simple[form])
    except (TypeError, ValueError, OverflowError) as error:
        wanted = kind.replace("Sequence", "list").replace("[", " of ").replace("]", "").replace("|", "or")
        raise ConfigurationError(f"{place} must be {wanted}, not {value!r} ({error}); correct it") from None
    return value
