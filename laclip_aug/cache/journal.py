"""The crash-safe journal of the shard in work.

A Parquet file under way is unreadable after a kill, so each record is first appended here: length and CRC-32, then the
record as JSON. A write goes straight to the operating system, so a killed process loses nothing that ``append``
returned from; ``fsync`` about once a second bounds what a power cut can take. Reading stops at the first record that is
not whole, which only the tail can be after a kill; whatever follows is dropped, counted, and made again by the builder.
"""

from __future__ import annotations

import json
import os
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

from laclip_aug.augmenter import Outcome, Rejection, Rewrite
from laclip_aug.exchange.files import disk_errors, sync_directory

_MAGIC = b"laclip-aug journal 1\n"
_HEAD = struct.Struct("<II")
_SYNC_SECONDS = 1.0
_json = json.JSONEncoder(separators=(",", ":")).encode  # made once: json.dumps would make one each time


class Journal:
    """Append-only records in one file.

    Opening recovers the file: ``recovered`` is the number of whole records found, ``dropped`` the number of bytes cut
    off behind them.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with disk_errors(path):
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            self.recovered, end = self._scan()
            self.dropped = max(0, os.fstat(self._file).st_size - end)
            os.ftruncate(self._file, end)
            if end == 0:
                self._write(_MAGIC)
            os.lseek(self._file, 0, os.SEEK_END)
            os.fsync(self._file)
            sync_directory(path.parent)
        self._size = self.recovered
        self._synced = time.monotonic()

    def __len__(self) -> int:
        return self._size

    def append(self, record: Outcome) -> None:
        """Add ``record``; once this returns, a killed process cannot lose it.

        Raises:
            CacheError: the disk is full or failed; the journal ends with the last whole record.
        """
        payload = encode(record)
        with disk_errors(self.path):
            start = os.lseek(self._file, 0, os.SEEK_CUR)
            try:
                self._write(_HEAD.pack(len(payload), zlib.crc32(payload)) + payload)
                if time.monotonic() - self._synced > _SYNC_SECONDS:
                    self.sync()
            except OSError:
                os.ftruncate(self._file, start)
                os.lseek(self._file, start, os.SEEK_SET)
                raise
        self._size += 1

    def sync(self) -> None:
        """Bring all records to the disk."""
        with disk_errors(self.path):
            os.fsync(self._file)
        self._synced = time.monotonic()

    def records(self) -> Iterator[Outcome]:
        """All records, in the order in which they were appended."""
        for payload, _ in _payloads(self.path):
            yield decode(payload)

    def close(self) -> None:
        """Sync and close the file; a second call does nothing."""
        if self._file >= 0:
            handle, self._file = self._file, -1
            try:
                with disk_errors(self.path):
                    os.fsync(handle)
            finally:
                os.close(handle)

    def _scan(self) -> tuple[int, int]:
        count, end = 0, 0
        with self.path.open("rb") as file:
            if file.read(len(_MAGIC)) == _MAGIC:
                end = len(_MAGIC)
        for _, end in _payloads(self.path):  # noqa: B007 - the last end is what counts
            count += 1
        return count, end

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._file, view) :]


def _payloads(path: Path) -> Iterator[tuple[bytes, int]]:
    """(payload, offset behind it) of each whole record."""
    with path.open("rb") as file:
        left = os.fstat(file.fileno()).st_size - len(_MAGIC)
        if file.read(len(_MAGIC)) != _MAGIC:
            return
        end = len(_MAGIC)
        while len(head := file.read(_HEAD.size)) == _HEAD.size:
            length, checksum = _HEAD.unpack(head)
            left -= _HEAD.size + length
            # a length of 0 is never written: it is what a tail of zeros, left by a power cut, would read as
            if length == 0 or left < 0 or zlib.crc32(payload := file.read(length)) != checksum:
                return
            end += _HEAD.size + length
            yield payload, end


def encode(record: Outcome) -> bytes:
    """``record`` as compact JSON: [caption, [[source, text]...], [[source, reason, text]...], tokens]."""
    rewrites = [[r.source, r.text] for r in record.rewrites]
    rejections = [[r.source, r.reason, r.text] for r in record.rejections]
    return _json([record.caption, rewrites, rejections, record.tokens]).encode("ascii")


def decode(payload: bytes) -> Outcome:
    """The record that ``encode`` wrote."""
    caption, rewrites, rejections, tokens = json.loads(payload)
    return Outcome(caption, tuple(Rewrite(*r) for r in rewrites), tuple(Rejection(*r) for r in rejections), tokens)
