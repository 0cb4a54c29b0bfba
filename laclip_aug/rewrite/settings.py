"""What an LLM augmenter is told, in four groups. An option at None keeps its default.

The names of the options are those of the command line; no two groups share one, so that
``create_augmenter("llm", model="model.gguf", temperature=0.7)`` can sort them (:func:`grouped`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from math import isnan
from pathlib import Path
from typing import Any, TypeVar

from laclip_aug.errors import ConfigurationError, UnknownNameError
from laclip_aug.generation.backend import Backend
from laclip_aug.rewrite.examples import Pair
from laclip_aug.rewrite.prompt import Prompt


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What completes the prompts.

    ``model`` is a GGUF file's path, ``hf:REPO/FILE[@REVISION]`` or ``package:DISTRIBUTION[/FILE]``; for the http
    backend the model's name there; else None and ``"smollm2"`` are the embedded rewriter. ``adapter`` is a LoRA adapter
    for it, named in the same ways, or ``"none"``. The embedded rewriter has one of its own; without it, it is SmolLM2
    as it comes, prompted with examples like any other model. ``backend`` is ``"llama.cpp"`` (default),
    ``"llama.cpp-plain"``, ``"http"`` (default with ``base_url``), or an object with the methods of
    :class:`~laclip_aug.generation.backend.Backend`.
    ``n_gpu_layers``, ``n_threads``, ``n_slots``, ``n_prefixes``, ``n_ctx`` and ``reproducible``: see ``LocalBackend``;
    ``base_url``, ``concurrency`` and ``request_fields``: see ``HTTPBackend``.
    """

    model: str | Path | None = None
    adapter: str | Path | None = None
    backend: Backend | str | None = None
    n_gpu_layers: int | None = None
    n_threads: int | None = None
    n_slots: int | None = None
    n_prefixes: int | None = None
    n_ctx: int | None = None
    reproducible: bool | None = None
    base_url: str | Sequence[str] | None = None
    concurrency: int | None = None
    request_fields: Mapping[str, Any] | Sequence[str] | None = None


@dataclass(frozen=True, slots=True)
class PromptOptions:
    """What the model reads.

    ``strategies`` are the manners of rewriting, in the order in which ``augment`` cycles through them. ``prompt`` is
    ``"in-context"`` (the paper's), ``"chat"`` for instruct models, or a :class:`~laclip_aug.rewrite.prompt.Prompt`;
    ``variants`` the number of fixed prompts per strategy, or ``"nearest"``: each caption's own, of the pairs most like
    it, which share no prefix (:mod:`laclip_aug.rewrite.nearest`). ``examples`` are own meta-input-output pairs: files
    (see ``pairs_from_file``), each a path or ``STRATEGY=PATH``, or a mapping from strategies to pairs.
    """

    strategies: Sequence[str] | str | None = None
    prompt: Prompt | str | None = None
    variants: int | str | None = None
    examples: Mapping[str, Sequence[Pair]] | Sequence[str] | str | None = None


@dataclass(frozen=True, slots=True)
class DrawOptions:
    """How texts are drawn, and how often.

    ``temperature``, ``top_p`` and ``max_new_tokens`` are 0.9, 0.95 and 77 by default, as in the paper.
    ``max_attempts`` is the number of rounds that a place may take until a rewrite is accepted (3), ``candidates`` that
    of the completions per round and place; of those accepted the one with the best ``score`` is kept. ``window`` is the
    number of captions taken up at a time, by default what takes about five seconds: with more of them more completions
    share a prompt prefix, but outcomes come later.

    Raises:
        ConfigurationError: one of the numbers is below 1.
    """

    temperature: float | None = None
    top_p: float | None = None
    max_new_tokens: int | None = None
    candidates: int | None = None
    max_attempts: int | None = None
    window: int | None = None

    def __post_init__(self) -> None:
        for option in ("max_attempts", "candidates", "window"):
            value = getattr(self, option)
            if value is not None and value < 1:
                raise ConfigurationError(f"{option} is {value}; use at least 1")


@dataclass(frozen=True, slots=True)
class AcceptOptions:
    """Which texts are good enough.

    ``allow`` names rejection reasons to let pass. ``gate`` are the conditions that a text must meet
    (:mod:`laclip_aug.quality.gate`): by default ``RELATED``, which refuses what is about something else, and a
    stricter one for the embedded rewriter; ``"none"`` lets all pass. With ``good_score`` a place goes on drawing until
    its best text has this ``score`` or no attempt is left; by default the first accepted text ends it. ``for_model`` is
    the model that is to read the texts to their end (:func:`laclip_aug.quality.context.context_for`), by default CLIP
    with its 77 tokens.

    Raises:
        ConfigurationError: ``good_score`` is no number.
    """

    allow: Collection[str] | str = ()
    gate: str | None = None
    good_score: float | None = None
    for_model: str | None = None

    def __post_init__(self) -> None:
        if self.good_score is not None and isnan(self.good_score):
            raise ConfigurationError(f"good_score is {self.good_score}; give a number, or leave it out")


GROUPS = {"engine": EngineOptions, "prompt": PromptOptions, "draw": DrawOptions, "accept": AcceptOptions}
"""The parameters of ``LLMAugmenter`` and their kinds."""

Options = TypeVar("Options", EngineOptions, PromptOptions, DrawOptions, AcceptOptions)


def grouped(options: Mapping[str, Any]) -> dict[str, Any]:
    """``options`` by their flat names, sorted into the groups.

    Raises:
        UnknownNameError: an option belongs to no group; suggests the nearest.
    """
    home = {field.name: group for group, kind in GROUPS.items() for field in fields(kind)}
    sorted_in: dict[str, dict[str, Any]] = {group: {} for group in GROUPS}
    for option, value in options.items():
        if option not in home:
            raise UnknownNameError("option of augmenter 'llm'", option, home)
        sorted_in[home[option]][option] = value
    return {group: GROUPS[group](**given) for group, given in sorted_in.items()}


def with_defaults(group: Options, defaults: Mapping[str, Any]) -> Options:
    """``group`` with those of its options that are None taken from ``defaults``."""
    named = {field.name for field in fields(group) if getattr(group, field.name) is None}
    return replace(group, **{name: value for name, value in defaults.items() if name in named})
