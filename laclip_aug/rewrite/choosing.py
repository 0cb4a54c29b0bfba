"""From what a user names (a layout, strategies, files of pairs) to the :class:`~laclip_aug.rewrite.prompt.Prompt`."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from laclip_aug.errors import ConfigurationError, InputError, UnknownNameError
from laclip_aug.rewrite.examples import STRATEGIES, Pair, builtin_pairs
from laclip_aug.rewrite.import_examples import pairs_from_file
from laclip_aug.rewrite.prompt import ConditionedPrompt, InContextPrompt, Prompt

PROMPTS = ("in-context", "chat")
DEFAULT_VARIANTS = 8
NEAREST = "nearest"
_NAME = re.compile(r"[\w-]+")

Examples = Mapping[str, Sequence[Pair]] | Sequence[str] | str


def choose_prompt(
    prompt: Prompt | str | None = None,
    strategies: Sequence[str] | None = None,
    variants: int | str | None = None,
    examples: Examples | None = None,
) -> Prompt:
    """The prompt layout for ``strategies``; for the arguments see ``LLMAugmenter``.

    Without ``strategies`` they are those of ``examples`` if given, else the four built-in ones. A strategy that
    ``examples`` lacks has its built-in pairs.

    Raises:
        UnknownNameError: a layout or a strategy is not known; suggests the nearest.
        ConfigurationError: options that do not go together.
        InputError: an examples file cannot be read.
        MissingExtraError: ``variants`` is ``"nearest"``, and what that needs is not installed.
    """
    if prompt is not None and not isinstance(prompt, str):
        if variants is not None or examples is not None:
            raise ConfigurationError(
                "variants and examples belong to the in-context and chat prompts; leave them out, or name such a prompt"
            )
        return _restricted(prompt, strategies)
    if prompt is not None and prompt not in PROMPTS:
        raise UnknownNameError("prompt", prompt, PROMPTS)
    pairs = example_pairs(examples)
    names = tuple(strategies or pairs or STRATEGIES)
    for name in names:
        if name not in pairs and name not in STRATEGIES:
            raise UnknownNameError("strategy", name, {*STRATEGIES, *pairs})
    own = {name: pairs[name] if name in pairs else builtin_pairs(name) for name in names}
    if isinstance(variants, str):
        if variants != NEAREST:
            raise ConfigurationError(f"variants is {variants!r}; give a number of prompts, or {NEAREST}")
        from laclip_aug.rewrite.nearest import NearestPrompt

        return NearestPrompt(own, chat=prompt == "chat")
    return InContextPrompt(own, DEFAULT_VARIANTS if variants is None else variants, chat=prompt == "chat")


def example_pairs(examples: Examples | None) -> dict[str, Sequence[Pair]]:
    """Strategy → pairs, from a mapping, or from items ``PATH`` (all strategies in it) and ``STRATEGY=PATH``.

    Raises:
        InputError: a file cannot be read, or holds several strategies and not the one named.
    """
    if examples is None:
        return {}
    if isinstance(examples, Mapping):
        return dict(examples)
    found: dict[str, Sequence[Pair]] = {}
    for item in [examples] if isinstance(examples, str) else examples:
        strategy, equals, path = str(item).partition("=")
        if not _NAME.fullmatch(strategy):
            strategy, equals, path = str(item), "", ""  # a path that holds "=" itself
        own = pairs_from_file(path if equals else strategy)
        if not equals:
            found.update(own)
        elif strategy in own:
            found[strategy] = own[strategy]
        elif len(own) == 1:
            found[strategy] = next(iter(own.values()))
        else:
            raise InputError(f"{path} has no strategy {strategy!r}, only {', '.join(own)}; name one of them")
    return found


def listed(names: Collection[str] | str) -> tuple[str, ...]:
    """Names from a collection or from ``"a,b"``."""
    names = names.split(",") if isinstance(names, str) else names
    return tuple(name.strip() for name in names if name.strip())


def _restricted(prompt: Prompt, strategies: Sequence[str] | None) -> Prompt:
    if strategies is None or tuple(strategies) == prompt.strategies:
        return prompt
    if isinstance(prompt, ConditionedPrompt):
        return prompt.chosen(strategies)
    raise ConfigurationError("strategies belong to the prompt, which is given as an object; choose them there")
