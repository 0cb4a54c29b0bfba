"""One writer at a time in a cache directory, in one process or in many."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from laclip_aug.errors import CacheError, CacheFormatError
from laclip_aug.exchange.files import disk_errors

LOCK = "lock"
_NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)

_held: set[int] = set()
"""Descriptors through which this process holds locks."""


@contextmanager
def writer_lock(directory: Path) -> Iterator[None]:
    """Hold the one right to write in ``directory``, which is made if absent. A killed holder frees it.

    A directory that was made here and holds nothing in the end is removed again.

    Raises:
        CacheFormatError: ``directory`` is a file.
        CacheError: another writer holds the lock, or the directory cannot be made or written.
    """
    made, handle = False, -1
    with disk_errors(directory):
        while handle < 0:
            made = _make(directory) or made
            handle = _acquire(directory)
    _held.add(handle)
    try:
        with disk_errors(directory):
            os.ftruncate(handle, 0)
            os.write(handle, str(os.getpid()).encode("ascii"))
        yield
    finally:
        if handle in _held:  # in a forked child it is not
            with suppress(OSError):
                if made and [path.name for path in directory.iterdir()] == [LOCK]:
                    (directory / LOCK).unlink()
                    directory.rmdir()
            _held.discard(handle)
            os.close(handle)


def _make(directory: Path) -> bool:
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        directory.mkdir()
        return True
    except (FileExistsError, NotADirectoryError) as error:
        with suppress(FileNotFoundError, NotADirectoryError):  # one look: what was there may be removed meanwhile
            if isinstance(error, FileExistsError) and stat.S_ISDIR(directory.stat().st_mode):
                return False
            raise CacheFormatError(f"{directory} is a file, not a cache directory; give a directory") from None
        for place in (directory, *directory.parents):
            if place.is_symlink() and not place.exists():
                raise CacheError(
                    f"{place} is a link to {place.readlink()}, which is not there; mount its disk, or make it"
                ) from None
        return False  # gone: another try is due


def _acquire(directory: Path) -> int:
    """A descriptor that holds the lock, or -1 if the file was removed meanwhile and another try is due.

    flock belongs to the open file, not to the process: a second try in this process is refused like one in another, and
    closing its descriptor frees nothing. What a forked child inherits is closed there at once, or a child that outlives
    its killed parent would hold the lock.
    """
    try:
        handle = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except FileNotFoundError:
        return -1
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), (directory / LOCK).stat()):
                return handle
    except BlockingIOError:
        holder = os.read(handle, 32).decode("ascii", "replace").strip() or "unknown"
        os.close(handle)
        raise CacheError(
            f"another build (process {holder}) is writing the cache in {directory}; wait for it, "
            "or use another directory"
        ) from None
    except OSError as error:
        os.close(handle)
        if error.errno not in _NO_LOCKS:
            raise
        raise CacheError(
            f"the file system of {directory} has no locks ({error.strerror}), which keep two builds apart; have it "
            "mounted with them (Lustre: the option flock), or build on another disk and copy the finished cache here"
        ) from None
    os.close(handle)
    return -1


def _let_go_in_child() -> None:
    while _held:
        with suppress(OSError):
            os.close(_held.pop())


os.register_at_fork(after_in_child=_let_go_in_child)
