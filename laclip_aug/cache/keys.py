"""How captions are told apart: the normalised caption, its 128-bit key, and a set of many keys.

A record is found by what its caption says, never by where it stood: re-downloads, dead links, shuffles and filters
cannot shift a row onto another caption's rewrites.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from laclip_aug.quality.normal import normal_form

KEY_BYTES = 16


def normalise(caption: str) -> str:
    """``caption`` in Unicode form NFC, with each run of white space as one space and none at the ends.

    ``"a  dog\\n"`` and ``"a dog"`` are one caption; ``"A dog"`` and ``"a dog"`` are two. Applied twice, it
    changes nothing.
    """
    return " ".join(normal_form("NFC", caption).split())


def key_of(normalised: str) -> bytes:
    """The 16-byte key (BLAKE2b) of a caption that is normalised already; a lone surrogate is hashed as it stands."""
    return hashlib.blake2b(normalised.encode("utf-8", "surrogatepass"), digest_size=KEY_BYTES).digest()


def caption_key(caption: str) -> bytes:
    """The 16-byte key under which the rewrites of ``caption`` are stored."""
    return key_of(normalise(caption))


def record_key(caption: str, image: str = "") -> bytes:
    """The 16-byte key of a record: of its image's key as it stands, if it has one, and otherwise of its caption."""
    if not image:
        return caption_key(caption)
    data = image.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(data, digest_size=KEY_BYTES, person=b"image").digest()  # never that of a caption


def part_of(key: bytes, parts: int) -> int:
    """Which of ``parts`` equal ranges of keys has ``key``, counted from 0."""
    return int.from_bytes(key[:8], "big") * parts >> 64


class KeySet:
    """A set of keys that grows to hundreds of millions: 16 bytes a key, up to twice that while two runs merge.

    Recent keys sit in a Python set. Full sets become sorted arrays, which merge when they are of similar size, so that
    a key is copied O(log n) times and a look-up touches O(log n) arrays. A Python set of ``bytes`` costs about 100
    bytes a key instead.
    """

    def __init__(self, flush: int = 1 << 18) -> None:
        self._flush = flush
        self._recent: set[bytes] = set()
        self._runs: list[npt.NDArray[np.bytes_]] = []
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def add_new(self, keys: Sequence[bytes]) -> list[bool]:
        """Add ``keys``; for each, whether it was new. Many at once cost less each than one by one."""
        if not keys:
            return []
        old = self._in_runs(keys)
        fresh = []
        for key, known in zip(keys, old, strict=True):
            new = not known and key not in self._recent
            if new:
                self._recent.add(key)
            fresh.append(new)
        self._size += sum(fresh)
        if len(self._recent) >= self._flush:
            self._runs.append(np.sort(np.array(list(self._recent), dtype=f"S{KEY_BYTES}")))
            self._recent.clear()
            self._merge()
        return fresh

    def update(self, keys: Iterable[bytes]) -> None:
        """Add ``keys``, known or not."""
        chunk = []
        for key in keys:
            chunk.append(key)
            if len(chunk) == 65536:
                self.add_new(chunk)
                chunk = []
        self.add_new(chunk)

    def _in_runs(self, keys: Sequence[bytes]) -> list[bool]:
        # fixed-width bytes compare as if padded with zeros, which is exact here: every key has the same length
        wanted = np.array(keys, dtype=f"S{KEY_BYTES}")
        found = np.zeros(len(keys), dtype=bool)
        for run in self._runs:
            place = np.searchsorted(run, wanted)
            found |= run[np.minimum(place, len(run) - 1)] == wanted
        return [bool(hit) for hit in found]

    def _merge(self) -> None:
        while len(self._runs) > 1 and len(self._runs[-2]) <= 2 * len(self._runs[-1]):
            right, left = self._runs.pop(), self._runs.pop()
            self._runs.append(np.sort(np.concatenate([left, right]), kind="stable"))  # merges the sorted runs
