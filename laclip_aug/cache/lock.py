"""One writer at a time in a cache directory."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from laclip_aug.errors import CacheError, CacheFormatError
from laclip_aug.exchange.files import disk_errors

LOCK = "lock"

_locked: set[Path] = set()


@contextmanager
def writer_lock(directory: Path) -> Iterator[None]:
    """Hold the one right to write in ``directory``, which is made if absent. A killed holder frees it.

    Raises:
        CacheFormatError: ``directory`` is a file.
        CacheError: another process holds the lock, or the directory cannot be made or written.
    """
    with disk_errors(directory):
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise CacheFormatError(f"{directory} is a file, not a cache directory; give a directory") from None
        identity = directory.resolve()
        handle = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            # a POSIX lock, unlike flock, dies with this process even if a worker that it forked lives on; but it does
            # not keep the process from locking twice
            if identity in _locked:
                raise BlockingIOError
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            holder = os.read(handle, 32).decode("ascii", "replace").strip() or "unknown"
            raise CacheError(
                f"another build (process {holder}) is writing the cache in {directory}; wait for it, "
                "or use another directory"
            ) from None
        _locked.add(identity)
        try:
            with disk_errors(directory):
                os.ftruncate(handle, 0)
                os.write(handle, str(os.getpid()).encode("ascii"))
            yield
        finally:
            _locked.discard(identity)
    finally:
        os.close(handle)
