"""CLIP's tokens of a text, word by word from a table: the same ids as open_clip's own tokenizer gives, sooner.

open_clip repairs, splits and merges each text anew in Python, which takes longer than looking up its rewrites, and with
K texts per image it is done K times. CLIP's pattern never crosses white space, so the ids of a text are the ids of its
words put together, and captions share their words. That holds where repairing the text changes nothing: printable ASCII
without ``&`` (which starts an HTML entity). Any other text goes to the tokenizer itself.

A word that is not in the table costs ten times as much as a text of known ones. :meth:`WordTokens.learn` fills the
table before loader workers start, so that each of them finds it filled.
"""

from __future__ import annotations

import string
from array import array
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from itertools import islice
from typing import Any

import torch
from torch import Tensor

WORDS = 1 << 16
"""How many words a process keeps, some 10 MB; those that come first are the frequent ones."""
LEARNED = 100_000
"""How many texts are read to fill the table beforehand: one to five seconds, the more words the longer."""
_LONGEST = 64  # letters; longer words hardly come twice
_BYTES = 8  # of an int64
_PRINTABLE = string.ascii_letters + string.digits + string.punctuation.replace("&", "")
_PAIRS = "  ".join(a + b for a in _PRINTABLE for b in _PRINTABLE)
_PROBE = "Two  brown dogs' toys -- isn't it? (nr. 12,345) <START_OF_TEXT>end<end_of_text>"


class _Table(dict[str, bytes]):
    """The ids of words, as the bytes of int64 numbers; a word that is asked for is added while there is room."""

    def __init__(self, tokenizer: Any) -> None:
        super().__init__()
        # Where repairing changes nothing it can be left out; it costs more than all else that a word needs.
        self._bare = copy(tokenizer)
        self._bare.clean_fn = str.lower

    def __missing__(self, word: str) -> bytes:
        ids = _packed(self._bare.encode(word))
        if len(self) < WORDS and len(word) <= _LONGEST:
            self[word] = ids
        return ids


class WordTokens:
    """Stands in for a tokenizer of open_clip's ``SimpleTokenizer`` class. Use :func:`with_word_table` to make one."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self._table = _Table(tokenizer)
        self._start, self._end = _packed([tokenizer.sot_token_id]), _packed([tokenizer.eot_token_id])

    def __call__(self, texts: str | Sequence[str], context_length: int | None = None) -> Tensor:
        """Token ids ``[N, L]`` of N texts, cut to L and padded with zeros as the tokenizer does it."""
        length = context_length or self.tokenizer.context_length
        texts = [texts] if isinstance(texts, str) else texts
        if not texts:
            return torch.zeros(0, length, dtype=torch.long)
        size, end = _BYTES * length, self._end
        rows = bytearray()
        for text in texts:
            row = self._start + self._encode(text) + end
            rows += row.ljust(size, b"\0") if len(row) <= size else row[: size - _BYTES] + end
        return torch.frombuffer(rows, dtype=torch.long).view(-1, length)

    def encode(self, text: str) -> list[int]:
        """The ids of ``text`` without those of its start and end."""
        return array("q", self._encode(text)).tolist()

    def learn(self, texts: Iterable[str]) -> None:
        """Fill the table from ``texts``, of which no more than ``LEARNED`` are read."""
        for text in islice(texts, LEARNED):
            if len(self._table) >= WORDS:
                return
            if text.isascii():  # others are no matter of the table
                self._encode(text)

    def _encode(self, text: str) -> bytes:
        if "&" in text or not text.isascii() or not text.isprintable():
            return _packed(self.tokenizer.encode(text))
        return b"".join(map(self._table.__getitem__, text.split()))


def _packed(ids: Sequence[int]) -> bytes:
    return array("q", ids).tobytes()


def with_word_table(tokenizer: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """``tokenizer`` with a table of words if it is open_clip's for CLIP and repairs no ASCII text; else itself."""
    known: Any = tokenizer
    if type(known).__name__ != "SimpleTokenizer" or getattr(known, "reduction_fn", None) is not None:
        return tokenizer
    clean = getattr(known, "clean_fn", None)
    if clean is None or clean(_PAIRS) != " ".join(_PAIRS.split()).lower():
        return tokenizer
    quick = WordTokens(known)
    return quick if quick.encode(_PROBE) == known.encode(_PROBE) else tokenizer
