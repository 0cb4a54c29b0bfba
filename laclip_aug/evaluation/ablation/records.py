"""What is kept of a cell, in a directory of its own, so that a killed ablation goes on where it was.

::

    runs/NAME/cell.json       the cell, its command line, what it was made from; written before training starts
    runs/NAME/out.log, checkpoints/, params.txt      the trainer's
    runs/NAME/ablate.log      what the processes wrote, each start after the other
    runs/NAME/trained.json    training has ended well
    runs/NAME/eval-*.json     what laclip-aug eval found
    runs/NAME/lock            held by whichever process works on the cell
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from laclip_aug.errors import ConfigurationError, InputError
from laclip_aug.evaluation.ablation.grid import RUNS, Cell
from laclip_aug.exchange.files import replace_file
from laclip_aug.generation.hashing import file_sha256

_PLACE = ("--logs",)
_STEP = re.compile(rb"Train Epoch: (\d+) \[[^\]]*\((\d+)%\)\]")
_COUNTED = re.compile(r"[IW]\d{4} [\d:.]+ \d+ torch/")
_TAIL = 8192
_LINES = 6


class CellRecord:
    """The directory of a cell."""

    def __init__(
        self, out: Path, cell: Cell, command: Sequence[str], epochs: int, made_from: Mapping[str, str]
    ) -> None:
        self.cell = cell
        self.command = list(command)
        self.directory = out / RUNS / cell.name
        self.checkpoint = self.directory / "checkpoints" / f"epoch_{epochs}.pt"
        self.log = self.directory / "ablate.log"
        self.features = self.directory / "features"
        self._epochs = epochs
        self._made_from = dict(made_from)

    def check(self) -> None:
        """Refuse to go on with another run under the same name.

        Raises:
            ConfigurationError: what is there was made with other options, or from other files.
        """
        if (before := _read(self.directory / "cell.json")) is None:
            return
        changes = _changes(before.get("command", []), self.command)
        old = before.get("made_from", {})
        changes += [f"{name} has changed" for name, value in self._made_from.items() if old.get(name, value) != value]
        if changes:
            raise ConfigurationError(
                f"{self.directory} holds a run that was made otherwise: {'; '.join(changes)}; undo the change, name "
                "another --out, or delete that directory to make the run anew"
            )

    def start(self, by: Mapping[str, Any]) -> int:
        """Note that training starts, with what and where (``by``); returns how often it has."""
        self.directory.mkdir(parents=True, exist_ok=True)
        before = _read(self.directory / "cell.json") or {}
        starts = [*before.get("starts", []), {"at": _now(), **by}]
        about = {"cell": asdict(self.cell), "command": self.command, "made_from": self._made_from, "starts": starts}
        _write(self.directory / "cell.json", about)
        return len(starts)

    def trained(self, seconds: float) -> None:
        """Note that training has ended well; ``seconds`` are those of its last start."""
        _write(self.directory / "trained.json", {"seconds": round(seconds, 1), "ended": _now()})
        (self.checkpoint.parent / "epoch_latest.pt").unlink(missing_ok=True)  # the last epoch's, twice

    @property
    def is_trained(self) -> bool:
        """Whether training has ended, and its checkpoint is there."""
        return _read(self.directory / "trained.json") is not None and self.checkpoint.is_file()

    def result_of(self, line: Sequence[str]) -> Path:
        """The file of an evaluation; ``line`` is as the ablation's file has it."""
        return self.directory / f"eval-{hashlib.sha256(shlex.join(line).encode()).hexdigest()[:10]}.json"

    def evaluated(self, line: Sequence[str]) -> bool:
        """Whether an evaluation is done."""
        return _read(self.result_of(line)) is not None

    def finished(self, lines: Sequence[Sequence[str]]) -> bool:
        """Whether nothing is left to do."""
        return self.is_trained and all(self.evaluated(line) for line in lines)

    def figures(self, lines: Sequence[Sequence[str]]) -> dict[str, float]:
        """Every figure by ``DATA PROTOCOL FIGURE``; where lines share data and protocol, with what they differ in."""
        results = [
            (tuple(line), f"{result['data']['name']} {result['protocol']}", result["metrics"])
            for line in lines
            for result in (_read(self.result_of(line)) or {}).get("results", [])
        ]
        sharing: dict[str, list[tuple[str, ...]]] = {}
        for line, head, _ in results:
            sharing.setdefault(head, []).append(line)
        return {
            " ".join([head, *_own_options(line, sharing[head]), name]): float(value)
            for line, head, metrics in results
            for name, value in metrics.items()
        }

    def as_json(self, lines: Sequence[Sequence[str]]) -> dict[str, Any]:
        """What a reader needs to make this run again, and what it found."""
        about = _read(self.directory / "cell.json") or {}
        return {
            "name": self.cell.name,
            **about,
            "command": shlex.join(self.command),
            "training": _read(self.directory / "trained.json"),
            "evaluations": [
                {"line": shlex.join(line), "found": _read(self.result_of(line))}
                for line in lines
                if self.evaluated(line)
            ],
        }

    def progress(self) -> float:
        """How far training is, from 0 to 1, by the trainer's log."""
        with suppress(OSError), (self.directory / "out.log").open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
            if steps := _STEP.findall(file.read()):
                return min(1.0, (int(steps[-1][0]) + int(steps[-1][1]) / 100) / self._epochs)
        return 0.0

    def last_words(self) -> str:
        """The end of the log, for a message; without what torch counts up when it ends."""
        try:
            lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return ""
        return "\n".join(f"    {line}" for line in [line for line in lines if not _COUNTED.match(line)][-_LINES:])

    def lock(self) -> int | None:
        """A descriptor that holds the cell, to be passed on to its process; None while another process holds it.

        flock belongs to the open file: a trainer that outlives its killed parent still holds it.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return None
        return handle


def fingerprint_of(path: str) -> str:
    """What a file is told by: its hash up to a gigabyte, else its size; the text itself where it names no file."""
    try:
        size = Path(path).stat().st_size
        if size > 1 << 30 or not Path(path).is_file():
            return f"{size} bytes"
        return file_sha256(Path(path))
    except OSError:
        return path


def _changes(before: Sequence[str], now: Sequence[str]) -> list[str]:
    old, new = _by_option(before), _by_option(now)
    names = [name for name in dict.fromkeys([*old, *new]) if old.get(name) != new.get(name) and name not in _PLACE]
    return [f"{name} was {old.get(name, 'absent')}, is {new.get(name, 'absent')}" for name in names]


def _own_options(line: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    """The options that not all of ``lines`` have alike, as ``line`` has them."""
    every = [_by_option(one) for one in lines]
    mine = _by_option(line)
    return [f"{name} {value}" for name, value in mine.items() if any(one.get(name) != value for one in every)]


def _by_option(words: Sequence[str]) -> dict[str, str]:
    """What each option is given, all of it where it is there several times."""
    found: dict[str, list[str]] = {}
    name = ""
    for word in words:
        if word.startswith("--"):
            name, _, value = word.partition("=")
            found.setdefault(name, []).extend([value] if value else [])
        elif name:
            found[name].append(word)
    return {name: " ".join(values) or "given" for name, values in found.items()}


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _write(path: Path, content: Mapping[str, Any]) -> None:
    replace_file(path, (json.dumps(content, indent=1) + "\n").encode())


def _read(path: Path) -> dict[str, Any] | None:
    """A JSON object; None where there is no file.

    Raises:
        InputError: it is something else; our own files are whole or absent, so somebody has changed it.
    """
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read ({error}); delete it to have it made again") from None
    if not isinstance(found, dict):
        raise InputError(f"{path} is no JSON object; delete it to have it made again")
    return found
