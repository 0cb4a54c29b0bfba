"""A caption that ends the engine's process, in a real build: the build ends, and the caption is where it belongs."""

from __future__ import annotations

from pathlib import Path

import pytest

from laclip_aug import create_augmenter
from laclip_aug.cache.browse import find
from laclip_aug.cache.build import build_cache
from laclip_aug.cache.build_report import BuildReport
from laclip_aug.cache.lookup import CaptionCache
from laclip_aug.cli import main
from laclip_aug.generation.backend import Sampling
from laclip_aug.generation.child import ChildBackend

DYING, REAL = "tests.generation.dying_engines:Dying", "laclip_aug.generation.llamacpp:LlamaCppBackend"
WELL = ["a dog here", "two cats", "a red boat", "the old man"]
ABORTS, KILLED = "please say abort now", "please say killed now"
LENIENT = "cut,unprintable,wrapped,repetition,unrelated,number-changed,colour-added,negation-added"


def build(model: Path, folder: Path, engine: str, captions: list[str]) -> BuildReport:
    (folder / "in.txt").write_text("\n".join(captions))
    backend = ChildBackend(engine, model, Sampling(max_new_tokens=6), n_slots=2, n_ctx=512, n_threads=1)
    augmenter = create_augmenter("llm", backend=backend, strategies="human", gate="none", allow=LENIENT, max_attempts=1)
    try:
        return build_cache(folder / "in.txt", folder / "cache", augmenter)
    finally:
        augmenter.close()


def test_a_build_ends_and_names_the_caption_that_ended_the_engine(
    tiny_gguf: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    captions = [*WELL[:2], ABORTS, KILLED, *WELL[2:]]
    report = build(tiny_gguf, tmp_path, DYING, captions)
    assert ABORTS in caplog.text and KILLED in caplog.text
    assert report.made == len(WELL) + 1

    cache = CaptionCache(tmp_path / "cache")
    (tmp_path / "well").mkdir()
    build(tiny_gguf, tmp_path / "well", REAL, WELL)
    for caption in WELL:
        record = find(tmp_path / "cache", caption)
        assert record == find(tmp_path / "well" / "cache", caption)
        assert record is not None and record.tokens > 0
    assert cache.get(ABORTS) == ()  # its result: no text
    assert cache.get(KILLED) is None  # what kills from outside is no result of the caption's
    record = find(tmp_path / "cache", ABORTS)
    assert record is not None
    assert [(r.source, r.reason) for r in record.rejections] == [("human", "error")]
    assert "SIGABRT" in record.rejections[0].text
    ((reason, number),) = report.failed.items()
    assert "SIGKILL" in reason and number == 1
    assert KILLED in "\n".join(report.lines())
    assert main(["cache", "show", str(tmp_path / "cache"), ABORTS]) == 0
    assert "SIGABRT" in capsys.readouterr().out

    again = build(tiny_gguf, tmp_path, REAL, captions)
    assert (again.made, again.repeated, again.failed) == (1, len(WELL) + 1, {})
    record = find(tmp_path / "cache", KILLED)
    assert record is not None and record.tokens > 0
