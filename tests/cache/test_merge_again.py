"""A merge into a cache of earlier merges takes what is new, once, and reads nothing else."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from shouting import ShoutAugmenter

from laclip_aug.augmenter import Outcome
from laclip_aug.cache.browse import records
from laclip_aug.cache.build import build_cache
from laclip_aug.cache.format import Manifest, read_manifest
from laclip_aug.cache.lookup import CaptionCache
from laclip_aug.cache.merge import MergeReport, merge_caches
from laclip_aug.cache.part import Part
from laclip_aug.cache.repair import repair_cache
from laclip_aug.cache.verify import verify_cache
from laclip_aug.eda.augmenter import EDAAugmenter
from laclip_aug.errors import CacheMismatchError, ConfigurationError

CAPTIONS = [f"a photo of {i} {'boats' if i % 3 else 'kites'} near the shore" for i in range(120)]


def build(place: Path, captions: list[str], part: Part | None = None, mark: str = "!") -> Path:
    source = place.parent / "in.txt"
    source.write_text("\n".join(captions) + "\n", encoding="utf-8")
    build_cache(source, place, ShoutAugmenter(mark), shard_rows=16, progress=False, part=part)
    return place


def content(cache: Path) -> dict[str, Outcome]:
    found = list(records(cache))
    by_caption = {record.caption: record for record in found}
    assert len(by_caption) == len(found)
    return by_caption


def merge(places: list[Path], out: Path, allow_mixed: bool = False) -> MergeReport:
    report = merge_caches(places, out, allow_mixed=allow_mixed, progress=False)
    assert verify_cache(out, progress=False) == ([], [])
    lookup = CaptionCache(out)
    assert all(lookup.get(caption) == record.rewrites for caption, record in content(out).items())
    return report


def files(cache: Path) -> dict[str, tuple[int, int]]:
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in cache.glob("shard-*")}


def unread(place: Path) -> None:
    """Take the shards away: whoever reads them fails."""
    for path in place.glob("shard-*"):
        path.unlink()


def test_one_part_after_the_other_in_any_order_makes_what_one_build_makes(tmp_path: Path) -> None:
    whole = build(tmp_path / "whole", CAPTIONS)
    (expected,) = read_manifest(whole).inputs.values()
    parts: list[Path] = []
    before: dict[str, tuple[int, int]] = {}
    for number in (3, 0, 4, 1, 2):
        parts = sorted([*parts, build(tmp_path / f"p{number}", CAPTIONS, Part(number, 5))])
        report = merge(parts, tmp_path / "all")
        now = files(tmp_path / "all")
        assert now.items() >= before.items()  # nothing was written twice
        assert (report.before, report.linked) == (len(before), len(now))
        assert (report.written, report.repeated, report.conflicts) == (0, 0, 0)
        unread(tmp_path / f"p{number}")
        before = now
    assert content(tmp_path / "all") == content(whole)
    assert read_manifest(tmp_path / "all").counts == read_manifest(whole).counts
    (there,) = read_manifest(tmp_path / "all").inputs.values()
    assert there == {**expected, "shard": "3/5, 0/5, 4/5, 1/5, 2/5"}  # each once, in the order in which they came


def test_a_part_that_has_grown_and_one_alone(tmp_path: Path) -> None:
    parts = [build(tmp_path / f"p{number}", CAPTIONS[:90], Part(number, 2)) for number in range(2)]
    merge(parts, tmp_path / "all")
    shards = [len(files(place)) for place in parts]
    unread(parts[1])
    build(parts[0], CAPTIONS, Part(0, 2))
    report = merge(parts[:1], tmp_path / "all")
    assert (report.before, report.linked) == (shards[0], len(files(parts[0])))
    assert len(files(parts[0])) == shards[0] + 1
    mine = {caption for caption in CAPTIONS if Part(0, 2).has(caption)}
    assert content(tmp_path / "all").keys() == mine | set(CAPTIONS[:90])
    (there,) = read_manifest(tmp_path / "all").inputs.values()
    assert (there["rows"], there["shard"]) == (120, "0/2, 1/2")
    # a further build counts as it always did, and the next merge leaves it alone
    build(tmp_path / "all", CAPTIONS)
    assert content(tmp_path / "all").keys() == set(CAPTIONS)
    inputs = read_manifest(tmp_path / "all").inputs
    report = merge(parts[:1], tmp_path / "all")
    assert report.before == report.linked == len(files(parts[0]))
    assert next(iter(read_manifest(tmp_path / "all").inputs.values())) == next(iter(inputs.values()))


def test_conflicts_are_counted_once(tmp_path: Path) -> None:
    a = build(tmp_path / "a", CAPTIONS[:30])
    b = build(tmp_path / "b", CAPTIONS[20:50], mark="?")
    c = build(tmp_path / "c", CAPTIONS[25:60])
    at_once = merge([a, b, c], tmp_path / "at once", allow_mixed=True)
    # of b, 20..29 are in a with other texts; of c, 25..29 are in a with the same, 30..49 in b with others
    assert (at_once.repeated, at_once.conflicts, len(at_once.examples)) == (10 + 25, 10 + 20, 3)
    merge([a, b], tmp_path / "all", allow_mixed=True)
    merge([a], tmp_path / "a alone")
    with pytest.raises(CacheMismatchError) as told:
        merge_caches([b], tmp_path / "a alone", progress=False)
    # nothing here takes the options of a build
    assert str(told.value).splitlines() == [
        f"{b} was built with another configuration than {tmp_path / 'a alone'}:",
        f"  mark: '!' in {tmp_path / 'a alone'}, '?' in {b}",
        "leave one of them out, or have both in one cache with --allow-mixed",
    ]
    assert content(tmp_path / "a alone") == content(a)
    later = merge([a, b, c], tmp_path / "all", allow_mixed=True)
    assert content(tmp_path / "all") == content(tmp_path / "at once")
    for place in (a, b, c):
        unread(place)
    again = merge([a, b, c], tmp_path / "all", allow_mixed=True)
    for report in (later, again):
        assert (report.linked, report.written) == (at_once.linked, at_once.written)
        assert (report.repeated, report.conflicts) == (35, 30)
    assert again.before == again.linked + again.written
    assert "by an earlier merge" in again.lines()[0]
    assert again.lines()[2].endswith("conflicts, other rewrites there: 30")
    assert read_manifest(tmp_path / "all").counts == read_manifest(tmp_path / "at once").counts


def test_what_is_there_wins_whatever_is_named_first(tmp_path: Path) -> None:
    mine = build(tmp_path / "mine", CAPTIONS[:40])  # built, not merged
    before = content(mine)
    other = build(tmp_path / "other", CAPTIONS[30:70], mark="?")
    report = merge([other], mine, allow_mixed=True)
    assert (report.repeated, report.conflicts) == (10, 10)
    now = content(mine)
    assert len(now) == 70 and now.items() >= before.items()
    assert merge([other], mine, allow_mixed=True) == replace(report, before=len(files(other)), examples=[])


def test_other_rewrites_of_captions_that_are_there_count_whatever_made_them(tmp_path: Path) -> None:
    mine = build(tmp_path / "mine", CAPTIONS[:30])
    (tmp_path / "in.txt").write_text("\n".join(CAPTIONS[:20]) + "\n", encoding="utf-8")
    build_cache(tmp_path / "in.txt", tmp_path / "eda", EDAAugmenter(), shard_rows=16, progress=False)
    before = content(mine)
    report = merge([mine, tmp_path / "eda"], tmp_path / "all", allow_mixed=True)
    assert (report.repeated, report.conflicts) == (20, 20)  # nothing of eda's is taken: its source is unknown there
    assert content(tmp_path / "all") == before


def test_a_cache_and_a_copy_of_it(tmp_path: Path) -> None:
    place = build(tmp_path / "a", CAPTIONS)
    shutil.copytree(place, tmp_path / "copy")
    report = merge([place, tmp_path / "copy"], tmp_path / "all")
    assert (report.linked, report.written, report.repeated, report.conflicts) == (8, 0, 120, 0)
    assert merge([tmp_path / "copy", place], tmp_path / "all") == replace(report, before=8)
    # a copy that has gone another way
    build(tmp_path / "copy", ["one more"])
    assert merge([place, tmp_path / "copy"], tmp_path / "all").linked == 9
    assert len(content(tmp_path / "all")) == 121


def stopped(places: list[Path], out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A merge that ends when it has taken three shards."""
    save, left = Manifest.save, [4]

    def saved(self: Manifest, directory: Path) -> None:
        save(self, directory)
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Manifest, "save", saved)
        with pytest.raises(KeyboardInterrupt):
            merge_caches(places, out, progress=False)
    assert read_manifest(out).unfinished


def test_a_stopped_merge_goes_on_with_all_its_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [build(tmp_path / f"p{number}", CAPTIONS, Part(number, 3)) for number in range(3)]
    stopped(parts, tmp_path / "all", monkeypatch)
    with pytest.raises(ConfigurationError, match="name them again"):
        merge_caches(parts[:2], tmp_path / "all", progress=False)
    with pytest.raises(ConfigurationError, match="has not finished"):
        merge_caches([tmp_path / "all"], tmp_path / "more", progress=False)
    report = merge(parts[::-1], tmp_path / "all")
    assert report.before == 3 and len(content(tmp_path / "all")) == 120
    # a build on a stopped merge takes over: merges wait for its end
    stopped(parts, tmp_path / "other", monkeypatch)
    build(tmp_path / "other", [*CAPTIONS, "new"])
    assert verify_cache(tmp_path / "other", progress=False) == ([], [])
    assert merge(parts, tmp_path / "other").linked > 0
    assert len(content(tmp_path / "other")) == 121


def test_a_build_that_was_stopped_is_no_target(tmp_path: Path) -> None:
    class Breaks(ShoutAugmenter):
        def outcomes(self, captions, n, seed):  # type: ignore[no-untyped-def]
            for number, outcome in enumerate(super().outcomes(captions, n, seed)):
                if number == 20:
                    raise ConnectionError("the server went away")
                yield outcome

    part = build(tmp_path / "p", CAPTIONS[:10])
    (tmp_path / "in.txt").write_text("\n".join(CAPTIONS[10:]))
    for rows in (8, 10, 100):  # with shards and a journal, with shards alone, with a journal alone
        out = tmp_path / str(rows)
        with pytest.raises(ConnectionError):
            build_cache(tmp_path / "in.txt", out, Breaks(), shard_rows=rows, progress=False)
        before = content(out)
        with pytest.raises(ConfigurationError, match="has not finished; run it to its end"):
            merge_caches([part], out, progress=False)
        assert content(out) == before


def test_what_repair_had_to_drop_is_merged_again(tmp_path: Path) -> None:
    parts = [build(tmp_path / f"p{number}", CAPTIONS, Part(number, 2)) for number in range(2)]
    overlap = build(tmp_path / "overlap", [*CAPTIONS[:5], "one more"])
    merge([*parts, overlap], tmp_path / "all")
    expected = content(tmp_path / "all")
    for victim in sorted(files(tmp_path / "all"))[1:]:
        path = tmp_path / "all" / victim
        data = path.read_bytes()
        path.unlink()  # a linked file is the part's too
        path.write_bytes(data[: len(data) // 2])
        assert repair_cache(tmp_path / "all")
        assert len(content(tmp_path / "all")) < len(expected)
        with pytest.raises(ConfigurationError, match="name them again"):
            merge_caches(parts[:1], tmp_path / "all", progress=False)
        merge([*parts, overlap], tmp_path / "all")
        assert content(tmp_path / "all") == expected
