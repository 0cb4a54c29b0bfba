"""SHA-256 of model files, and the user's cache directory, where some of them are remembered.

Reading a model of 300 MB takes longer than to rewrite a caption. So the hash of a file that only an installer or this
package writes is kept beside the size, time, inode and device that the file had, and is believed for a day as long as
these are the same. A file that a user names is read each time.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from tqdm import tqdm

_BLOCK = 1 << 22
_SHOW_PROGRESS_FROM = 1 << 30
_BELIEVED = 24 * 3600.0  # seconds; damage to a disk changes no time of a file


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/laclip-aug``, or ``~/.cache/laclip-aug``; a relative path there is invalid and ignored.

    Raises:
        RuntimeError: there is no home directory.
    """
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (named if named.is_absolute() else Path.home() / ".cache") / "laclip-aug"


def file_sha256(path: Path) -> str:
    """SHA-256 of a file in hexadecimal; shows progress for large ones."""
    size = path.stat().st_size
    digest = hashlib.sha256()
    with (
        path.open("rb") as file,
        tqdm(
            total=size, unit="B", unit_scale=True, desc=f"hashing {path.name}", disable=size < _SHOW_PROGRESS_FROM
        ) as bar,
    ):
        while block := file.read(_BLOCK):
            digest.update(block)
            bar.update(len(block))
    return digest.hexdigest()


def remembered_sha256(path: Path) -> str:
    """:func:`file_sha256` of a file of an installed distribution, remembered in the cache directory if there is one."""
    try:
        place = cache_folder() / f"hash-{hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:32]}.json"
    except RuntimeError:  # no home directory
        return file_sha256(path)
    note = Note.load(place)
    if note is None or not note.holds(path):
        note = Note.of(path)
        with suppress(OSError):  # a full disk, a read-only one
            note.save(place)
    return note.sha256


@dataclass(frozen=True, slots=True)
class Note:
    """What is remembered of a file: its hash, the state it was in (``file``), and when it was read."""

    sha256: str
    file: list[int]
    read: float

    @classmethod
    def of(cls, path: Path) -> Note:
        """Read the file."""
        state = _state(path)  # before: a file that changes meanwhile is another one from the start
        return cls(file_sha256(path), state, time.time())

    @classmethod
    def load(cls, place: Path) -> Note | None:
        """The note in ``place``, if there is a sound one."""
        try:
            note = cls(**json.loads(place.read_text(encoding="ascii")))
            return note if isinstance(note.sha256, str) and isinstance(note.read, int | float) else None
        except (OSError, ValueError, TypeError):
            return None

    def holds(self, path: Path) -> bool:
        """Whether ``path`` is in the same state, and was read within a day. Raises OSError if it is gone."""
        return self.file == _state(path) and 0 <= time.time() - self.read < _BELIEVED

    def save(self, place: Path) -> None:
        """Write the note. Raises OSError."""
        place.parent.mkdir(parents=True, exist_ok=True)
        draft = place.with_name(f".{place.name}.{os.getpid()}")
        try:
            draft.write_text(json.dumps(asdict(self)), encoding="ascii")
            draft.replace(place)
        finally:
            draft.unlink(missing_ok=True)


def _state(path: Path) -> list[int]:
    found = path.stat()
    return [found.st_size, found.st_mtime_ns, found.st_ino, found.st_dev]
