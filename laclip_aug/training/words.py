"""CLIP's tokens of a text, word by word from a table: the same ids as open_clip's own tokenizer gives, sooner.

open_clip repairs, splits and merges each text anew in Python, which takes longer than looking up its rewrites, and with
K texts per image it is done K times. CLIP's pattern never crosses white space, so the ids of a text are the ids of its
words put together, and captions share their words. That holds where repairing the text changes nothing: printable ASCII
without ``&`` (which starts an HTML entity). Any other text goes to the tokenizer itself.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence
from copy import copy
from typing import Any

import torch
from torch import Tensor

WORDS = 1 << 16
"""How many words a process keeps, some 10 MB; those that come first are the frequent ones."""
_PRINTABLE = string.ascii_letters + string.digits + string.punctuation.replace("&", "")
_PAIRS = "  ".join(a + b for a in _PRINTABLE for b in _PRINTABLE)
_PROBE = "Two  brown dogs' toys -- isn't it? (nr. 12,345) <START_OF_TEXT>end<end_of_text>"


class WordTokens:
    """Stands in for a tokenizer of open_clip's ``SimpleTokenizer`` class. Use :func:`with_word_table` to make one."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        # Where repairing changes nothing it can be left out; it costs more than all else that a word needs.
        self._bare = copy(tokenizer)
        self._bare.clean_fn = str.lower
        self._table: dict[str, list[int]] = {}

    def __call__(self, texts: str | Sequence[str], context_length: int | None = None) -> Tensor:
        """Token ids ``[N, L]`` of N texts, cut to L and padded with zeros as the tokenizer does it."""
        tokenizer = self.tokenizer
        length = context_length or tokenizer.context_length
        texts = [texts] if isinstance(texts, str) else texts
        rows = torch.zeros(len(texts), length, dtype=torch.long)
        table = rows.numpy()
        for row, text in enumerate(texts):
            ids = [tokenizer.sot_token_id, *self.encode(text), tokenizer.eot_token_id]
            if len(ids) > length:
                ids[length - 1 :] = [tokenizer.eot_token_id]
            table[row, : len(ids)] = ids
        return rows

    def encode(self, text: str) -> list[int]:
        """The ids of ``text`` without those of its start and end."""
        if "&" in text or not text.isascii() or not text.isprintable():
            return list(self.tokenizer.encode(text))
        table = self._table
        ids: list[int] = []
        for word in text.split():
            found = table.get(word)
            if found is None:
                found = self._bare.encode(word)
                if len(table) < WORDS:
                    table[word] = found
            ids += found
        return ids


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
