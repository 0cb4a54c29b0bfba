"""Captions under way: in their order, retries first, few unfinished at any moment, and nothing mixed up."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice, pairwise

import pytest

from laclip_aug import create_augmenter
from laclip_aug.errors import ModelError
from laclip_aug.generation.backend import Completion, Job
from laclip_aug.generation.scripted import ScriptedBackend

SLOTS = 6


class Slots(ScriptedBackend):
    """Reads a job whenever a slot is free, as an engine does; the job that has waited longest ends first."""

    def complete(self, jobs: Iterable[Job]) -> Iterator[Completion]:
        source = iter(jobs)
        running = deque(islice(source, SLOTS))
        while running:
            yield from super().complete([running.popleft()])
            running.extend(islice(source, 1))


def numbered(count: int, taken: list[int]) -> Iterator[str]:
    for i in range(count):
        taken.append(i)
        yield f"picture {i} of a dog"


def said(job: Job) -> str:
    return f"{job.body} that was seen from afar" if job.seed % 3 else "word"


def test_only_the_captions_in_the_slots_are_unfinished() -> None:
    taken: list[int] = []
    augmenter = create_augmenter("llm", backend=Slots(said), strategies="bard,human", window=1, max_attempts=6)
    settled = []
    for outcome in augmenter.outcomes(numbered(400, taken), 2, 0):
        settled.append(int(outcome.caption.split()[1]))
        assert len(taken) - len(settled) <= SLOTS + 1
    assert sorted(settled) == list(range(400))
    assert all(abs(place - number) <= 2 * SLOTS for place, number in enumerate(settled))


def test_no_more_is_taken_up_by_default_than_was_settled() -> None:
    taken: list[int] = []
    augmenter = create_augmenter("llm", backend=Slots(said), strategies="human")
    for count, _ in enumerate(islice(augmenter.outcomes(numbered(10**9, taken), 1, 0), 3000), 1):
        assert len(taken) <= 2 * count + 16 + SLOTS


def test_retries_go_to_the_head_of_the_queue() -> None:
    backend = Slots(lambda job: "word" if job.body == "picture 3 of a dog" else f"{job.body} in the sun")
    augmenter = create_augmenter("llm", backend=backend, strategies="human", window=50, max_attempts=4)
    list(augmenter.outcomes(numbered(50, []), 1, 0))
    attempts = [place for place, job in enumerate(backend.seen) if job.body == "picture 3 of a dog"]
    assert len(attempts) == 4
    assert all(b - a <= SLOTS for a, b in pairwise(attempts))


def test_captions_that_need_no_completion_are_let_go() -> None:
    empty = (f"{'!' * (1 + i % 60)}" + "?" * (i // 60) for i in range(10**9))
    assert len(list(islice(create_augmenter("llm", backend=Slots(said)).outcomes(empty, 1, 0), 2000))) == 2000


@pytest.mark.parametrize("change", [{"body": "a cat"}, {"seed": 1}, {"prefix": "another prompt"}, {"tail": "!"}])
def test_a_completion_of_another_job_is_refused(change: dict[str, object]) -> None:
    """The tag is right and the job is not: whatever was completed there, it was not what was asked."""

    class Confused(ScriptedBackend):
        def complete(self, jobs: Iterable[Job]) -> Iterator[Completion]:
            for found in super().complete(jobs):
                yield replace(found, job=replace(found.job, **change))  # type: ignore[arg-type]

    augmenter = create_augmenter("llm", backend=Confused(said), strategies="human")
    with pytest.raises(ModelError, match="was not asked"):
        list(augmenter.outcomes(["a dog on the beach"], 1, 0))


def test_a_backend_that_answers_nothing_is_refused() -> None:
    class Silent(ScriptedBackend):
        def complete(self, jobs: Iterable[Job]) -> Iterator[Completion]:
            return iter(())

    class Lazy(ScriptedBackend):
        def complete(self, jobs: Iterable[Job]) -> Iterator[Completion]:
            list(islice(jobs, 3))
            return iter(())

    with pytest.raises(ModelError, match="read no job"):
        list(create_augmenter("llm", backend=Silent(said)).outcomes(["a dog"], 4, 0))
    with pytest.raises(ModelError, match="left out 3 jobs"):
        list(create_augmenter("llm", backend=Lazy(said)).outcomes(["a dog"], 4, 0))


def test_a_failure_of_the_surroundings_is_no_result_of_the_caption() -> None:
    def answer(job: Job) -> str | Completion:
        if "dog" in job.body and job.tag[1] == 1:  # type: ignore[index]
            return Completion(job, "the server was busy", "failed", 0)
        return f"{job.body} in the sun"

    backend = Slots(answer)
    augmenter = create_augmenter("llm", backend=backend, strategies="bard,human")
    found = {outcome.caption: outcome for outcome in augmenter.outcomes(["a dog", "a cat"], 2, 0)}
    assert found["a dog"].failed == "the server was busy"
    assert found["a dog"].rewrites == found["a dog"].rejections == ()
    assert sum("dog" in job.body for job in backend.seen) == 2  # not asked for again in this run
    assert not found["a cat"].failed and found["a cat"].rewrites
