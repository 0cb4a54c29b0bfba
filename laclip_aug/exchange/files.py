"""Safe writing: files that are whole or absent, and errors that say what to do."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from laclip_aug.errors import CacheError

TEMPORARY = ".tmp"


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn a failed write (disk full, no permission) into a :class:`CacheError` that says what to do."""
    try:
        yield
    except OSError as error:
        raise CacheError(
            f"cannot write {path}: {error.strerror or error}; what was stored before is safe: free some space or "
            "fix the permissions, and run the same command again"
        ) from error


@contextmanager
def write_new(path: Path) -> Iterator[IO[bytes]]:
    """A file to write to, put in place of ``path`` at the end: a kill or a power cut leaves the old or the new one.

    An exception leaves the old one, and no half file.

    Raises:
        CacheError: the disk is full or failed.
    """
    temporary = path.with_name(path.name + TEMPORARY)
    with disk_errors(path):
        try:
            with temporary.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_directory(path.parent)


@contextmanager
def write_output(path: Path) -> Iterator[IO[bytes]]:
    """As :func:`write_new`, for a file that a user names; see :func:`check_output`."""
    check_output(path)
    with write_new(path) as file:
        yield file


def check_output(path: Path) -> None:
    """Make sure that a file that a user names can be written, its folder made if need be; before long work.

    Raises:
        CacheError: it is a folder, or it or its folder cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CacheError(
            f"cannot make the folder {path.parent}: {error.strerror or error}; name another place for {path.name}"
        ) from error
    temporary = path.with_name(path.name + TEMPORARY) if path.name else path
    try:
        if path.is_dir():
            raise CacheError(f"{path} is a folder; name a file to write, in it for example")
        there = temporary.exists()
        temporary.open("ab").close()  # permissions do not tell of a file system that is read-only
        if not there:
            temporary.unlink()
    except OSError as error:
        raise CacheError(f"cannot write {path}: {error.strerror or error}; name another place or file") from error


def replace_file(path: Path, data: bytes) -> None:
    """Put ``data`` in ``path`` so that a kill or a power cut leaves the old file or the new one, whole."""
    with write_new(path) as file:
        file.write(data)


def sync_directory(directory: Path) -> None:
    """Make renames in ``directory`` survive a power cut."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
