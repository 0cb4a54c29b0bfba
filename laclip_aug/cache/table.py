"""A look-up table: values by key in one immutable file, of which no byte is believed unchecked.

::

    head       magic, origin, number of buckets, of records, longest bucket, size of the file; checksum of these
    offsets    where each bucket begins, and where the last one ends, 8 bytes each
    buckets    checksum, number of records, their keys, where each value ends, the values; four records on average

Keys are hashes, so the leading bits of a key choose its bucket, and buckets in order hold the keys in order. A bucket's
checksum covers its number and the table's origin too. A look-up reads two offsets and one bucket. Whatever bit is wrong
in them, the checksum does not match: damage shows as an error, never as another text nor as a missing caption, and
opening a table costs the same whatever its size. Files are read, not mapped, so that one cut short is an error instead
of a bus error; the operating system keeps one copy for all processes.
"""

from __future__ import annotations

import fcntl
import os
import struct
import weakref
import zlib
from array import array
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from shlex import quote

from laclip_aug.cache.keys import KEY_BYTES
from laclip_aug.errors import CacheCorruptError
from laclip_aug.exchange.files import disk_errors, write_new

ORIGIN_BYTES = 16
PER_BUCKET = 4
_MAGIC = b"laclip-aug tab 2"
_HEAD = struct.Struct(f"<16s{ORIGIN_BYTES}sQQQQ")
_CHECK = struct.Struct("<I")
_SPAN = struct.Struct("<QQ")
_BASE = _HEAD.size + _CHECK.size
_BUCKET = struct.Struct("<II")
_OFFSETS_AT_A_TIME = 1 << 16


def write_table(path: Path, origin: bytes, pairs: Iterable[tuple[bytes, bytes]], records: int) -> int:
    """Write ``records`` pairs of key and value, sorted by key, to ``path``; returns the size of the file in bytes.

    Raises:
        CacheCorruptError: a key occurs twice, or there is another number of pairs.
        CacheError: the disk is full or failed.
    """
    buckets, seen, longest = max(1, records // PER_BUCKET), 0, 0
    offsets, flushed = array("Q"), 0
    with write_new(path) as file:
        at = _BASE + 8 * (buckets + 1)
        file.seek(at)
        parts = groupby(pairs, key=lambda pair: _bucket_of(pair[0], buckets))
        following = next(parts, None)
        for number in range(buckets):
            entries: list[tuple[bytes, bytes]] = []
            if following is not None and following[0] == number:
                entries = list(following[1])
                following = next(parts, None)
            data = _packed(entries, _seed(origin, number), path)
            file.write(data)
            offsets.append(at)
            at, seen, longest = at + len(data), seen + len(entries), max(longest, len(data))
            if len(offsets) == _OFFSETS_AT_A_TIME:
                os.pwrite(file.fileno(), offsets.tobytes(), _BASE + 8 * flushed)
                flushed, offsets = flushed + len(offsets), array("Q")
        if seen != records or following is not None:
            raise CacheCorruptError(
                f"{path}: {seen} records where {records} were announced; run: "
                f"laclip-aug cache verify {quote(str(path.parent))}"
            )
        offsets.append(at)
        os.pwrite(file.fileno(), offsets.tobytes(), _BASE + 8 * flushed)
        head = _HEAD.pack(_MAGIC, origin, buckets, records, longest, at)
        os.pwrite(file.fileno(), head + _CHECK.pack(zlib.crc32(head)), 0)
    return at


class Table:
    """A table open for reading; its file may be replaced or removed meanwhile. Good in forked children too.

    Raises:
        FileNotFoundError: no file is there.
        CacheCorruptError: the file is no table, of another ``origin`` or size, or its head is damaged.
    """

    def __init__(self, path: Path, origin: bytes) -> None:
        self.path, self._origin = path, origin
        self._file = os.open(path, os.O_RDONLY)
        self.close = weakref.finalize(self, os.close, self._file)
        with suppress(OSError):  # it tells writers that the file is in use; not every file system can
            fcntl.flock(self._file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        head, check = self._read(0, _HEAD.size), self._read(_HEAD.size, _CHECK.size)
        magic, found, self._buckets, self.records, self._longest, self.size = _HEAD.unpack(head)
        if _CHECK.unpack(check)[0] != zlib.crc32(head) or magic != _MAGIC:
            raise self._damaged("its head is wrong")
        if found != origin:
            raise self._damaged("it was made from other shards")
        if os.fstat(self._file).st_size != self.size:
            raise self._damaged("it was cut short or lengthened")

    def get(self, key: bytes) -> bytes | None:
        """The value of ``key``, or ``None`` if the table does not have it.

        Raises:
            CacheCorruptError: what would tell is damaged.
        """
        number = _bucket_of(key, self._buckets)
        data = self._bucket(number)
        first = _BUCKET.size
        behind = first + KEY_BYTES * _BUCKET.unpack_from(data)[1]
        at = data.find(key, first, behind)
        while at >= 0:
            place, rest = divmod(at - first, KEY_BYTES)
            if rest == 0:
                return self._value(data, place)
            at = data.find(key, at + 1, behind)
        return None

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """All pairs in the order of their keys, each bucket checked."""
        for number in range(self._buckets):
            data = self._bucket(number)
            for place in range(_BUCKET.unpack_from(data)[1]):
                start = _BUCKET.size + KEY_BYTES * place
                yield data[start : start + KEY_BYTES], self._value(data, place)

    def _bucket(self, number: int) -> bytes:
        start, end = _SPAN.unpack(self._read(_BASE + 8 * number, _SPAN.size))
        if _BUCKET.size <= end - start <= self._longest:
            data = self._read(start, end - start)
            if zlib.crc32(data[_CHECK.size :], _seed(self._origin, number)) == _CHECK.unpack_from(data)[0]:
                return data
        raise self._damaged(f"bucket {number} is not what was written")

    @staticmethod
    def _value(data: bytes, place: int) -> bytes:
        count = _BUCKET.unpack_from(data)[1]
        ends = _BUCKET.size + KEY_BYTES * count
        (end,) = _CHECK.unpack_from(data, ends + 4 * place)
        start = _CHECK.unpack_from(data, ends + 4 * place - 4)[0] if place else 0
        values = ends + 4 * count
        return data[values + start : values + end]

    def _read(self, at: int, length: int) -> bytes:
        try:
            data = os.pread(self._file, length, at)
        except (OSError, OverflowError) as error:
            raise self._damaged(str(error)) from None
        if len(data) != length:
            raise self._damaged("it was cut short")
        return data

    def _damaged(self, what: str) -> CacheCorruptError:
        return CacheCorruptError(
            f"{self.path} is damaged ({what}); make it again with: "
            f"laclip-aug cache compile {quote(str(self.path.parent))}"
        )


def remove_unused(path: Path) -> None:
    """Delete the table at ``path`` unless a reader has it open, which a later call finds closed."""
    with disk_errors(path), suppress(FileNotFoundError):
        handle = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
        except BlockingIOError:
            pass
        finally:
            os.close(handle)


def _bucket_of(key: bytes, buckets: int) -> int:
    return int.from_bytes(key[:8], "big") * buckets >> 64


def _seed(origin: bytes, number: int) -> int:
    return zlib.crc32(number.to_bytes(8, "little"), zlib.crc32(origin))


def _packed(entries: list[tuple[bytes, bytes]], seed: int, path: Path) -> bytes:
    if len({key for key, _ in entries}) != len(entries):
        raise CacheCorruptError(
            f"{path}: two shards hold one key; run: laclip-aug cache verify {quote(str(path.parent))}"
        )
    ends, end = array("I"), 0
    for _, value in entries:
        end += len(value)
        ends.append(end)
    body = len(entries).to_bytes(4, "little") + b"".join(key for key, _ in entries) + ends.tobytes()
    body += b"".join(value for _, value in entries)
    return _CHECK.pack(zlib.crc32(body, seed)) + body
