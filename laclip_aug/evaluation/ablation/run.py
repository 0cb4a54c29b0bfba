"""Train and evaluate the cells: each step a process of its own, several side by side, one for each slot.

A slot is a GPU, or a share of one, or of the CPU. Killed at any point, the same command goes on: a finished step is
never done again, and the trainer resumes at its last whole epoch. A trainer that outlived its killed parent is waited
for, in the slot that would have gone on with its cell.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tqdm import tqdm

from laclip_aug.errors import ConfigurationError
from laclip_aug.evaluation.ablation.grid import EVAL, TRAIN, eval_command
from laclip_aug.evaluation.ablation.records import CellRecord

_LOOK_EVERY = 0.2
_GRACE = 10.0
_START = "import sys; from {} import main; sys.exit(main())"  # this interpreter's, whatever is on the path
_MODULES = {TRAIN[0]: "laclip_aug.cli.open_clip", EVAL[0]: "laclip_aug.cli"}


def gpus(device: str) -> list[str]:
    """The GPUs that may be used, as ``CUDA_VISIBLE_DEVICES`` names them; none where the device is another."""
    if not device.startswith("cuda"):
        return []
    if (chosen := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [part.strip() for part in chosen.split(",") if part.strip() not in ("", "-1")]
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]


class _Slot:
    """One cell at work: its next step, the process of it, and the lock on the cell."""

    def __init__(self, record: CellRecord, environment: dict[str, str]) -> None:
        self.record, self.environment = record, environment
        self.process: subprocess.Popen[bytes] | None = None
        self.lock: int | None = None
        self.started = 0.0
        self.line: Sequence[str] | None = None
        """What is evaluated; None while training."""

    def begin(self, command: Sequence[str], line: Sequence[str] | None) -> None:
        """Start a step; what it writes goes to the cell's log."""
        assert self.lock is not None
        arguments = [sys.executable, "-c", _START.format(_MODULES[command[0]]), *command[1:]]
        with self.record.log.open("ab") as log:
            log.write(f"$ {' '.join(command)}\n".encode())
            log.flush()
            self.process = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment,
                pass_fds=(self.lock,),  # held as long as the process lives, whatever becomes of this one
            )
        self.line, self.started = line, time.monotonic()

    def close(self) -> None:
        """End what is at work, and let the cell go."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(_GRACE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.lock is not None:
            os.close(self.lock)
            self.lock = None


class Runner:
    """Runs the cells of an ablation.

    Args:
        records: the cells, in the order to run them in.
        lines: what to evaluate of each.
        models: of each cell, the options of ``laclip-aug eval`` that name its model.
        jobs: cells at a time; one for each of ``devices`` by default.
        by: versions and machine, noted with each start of a training.
        devices: GPUs, as ``CUDA_VISIBLE_DEVICES`` names them.
        say: takes a line for people.
    """

    def __init__(
        self,
        records: Sequence[CellRecord],
        lines: Sequence[tuple[str, ...]],
        models: Callable[[CellRecord], list[str]],
        *,
        by: dict[str, Any],
        jobs: int | None = None,
        devices: Sequence[str] = (),
        say: Callable[[str], None] | None = None,
    ) -> None:
        self._records, self._lines, self._models = list(records), lines, models
        self._by = by
        self._jobs = jobs or max(1, len(devices))
        self._devices = list(devices)
        self._say = say or (lambda text: tqdm.write(text, file=sys.stderr))
        self.failed: list[CellRecord] = []

    def run(self) -> None:
        """Do what is left. A cell that fails is told, and the others go on."""
        left = deque(record for record in self._records if not record.finished(self._lines))
        done = len(self._records) - len(left)
        slots: list[_Slot | None] = [None] * min(self._jobs, max(1, len(left)))
        bar = tqdm(
            total=len(self._records),
            initial=done,
            unit="run",
            disable=None,
            dynamic_ncols=True,
            bar_format="{desc}{percentage:3.0f}%|{bar}| {n:.1f}/{total} runs [{elapsed}<{remaining}{postfix}]",
        )
        with bar:
            try:
                while left or any(slots):
                    for number in range(len(slots)):
                        slot = slots[number]
                        if slot is None and left:
                            slot = slots[number] = _Slot(left.popleft(), self._environment(number))
                        if slot is not None and not self._advance(slot):
                            slot.close()
                            slots[number] = None
                    active = [slot.record for slot in slots if slot is not None]
                    done = len(self._records) - len(left) - len(active)
                    bar.n = done + sum(record.progress() for record in active)
                    bar.set_postfix_str(", ".join(record.cell.name for record in active))
                    if active:
                        time.sleep(_LOOK_EVERY)
            finally:
                for slot in filter(None, slots):
                    slot.close()

    def _advance(self, slot: _Slot) -> bool:
        """Look at a slot's process, or start its next step; False when the cell is over, well or not."""
        record, process = slot.record, slot.process
        if process is not None:
            if (status := process.poll()) is None:
                return True
            slot.process = None
            if not self._ended(slot, status):
                self.failed.append(record)
                step = "training" if slot.line is None else f"eval {slot.line[0]}"
                self._say(
                    f"{record.cell.name}: {step} ended with status {status} ({record.log}):\n{record.last_words()}"
                )
                return False
        if slot.lock is None:
            slot.lock = record.lock()
            if slot.lock is None:
                if not slot.started:
                    slot.started = time.monotonic()
                    self._say(f"{record.cell.name}: a process of an earlier start is still at it; waiting for its end")
                return True
            record.check()
        if not record.is_trained:
            times = record.start(self._by)
            self._say(f"{record.cell.name}: training{'' if times == 1 else ' goes on'}")
            slot.begin(record.command, None)
            return True
        for line in self._lines:
            if not record.evaluated(line):
                result = record.result_of(line)
                slot.begin(eval_command(line, self._models(record), record.checkpoint, result, record.features), line)
                return True
        shutil.rmtree(record.features, ignore_errors=True)  # as large as the data; the figures are what is kept
        self._say(f"{record.cell.name}: done")
        return False

    def _ended(self, slot: _Slot, status: int) -> bool:
        """Whether a step that ended has done what it was to do."""
        if slot.line is not None:
            return status == 0 and slot.record.evaluated(slot.line)
        if status == 0 and slot.record.checkpoint.is_file():
            slot.record.trained(time.monotonic() - slot.started)
            return True
        return False

    def _environment(self, slot: int) -> dict[str, str]:
        chosen: dict[str, str] = {}
        if self._devices:
            chosen["CUDA_VISIBLE_DEVICES"] = self._devices[slot % len(self._devices)]
        if self._jobs > 1:  # else each would start as many threads as there are cores
            chosen["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // self._jobs))
        return {**chosen, **{k: v for k, v in os.environ.items() if k != "CUDA_VISIBLE_DEVICES" or k not in chosen}}


def machine() -> dict[str, Any]:
    """The kind of machine, for the record."""
    import platform

    found: dict[str, Any] = {"system": platform.system(), "cpu": platform.machine(), "cpus": os.cpu_count()}
    with suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        found["cpu"] = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    import torch

    found["gpus"] = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return found


def revision(folder: Path) -> str:
    """The git commit of ``folder``, with ``+`` where files differ from it; empty outside a checkout."""

    def git(*words: str) -> str:
        with suppress(OSError):
            done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=False)
            return done.stdout.strip() if done.returncode == 0 else ""
        return ""

    commit = git("rev-parse", "HEAD")
    return commit + ("+" if commit and git("status", "--porcelain", "--untracked-files=no", ".") else "")


def check_jobs(jobs: int | None) -> None:
    """Refuse a number of processes that cannot be.

    Raises:
        ConfigurationError: it is below 1.
    """
    if jobs is not None and jobs < 1:
        raise ConfigurationError(f"--jobs must be at least 1, not {jobs}")
