"""The driver's counts, with workers of this process: what fails on the way is counted once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from laclip_aug.augmenter import CaptionAugmenter, Outcome
from laclip_aug.cache.progress import Progress
from laclip_aug.cluster.driver import Driver
from laclip_aug.cluster.ray import RayCluster
from laclip_aug.cluster.worker import PartBuilder, Work
from laclip_aug.eda import EDAAugmenter
from laclip_aug.exchange.readers import InputOptions


class Here:
    """What a driver asks of a cluster, for one worker in this process; an answer is a call that is put off."""

    workers = 1

    def start(self, make: Callable[[], CaptionAugmenter], work: Work) -> PartBuilder:
        return PartBuilder(make, work)

    def build(self, worker: PartBuilder, part: int) -> Callable[[], Any]:
        return lambda: worker.build(part)

    def state(self, worker: PartBuilder) -> Callable[[], Any]:
        return lambda: worker.state()

    def wait(self, asked: Sequence[Any], seconds: float) -> list[Any]:
        return list(asked)

    def result(self, asked: Callable[[], Any]) -> Any:
        return asked()

    def stop(self, worker: PartBuilder) -> None:
        pass


class FailsOnce(EDAAugmenter):
    """A disk that is full when three captions are made, and then no longer."""

    failed = False

    def outcomes(self, captions: Iterable[str], n: int, seed: int) -> Iterator[Outcome]:
        for number, outcome in enumerate(super().outcomes(captions, n, seed)):
            if number == 3 and not self.failed:
                self.failed = True
                raise OSError(28, "No space left on device")
            yield outcome


def test_what_a_part_made_before_it_was_tried_again_is_counted_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # the builder goes there, and stays
    captions = [f"a red boat of {number} people at sea" for number in range(10)]
    (tmp_path / "in.txt").write_text("\n".join([*captions, captions[0], "&nbsp;"]) + "\n")
    work = Work(("in.txt",), "out", str(tmp_path), 1, 0, InputOptions(), 1000, 4, False, parts=1)
    driver = Driver(cast(RayCluster, Here()), FailsOnce, work, Progress(False))
    driver.run()
    tally = driver.tally
    assert tally.tried_again == 1
    # 12 rows: ten captions, one of them twice, and an empty one
    assert (tally.log.rows, tally.run.captions, tally.repeated, tally.log.rejections) == (12, 10, 1, {"empty": 1})
