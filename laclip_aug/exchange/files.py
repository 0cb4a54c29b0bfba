"""Safe writing: files that are whole or absent, and errors that say what to do."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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


def replace_file(path: Path, data: bytes) -> None:
    """Put ``data`` in ``path`` so that a kill or a power cut leaves the old file or the new one, whole."""
    temporary = path.with_name(path.name + TEMPORARY)
    with disk_errors(path):
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Make renames in ``directory`` survive a power cut."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
