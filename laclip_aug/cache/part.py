"""A part of all captions: the ``i``-th of ``N`` ranges of keys, whichever machine and order it is built on."""

from __future__ import annotations

import re
from dataclasses import dataclass

from laclip_aug.cache.keys import key_of, part_of
from laclip_aug.errors import ConfigurationError

_WRITTEN = re.compile(r"(\d{1,9})/(\d{1,9})")
_MOST = 1_000_000


@dataclass(frozen=True)
class Part:
    """Part ``index`` of ``count``, counted from 0: captions whose key, as a fraction of all keys, is in
    ``[index / count, (index + 1) / count)``. Keys are hashes, so parts are of one size, and a caption's part depends on
    the caption alone.

    Raises:
        ConfigurationError: there is no such part.
    """

    index: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.count <= _MOST or not 0 <= self.index < self.count:
            raise ConfigurationError(
                f"there is no shard {self}: shards count from 0, so that --shard 0/20 is the first of twenty and 19/20 "
                "the last"
            )

    @classmethod
    def of(cls, text: str) -> Part:
        """The part that ``"3/20"`` writes. Raises :class:`ConfigurationError` if it writes none."""
        found = _WRITTEN.fullmatch(text.strip())
        if found is None:
            raise ConfigurationError(f"--shard {text!r} is no i/N; write for example --shard 0/20, up to 19/20")
        return cls(int(found[1]), int(found[2]))

    def has(self, normalised: str) -> bool:
        """Whether a caption, normalised already, is in this part."""
        return part_of(key_of(normalised), self.count) == self.index

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"
