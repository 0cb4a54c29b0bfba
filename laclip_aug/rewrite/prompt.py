"""Prompts: how a strategy and a caption become the text that an LLM completes.

Three layouts. :class:`InContextPrompt` is the paper's: an instruction line, three meta-input-output pairs, then the
caption (section 3.2 and the released code). With ``chat`` it words the same as a request to an instruct model.
:class:`ConditionedPrompt` is for a model trained to rewrite: one control token per strategy and no examples.

Three random examples for every caption would defeat the engine's shared prefix, so each strategy has a few fixed
variants, and a hash of the caption picks one.

A caption is web data and may try to end its place in the prompt and open another. ``shown_caption`` makes it one line
without the delimiter ``=>`` and without the special tokens of chat templates. Only the prompt sees this form: keys and
lookups keep the caption as it came.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Protocol

from laclip_aug.errors import ConfigurationError, UnknownNameError
from laclip_aug.generation.backend import Job
from laclip_aug.quality.cleaning import as_clip_reads
from laclip_aug.rewrite.examples import Pair
from laclip_aug.seeding import derive, generator

INSTRUCTION = "write image captions differently,"
CHAT_INSTRUCTION = (
    "Rewrite the last caption of an image in less than thirty words, in the manner of the examples. Keep its names, "
    "numbers and colours, and add no facts. Answer with the new caption alone, on one line."
)
SHOTS = 3
MAX_SHOWN = 1000

_INVISIBLE = ("Cf", "Cs", "Co")
_JOINERS = "\u200c\u200d"  # zero-width (non-)joiners shape Persian, Hindi and emoji
_DELIMITER = re.compile(rf"[=＝﹦][{_JOINERS}]*(?=[>＞﹥])")
_SPECIAL = re.compile(r"<\|[^<>]*>|</[^<>]*>|<[a-z_][a-z0-9_]*>|<<\W*SYS\W*>>|\[/?INST\]")


def shown_caption(caption: str) -> str:
    """``caption`` as the prompt shows it: one line, at most 1,000 characters, unable to forge a delimiter.

    It is repaired and unescaped as CLIP does it (``&amp;`` is ``&``). Line breaks and other control characters become
    spaces, runs of spaces one; invisible formatting characters and lone surrogates go; ``=>`` (full-width forms too)
    becomes ``->``; the brackets of chat-template tokens such as ``<|im_end|>``, ``</s>`` and ``[INST]`` go, while
    placeholders such as ``<PERSON>`` stay.

    >>> shown_caption("a dog\\n\\na cat => a lion</s>")
    'a dog a cat -> a lion /s'
    """
    spaced = "".join(" " if unicodedata.category(c) == "Cc" else c for c in caption[: 4 * MAX_SHOWN])
    cleaned = as_clip_reads(spaced.encode("utf-8", "ignore").decode("utf-8"))
    text = "".join(_visible(character) for character in cleaned)
    while (bare := _SPECIAL.sub(lambda found: f" {found[0].strip('<>[]|')} ", text)) != text:
        text = bare  # taking out an inner token may have closed an outer one
    text = " ".join(_DELIMITER.sub("-", text).split())
    return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN].rsplit(" ", 1)[0]


def _visible(character: str) -> str:
    """The character, a space for one that is white space or controls, or nothing for one that has no form."""
    kind = unicodedata.category(character)
    if kind == "Cc" or character.isspace():
        return " "
    return "" if kind in _INVISIBLE and character not in _JOINERS else character


class Prompt(Protocol):
    """A layout with its data: makes the job for a caption, and says what the job's prompt showed."""

    strategies: tuple[str, ...]

    def variant(self, strategy: str, caption: str, place: int, attempt: int) -> int:
        """Which of the strategy's prompts ``caption`` gets for its text ``place``; neither order nor neighbours matter.

        A further text of the same strategy, and a further attempt, may see other examples.
        """

    def job(self, strategy: str, variant: int, shown: str, seed: int, tag: Hashable) -> Job:
        """The completion to ask for; ``shown`` comes from :func:`shown_caption`."""

    def examples(self, strategy: str, variant: int) -> tuple[Pair, ...]:
        """The pairs in that variant's prompt, which a completion may not copy."""

    def describe(self) -> dict[str, Any]:
        """Layout, variants and prompt hash, for a manifest."""


class InContextPrompt:
    """The paper's layout: instruction, three ``source => target`` blocks, ``caption =>``, blank lines between.

    Args:
        pairs: the meta-input-output pairs of each strategy.
        variants: fixed prompts per strategy; each shows three pairs drawn without replacement.
        seed: keys the draw of the pairs.
        chat: word the same as a user's message to an instruct model.

    Raises:
        ConfigurationError: no strategy, a strategy with fewer than three pairs, or fewer than one variant.
    """

    def __init__(
        self, pairs: Mapping[str, Sequence[Pair]], variants: int = 8, seed: int = 0, chat: bool = False
    ) -> None:
        if variants < 1:
            raise ConfigurationError(f"variants is {variants}; at least 1 prompt per strategy is needed")
        if not pairs:
            raise ConfigurationError("no strategy is given; name at least one, for example chatgpt")
        for strategy, own in pairs.items():
            if len(own) < SHOTS:
                raise ConfigurationError(
                    f"strategy {strategy!r} has {len(own)} pairs; a prompt shows {SHOTS}, so give more"
                )
        self.strategies = tuple(pairs)
        self.variants = variants
        self.chat = chat
        self._lead, self._tail = ("\n\nCaption: ", "\nRewrite:") if chat else ("\n\n", " =>")
        self._examples = {
            (strategy, variant): tuple(generator(seed, "examples", strategy, variant).sample(list(own), SHOTS))
            for strategy, own in pairs.items()
            for variant in range(variants)
        }
        self._prefixes = {key: self.prefix(shown) for key, shown in self._examples.items()}

    def variant(self, strategy: str, caption: str, place: int, attempt: int) -> int:
        """A hash of all it is given."""
        return derive("variant", strategy, caption, place, attempt) % self.variants

    def prefix(self, pairs: Sequence[Pair]) -> str:
        """The prompt up to the caption, with ``pairs`` as examples."""
        if self.chat:
            return "\n\n".join([CHAT_INSTRUCTION, *(f"Caption: {p.caption}\nRewrite: {p.rewrite}" for p in pairs)])
        return "\n\n".join([INSTRUCTION, *(f"{p.caption} => {p.rewrite}" for p in pairs)])

    def job(self, strategy: str, variant: int, shown: str, seed: int, tag: Hashable) -> Job:
        """The completion to ask for; ``shown`` comes from :func:`shown_caption`."""
        return Job(self._prefixes[strategy, variant], self._lead, shown, self._tail, seed, tag, chat=self.chat)

    def examples(self, strategy: str, variant: int) -> tuple[Pair, ...]:
        """The three pairs in that variant's prompt."""
        return self._examples[strategy, variant]

    def describe(self) -> dict[str, Any]:
        """Layout, variants and prompt hash, for a manifest."""
        parts = [[*key, prefix] for key, prefix in self._prefixes.items()]
        return {
            "layout": "chat" if self.chat else "in-context",
            "variants": self.variants,
            "prompt_sha256": sha256_of([parts, self._lead, self._tail, self.chat]),
        }


class ConditionedPrompt:
    """The layout of a model trained to rewrite: ``prefix, caption, tail``, one of the two naming the strategy.

    Args:
        prefixes: what stands before the caption for each strategy; may name special tokens, ``"<|mscoco|>"``.
        tail: what stands after the caption, such as a separator token; one for all strategies, or one for each.
        lead: what stands between the prefix and the caption, if anything.
        verdict_words: the two words with which the model learned to say that a text is true, and that it is false.

    Raises:
        ConfigurationError: no strategy, or a strategy without a tail.
    """

    def __init__(
        self,
        prefixes: Mapping[str, str],
        tail: str | Mapping[str, str],
        lead: str = "",
        verdict_words: tuple[str, str] | None = None,
    ) -> None:
        if not prefixes:
            raise ConfigurationError("no strategy is given; a conditioned model needs a prefix for each")
        tails = dict.fromkeys(prefixes, tail) if isinstance(tail, str) else dict(tail)
        if missing := sorted(prefixes.keys() - tails.keys()):
            raise ConfigurationError(f"no tail is given for {', '.join(missing)}; give one for each strategy")
        self.strategies = tuple(prefixes)
        self._prefixes, self._lead, self._tails = dict(prefixes), lead, tails
        self._verdict_words = verdict_words

    def chosen(self, strategies: Sequence[str]) -> ConditionedPrompt:
        """The same layout for some of its strategies, in the order given.

        Raises:
            UnknownNameError: the model was not trained on a strategy; suggests the nearest.
        """
        for strategy in strategies:
            if strategy not in self._prefixes:
                raise UnknownNameError("strategy", strategy, self._prefixes)
        return ConditionedPrompt(
            {s: self._prefixes[s] for s in strategies}, self._tails, self._lead, self._verdict_words
        )

    def variant(self, strategy: str, caption: str, place: int, attempt: int) -> int:
        """There is one."""
        return 0

    def job(self, strategy: str, variant: int, shown: str, seed: int, tag: Hashable) -> Job:
        """The completion to ask for; ``shown`` comes from :func:`shown_caption`."""
        prefix, tail = self._prefixes[strategy], self._tails[strategy]
        return Job(
            prefix,
            self._lead,
            shown,
            tail,
            seed,
            tag,
            special=True,
            shares_body=True,
            verdict_words=self._verdict_words,
        )

    def examples(self, strategy: str, variant: int) -> tuple[Pair, ...]:
        """None: the model learned the manner of a strategy in training."""
        return ()

    def describe(self) -> dict[str, Any]:
        """Layout, variants and prompt hash, for a manifest."""
        parts = [[strategy, prefix, self._tails[strategy]] for strategy, prefix in self._prefixes.items()]
        shown = [parts, self._lead, *([list(self._verdict_words)] if self._verdict_words else [])]
        return {"layout": "conditioned", "variants": 1, "prompt_sha256": sha256_of(shown)}


def sha256_of(parts: object) -> str:
    """The SHA-256 of JSON-like ``parts``, in hexadecimal."""
    return hashlib.sha256(json.dumps(parts, ensure_ascii=True).encode("ascii")).hexdigest()
