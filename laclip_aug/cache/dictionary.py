"""What the values of a large table have in common, as zstd's dictionary: drawn from a sample, and shared by readers.

The files of one look-up have one dictionary, each a copy of its own. A process keeps it once, with one decompressor a
thread: with one for each of 49 files, a look-up took more than twice as long, since they push each other out of the
processor's cache, and a worker had 100 KB more of its own for each.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import chain, islice

import zstandard

DICTIONARY_FROM = 50_000
"""Records from which on a table is compressed; below, a dictionary is large beside what it saves."""
_BYTES = 1 << 16
_SAMPLES = 20_000
_LEVEL = 3
"""6 makes 1% less of it in more than twice the time; the other figures too: benchmarks/results/cache.md."""


def trained(pairs: Iterator[tuple[bytes, bytes]], expected: int) -> tuple[Iterator[tuple[bytes, bytes]], bytes]:
    """``pairs``, and a dictionary for their values, or nothing; keys are hashes, so the first are a fair sample."""
    if expected < DICTIONARY_FROM:
        return pairs, b""
    sample = list(islice(pairs, _SAMPLES))
    with suppress(zstandard.ZstdError):  # values with too little in common to make one
        made = zstandard.train_dictionary(_BYTES, [value for _, value in sample], k=256, d=8)
        return chain(sample, pairs), made.as_bytes()
    return chain(sample, pairs), b""


def compressor(dictionary: bytes) -> Callable[[bytes], bytes]:
    """What compresses the values of a bucket."""
    shared = zstandard.ZstdCompressionDict(dictionary, dict_type=zstandard.DICT_TYPE_FULLDICT)
    return zstandard.ZstdCompressor(level=_LEVEL, dict_data=shared, write_dict_id=False).compress


class Dictionaries:
    """The dictionaries of tables that are read side by side, equal ones once."""

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[bytes, zstandard.ZstdCompressionDict]] = {}
        self._thread = threading.local()

    def known(self, data: bytes) -> bytes:
        """``data``, or the equal bytes that were given before."""
        made = zstandard.ZstdCompressionDict(data, dict_type=zstandard.DICT_TYPE_FULLDICT)
        return self._known.setdefault(data, (data, made))[0]

    def decompress(self, dictionary: bytes, values: bytes) -> bytes:
        """What was compressed with ``dictionary``, as :meth:`known` gave it. Raises ``zstandard.ZstdError``."""
        mine: dict[bytes, zstandard.ZstdDecompressor] | None = getattr(self._thread, "mine", None)
        if mine is None:  # threads cannot share a decompressor
            mine = self._thread.mine = {}
        found = mine.get(dictionary)
        if found is None:
            found = mine[dictionary] = zstandard.ZstdDecompressor(dict_data=self._known[dictionary][1])
        return bytes(found.decompress(values))
