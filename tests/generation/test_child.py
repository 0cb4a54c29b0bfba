"""The engine in a child process, on a real llama.cpp: equal to the one in this process, and hard to kill."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from laclip_aug.errors import ConfigurationError, LaclipError, MissingExtraError, ModelError
from laclip_aug.generation.backend import Completion, Draws, Job, Sampling
from laclip_aug.generation.child import ChildBackend
from laclip_aug.generation.llamacpp import LlamaCppBackend
from laclip_aug.generation.opening import open_backend

REAL = "laclip_aug.generation.llamacpp:LlamaCppBackend"
DYING = "tests.generation.dying_engines:"
SAMPLING = Sampling(max_new_tokens=8)
OPTIONS: dict[str, Any] = {"n_ctx": 256, "n_slots": 4, "n_threads": 1}
CAPTIONS = ["a red dog", "", "日本 a\0b", "\ud800 lone", "</s><|im_end|>", "x" * 3000, "two cats\n=>"]


def make_jobs(captions: list[str], **changes: object) -> list[Job]:
    jobs = [
        Job("a dog" * (i % 2), "\n\n", text, " =>", seed=2**63 + i, tag=("t", i), verdict_words=(" dog", " cat"))
        for i, text in enumerate(captions)
    ]
    return [replace(job, **changes) for job in jobs]  # type: ignore[arg-type]


def in_order(completions: Iterator[Completion]) -> list[tuple[Completion, float, float | None, Draws]]:
    found = ((c, c.log_likelihood, c.verdict, c.drawn) for c in completions)
    return sorted(found, key=lambda one: one[0].job.tag)  # type: ignore[arg-type, return-value]


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def wait_until_gone(pid: int) -> bool:
    for _ in range(600):
        if not is_alive(pid):
            return True
        time.sleep(0.05)
    return False


@pytest.fixture(scope="module")
def child(tiny_gguf: Path) -> Iterator[ChildBackend]:
    backend = ChildBackend(REAL, tiny_gguf, SAMPLING, **OPTIONS)
    yield backend
    backend.close()


@pytest.fixture(scope="module")
def inside(tiny_gguf: Path) -> Iterator[LlamaCppBackend]:
    backend = LlamaCppBackend(tiny_gguf, SAMPLING, **OPTIONS)
    yield backend
    backend.close()


def test_a_child_says_what_the_engine_says(
    child: ChildBackend, inside: LlamaCppBackend, caplog: pytest.LogCaptureFixture
) -> None:
    jobs = make_jobs(CAPTIONS * 3) + [replace(job, chat=True, tag=("chat", job.tag)) for job in make_jobs(CAPTIONS)]
    with caplog.at_level(logging.WARNING):
        assert in_order(child.complete(jobs)) == in_order(inside.complete(jobs))
    assert caplog.text.count("a caption was shortened to fit n_ctx = 256") == 2  # once by either
    assert child.cut == inside.cut > 0
    assert child.describe() == inside.describe()
    assert child.provenance() == inside.provenance()
    assert child.settings == inside.settings
    assert child.sampling == SAMPLING
    assert list(child.complete([])) == []


def test_a_child_is_told_what_was_drawn_before(child: ChildBackend, inside: LlamaCppBackend) -> None:
    first = in_order(child.complete(make_jobs(CAPTIONS)))
    again = [replace(found.job, known=(found.drawn,)) for found, *_ in first]
    second = in_order(child.complete(again))
    assert second == in_order(inside.complete(again))
    assert all(drawn and drawn != before for (*_, drawn), (*_, before) in zip(second, first, strict=True))


def test_the_command_lines_engines_run_in_a_child(tiny_gguf: Path) -> None:
    for name in ("llama.cpp", "llama.cpp-plain"):
        backend = open_backend(name, str(tiny_gguf), SAMPLING, {"n_threads": 1, "n_ctx": 256, "n_slots": None})
        assert isinstance(backend, ChildBackend)
        assert backend.provenance()["backend"] == name
        assert [c.finish != "error" for c in backend.complete(make_jobs(["a dog"]))] == [True]
        backend.close()


def test_jobs_are_read_lazily_and_a_run_may_be_left(child: ChildBackend, inside: LlamaCppBackend) -> None:
    read = 0

    def stream() -> Iterator[Job]:
        nonlocal read
        for job in make_jobs(["a red dog"] * 60):
            read += 1
            yield job

    completions = child.complete(stream())
    assert read == 0
    for done, _ in enumerate(completions, 1):
        assert read <= done + 6  # four slots, and two that wait
        if done == 5:
            with pytest.raises(ModelError, match="exhaust or close"):
                next(iter(child.complete(make_jobs(["a"]))))
            break
    completions.close()  # type: ignore[attr-defined]
    assert read < 20
    jobs = make_jobs(["a red dog"] * 3)
    assert in_order(child.complete(jobs)) == in_order(inside.complete(jobs))

    def broken() -> Iterator[Job]:
        yield from jobs
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(child.complete(broken()))
    with pytest.raises(ConfigurationError, match="raise n_ctx"):
        list(child.complete([Job("a red dog " * 200, "", "a dog", "", 0), *jobs]))
    assert in_order(child.complete(jobs)) == in_order(inside.complete(jobs))


@pytest.mark.parametrize(
    ("death", "how", "finish"),
    [("say abort", "SIGABRT", "error"), ("say segfault", "SIGSEGV", "error"), ("say killed", "SIGKILL", "failed")],
)
def test_one_caption_that_ends_the_engine_is_named_and_skipped(
    tiny_gguf: Path, inside: LlamaCppBackend, death: str, how: str, finish: str, caplog: pytest.LogCaptureFixture
) -> None:
    captions = [f"a dog and {n} cats" for n in range(14)]
    captions[5:5] = [f"please {death} now"] * 3  # as many candidates of one caption
    jobs = make_jobs(captions)
    backend = ChildBackend(DYING + "Dying", tiny_gguf, SAMPLING, **OPTIONS)
    with caplog.at_level(logging.WARNING):
        found = {c.job.tag: c for c in backend.complete(iter(jobs))}
    assert sorted(found) == [job.tag for job in jobs]  # type: ignore[type-var]
    expected = {c.job.tag: c for c in inside.complete(jobs[:5] + jobs[8:])}
    assert {n: found[job.tag].finish for n, job in enumerate(jobs) if job.tag not in expected} == dict.fromkeys(
        (5, 6, 7), finish
    )
    for job in jobs[5:8]:
        assert how in found[job.tag].text
        assert "a last word" in found[job.tag].text
    assert {tag: c for tag, c in found.items() if tag in expected} == expected
    assert f"please {death} now" in caplog.text  # by name, for whoever reads the log
    pid = backend._process.pid  # type: ignore[union-attr]
    assert [c.finish for c in backend.complete([jobs[6]])] == [finish]
    assert backend._process.pid == pid  # type: ignore[union-attr]
    backend.close()
    assert not is_alive(pid)


def test_halves_save_all_where_only_the_sum_was_too_much(
    tiny_gguf: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """A real assertion of llama.cpp: two of these prompts are a longer step than 256 cells allow, one is not.

    After two such ends there are half as many slots, until the sum is no longer too much.
    """
    backend = ChildBackend(DYING + "Oversized", tiny_gguf, SAMPLING, **OPTIONS, reproducible=False, kv_cells=256)
    jobs = make_jobs(["a red dog on the beach " * 40] * 4)
    for lives, slots in enumerate((4, 2, 2, 1), 1):
        found = list(backend.complete(jobs))
        assert (sorted(c.job.tag for c in found), {"error", "failed"} & {c.finish for c in found}) == (  # type: ignore[type-var]
            [job.tag for job in jobs],
            set(),
        )
        assert backend.settings.n_slots == slots, f"after run {lives}"
        assert capfd.readouterr().err.count("GGML_ASSERT") >= 1
    assert len(list(backend.complete(jobs))) == 4
    assert "GGML_ASSERT" not in capfd.readouterr().err
    assert caplog.text.count("it goes on with n_slots") == 2
    backend.close()


def test_a_kill_from_outside_loses_nothing(tiny_gguf: Path, inside: LlamaCppBackend) -> None:
    jobs = make_jobs([f"a dog and {n} cats" for n in range(40)])
    backend = ChildBackend(REAL, tiny_gguf, SAMPLING, **OPTIONS)
    found = []
    for done, completion in enumerate(backend.complete(iter(jobs))):
        found.append(completion)
        if done in (0, 3, 25):
            os.kill(backend._process.pid, signal.SIGKILL)  # type: ignore[union-attr]
    found.sort(key=lambda completion: completion.job.tag)  # type: ignore[arg-type, return-value]
    assert found == [completion for completion, *_ in in_order(inside.complete(jobs))]
    os.kill(backend._process.pid, signal.SIGKILL)  # type: ignore[union-attr]  # and between two runs
    assert sorted(c.text for c in backend.complete(jobs[:2])) == sorted(c.text for c in inside.complete(jobs[:2]))
    backend.close()


def test_an_engine_that_ends_at_anything_is_not_blamed_on_a_caption(tiny_gguf: Path) -> None:
    backend = ChildBackend(DYING + "Hopeless", tiny_gguf, SAMPLING, **OPTIONS)
    with pytest.raises(ModelError, match=r"whatever it is asked \(SIGABRT"):
        list(backend.complete(make_jobs(["a", "b", "c"])))
    backend.close()
    with pytest.raises(ModelError, match=r"while it loaded the model \(SIGABRT"):
        ChildBackend(DYING + "Stillborn", tiny_gguf)
    faulty = ChildBackend(DYING + "Faulty", tiny_gguf, SAMPLING, **OPTIONS)
    with pytest.raises(ModelError, match="KeyError: 'a fault of ours'"):
        list(faulty.complete(make_jobs(["a"])))
    faulty.close()


def test_a_model_that_changes_between_two_lives_is_refused(tiny_gguf: Path, tmp_path: Path) -> None:
    from gguf_maker import make_gguf

    model = tmp_path / "model.gguf"
    model.write_bytes(tiny_gguf.read_bytes())
    backend = ChildBackend(REAL, model, SAMPLING, **OPTIONS)
    make_gguf(tmp_path / "other.gguf", seed=1).replace(model)
    os.kill(backend._process.pid, signal.SIGKILL)  # type: ignore[union-attr]
    with pytest.raises(ModelError, match="changed while it was in use"):
        list(backend.complete(make_jobs(["a dog"])))
    backend.close()


@pytest.mark.parametrize(
    "fault", ["missing", "folder", "text", "cut", "n_slots", "n_threads", "n_ctx", "layers", "top_p"]
)
def test_what_cannot_be_loaded_fails_as_in_this_process(tiny_gguf: Path, tmp_path: Path, fault: str) -> None:
    model, sampling, options = tiny_gguf, SAMPLING, dict(OPTIONS)
    if fault == "missing":
        model = tmp_path / "none.gguf"
    elif fault == "folder":
        model = tmp_path
    elif fault in ("text", "cut"):
        model = tmp_path / "model.gguf"
        model.write_bytes(b"hello" * 20 if fault == "text" else tiny_gguf.read_bytes()[:5000])
    elif fault == "layers":
        options["n_gpu_layers"] = 10
    elif fault == "top_p":
        sampling = Sampling(top_p=2)
    else:
        options[fault] = {"n_slots": 0, "n_threads": 0, "n_ctx": 99999}[fault]
    raised = []
    for make in (
        lambda: LlamaCppBackend(model, sampling, **options),
        lambda: ChildBackend(REAL, model, sampling, **options),
    ):
        with pytest.raises(LaclipError) as caught:
            make().close()
        raised.append((type(caught.value), str(caught.value)))
    assert raised[0] == raised[1]


def test_without_llama_cpp_the_extra_is_named(tiny_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "llama_cpp.py").write_text("raise ImportError('not installed')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingExtraError, match=r"pip install 'laclip-aug\[llm\]'") as caught:
        ChildBackend(REAL, tiny_gguf)
    assert caught.value.extra == "llm"


def test_a_closed_backend_says_so(tiny_gguf: Path) -> None:
    backend = ChildBackend(REAL, tiny_gguf, SAMPLING, **OPTIONS)
    running = backend.complete(make_jobs(["a dog"] * 20))
    next(running)
    backend.close()
    backend.close()
    with pytest.raises(ModelError, match="closed"):
        list(running)
    with pytest.raises(ModelError, match="closed"):
        backend.complete([])


PARENT = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job is started with it ignored
from laclip_aug.generation.backend import Job, Sampling
from laclip_aug.generation.child import ChildBackend
backend = ChildBackend({real!r}, {model!r}, Sampling(max_new_tokens=8), n_ctx=256, n_slots=4, n_threads=1)
jobs = (Job("", "", "a dog", "", seed) for seed in range(10**9))
forked = __import__("os").fork() if {fork} else 1
if not forked:
    time.sleep(600)
try:
    for done, _ in enumerate(backend.complete(jobs)):
        if done == 8:
            print(backend._process.pid, forked, flush=True)
finally:
    backend.close()
"""


@pytest.mark.parametrize(
    ("end", "fork"), [(signal.SIGKILL, False), (signal.SIGTERM, False), (signal.SIGINT, False), (signal.SIGKILL, True)]
)
def test_no_child_is_left_behind(tiny_gguf: Path, end: signal.Signals, fork: bool) -> None:
    """Also where another process, forked from the parent, keeps the parent's end of the pipe open."""
    code = PARENT.format(real=REAL, model=str(tiny_gguf), fork=fork)
    parent = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job ignores it
    )
    assert parent.stdout is not None
    pid, forked = map(int, parent.stdout.readline().split())
    assert is_alive(pid)
    if end is signal.SIGINT:
        os.killpg(parent.pid, end)  # as a terminal does
    else:
        parent.send_signal(end)
    try:
        assert wait_until_gone(pid)
    finally:
        if fork:
            os.kill(forked, signal.SIGKILL)
        _, errors = parent.communicate(timeout=200)
    assert errors.count("Traceback") == (end is signal.SIGINT)  # the parent's own
