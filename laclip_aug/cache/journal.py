"""The crash-safe journal of the shard in work.

A Parquet file under way is unreadable after a kill, so each record is first appended here as a frame: a marker, the
frame's number, length and checksum of the payload, a checksum of these, and the payload as ASCII JSON, in which the
marker cannot occur. A write goes straight to the operating system, so a killed process loses nothing that ``append``
returned from; ``fsync`` about once a second bounds what a power cut can take.

Reading tells two things apart. A torn end is what a kill or a power cut leaves: the beginning of a frame, or zeros. All
else that is no whole frame is damage; reading goes on at the next whole frame, and the gap in the numbers tells how
many records are gone. Either way a build makes again what it does not find.

A frame whose payload is an object tells where the records after it come from: the configuration and the run.
"""

from __future__ import annotations

import json
import os
import struct
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from laclip_aug.augmenter import Outcome
from laclip_aug.cache.record import compact, decode, encode, unstorable
from laclip_aug.errors import CacheCorruptError, CacheError
from laclip_aug.exchange.files import disk_errors, sync_directory

MARK = b"\xf5LA\xf6"
_HEAD = struct.Struct("<4sIII")
_CHECK = struct.Struct("<I")
_FRAME = _HEAD.size + _CHECK.size
_SYNC_SECONDS = 1.0


@dataclass
class Scan:
    """What a journal holds.

    ``payloads`` are the sound frames' in order, ``end`` the offset behind the last of them, ``next_number`` the number
    that follows it; ``torn`` the bytes of a torn end; ``damage`` a sentence per damaged place; ``lost`` the records
    gone with them. ``left_out`` is a sentence on sound records that no shard can hold, which earlier releases wrote:
    they are none of the payloads.
    """

    payloads: list[bytes] = field(default_factory=list)
    end: int = 0
    next_number: int = 0
    torn: int = 0
    damage: list[str] = field(default_factory=list)
    lost: int = 0
    left_out: list[str] = field(default_factory=list)

    @property
    def records(self) -> Iterator[Outcome]:
        """The records, in the order in which they were appended."""
        return (decode(payload) for payload in self.payloads if payload.startswith(b"["))

    @property
    def size(self) -> int:
        """The number of records."""
        return sum(payload.startswith(b"[") for payload in self.payloads)

    @property
    def origins(self) -> list[dict[str, Any]]:
        """Where the records come from, as given to :class:`Journal`."""
        return [json.loads(payload) for payload in self.payloads if payload.startswith(b"{")]


def read_journal(path: Path) -> Scan:
    """All that is sound in the journal at ``path``, which may be growing; a missing one is empty.

    Raises:
        CacheError: the file cannot be read.
    """
    try:
        return scan(path.read_bytes(), path.name)
    except FileNotFoundError:
        return Scan()
    except OSError as error:
        raise CacheError(f"{path} cannot be read ({error.strerror}); check the disk and its permissions") from None


def scan(data: bytes, name: str) -> Scan:
    """Find the sound frames in ``data``; sentences about damage start with ``name``."""
    found, at, unfit = Scan(), 0, list[str]()
    while at < len(data):
        following = _next_frame(data, at, found.next_number)
        if following is None and _is_torn(data, at):
            found.torn = len(data) - at
            break
        place, number, end = following or (len(data), -1, 0)
        lost = number - found.next_number if following else max(1, data.count(MARK, at))
        if place > at or lost:
            found.lost += lost
            examples = _captions(data[at:place])
            found.damage.append(
                f"{name}: damaged from byte {at} to {place}, {lost} records lost"
                + (f", such as {'; '.join(examples)}" if examples else "")
            )
        if following is None:
            break
        payload = data[place + _FRAME : end]
        if (caption := unstorable(payload)) is None:
            found.payloads.append(payload)
        else:
            unfit.append(caption)
        at = found.end = end
        found.next_number = number + 1
    if unfit:
        found.left_out.append(
            f"{name}: {len(unfit)} records left out, such as {'; '.join(unfit[:3])}: they have lone surrogates, which "
            "are no Unicode text"
        )
    return found


class Journal:
    """Append-only records in one file, which is made if absent.

    Opening recovers the file: ``recovered`` is the number of sound records found, ``dropped`` the number of bytes of a
    torn end cut off behind them, ``damage`` says what else is wrong.

    Args:
        origin: where the records to come are from; JSON types only. Written once if the last one is the same.

    Raises:
        CacheError: the disk is full or failed.
    """

    def __init__(self, path: Path, origin: dict[str, Any]) -> None:
        self.path = path
        found = read_journal(path)
        self.recovered, self.dropped, self.damage = found.size, found.torn, found.damage
        self._size, self._number = found.size, found.next_number
        self._synced = time.monotonic()
        with disk_errors(path):
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            with disk_errors(path):
                os.ftruncate(self._file, found.end)
                os.lseek(self._file, 0, os.SEEK_END)
            if found.origins[-1:] != [origin]:
                self._append(compact(origin))
            self.sync()
            with disk_errors(path):
                sync_directory(path.parent)
        except BaseException:
            os.close(self._file)
            raise

    def __len__(self) -> int:
        return self._size

    def append(self, record: Outcome) -> None:
        """Add ``record``; once this returns, a killed process cannot lose it.

        Raises:
            CacheError: the disk is full or failed; the journal ends with the last whole record.
        """
        self._append(encode(record))
        self._size += 1

    def sync(self) -> None:
        """Bring all records to the disk.

        Raises:
            CacheError: the disk is full or failed, or the file is no longer at its path.
        """
        with disk_errors(self.path):
            os.fsync(self._file)
            there = self.path.exists()
        if not there:  # a deleted file takes all that is written to it without a word
            raise CacheError(
                f"{self.path} was deleted or moved while a build wrote it; put its folder back if you have it, then "
                "run the same command again"
            )
        self._synced = time.monotonic()

    def read(self) -> Scan:
        """All that was appended, read back.

        Raises:
            CacheCorruptError: the file no longer holds what was written. What is sound in it is kept.
        """
        found = read_journal(self.path)
        if found.size != self._size:
            raise CacheCorruptError(
                f"{self.path} was damaged while it was written: {self._size - found.size} of {self._size} records are "
                f"gone ({'; '.join(found.damage) or 'cut short'}); check the disk, then run the same command again: "
                "it keeps the others and makes these anew"
            )
        return found

    def close(self) -> None:
        """Sync and close the file; a second call does nothing."""
        if self._file >= 0:
            handle, self._file = self._file, -1
            try:
                with disk_errors(self.path):
                    os.fsync(handle)
            finally:
                os.close(handle)

    def _append(self, payload: bytes) -> None:
        head = _HEAD.pack(MARK, self._number, len(payload), zlib.crc32(payload))
        with disk_errors(self.path):
            start = os.lseek(self._file, 0, os.SEEK_CUR)
            try:
                view = memoryview(head + _CHECK.pack(zlib.crc32(head)) + payload)
                while view:
                    view = view[os.write(self._file, view) :]
                if time.monotonic() - self._synced > _SYNC_SECONDS:
                    self.sync()
            except OSError:
                os.ftruncate(self._file, start)
                os.lseek(self._file, start, os.SEEK_SET)
                raise
        self._number += 1


def _frame(data: bytes, at: int) -> tuple[int, int] | None:
    """(number, end) of the sound frame at ``at``, where the marker is."""
    start = at + _FRAME
    if start > len(data):
        return None
    (check,) = _CHECK.unpack_from(data, at + _HEAD.size)
    if zlib.crc32(data[at : at + _HEAD.size]) != check:
        return None
    _, number, length, checksum = _HEAD.unpack_from(data, at)
    end = start + length
    return (number, end) if end <= len(data) and zlib.crc32(data[start:end]) == checksum else None


def _next_frame(data: bytes, at: int, least: int) -> tuple[int, int, int] | None:
    """(offset, number, end) of the first sound frame at or behind ``at`` that is numbered ``least`` or above."""
    while (at := data.find(MARK, at)) >= 0:
        frame = _frame(data, at)
        if frame is not None and frame[0] >= least:
            return at, *frame
        at += 1
    return None


def _is_torn(data: bytes, at: int) -> bool:
    """Whether the rest is what a kill (a frame's beginning) or a power cut (zeros at the end) leaves."""
    rest = data[at:]
    if rest.endswith(b"\0"):  # no payload does
        return True
    if len(rest) < _FRAME:
        return rest.startswith(MARK[: len(rest)])
    head = rest[: _HEAD.size]
    (check,) = _CHECK.unpack_from(rest, _HEAD.size)
    return zlib.crc32(head) == check and len(rest) < _FRAME + int(_HEAD.unpack(head)[2])


def _captions(region: bytes) -> list[str]:
    """The first captions that can be read in a damaged region, for a message."""
    found, parse = [], json.JSONDecoder().raw_decode
    for part in region.split(MARK)[1:4]:
        try:
            found.append(repr(parse(part[_FRAME - len(MARK) + 1 :].decode("ascii", "replace"))[0][:60]))
        except (ValueError, TypeError):
            continue
    return found
