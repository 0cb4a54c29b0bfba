"""How much of a text a model reads: the length of its context, in tokens of its own tokenizer.

CLIP reads 77 tokens of its byte-pair merges, SigLIP 64 of a sentencepiece model, and a model of one's own what its
configuration says. A text that is longer is cut, and trained on without its end. ``CLIP`` needs nothing but the list of
merges; any other context is asked of open_clip, by the model's name (:func:`context_for`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from laclip_aug.models import load_tokenizer
from laclip_aug.quality.cliptokens import clip_token_count

_PROBES = ("a photo of a dog", "Two  DOGS' toys -- isn't it? (nr. 12,345)", "das Mädchen &amp; 狗在海滩 🐕", "")
_LONG = "a dog and a cat " * 16
_MARGIN = 17  # CLIP lower-cases, repairs and unescapes before it counts, which may add a few bytes: İ becomes three
_LONGEST_WORTH_COUNTING = 4096


@dataclass(frozen=True)
class TextContext:
    """What a text tower reads of a text.

    ``tokens`` is the length, the marks of start and end included; ``tokenizer`` is ``clip`` or a hash that tells it
    from others; ``model`` is whose it is, for people; ``count`` gives a text's number of tokens (four times ``tokens``
    may stand for more).
    """

    tokens: int = 77
    tokenizer: str = "clip"
    model: str = field(default="", compare=False)
    count: Callable[[str], int] = field(default=clip_token_count, compare=False, repr=False)

    def holds(self, text: str) -> bool:
        """Whether the model reads ``text`` to its end.

        >>> TextContext(8).holds("a dog on a beach"), TextContext(8).holds("a dog on a beach in the sun")
        (True, False)
        """
        size = len(text.encode("utf-8", "surrogatepass"))
        clip = self.tokenizer == "clip"
        if size <= self.tokens - _MARGIN and (clip or text.isascii()):
            return True  # a token is a byte at least
        if size > max(_LONGEST_WORTH_COUNTING, 16 * self.tokens) or (clip and len(text.split()) > self.tokens - 2):
            return False  # for CLIP a word is a token at least
        return self.count(text) <= self.tokens

    def describe(self) -> dict[str, Any]:
        """For a manifest; JSON types."""
        return {"tokens": self.tokens, "tokenizer": self.tokenizer} | ({"model": self.model} if self.model else {})

    def __str__(self) -> str:
        return f"{self.tokens} tokens of {'CLIP' if self.tokenizer == 'clip' else self.model or 'another tokenizer'}"


CLIP = TextContext()


def recorded(description: Mapping[str, Any]) -> TextContext | None:
    """The context that a manifest notes under ``context``, without its counter; None where there is none."""
    noted = description.get("context")
    if not isinstance(noted, dict) or not isinstance(noted.get("tokens"), int):
        return None
    return TextContext(noted["tokens"], str(noted.get("tokenizer")), str(noted.get("model", "")))


@lru_cache(maxsize=8)
def context_for(model: str | None) -> TextContext:
    """The context of a model of open_clip: ``NAME``, a configuration's ``.json``, ``hf-hub:REPO`` or ``local-dir:DIR``.

    ``:32`` behind it is another length, as the trainer's ``--force-context-length 32``. None is CLIP's.

    Raises:
        UnknownNameError: open_clip has no such model; suggests the nearest.
        ConfigurationError: its tokenizer cannot be loaded.
        UnsupportedOpenClipError: open_clip is not installed.
    """
    if model is None:
        return CLIP
    name, _, length = model.rpartition(":")
    if name and length.isdecimal():
        return context_of(load_tokenizer(name, int(length)), model) or CLIP
    return context_of(load_tokenizer(model), model) or CLIP


def context_of(tokenizer: Any, model: str = "") -> TextContext | None:
    """The context that a tokenizer of open_clip's form cuts to; None if it does not tell."""
    length = getattr(tokenizer, "context_length", None)
    if not isinstance(length, int) or length < 1:
        return None
    counter = _Counter(tokenizer, 4 * length)
    if type(tokenizer).__name__ == "SimpleTokenizer" and [*map(counter, _PROBES)] == [*map(clip_token_count, _PROBES)]:
        return TextContext(length, model=model)
    ids = tokenizer(list(_PROBES), context_length=64).tolist()
    return TextContext(length, hashlib.sha256(str(ids).encode()).hexdigest()[:16], model, counter)


class _Counter:
    """Counts a text's tokens by the tokenizer's own call, which pads to a length.

    Where the mark of the end is the padding's id too, as with SigLIP's, it is counted all the same; so is a mark that
    stands behind the padding.
    """

    def __init__(self, tokenizer: Callable[..., Any], most: int) -> None:
        self._tokenizer, self._most = tokenizer, max(most, 64)
        *_, self._pad, last = self._ids("", self._most)
        self._behind = int(last != self._pad)
        cut = self._ids(_LONG, 8)
        self._hidden = int(cut[-1 - self._behind] == self._pad)

    def _ids(self, text: str, length: int) -> Sequence[int]:
        ids: Sequence[int] = self._tokenizer([text], context_length=length)[0].tolist()
        return ids

    def __call__(self, text: str) -> int:
        ids = self._ids(text.encode("utf-8", "replace").decode("utf-8"), self._most)
        end = self._most - self._behind
        while end and ids[end - 1] == self._pad:
            end -= 1
        return min(self._most, end + self._hidden + self._behind)
