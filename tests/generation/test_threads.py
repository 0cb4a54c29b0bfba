"""How many threads an engine takes where nobody says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from laclip_aug.errors import ConfigurationError
from laclip_aug.generation import llamacpp, local
from laclip_aug.generation import threads as limits
from laclip_aug.generation.backend import Job, Sampling
from laclip_aug.generation.llamacpp import LlamaCppBackend
from laclip_aug.generation.threads import faster, rows_to_try

JOBS = [Job("", "", f"a dog and {n} cats", "", seed=n, tag=n) for n in range(5)]


class Machine:
    """A clock that each step moves on by what it takes with so many threads; the first step takes ten times as long."""

    def __init__(self, seconds: dict[int, float]) -> None:
        self.seconds, self.now, self.steps = seconds, 0.0, list[int]()

    def step(self, threads: int, limit: float) -> bool:
        needed = self.seconds[threads] * (1 if self.steps else 10)
        self.now += min(needed, limit)
        self.steps.append(threads)
        return needed <= limit

    def clock(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("seconds", "chosen", "rounds", "lasts"),
    [
        ({1: 0.020, 8: 0.005}, 8, 4, 0.30),  # 0.025 a round: four make the tenth of a second; the first step 0.2
        ({1: 0.020, 8: 0.019}, 1, 3, 0.317),  # no tenth faster
        ({1: 0.001, 8: 0.0005}, 8, 5, 0.0175),
        ({1: 0.020, 8: 4.000}, 1, 1, 0.24),  # a busy machine: given up when it is no faster
        ({1: 0.001, 8: 4.000}, 1, 1, 0.031),
    ],
)
def test_the_faster_one_by_a_tenth(seconds: dict[int, float], chosen: int, rounds: int, lasts: float) -> None:
    machine = Machine(seconds)
    assert faster(machine.step, 8, machine.clock) == chosen
    assert machine.steps == [1, *[1, 8] * rounds, *[1] * (chosen == 1)]  # and back to one
    assert machine.now == pytest.approx(lasts)


def test_steps_worth_timing() -> None:
    assert [rows_to_try(parameters, 16) for parameters in (150_000, 135_000_000, 400_000_000)] == [16, 3, 2]
    assert rows_to_try(150_000, 1) == 1
    assert rows_to_try(7_000_000_000, 16) == 0


@pytest.fixture
def texts_of_one(tiny_gguf: Path) -> Iterator[list[str]]:
    backend = LlamaCppBackend(tiny_gguf, Sampling(max_new_tokens=8), n_ctx=256, n_slots=4, n_threads=1)
    yield sorted(c.text for c in backend.complete(JOBS))
    backend.close()


@pytest.mark.parametrize("reproducible", [True, False])
@pytest.mark.parametrize("slots", [1, 4])
def test_a_small_model_is_tried_and_says_the_same(
    tiny_gguf: Path, texts_of_one: list[str], monkeypatch: pytest.MonkeyPatch, reproducible: bool, slots: int
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(local, "usable_cpus", lambda: 2)
    tried: list[int] = []

    def look(step: object, most: int) -> int:
        tried.append(most)
        return faster(step, most)  # type: ignore[arg-type]

    monkeypatch.setattr(llamacpp, "faster", look)
    backend = LlamaCppBackend(
        tiny_gguf, Sampling(max_new_tokens=8), n_ctx=256, n_slots=slots, reproducible=reproducible
    )
    assert tried == [2] and backend.settings.n_threads in (1, 2)
    texts = sorted(c.text for c in backend.complete(JOBS))
    assert len(texts) == 5 and (not reproducible or texts == texts_of_one)
    backend.close()


def test_what_is_said_is_done_and_a_large_model_takes_all(tiny_gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def untried(*_: object) -> int:
        raise AssertionError("it was tried")

    monkeypatch.setattr(llamacpp, "faster", untried)
    monkeypatch.setattr(local, "usable_cpus", lambda: 2)

    def threads(**options: int) -> int:
        backend = LlamaCppBackend(tiny_gguf, n_ctx=256, n_slots=2, **options)  # type: ignore[arg-type]
        backend.close()
        return backend.settings.n_threads

    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert threads() == 3
    assert threads(n_threads=4) == 4
    monkeypatch.setenv("OMP_NUM_THREADS", "3,1")
    assert threads() == 3
    monkeypatch.setattr(limits, "LARGE", 1000)  # parameters; the tiny model has more
    for unusable in ("", "many", "0"):
        monkeypatch.setenv("OMP_NUM_THREADS", unusable)
        assert threads() == 2
    monkeypatch.setattr(limits, "LARGE", 10**9)
    with pytest.raises(AssertionError, match="it was tried"):
        threads()


def test_more_threads_than_llama_cpp_knows_are_refused_in_words(
    tiny_gguf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A million of them ended in a failed allocation, for which the number of slots was blamed."""
    with pytest.raises(ConfigurationError, match=r"513 threads are asked for.*at most 512; lower n_threads"):
        LlamaCppBackend(tiny_gguf, n_ctx=256, n_slots=2, n_threads=513)
    monkeypatch.setenv("OMP_NUM_THREADS", "1000000")
    with pytest.raises(ConfigurationError, match=r"1000000 threads are asked for.*or OMP_NUM_THREADS"):
        LlamaCppBackend(tiny_gguf, n_ctx=256, n_slots=2)


def test_a_machine_with_more_cpus_than_llama_cpp_knows_takes_as_many_as_it_knows(
    tiny_gguf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody asked for so many threads, so that there is nothing to refuse."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(local, "usable_cpus", lambda: 768)
    tried: list[int] = []
    monkeypatch.setattr(LlamaCppBackend, "_try_threads", lambda self, most: tried.append(most) or 1)
    LlamaCppBackend(tiny_gguf, n_ctx=256, n_slots=2)
    assert tried == [512]
