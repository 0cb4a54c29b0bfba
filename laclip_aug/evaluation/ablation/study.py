"""An ablation from its file to its results: ``results.json``, ``table.md`` and ``plot.png`` beside the runs."""

from __future__ import annotations

import fcntl
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from laclip_aug import openclip
from laclip_aug.errors import ConfigurationError, MissingExtraError
from laclip_aug.evaluation.ablation import plot, table
from laclip_aug.evaluation.ablation.config import Ablation
from laclip_aug.evaluation.ablation.grid import cells_of, model_options, open_caches, train_command
from laclip_aug.evaluation.ablation.records import CellRecord, fingerprint_of
from laclip_aug.evaluation.ablation.run import Runner, check_jobs, gpus, machine, revision
from laclip_aug.evaluation.recipes import load_recipe
from laclip_aug.exchange.files import replace_file
from laclip_aug.version import __version__

RESULTS, TABLE, PLOT = "results.json", "table.md", "plot.png"
_EPOCHS = 32  # open_clip's default


class Study:
    """The cells of an ablation in a directory.

    Raises:
        ConfigurationError: the grid cannot be made, or ``out`` holds runs that were made otherwise.
        CacheError: a cache cannot be read.
    """

    def __init__(self, ablation: Ablation, out: Path) -> None:
        self.ablation, self.out = ablation, out
        if out.exists() and not out.is_dir():
            raise ConfigurationError(f"{out} is a file; name a directory with --out")
        caches = open_caches(ablation)
        prints = {name: cache.fingerprint() for name, cache in caches.items()}
        data = fingerprint_of(str(ablation.train.get("train-data", "")))
        models = {name: fingerprint_of(model) for name, model in ablation.models.items()}
        self._models = model_options(ablation, out)
        epochs = ablation.train.get("epochs", _EPOCHS)
        if isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 1:
            raise ConfigurationError(f"train: epochs must be a whole number from 1, not {epochs!r}")
        self.records = []
        for cell in cells_of(ablation, caches):
            made_from = {"train-data": data, "model": models[cell.model]}
            if cell.arm.cache:
                made_from["cache"] = prints[cell.arm.cache]
            command = train_command(cell, ablation, out, self._models)
            self.records.append(CellRecord(out, cell, command, epochs, made_from))
        for record in self.records:
            record.check()

    def commands(self) -> list[list[str]]:
        """The training line of each cell."""
        return [record.command for record in self.records]

    def unfinished(self) -> list[list[str]]:
        """The training lines of the cells that are not trained yet."""
        return [record.command for record in self.records if not record.is_trained]

    def run(self, jobs: int | None = None) -> list[CellRecord]:
        """Do what is left, with the results up to date after it; returns the cells that failed."""
        check_jobs(jobs)
        by: dict[str, Any] = {"laclip_aug": __version__, "commit": revision(Path(__file__).parent)}
        by |= {"open_clip": openclip.installed_version(), "machine": machine()}
        with _alone(self.out):
            runner = Runner(
                self.records,
                self.ablation.evaluate,
                lambda record: self._models[record.cell.model, record.cell.encoder],
                by=by,
                jobs=jobs,
                devices=gpus(str(self.ablation.train.get("device", "cuda"))),
            )
            try:
                runner.run()
            finally:
                self.write()
        return runner.failed

    def write(self) -> None:
        """Write the results of the finished cells."""
        lines = self.ablation.evaluate
        finished = [record for record in self.records if record.finished(lines)]
        published = load_recipe(self.ablation.paper).published
        tables = table.rows_of({record.cell: record.figures(lines) for record in finished}, published)
        document = {
            "config": self.ablation.content,
            "runs": [record.as_json(lines) for record in finished],
            "unfinished": [record.cell.name for record in self.records if record not in finished],
            "tables": table.as_json(tables),
        }
        replace_file(self.out / RESULTS, (json.dumps(document, indent=1, allow_nan=False) + "\n").encode())
        if not finished:
            return
        text = table.markdown(tables, published, self.ablation.seeds)
        replace_file(self.out / TABLE, (text + "\n").encode())
        try:
            replace_file(self.out / PLOT, plot.png(tables))
        except MissingExtraError as error:
            print(f"no plot: {error}", file=sys.stderr)

    def report(self) -> str:
        """The table, and where the results are."""
        finished = [record for record in self.records if record.finished(self.ablation.evaluate)]
        count = f"{len(finished)} of {len(self.records)} runs are finished; results: {self.out / RESULTS}"
        if len(finished) < len(self.records):
            count += "\nRun the same command again for the others."
        return f"{(self.out / TABLE).read_text(encoding='utf-8')}\n{count}" if finished else count


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    out.mkdir(parents=True, exist_ok=True)
    handle = os.open(out / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise ConfigurationError(
            f"another laclip-aug ablate works in {out}; wait for it, or name another --out"
        ) from None
    try:
        yield
    finally:
        os.close(handle)
