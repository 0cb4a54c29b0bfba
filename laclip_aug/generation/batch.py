"""What is handed over to C: structures, and the arrays of tokens, positions and sequences that a decode call reads."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np

from laclip_aug.errors import ModelError
from laclip_aug.generation.scheduler import Feed


def filled(parameters: Any, **values: Any) -> Any:
    """A ctypes structure with ``values`` set. By itself it would take a name that it does not have without a word.

    Raises:
        ModelError: the structure has no field of a name, so llama-cpp-python is of another version.
    """
    known = {name for name, _ in parameters._fields_}
    for name, value in values.items():
        if name not in known:
            kind = type(parameters).__name__
            raise ModelError(f"llama-cpp-python lacks {kind}.{name}; install a version in >=0.3.36,<0.4")
        setattr(parameters, name, value)
    return parameters


class TokenBatch:
    """Room for ``size`` tokens of ``sequences`` sequences. The arrays never move, so pointers to them stay valid."""

    def __init__(self, size: int, sequences: int) -> None:
        self._ids = np.arange(sequences, dtype=np.int32)
        self._token, self._pos, self._one = (np.ones(size, np.int32) for _ in range(3))
        self._sequence, self._wanted = np.zeros(size, np.uintp), np.zeros(size, np.int8)

    def pointers(self) -> dict[str, Any]:
        """The arrays as C pointers: ``token``, ``pos``, ``n_seq_id``, ``seq_id`` and ``logits``."""
        integers = ctypes.POINTER(ctypes.c_int32)
        return {
            "token": self._token.ctypes.data_as(integers),
            "pos": self._pos.ctypes.data_as(integers),
            "n_seq_id": self._one.ctypes.data_as(integers),
            "seq_id": self._sequence.ctypes.data_as(ctypes.POINTER(integers)),
            "logits": self._wanted.ctypes.data_as(ctypes.POINTER(ctypes.c_int8)),
        }

    def fill(self, feeds: Sequence[Feed], lengths: Sequence[int]) -> int:
        """Write ``feeds`` behind the ``lengths`` tokens that each sequence has; returns the number of tokens."""
        end = 0
        for feed in feeds:
            start, end = end, end + len(feed.tokens)
            self._token[start:end] = feed.tokens
            self._pos[start:end] = np.arange(end - start) + lengths[feed.slot]
            self._sequence[start:end] = self._ids.ctypes.data + feed.slot * self._ids.itemsize
            self._wanted[start:end] = 0
            self._wanted[end - 1] = feed.scores
        return end
