"""A build in parts, the parts as one, further strategies beside the first, and what a build would take."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from shouting import ShoutAugmenter

from laclip_aug.augmenter import Outcome, Rewrite
from laclip_aug.cache.add import add_texts
from laclip_aug.cache.browse import records
from laclip_aug.cache.build import build_cache
from laclip_aug.cache.config import Config
from laclip_aug.cache.estimate import estimate
from laclip_aug.cache.filter import filter_cache
from laclip_aug.cache.format import read_manifest
from laclip_aug.cache.keys import caption_key, normalise
from laclip_aug.cache.lookup import CaptionCache
from laclip_aug.cache.merge import merge_caches
from laclip_aug.cache.part import Part
from laclip_aug.cache.verify import verify_cache
from laclip_aug.cache.writer import CacheWriter
from laclip_aug.cli import main
from laclip_aug.eda import EDAAugmenter
from laclip_aug.errors import CacheMismatchError, ConfigurationError, LaclipError

CAPTIONS = [f"a photo of {i} {'boats' if i % 3 else 'kites'} near the shore" for i in range(120)]


def table(file: Path, captions: list[str]) -> Path:
    file.write_text("\n".join(captions) + "\n", encoding="utf-8")
    return file


def content(cache: Path) -> dict[str, Outcome]:
    found = list(records(cache))
    by_caption = {record.caption: record for record in found}
    assert len(by_caption) == len(found)
    return by_caption


def test_every_caption_is_in_one_part_and_parts_are_ranges_of_keys() -> None:
    for count in (1, 2, 3, 7, 20):
        parts = [Part(index, count) for index in range(count)]
        for caption in CAPTIONS:
            (mine,) = [part.index for part in parts if part.has(caption)]
            start = int(caption_key(caption).hex(), 16) / 2**128
            assert mine / count <= start < (mine + 1) / count
    sizes = [sum(Part(index, 4).has(f"caption {n}") for n in range(4000)) for index in range(4)]
    assert all(900 < size < 1100 for size in sizes)  # a binomial's deviation is 27


@pytest.mark.parametrize("text", ["20/20", "-1/3", "3", "a/b", "1/0", "0/9999999", "1/3/5", ""])
def test_parts_that_do_not_exist(text: str) -> None:
    with pytest.raises(ConfigurationError, match="--shard"):
        Part.of(text)


def test_six_processes_of_which_two_are_killed_make_what_one_makes(
    tmp_path: Path, plugin_environment: dict[str, str]
) -> None:
    inputs = table(tmp_path / "in.txt", CAPTIONS)
    code = "import sys; from laclip_aug.cli import main; sys.exit(main(sys.argv[1:]))"

    def start(index: int, delay: float) -> subprocess.Popen[bytes]:
        options = ["--cache", f"part{index}", "--shard", f"{index}/6", "--shard-rows", "4"]
        words = ["build", inputs.name, *options, "--augmenter", "shout", "--option", f"delay={delay}"]
        return subprocess.Popen([sys.executable, "-c", code, *words], cwd=tmp_path, env=plugin_environment)

    order = random.Random(5).sample(range(6), 6)
    for index in order[:2]:  # killed when some of it is stored
        process = start(index, 0.05)
        while not list((tmp_path / f"part{index}").glob("shard-*")):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert all(read_manifest(tmp_path / f"part{index}").unfinished for index in order[:2])
    with pytest.raises(ConfigurationError, match="has not finished"):
        merge_caches([tmp_path / f"part{index}" for index in order[:2]], tmp_path / "early", progress=False)
    for process in [start(index, 0.0) for index in order]:
        assert process.wait() == 0
    build_cache(inputs, tmp_path / "whole", ShoutAugmenter(), progress=False)
    report = merge_caches([tmp_path / f"part{index}" for index in order], tmp_path / "all", progress=False)
    assert (report.written, report.repeated, report.conflicts) == (0, 0, 0)
    assert content(tmp_path / "all") == content(tmp_path / "whole")
    assert verify_cache(tmp_path / "all", progress=False) == ([], [])
    one, all_of_it = read_manifest(tmp_path / "whole"), read_manifest(tmp_path / "all")
    assert all_of_it.counts == one.counts
    assert (all_of_it.inputs["in.txt"]["rows"], all_of_it.inputs["in.txt"]["rejections"]) == (120, {})
    lookup = CaptionCache(tmp_path / "all")
    assert all(lookup.get(caption) == CaptionCache(tmp_path / "whole").get(caption) for caption in CAPTIONS)


def test_a_merged_cache_goes_on_as_one_that_was_built_at_once(tmp_path: Path) -> None:
    inputs = table(tmp_path / "in.txt", CAPTIONS)
    for index in range(2):
        build_cache(inputs, tmp_path / f"p{index}", ShoutAugmenter(), progress=False, part=Part(index, 2))
    merge_caches([tmp_path / "p0", tmp_path / "p1"], tmp_path / "all", progress=False)
    table(inputs, [*CAPTIONS, "something new"])
    report = build_cache(inputs, tmp_path / "all", ShoutAugmenter(), progress=False)
    assert (report.made, report.repeated) == (1, 120)


def test_refused_captions_are_counted_once(tmp_path: Path) -> None:
    inputs = tmp_path / "in.jsonl"
    rows = [*CAPTIONS[:20], "x" * 5000, "...", "y" * 5000, None, "&nbsp;"]
    inputs.write_text("".join(json.dumps({"caption": row}) + "\n" for row in rows))
    build_cache(inputs, tmp_path / "whole", ShoutAugmenter(), progress=False)
    for index in range(3):
        build_cache(inputs, tmp_path / f"p{index}", ShoutAugmenter(), progress=False, part=Part(index, 3))
    merge_caches([tmp_path / f"p{index}" for index in range(3)], tmp_path / "all", progress=False)
    (there,) = read_manifest(tmp_path / "all").inputs.values()
    (expected,) = read_manifest(tmp_path / "whole").inputs.values()
    assert there == {**expected, "shard": "0/3, 1/3, 2/3"}
    assert content(tmp_path / "all") == content(tmp_path / "whole")


def test_the_counts_of_each_part_add_up_to_the_rows(tmp_path: Path) -> None:
    inputs = tmp_path / "in.jsonl"
    rows = [*CAPTIONS[:20], CAPTIONS[0], "x" * 5000, "&nbsp;", None, None, "nan", " nan\t"]
    inputs.write_text("".join(json.dumps({"caption": row}) + "\n" for row in rows))
    parts = [
        build_cache(inputs, tmp_path / f"p{i}", ShoutAugmenter(), progress=False, part=Part(i, 3)) for i in range(3)
    ]
    counted = [(p.made, p.repeated, sum(p.input.rejections.values()), p.elsewhere) for p in parts]
    assert [sum(numbers) for numbers in counted] == [27, 27, 27]
    assert sum(made for made, *_ in counted) == 20
    assert sum(repeated for _, repeated, *_ in counted) == 1
    whole = build_cache(inputs, tmp_path / "whole", ShoutAugmenter(), progress=False)
    assert (whole.made, whole.repeated, whole.input.rejections) == (20, 1, {"missing": 4, "too-long": 1, "empty": 1})


def test_conflicts_are_counted_and_named_and_the_first_cache_wins(tmp_path: Path) -> None:
    build_cache(table(tmp_path / "a.txt", CAPTIONS[:30]), tmp_path / "a", ShoutAugmenter(), progress=False)
    build_cache(table(tmp_path / "b.txt", CAPTIONS[20:50]), tmp_path / "b", ShoutAugmenter("?"), progress=False)
    build_cache(table(tmp_path / "c.txt", CAPTIONS[25:60]), tmp_path / "c", ShoutAugmenter(), progress=False)
    caches = [tmp_path / name for name in "abc"]
    with pytest.raises(CacheMismatchError, match="allow-mixed"):
        merge_caches(caches, tmp_path / "all", progress=False)
    report = merge_caches(caches, tmp_path / "all", allow_mixed=True, progress=False)
    # of b: 20..29 are in a. Of c: 25..29 are in a with the same texts, 30..49 in b with others
    assert (report.linked, report.written) == (1, 2)
    assert (report.repeated, report.conflicts) == (10 + 25, 10 + 20)
    assert any(repr(CAPTIONS[20]) in line or "'a photo of 2" in line for line in report.lines())
    made = {**content(caches[2]), **content(caches[1]), **content(caches[0])}
    assert content(tmp_path / "all") == made
    there = read_manifest(tmp_path / "all")
    assert [config.fingerprint for config in there.configs] == ["shout-1 !", "shout-1 ?"]
    assert [there.runs[run]["config"] for shard in there.shards for run in shard.made_by] == [0, 1, 0]


def test_merges_that_make_no_sense(tmp_path: Path) -> None:
    build_cache(table(tmp_path / "a.txt", CAPTIONS[:5]), tmp_path / "a", ShoutAugmenter(), progress=False)
    build_cache(table(tmp_path / "b.txt", CAPTIONS[5:9]), tmp_path / "b", ShoutAugmenter(), progress=False)
    for caches, out in (([], "c"), (["a", "a"], "c"), (["a", "b"], "b"), (["a", "missing"], "c")):
        with pytest.raises(LaclipError):
            merge_caches([tmp_path / name for name in caches], tmp_path / out, progress=False)
    with pytest.raises(ConfigurationError, match="--fold"):
        build_cache(tmp_path / "a.txt", tmp_path / "d", ShoutAugmenter(), fold=0.99, part=Part(0, 2))


def test_parts_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inputs = table(tmp_path / "in.txt", CAPTIONS)
    places = [str(tmp_path / f"p{index}") for index in range(2)]
    for index, place in enumerate(places):
        words = ["build", str(inputs), "--cache", place, "--augmenter", "eda", "--n", "1", "--shard", f"{index}/2"]
        assert main(words) == 0
        assert "rows are of other shards" in capsys.readouterr().out
    assert main(["cache", "merge", *places, "--out", str(tmp_path / "all")]) == 0
    assert "the cache holds 120 captions" in capsys.readouterr().out
    assert main(["build", str(inputs), "--cache", places[0], "--augmenter", "eda", "--shard", "2/2"]) == 2
    assert "0/20 is the first" in capsys.readouterr().err


def test_only_the_new_strategy_is_made(tmp_path: Path) -> None:
    captions = [*CAPTIONS[:10], "hopeless case", "&nbsp;"]
    build_cache(table(tmp_path / "in.txt", captions), tmp_path / "old", EDAAugmenter(), n=2, progress=False)
    asked: list[str] = []

    class Listening(ShoutAugmenter):
        def outcomes(self, captions, n, seed):  # type: ignore[no-untyped-def]
            for outcome in super().outcomes(captions, n, seed):
                asked.append(outcome.caption)
                yield outcome

    report = add_texts(tmp_path / "old", tmp_path / "new", Listening(), progress=False)
    assert report.made == 11 and sorted(asked) == sorted(captions[:11])
    before, after = content(tmp_path / "old"), content(tmp_path / "new")
    alone = {outcome.caption: outcome for outcome in ShoutAugmenter().outcomes(captions[:11], 2, 0)}
    assert after.keys() == before.keys()
    for caption in captions[:11]:
        assert after[caption].rewrites == before[caption].rewrites + alone[caption].rewrites
        assert after[caption].tokens == alone[caption].tokens
    assert [r.reason for r in after["hopeless case"].rejections][-2:] == ["too-loud", "too-loud"]
    assert after["&nbsp;"] == before["&nbsp;"]
    config = read_manifest(tmp_path / "new").config
    assert (config.sources, config.n) == (("eda", "loud", "calm"), 4)
    assert config.describe["added"]["mark"] == "!"
    assert CaptionCache(tmp_path / "new").most(["loud", "calm"]) == 2
    with pytest.raises(ConfigurationError, match="has texts of calm, loud already"):
        add_texts(tmp_path / "new", tmp_path / "third", ShoutAugmenter(), progress=False)
    with pytest.raises(ConfigurationError, match="the cache itself"):
        add_texts(tmp_path / "old", tmp_path / "old", ShoutAugmenter(), progress=False)
    filter_cache(tmp_path / "new", tmp_path / "filtered", "novelty>=0", progress=False)
    kept = content(tmp_path / "filtered")
    assert all(kept[caption].rewrites == record.rewrites for caption, record in after.items())


def test_captions_of_any_length_keep_what_was_made_of_them(tmp_path: Path) -> None:
    """How long a caption may be is said to the build; a cache that holds one is not asked again."""
    long, longer = ("A large dog walks in the park. " * times for times in (200, 700))  # 6,200 and 21,700 characters
    captions = [long.strip(), longer.strip(), "&nbsp;", "a kite"]
    inputs = table(tmp_path / "in.txt", captions)
    build_cache(inputs, tmp_path / "old", ShoutAugmenter(), max_caption_chars=20_000, progress=False)
    report = add_texts(tmp_path / "old", tmp_path / "new", EDAAugmenter(), n=1, progress=False)
    assert (report.made, report.cache.captions) == (2, 4)
    assert report.input.rejections == {"too-long": 1, "empty": 1}  # as the build found them
    before, after = content(tmp_path / "old"), content(tmp_path / "new")
    for caption in (captions[0], captions[3]):
        assert len(before[caption].rewrites) == 2
        assert after[caption].rewrites[:2] == before[caption].rewrites
        assert [rewrite.source for rewrite in after[caption].rewrites[2:]] == ["eda"]
    for caption in captions[1:3]:
        assert after[caption] == before[caption]
    again = add_texts(tmp_path / "old", tmp_path / "new", EDAAugmenter(), n=1, progress=False)
    assert (again.made, again.repeated) == (0, 2)
    assert verify_cache(tmp_path / "new", progress=False) == ([], [])


def test_what_the_augmenter_may_not_see_stays_as_it_is(tmp_path: Path) -> None:
    """Rules of what says nothing may have grown since a cache was made."""
    kept = Outcome("&nbsp;", (Rewrite("loud", "A SPACE"),), tokens=3)
    with CacheWriter(tmp_path / "old", Config.of(ShoutAugmenter(), 0, 2)) as writer:
        writer.add(kept)
        writer.finish()
    add_texts(tmp_path / "old", tmp_path / "new", EDAAugmenter(), progress=False)
    assert list(records(tmp_path / "new")) == [kept]


def test_a_new_text_that_is_there_already_is_a_duplicate(tmp_path: Path) -> None:
    class Echo(ShoutAugmenter):
        name, sources = "echo", ("again",)

        def outcomes(self, captions, n, seed):  # type: ignore[no-untyped-def]
            for outcome in ShoutAugmenter().outcomes(captions, 1, seed):
                (text,) = outcome.rewrites
                yield Outcome(outcome.caption, (type(text)("again", f" {text.text}  "),))

    build_cache(table(tmp_path / "in.txt", CAPTIONS[:4]), tmp_path / "old", ShoutAugmenter(), progress=False)
    add_texts(tmp_path / "old", tmp_path / "new", Echo(), progress=False)
    for record in records(tmp_path / "new"):
        assert [(r.source, r.reason) for r in record.rejections] == [("again", "duplicate")]


@pytest.mark.parametrize(("count", "sample"), [(410, 100), (450, 400), (205, 100), (900, 200)])
def test_a_small_rest_of_the_captions_says_nothing(count: int, sample: int, tmp_path: Path) -> None:
    """The last sample may be a few captions; what a build takes once would weigh on these as if on each."""
    captions = [f"{' '.join(CAPTIONS[i % 120].split()[:6])} number {i} in a row" for i in range(count)]
    inputs = table(tmp_path / "in.txt", captions)
    build_cache(inputs, tmp_path / "all", ShoutAugmenter(), progress=False)
    size = sum(path.stat().st_size for path in (tmp_path / "all").iterdir())
    found = estimate([str(inputs)], tmp_path / "none", ShoutAugmenter(), sample=sample)
    assert found.bytes == pytest.approx(size, rel=0.03)


def test_an_estimate_is_of_what_is_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    captions = [f"{' '.join(CAPTIONS[i % 120].split()[:6])} number {i} in a row" for i in range(900)]
    inputs = table(tmp_path / "in.txt", [*captions, captions[3], "&nbsp;"])
    build_cache(table(tmp_path / "some.txt", captions[:300]), tmp_path / "c", ShoutAugmenter(), progress=False)
    held = {path.name: path.read_bytes() for path in (tmp_path / "c").iterdir()}
    found = estimate([str(inputs)], tmp_path / "c", ShoutAugmenter(), sample=200)
    counts = found.rows, found.captions, found.sample, found.failed
    assert counts == (902, 600, 600, 0)  # all that is left takes no time
    assert found.tokens == 600 * 6  # three a text
    assert found.acceptance == 1
    assert {path.name: path.read_bytes() for path in (tmp_path / "c").iterdir()} == held
    assert found.load >= 0
    assert "busy" not in " ".join(replace(found, load=1.0).lines())
    busy = replace(found, seconds=600.0, load=4.0).lines()  # told by what it would take at the present load
    assert "10 min 00 s" in " ".join(busy) and any("4.0 processes" in line and "2 min 30 s" in line for line in busy)
    part = estimate([str(inputs)], tmp_path / "none", ShoutAugmenter(), sample=200, part=Part(1, 3))
    assert part.captions == sum(Part(1, 3).has(normalise(caption)) for caption in captions)
    assert not (tmp_path / "none").exists()
    build_cache(inputs, tmp_path / "all", ShoutAugmenter(), progress=False)
    whole = estimate([str(inputs)], tmp_path / "none", ShoutAugmenter(), sample=200)
    size = sum(path.stat().st_size for path in (tmp_path / "all").iterdir())
    assert whole.bytes == pytest.approx(size, rel=0.2)
    with pytest.raises(ConfigurationError, match="nothing is left"):
        estimate([str(inputs)], tmp_path / "all", ShoutAugmenter(), sample=200)
    words = ["build", str(inputs), "--cache", str(tmp_path / "none"), "--augmenter", "eda"]
    assert main([*words, "--dry-run", "--price-per-hour", "3"]) == 0
    told = capsys.readouterr().out
    assert "900 captions" in told
    assert "at 3 an hour" in told and "nothing was stored" in told
    assert main([*words, "--price-per-hour", "3"]) == 2
    assert main([*words, "--dry-run", "3"]) == 2
