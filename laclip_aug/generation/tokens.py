"""From a job to tokens: what is shared, what is the body's, and what gives way when it does not fit.

A prompt is tokenised in two parts, because the prefix is evaluated once for many bodies. Special tokens are read in
the prompt's own text only; in the body their text stays text. Around the body, text is tokenised jointly
with it up to the next special token, as llama.cpp does for a whole prompt.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from laclip_aug.errors import ConfigurationError, ModelError
from laclip_aug.generation.backend import Job

_MARKUP = re.compile(r"[<\[{].*[>\]}]", re.DOTALL)
_ANCHORS = ("\n", ".", "x")
_MARK = "@@body@@"
_LEAST_BODY = 8
_CHARACTERS_PER_TOKEN = 8


class Vocabulary(Protocol):
    """What is needed of a model's tokeniser."""

    bos: int | None
    """The token that begins every prompt, None if the model wants none."""
    space_prefix: bool
    """Whether tokenising adds a space before text that starts a fragment."""
    specials: Sequence[str]
    """The texts of the special tokens."""
    markup: Sequence[str]
    """Those among them that are recognised even where special tokens are not asked for."""

    def tokenize(self, text: str, special: bool) -> list[int]:
        """Tokens of ``text`` without any begin token; text of special tokens is read as such if ``special``."""


@dataclass(frozen=True, slots=True)
class PromptTokens:
    """A job in tokens: the model reads ``prefix + suffix``. ``cut`` tells that the body was shortened."""

    prefix: tuple[int, ...]
    suffix: tuple[int, ...]
    cut: bool


@dataclass(frozen=True, slots=True)
class _Frame:
    """The parts of a job that do not depend on the body."""

    prefix: tuple[int, ...]
    before: tuple[int, ...]  # the lead up to its last special token
    lead: str  # and the text after it
    tail: str  # the tail's text before its first special token
    after: tuple[int, ...]  # and the rest
    joined: bool  # the body's text follows other text, not a special token


class Prompter:
    """Makes prompts of at most ``n_ctx - reserve`` tokens.

    ``render`` wraps a user message in the model's chat template; None if the model has none.
    """

    def __init__(
        self, vocabulary: Vocabulary, n_ctx: int, reserve: int, render: Callable[[str], str] | None = None
    ) -> None:
        self._vocabulary = vocabulary
        self._room = n_ctx - reserve
        self._sizes = f"n_ctx is {n_ctx}, of which {reserve} are kept for the completion"
        self._render = render
        self._special = _alternatives(vocabulary.specials)
        self._markup = _alternatives(vocabulary.markup)
        self._frame = lru_cache(maxsize=4096)(self._make_frame)

    def prompt(self, job: Job) -> PromptTokens:
        """The tokens of ``job``; only its body is shortened to make them fit.

        Raises:
            ConfigurationError: the prompt does not fit even without its body.
            ModelError: the job is for chat and the model has no usable chat template.
        """
        frame = self._frame(job.prefix, job.lead, job.tail, job.chat, job.special)
        room = self._room - len(frame.prefix) - len(frame.before) - len(frame.after)
        tail = self._after_text(frame.tail)
        if room - len(tail) < _LEAST_BODY:
            needed = self._room - room + len(tail)
            raise ConfigurationError(
                f"the prompt takes {needed} tokens without its caption, which leaves no room for one ({self._sizes}); "
                "raise n_ctx or use fewer in-context examples"
            )
        body = job.body[: _CHARACTERS_PER_TOKEN * room]
        cut = len(body) < len(job.body)
        middle = self._body(frame, body, frame.tail)
        if cut or len(middle) > room:
            cut = True
            middle = self._body(frame, body, "")[: room - len(tail)] + tail
        if job.shares_body and frame.after:
            return PromptTokens((*frame.prefix, *frame.before, *middle), frame.after, cut)
        return PromptTokens(frame.prefix, (*frame.before, *middle, *frame.after), cut)

    def _body(self, frame: _Frame, body: str, tail: str) -> list[int]:
        tokenize = self._after_text if frame.joined else self._plain
        text = frame.lead + body + tail
        tokens: list[int] = []
        start = 0
        # Some vocabularies recognise marks such as <|im_end|> in any text: taken apart, they are only characters.
        for mark in self._markup.finditer(text) if self._markup else ():
            tokens += tokenize(text[start : mark.start() + 1])
            tokenize, start = self._after_text, mark.start() + 1
        return tokens + tokenize(text[start:])

    def _plain(self, text: str) -> list[int]:
        return self._vocabulary.tokenize(text, special=False) if text else []

    def _after_text(self, text: str) -> list[int]:
        """Tokens of ``text`` where it follows other text, so without the space that some models add at a start."""
        if not text or not self._vocabulary.space_prefix:
            return self._plain(text)
        for anchor in _ANCHORS:
            head, whole = self._plain(anchor), self._plain(anchor + text)
            if whole[: len(head)] == head:
                return whole[len(head) :]
        return self._plain(text)

    def _make_frame(self, prefix: str, lead: str, tail: str, chat: bool, special: bool) -> _Frame:
        if chat:
            prefix, lead, tail = self._chat(prefix, lead, tail)
            special = True
        tokens = self._vocabulary.tokenize(prefix, special=special) if prefix else []
        bos = self._vocabulary.bos
        if bos is not None and tokens[:1] != [bos]:
            tokens = [bos, *tokens]
        before, after = "", ""
        if special and self._special:
            if found := list(self._special.finditer(lead)):
                before, lead = lead[: found[-1].end()], lead[found[-1].end() :]
            if first := self._special.search(tail):
                tail, after = tail[: first.start()], tail[first.start() :]
        ends = [match.end() for match in self._special.finditer(prefix)] if special and self._special else []
        joined = not before and bool(prefix) and ends[-1:] != [len(prefix)]
        return _Frame(
            prefix=tuple(tokens),
            before=tuple(self._vocabulary.tokenize(before, special=True)) if before else (),
            lead=lead,
            tail=tail,
            after=tuple(self._vocabulary.tokenize(after, special=True)) if after else (),
            joined=joined,
        )

    def _chat(self, prefix: str, lead: str, tail: str) -> tuple[str, str, str]:
        if self._render is None:
            raise ModelError("the model file holds no chat template; use an instruct model, or turn the chat mode off")
        parts = self._render(prefix + lead + _MARK + tail).split(_MARK)
        if len(parts) != 2:
            raise ModelError(
                "the model's chat template does not repeat the user's message exactly once; turn the chat mode off"
            )
        before, after = parts
        if lead and before.endswith(lead):
            return before.removesuffix(lead), lead, after
        return before, "", after


def _alternatives(texts: Sequence[str]) -> re.Pattern[str] | None:
    if not texts:
        return None
    return re.compile("|".join(re.escape(text) for text in sorted(texts, key=len, reverse=True)))


def single_token(vocabulary: Vocabulary, word: str, model: str) -> int:
    """The token that ``word`` is; a word begins with a space, as within a text.

    Raises:
        ModelError: it is more than one token of ``model``.
    """
    # A vocabulary that begins each fragment with a space would add a second one.
    tokens = vocabulary.tokenize(word.removeprefix(" ") if vocabulary.space_prefix else word, special=False)
    if len(tokens) != 1:
        raise ModelError(f"{word!r}, a word of verdict, is {len(tokens)} tokens of {model}; name one that is one")
    return tokens[0]


def special_texts(
    texts: Sequence[str], control: Sequence[bool], user: Sequence[bool]
) -> tuple[Sequence[str], Sequence[str]]:
    """``specials`` and ``markup`` of a :class:`Vocabulary`, from its tokens' texts and kinds, each ``[V]``.

    Tokens added by a model's maker (``user``) are recognised in any text. Most are harmless, such as runs of spaces;
    those that look like a tag could forge the prompt's structure.
    """
    rows = [row for row in zip(texts, control, user, strict=True) if row[0]]
    specials = [text for text, is_control, is_user in rows if is_control or is_user]
    return specials, [text for text, _, is_user in rows if is_user and _MARKUP.fullmatch(text)]


def check_byte_pieces(texts: Sequence[str], model: str) -> None:
    """Refuse a SentencePiece vocabulary that cannot spell every byte.

    llama.cpp would end the process at the first caption with an unknown character.

    Raises:
        ModelError: a byte piece is missing.
    """
    if missing := {f"<0x{byte:02X}>" for byte in range(256)} - set(texts):
        raise ModelError(
            f"{model} lacks {len(missing)} of the 256 byte pieces, so it cannot read every caption; "
            "use a model whose vocabulary has byte fallback"
        )
