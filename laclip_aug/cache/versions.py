"""Images that share a caption: notice that their rewrites differ, as a cache keeps one record of each caption."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from laclip_aug.augmenter import Outcome
from laclip_aug.cache.browse import records
from laclip_aug.cache.format import MANIFEST
from laclip_aug.cache.keys import KEY_BYTES, KeySet, record_key
from laclip_aug.cache.storable import storable


class Versions:
    """The pairs of a caption and its rewrites that were seen, as hashes: 16 to 32 bytes for each record of a run."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._seen = KeySet()
        self._stored: KeySet | None = None

    def differ(self, slab: Sequence[Outcome], known: Sequence[bool]) -> list[bool]:
        """For each record, whether its caption is ``known`` to the cache, and with other rewrites than these."""
        hashes = [_hash(record) for record in slab]
        fresh = self._seen.add_new(hashes)
        return [
            old and new and bool(record.rewrites) and self._not_stored(key)
            for record, old, new, key in zip(slab, known, fresh, hashes, strict=True)
        ]

    def _not_stored(self, key: bytes) -> bool:
        if self._stored is None:  # read what earlier runs stored only if a caption of theirs comes again
            self._stored = KeySet()
            if (self._directory / MANIFEST).exists():
                self._stored.update(_hash(record) for record in records(self._directory))
        return self._stored.add_new([key])[0]


def _hash(record: Outcome) -> bytes:
    digest = hashlib.blake2b(record_key(record.caption, record.image), digest_size=KEY_BYTES)
    for rewrite in storable(record).rewrites:
        for part in (rewrite.source, rewrite.text):
            data = part.encode("utf-8", "surrogatepass")
            digest.update(len(data).to_bytes(8, "little") + data)
    return digest.digest()
