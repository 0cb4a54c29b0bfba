"""A table on disk from fixed-width keys to values, for random look-ups by many processes, of which no byte is believed
unchecked.

::

    head        magic, origin, number of buckets, of records, longest bucket, size of the file, part, number of parts,
                length and checksum of the dictionary; checksum of these
    dictionary  what the values of a large table have in common, for zstd; small tables have none
    offsets     where each bucket begins, and where the last one ends, 8 bytes each
    buckets     checksum, number of records, their keys, where each value ends, the values (with a dictionary: one zstd
                frame); four records on average

Keys are hashes, so the leading bits of a key choose its part, if a look-up is split over several files, and its bucket
there; buckets in order hold the keys in order. A bucket's checksum covers its number and the table's origin too. A
look-up reads two offsets and one bucket. Whatever bit is wrong in them, the checksum does not match: damage shows as an
error, never as another text nor as a missing caption, and opening a table costs the same whatever its size. Files are
read, not mapped, so that one cut short is an error instead of a bus error; the operating system keeps one copy for all
processes. What a process has of its own is the dictionary, read at the first hit.
"""

from __future__ import annotations

import fcntl
import os
import struct
import weakref
import zlib
from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from shlex import quote

import zstandard

from laclip_aug.cache.dictionary import Dictionaries, compressor, trained
from laclip_aug.cache.keys import KEY_BYTES, part_of
from laclip_aug.errors import CacheCorruptError
from laclip_aug.exchange.files import disk_errors, write_new

ORIGIN_BYTES = 16
PER_BUCKET = 4
_MAGIC, _MAGIC_PLAIN = b"laclip-aug tab 3", b"laclip-aug tab 2"
_HEAD = struct.Struct(f"<16s{ORIGIN_BYTES}sQQQQIIII")
_HEAD_PLAIN = struct.Struct(f"<16s{ORIGIN_BYTES}sQQQQ")
"""Of tables without parts and dictionary, which earlier releases wrote."""
_CHECK = struct.Struct("<I")
_SPAN = struct.Struct("<QQ")
_BUCKET = struct.Struct("<II")
_OFFSETS_AT_A_TIME = 1 << 16


def write_table(
    path: Path,
    origin: bytes,
    pairs: Iterable[tuple[bytes, bytes]],
    expected: int,
    part: int = 0,
    parts: int = 1,
    dictionary: bytes | None = None,
) -> tuple[int, int]:
    """Write ``pairs`` of key and value, sorted by key, to ``path``; returns the file's size in bytes and their number.

    Args:
        expected: about how many pairs there will be.
        part: the keys are those of this one of ``parts`` files.
        dictionary: for the values, or nothing, as :func:`trained` gives it; else one is made of the first of ``pairs``.

    Raises:
        CacheCorruptError: a key occurs twice.
        CacheError: the disk is full or failed.
    """
    buckets, seen, longest = max(1, expected // PER_BUCKET), 0, 0
    offsets, flushed = array("Q"), 0
    if dictionary is None:
        pairs, dictionary = trained(iter(pairs), expected)
    compress = compressor(dictionary) if dictionary else None
    with write_new(path) as file:
        base = _HEAD.size + _CHECK.size
        file.write(bytes(base) + dictionary)
        base += len(dictionary)
        at = base + 8 * (buckets + 1)
        file.seek(at)
        grouped = groupby(pairs, key=lambda pair: _bucket_of(pair[0], buckets, part, parts))
        following = next(grouped, None)
        for number in range(buckets):
            entries: list[tuple[bytes, bytes]] = []
            if following is not None and following[0] == number:
                entries = list(following[1])
                following = next(grouped, None)
            data = _packed(entries, _seed(origin, number), path, compress)
            file.write(data)
            offsets.append(at)
            at, seen, longest = at + len(data), seen + len(entries), max(longest, len(data))
            if len(offsets) == _OFFSETS_AT_A_TIME:
                _write_at(file.fileno(), offsets.tobytes(), base + 8 * flushed)
                flushed, offsets = flushed + len(offsets), array("Q")
        if following is not None:
            raise ValueError(f"{path}: the keys are not sorted, or not those of part {part} of {parts}")
        offsets.append(at)
        _write_at(file.fileno(), offsets.tobytes(), base + 8 * flushed)
        about = (len(dictionary), zlib.crc32(dictionary))
        head = _HEAD.pack(_MAGIC, origin, buckets, seen, longest, at, part, parts, *about)
        _write_at(file.fileno(), head + _CHECK.pack(zlib.crc32(head)), 0)
    return at, seen


class Table:
    """A table open for reading; its file may be replaced or removed meanwhile. Good in forked children too.

    Args:
        shared: what tables that are read side by side have in common.

    Raises:
        FileNotFoundError: no file is there.
        CacheCorruptError: the file is no table, of another ``origin`` or size, or its head is damaged.
    """

    def __init__(self, path: Path, origin: bytes, shared: Dictionaries | None = None) -> None:
        self.path, self._origin = path, origin
        self._file = os.open(path, os.O_RDONLY)
        self.close = weakref.finalize(self, os.close, self._file)
        with suppress(OSError):  # it tells writers that the file is in use; not every file system can
            fcntl.flock(self._file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        self._expect_reads("RANDOM")
        plain = self._read(0, len(_MAGIC)) == _MAGIC_PLAIN
        layout = _HEAD_PLAIN if plain else _HEAD
        head, check = self._read(0, layout.size), self._read(layout.size, _CHECK.size)
        magic, found, self._buckets, self.records, self._longest, self.size, *rest = layout.unpack(head)
        if _CHECK.unpack(check)[0] != zlib.crc32(head) or magic not in (_MAGIC, _MAGIC_PLAIN):
            raise self._damaged("its head is wrong")
        about: tuple[int, int, int, int] = tuple(rest) or (0, 1, 0, 0)
        self.part, self.parts, self._dictionary_bytes, self._dictionary_check = about
        self._offsets = layout.size + _CHECK.size + self._dictionary_bytes
        self._dictionary = b""
        self._shared = shared or Dictionaries()
        if found != origin:
            raise self._damaged("it was made from other shards")
        if os.fstat(self._file).st_size != self.size:
            raise self._damaged("it was cut short or lengthened")

    def get(self, key: bytes) -> bytes | None:
        """The value of ``key``, or ``None`` if the table does not have it.

        Raises:
            CacheCorruptError: what would tell is damaged.
        """
        data = self._bucket(_bucket_of(key, self._buckets, self.part, self.parts))
        first = _BUCKET.size
        behind = first + KEY_BYTES * _BUCKET.unpack_from(data)[1]
        at = data.find(key, first, behind)
        while at >= 0:
            place, rest = divmod(at - first, KEY_BYTES)
            if rest == 0:
                return _value(data, self._values(data), place)
            at = data.find(key, at + 1, behind)
        return None

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """All pairs in the order of their keys, each bucket checked."""
        self._expect_reads("SEQUENTIAL")
        try:
            for number in range(self._buckets):
                data = self._bucket(number)
                count = _BUCKET.unpack_from(data)[1]
                values = self._values(data) if count else b""
                for place in range(count):
                    start = _BUCKET.size + KEY_BYTES * place
                    yield data[start : start + KEY_BYTES], _value(data, values, place)
        finally:
            self._expect_reads("RANDOM")

    def _bucket(self, number: int) -> bytes:
        start, end = _SPAN.unpack(self._read(self._offsets + 8 * number, _SPAN.size))
        if _BUCKET.size <= end - start <= self._longest:
            data = self._read(start, end - start)
            if zlib.crc32(data[_CHECK.size :], _seed(self._origin, number)) == _CHECK.unpack_from(data)[0]:
                return data
        raise self._damaged(f"bucket {number} is not what was written")

    def _values(self, data: bytes) -> bytes:
        """The values of a bucket, one behind the other."""
        values = data[_BUCKET.size + (KEY_BYTES + _CHECK.size) * _BUCKET.unpack_from(data)[1] :]
        if not self._dictionary_bytes:
            return values
        try:
            return self._shared.decompress(self._dictionary or self._own_dictionary(), values)
        except zstandard.ZstdError as error:
            raise self._damaged(str(error)) from None

    def _own_dictionary(self) -> bytes:
        data = self._read(self._offsets - self._dictionary_bytes, self._dictionary_bytes)
        if zlib.crc32(data) != self._dictionary_check:
            raise self._damaged("its dictionary is not what was written")
        self._dictionary = self._shared.known(data)
        return self._dictionary

    def _expect_reads(self, order: str) -> None:
        """Tell the operating system, which else reads ahead at what it takes for a sequence: megabytes for a text."""
        with suppress(OSError, AttributeError):  # the file may be closed by now; not every system can be told
            os.posix_fadvise(self._file, 0, 0, getattr(os, f"POSIX_FADV_{order}"))

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
        handle = os.open(path, os.O_RDWR)  # nothing is written; NFS gives the lock to no other
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
        except BlockingIOError:
            pass
        finally:
            os.close(handle)


def _write_at(file: int, data: bytes, place: int) -> None:
    view = memoryview(data)
    while view:  # a disk that fills up takes a part of a write, and is an error at the next one only
        written = os.pwrite(file, view, place)
        view, place = view[written:], place + written


def _bucket_of(key: bytes, buckets: int, part: int, parts: int) -> int:
    return part_of(key, buckets * parts) - part * buckets


def _seed(origin: bytes, number: int) -> int:
    return zlib.crc32(number.to_bytes(8, "little"), zlib.crc32(origin))


def _value(data: bytes, values: bytes, place: int) -> bytes:
    """The value at ``place`` of a bucket ``data``, whose ``values`` are unpacked."""
    ends = _BUCKET.size + KEY_BYTES * _BUCKET.unpack_from(data)[1]
    (end,) = _CHECK.unpack_from(data, ends + 4 * place)
    start = _CHECK.unpack_from(data, ends + 4 * place - 4)[0] if place else 0
    return values[start:end]


def _packed(
    entries: list[tuple[bytes, bytes]], seed: int, path: Path, compress: Callable[[bytes], bytes] | None
) -> bytes:
    if len({key for key, _ in entries}) != len(entries):
        raise CacheCorruptError(
            f"{path}: two shards hold one key; run: laclip-aug cache verify {quote(str(path.parent))}"
        )
    ends, end = array("I"), 0
    for _, value in entries:
        end += len(value)
        ends.append(end)
    values = b"".join(value for _, value in entries)
    body = len(entries).to_bytes(4, "little") + b"".join(key for key, _ in entries) + ends.tobytes()
    body += compress(values) if compress and entries else values
    return _CHECK.pack(zlib.crc32(body, seed)) + body
