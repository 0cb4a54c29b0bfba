"""What the steps of a filter and of a look-up say of themselves in a log, by a clock that the test winds."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import count
from pathlib import Path

import pytest

from laclip_aug.augmenter import Outcome, Rewrite
from laclip_aug.cache.bar import Bar
from laclip_aug.cache.compile import compile_lookup
from laclip_aug.cache.config import Config
from laclip_aug.cache.filter import filter_cache, sweep
from laclip_aug.cache.format import read_manifest
from laclip_aug.cache.merge import merge_caches
from laclip_aug.cache.progress import Progress
from laclip_aug.cache.verify import verify_cache
from laclip_aug.cache.writer import CacheWriter
from laclip_aug.cli import main

CONFIG = Config("llm", "x", seed=0, n=4, sources=("human",))


def written(directory: Path, captions: int, shard_rows: int = 65536) -> Path:
    """A cache of ``captions``, with four texts for each."""
    records = [
        Outcome(f"dog {i}", tuple(Rewrite("human", f"{word} dog {i}") for word in ("a", "the", "my", "one")))
        for i in range(captions)
    ]
    with CacheWriter(directory, CONFIG, shard_rows) as writer:
        writer.new(record.caption for record in records)
        for record in records:
            writer.add(record)
        writer.finish()
    return directory


def ticking(seconds: float) -> Callable[[], float]:
    """A clock that is so many ``seconds`` later each time that somebody looks."""
    ticks = count()
    return lambda: next(ticks) * seconds


def test_a_line_has_how_far_it_is_and_the_rate_and_the_time_left() -> None:
    now, out = 0.0, io.StringIO()
    with Bar("counting", 1000, clock=lambda: now, stream=out) as bar:
        for second, _ in enumerate(bar.over(range(100)), 1):
            now = 0.1 * second  # ten a second
        done = bar.share(900)
        now = 100.0
        done(0.5)
        done(0.5)
    # by hand: 100 captions in 10 s; then 100 + 450 in 100 s leave 450 for 81.8 s
    assert out.getvalue().splitlines() == [
        "counting: 20 of 1000 captions (2%), 10.0 captions/s, 01:38 left",
        "counting: 50 of 1000 captions (5%), 10.0 captions/s, 01:35 left",
        "counting: 100 of 1000 captions (10%), 10.0 captions/s, 01:30 left",
        "counting: 550 of 1000 captions (55%), 5.5 captions/s, 01:21 left",
        "counting: 1000 captions in 01:40",
    ]


def test_the_time_left_is_not_told_of_the_first_caption_of_a_slab_that_took_seconds_to_read() -> None:
    now, out = 0.0, io.StringIO()
    with Bar("reading", 50_000, clock=lambda: now, stream=out) as bar:
        for number, _ in enumerate(bar.over(range(50_000))):
            if number % 10_000 == 0:
                now += 3.0  # a slab, which comes at once then
    # by hand: the second slab comes 3 s after the first; the other 40,000 take 4 times 3 s, less that one caption
    assert out.getvalue().splitlines()[:2] == [
        "reading: 1 of 50000 captions (0%), 0.3 captions/s",
        "reading: 10001 of 50000 captions (20%), 1666.8 captions/s, 00:11 left",
    ]


@pytest.mark.parametrize(("shown", "seconds"), [(None, 1.9), (False, 1000.0)], ids=["soon done", "not wanted"])
def test_a_log_has_nothing_of_a_step_that_is_soon_done_or_not_to_be_shown(shown: bool | None, seconds: float) -> None:
    now, out = 0.0, io.StringIO()
    with Bar("counting", 100, shown, clock=lambda: now, stream=out) as bar:
        for _ in bar.over(range(100)):
            now = seconds
        now = 2 * seconds
    assert out.getvalue() == ""


def test_a_step_that_fails_says_no_end() -> None:
    now, out = 0.0, io.StringIO()
    with pytest.raises(KeyError), Bar("counting", 2, clock=lambda: now, stream=out) as bar:
        for item in bar.over(range(2)):
            now = 5.0
            if item:
                raise KeyError
    assert out.getvalue() == "counting: 1 of 2 captions (50%), 0.2 captions/s\n"


# 600 captions have 2,400 texts, which are more than are measured at a time
def test_a_filter_tells_how_far_it_is_within_a_shard_and_then_of_the_look_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = written(tmp_path / "cache", 600)
    capsys.readouterr()
    filter_cache(cache, tmp_path / "out", "tfidf>=0 novelty>=0 kept>=2", clock=ticking(0.7))
    lines = capsys.readouterr().err.splitlines()
    steps = list(dict.fromkeys(line.split(":")[0] for line in lines))
    assert steps == ["learning the captions' words", "filter", "sorting for the look-up", "writing the look-up"]
    assert [line for line in lines if " captions in " in line and not line.split(": ")[1].startswith("600 ")] == []
    # by hand: a third of 600 for each condition, 2,048 of 2,400 texts at a time: after 170.7, 200, 370.7, ... captions,
    # 0.7 s each, so that the third is the first after 2 s, and none is after 5 s
    done = [int(found[1]) for line in lines if (found := re.match(r"filter: (\d+) of 600", line))]
    assert done == [371]


@pytest.mark.parametrize("spec", ["neighbours>=-1", "rank<=11"])
def test_a_filter_tells_how_far_it_is_where_texts_are_compared_with_all_of_a_shard(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], spec: str
) -> None:
    cache = written(tmp_path / "cache", 3000)
    capsys.readouterr()
    filter_cache(cache, tmp_path / "out", spec, clock=ticking(1.0))
    done = [line.split(",")[0] for line in capsys.readouterr().err.splitlines() if line.startswith("filter: ")]
    # by hand: of 12,000 texts 4,096 at a time, which are of 1,024 captions, a second each
    assert done == ["filter: 2048 of 3000 captions (68%)", "filter: 3000 captions in 00:04"]


@pytest.mark.parametrize("spec", ["none", "kept>=2 novelty>=0"], ids=["no condition", "nothing left for the second"])
def test_a_shard_is_done_whatever_a_gate_has_to_judge(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], spec: str
) -> None:
    cache = written(tmp_path / "cache", 60, shard_rows=10)
    filter_cache(cache, tmp_path / "out", spec, clock=ticking(3.0))
    assert "filter: 60 captions in " in capsys.readouterr().err


def test_a_sweep_tells_how_far_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache = written(tmp_path / "cache", 60, shard_rows=10)
    sweep(cache, "kept>=0 novelty>=0", clock=ticking(3.0))
    err = capsys.readouterr().err
    assert "sweep: 5 of 60 captions (8%)" in err and "sweep: 60 captions in " in err


@pytest.mark.parametrize("bucket_records", [1000, 7], ids=["in memory", "in buckets"])
def test_a_look_up_tells_how_far_it_is_sorted_and_written(tmp_path: Path, bucket_records: int) -> None:
    cache, out = written(tmp_path / "cache", 60, shard_rows=10), io.StringIO()
    bars = partial(Bar, clock=ticking(3.0), stream=out)
    compile_lookup(cache, read_manifest(cache), whole=True, bucket_records=bucket_records, bars=bars)
    assert [line for line in out.getvalue().splitlines() if ": 1 of" in line or " in " in line] == [
        "sorting for the look-up: 1 of 60 captions (2%), 0.3 captions/s",
        "sorting for the look-up: 60 captions in 03:03",
        "writing the look-up: 1 of 60 captions (2%), 0.3 captions/s",
        "writing the look-up: 60 captions in 03:03",
    ]


def test_nothing_is_said_where_nothing_is_wanted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache = written(tmp_path / "cache", 60, shard_rows=10)
    filter_cache(cache, tmp_path / "out", "tfidf>=0", progress=False, clock=ticking(100.0))
    sweep(cache, "tfidf>=0", progress=False, clock=ticking(100.0))
    compile_lookup(cache, read_manifest(cache), whole=True, bars=Progress(False, clock=ticking(100.0)).step)
    assert capsys.readouterr().err == ""


def test_a_build_shows_its_look_up_where_it_shows_itself(tmp_path: Path) -> None:
    out = io.StringIO()
    with CacheWriter(tmp_path / "cache", CONFIG) as writer:
        writer.new(["dog"])
        writer.add(Outcome("dog", (Rewrite("human", "a dog"),)))
        writer.finish(Progress(None, clock=ticking(3.0), stream=out).step)
    assert "writing the look-up: 1 captions in " in out.getvalue()


def test_a_condition_that_is_asked_twice_is_counted_once(tmp_path: Path) -> None:
    cache = written(tmp_path / "cache", 10)
    swept = sweep(cache, "words>=0.2 words<=0.9 words>=0.4", progress=False)
    assert {side: found.counts.total() for side, found in swept.items()} == {"words>=": 40, "words<=": 40}


def test_a_log_that_takes_nothing_stops_no_work(tmp_path: Path) -> None:
    cache = written(tmp_path / "cache", 60, shard_rows=10)
    done = False
    with suppress(OSError), Path("/dev/full").open("w") as full:  # closing it fails
        bars = partial(Bar, clock=ticking(3.0), stream=full)
        compile_lookup(cache, manifest := read_manifest(cache), whole=True, bucket_records=7, bars=bars)
        progress = Progress(None, clock=ticking(3.0), stream=full)
        progress.show(1, 2, 1, 0, 1.0)
        done = True
    assert done and manifest.complete


@pytest.mark.parametrize(
    ("part", "line"),
    [
        # by hand: 50 in 5 s, 10 a second; a quarter of all is 50 of 200, and the other 150 take 15 s
        (0.25, "reading: 50 of about 200 captions (25%), 10.0 captions/s, 00:15 left"),
        (None, "reading: 50 captions, 10.0 captions/s"),
    ],
    ids=["of a file", "of a pipe"],
)
def test_what_is_read_is_told_by_the_part_of_the_bytes_if_that_is_known(part: float | None, line: str) -> None:
    now, out = 0.0, io.StringIO()
    with Bar("reading", None, clock=lambda: now, stream=out, part=lambda: part) as bar:
        for second, _ in enumerate(bar.over(range(50)), 1):
            now = 0.1 * second
    assert out.getvalue().splitlines()[1:] == [line, "reading: 50 captions in 00:05"]


def test_an_estimate_tells_how_far_the_reading_is_also_where_the_cache_has_the_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    captions = tmp_path / "captions.csv"
    captions.write_text("".join(["title\n", *(f"dog {number}\n" for number in range(100, 1100))]))
    cache = written(tmp_path / "cache", 200)
    capsys.readouterr()
    monkeypatch.setattr("laclip_aug.cache.bar._FIRST_LINES", (0.0,))  # at once, and then after a minute
    assert main(["build", str(captions), "--cache", str(cache), "--augmenter", "eda", "--dry-run", "8"]) == 0
    first, last = [line for line in capsys.readouterr().err.splitlines() if line.startswith("reading")]
    # 8 or 9 bytes a row, and 8 of 8,106 are of the first
    assert re.fullmatch(r"reading: 1 of about 1013 captions \(0%\), [\d.]+ captions/s", first)
    assert re.fullmatch(r"reading: 1000 captions in \d\d:\d\d", last)


def test_a_merge_and_a_verification_tell_how_far_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = written(tmp_path / "cache", 60, shard_rows=10)
    capsys.readouterr()
    monkeypatch.setattr("laclip_aug.cache.bar._FIRST_LINES", (0.0,))  # at once, and then after a minute
    merge_caches([cache], tmp_path / "merged")
    first = capsys.readouterr().err.splitlines()[0]
    assert re.fullmatch(r"merge: 10 of 60 captions \(17%\), [\d.]+ captions/s", first)
    assert verify_cache(tmp_path / "merged") == ([], [])
    first, last = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"verify: 1 of 60 captions \(2%\), [\d.]+ captions/s", first)
    assert re.fullmatch(r"verify: 60 captions in \d\d:\d\d", last)
    merge_caches([cache], tmp_path / "again", progress=False)
    verify_cache(tmp_path / "again", progress=False)
    assert capsys.readouterr().err == ""
