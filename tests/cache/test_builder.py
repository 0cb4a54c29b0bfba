"""Building a cache: what is stored, what is counted, what is refused."""

import io
import json
from collections import Counter
from itertools import count
from pathlib import Path

import pytest
from shouting import ShoutAugmenter

from laclip_aug.augmenter import CaptionAugmenter, Outcome, Rejection, Rewrite
from laclip_aug.cache.browse import find, head, sample
from laclip_aug.cache.build import build_cache
from laclip_aug.cache.compile import compile_lookup
from laclip_aug.cache.config import Config
from laclip_aug.cache.filter import filter_cache, sweep
from laclip_aug.cache.format import read_manifest
from laclip_aug.cache.ingest import import_cache
from laclip_aug.cache.lookup import CachedAugmenter, CaptionCache
from laclip_aug.cache.progress import Progress
from laclip_aug.cache.repair import compile_cache, repair_cache
from laclip_aug.cache.report import report_of
from laclip_aug.cache.shards import read_keys, read_shard
from laclip_aug.cache.verify import verify_cache
from laclip_aug.cache.writer import CacheWriter
from laclip_aug.errors import (
    CacheCorruptError,
    CacheError,
    CacheFormatError,
    CacheMismatchError,
    ConfigurationError,
    InputError,
    ModelError,
)
from laclip_aug.exchange.export import export
from laclip_aug.exchange.import_form import ImportForm
from laclip_aug.exchange.readers import InputOptions


def write(path, *captions):
    path.write_text("".join(caption + "\n" for caption in captions), encoding="utf-8")
    return path


def records(directory):
    return [record for shard in read_manifest(directory).shards for _, record in read_shard(directory, shard)]


def test_each_distinct_caption_is_recorded_once(tmp_path):
    source = write(tmp_path / "in.txt", "a dog", "a cat", "a  dog ", "hopeless case", "reject me", "a cat")
    report = build_cache(source, tmp_path / "cache", ShoutAugmenter(), seed=3)
    assert (report.made, report.repeated) == (4, 2)
    assert Counter(record.caption for record in records(tmp_path / "cache")) == Counter(
        ["a dog", "a cat", "hopeless case", "reject me"]
    )
    counts = read_manifest(tmp_path / "cache").counts
    assert (counts.captions, counts.with_rewrites, counts.tokens) == (4, 3, 24)
    assert counts.rewrites == {"loud": 3, "calm": 2}
    assert counts.rejections == {"too-loud": 3}
    assert counts.acceptance == pytest.approx(5 / 8)
    cache = CaptionCache(tmp_path / "cache")
    assert cache.get("hopeless case") == ()  # known, though nothing was accepted
    assert cache.get("a bird") is None
    assert [rewrite.source for rewrite in cache.get("reject me")] == ["loud"]
    assert "read 6 rows: 4 captions made, 2 repeated or made before, 0 refused" in report.lines()
    assert "rejections, too-loud: 3" in "\n".join(report.lines())


def test_what_a_run_made_and_what_the_cache_holds_stand_apart(tmp_path):
    source = write(tmp_path / "in.txt", "a dog", "hopeless case")
    build_cache(source, tmp_path / "cache", ShoutAugmenter())
    write(tmp_path / "in.txt", "a dog", "a cat")
    report = build_cache(source, tmp_path / "cache", ShoutAugmenter())
    run, *held = report.lines()[1:]
    assert run.startswith("this run: ") and run.endswith(", 100.0% of attempts accepted")  # both texts of "a cat"
    assert held == [
        "the cache holds 3 captions; 2 of them (66.7%) have a rewrite",
        "  rewrites, loud: 2",
        "  rewrites, calm: 2",
        "  rejections, too-loud: 2",
    ]
    nothing_new = build_cache(source, tmp_path / "cache", ShoutAugmenter()).lines()
    assert nothing_new[0] == "read 2 rows: 0 captions made, 2 repeated or made before, 0 refused"
    assert "accepted" not in nothing_new[1]  # nothing was tried


def test_texts_are_those_of_the_augmenter_under_the_seed(tmp_path):
    source = write(tmp_path / "in.txt", "a dog", "a cat")
    build_cache(source, tmp_path / "cache", ShoutAugmenter(), seed=3, n=4)
    cache = CaptionCache(tmp_path / "cache")
    for caption in ("a dog", "a cat"):
        assert [r.text for r in cache.get(caption)] == ShoutAugmenter().augment([caption], 4, 3)[0]


def test_shards_and_order_of_input_do_not_change_the_records(tmp_path):
    captions = [f"photo {i}" for i in range(25)]
    build_cache(write(tmp_path / "a.txt", *captions), tmp_path / "a", ShoutAugmenter(), shard_rows=7)
    build_cache(write(tmp_path / "b.txt", *captions[::-1]), tmp_path / "b", ShoutAugmenter())
    assert [shard.rows for shard in read_manifest(tmp_path / "a").shards] == [7, 7, 7, 4]
    assert sorted(map(repr, records(tmp_path / "a"))) == sorted(map(repr, records(tmp_path / "b")))
    assert verify_cache(tmp_path / "a") == ([], [])


def test_a_second_input_adds_to_the_cache(tmp_path):
    build_cache(write(tmp_path / "a.txt", "a dog", "a cat"), tmp_path / "cache", ShoutAugmenter())
    report = build_cache(write(tmp_path / "b.txt", "a cat", "a cow"), tmp_path / "cache", ShoutAugmenter())
    assert (report.made, report.repeated, report.cache.captions) == (1, 1, 3)
    manifest = read_manifest(tmp_path / "cache")
    assert {name: entry["rows"] for name, entry in manifest.inputs.items()} == {
        str(tmp_path / "a.txt"): 2,
        str(tmp_path / "b.txt"): 2,
    }
    assert len(CaptionCache(tmp_path / "cache")) == 3


def test_unfit_captions_are_counted_and_recorded_without_rewrites(tmp_path):
    source = tmp_path / "in.jsonl"
    marks = "a dog " + "\u0301\u0316" * 60_000  # as many as take seconds, if each waits for those before it
    captions = ["a dog", "", " \n ", marks, "a\0b", "\ud800 half", "a => b", "two\nlines"]
    source.write_text("".join(json.dumps({"caption": caption}) + "\n" for caption in captions))
    report = build_cache(source, tmp_path / "cache", ShoutAugmenter())
    assert report.made == 3
    assert report.input.rejections == {"empty": 2, "too-long": 1, "nul": 1, "not-unicode": 1}
    (entry,) = read_manifest(tmp_path / "cache").inputs.values()
    assert entry == {"rows": 8, "rejections": {"empty": 2, "too-long": 1, "nul": 1, "not-unicode": 1}}
    cache = CaptionCache(tmp_path / "cache")
    assert [cache.get(caption) for caption in ("", marks, "a\0b")] == [(), (), ()]
    assert cache.get("two lines") == cache.get("two\nlines") != ()
    assert "\ud800 half" not in cache
    assert read_manifest(tmp_path / "cache").counts.rejections == {}  # none of these was an attempt
    assert verify_cache(tmp_path / "cache") == ([], [])


@pytest.mark.parametrize("caption", ["word " * 900 + "\ud83d", "a dog\0 \ud83d"], ids=["too long", "with a NUL"])
def test_a_lone_surrogate_is_refused_whatever_else_is_wrong(tmp_path, caption):
    source = tmp_path / "in.jsonl"
    source.write_text("".join(json.dumps({"caption": text}) + "\n" for text in ("a cat", caption)))
    report = build_cache(source, tmp_path / "cache", ShoutAugmenter())
    assert (report.made, report.cache.captions) == (1, 1)
    assert report.input.rejections == {"not-unicode": 1}
    assert caption not in CaptionCache(tmp_path / "cache")
    assert verify_cache(tmp_path / "cache") == ([], [])


def test_a_record_that_no_shard_can_hold_does_not_enter_the_journal(tmp_path):
    with CacheWriter(tmp_path / "cache", Config.of(ShoutAugmenter(), 0, 2)) as writer:
        for record in (Outcome("\ud83d", ()), Outcome("a dog", (), image="\ud83d")):
            with pytest.raises(CacheError, match=r"a lone surrogate.*leave it out"):
                writer.add(record)
        writer.add(Outcome("a dog", ()))
        writer.finish()
    assert [record.caption for record in records(tmp_path / "cache")] == ["a dog"]


def test_a_caption_that_is_there_is_not_added_again(tmp_path):
    for run in range(2):
        with CacheWriter(tmp_path / "cache", Config.of(ShoutAugmenter(), 0, 2)) as writer:
            assert writer.new(["a dog", "a cat"]) == [run == 0] * 2
            if run == 0:
                writer.add(Outcome("a dog", ()))
                writer.add(Outcome("a cat", ()))
            for caption in ("a dog", "a  cat"):  # white space makes no other caption
                with pytest.raises(
                    CacheError, match=rf"'{caption}' has a record in .* already, .*; add only what new\(\) calls new"
                ):
                    writer.add(Outcome(caption, (Rewrite("loud", "A CAT"),)))
            writer.finish()
    assert [record.caption for record in records(tmp_path / "cache")] == ["a dog", "a cat"]
    assert verify_cache(tmp_path / "cache") == ([], [])


class Careless(CaptionAugmenter):
    """Answers with texts that no cache may hold, and, if told, out of turn."""

    name, sources = "careless", ("x",)

    def __init__(self, fault: str = "") -> None:
        self.fault = fault

    def augment(self, captions, n, seed):
        raise NotImplementedError

    def outcomes(self, captions, n, seed):
        for caption in captions:
            if self.fault == "silent":
                continue
            texts = (" ", "a\0b", "\ud800", caption + " ", "fine")
            yield Outcome(
                caption,
                (*(Rewrite("x", text) for text in texts), Rewrite("y\ud800", "fine too")),
                (Rejection("y\ud800", "odd \udfff", "a text"),),
            )
            if self.fault:
                yield Outcome(caption if self.fault == "twice" else self.fault, (Rewrite("x", "stray"),))

    def fingerprint(self):
        return "1"


def test_texts_that_no_cache_may_hold_become_named_rejections(tmp_path):
    build_cache(write(tmp_path / "in.txt", "a dog"), tmp_path / "cache", Careless(), n=5)
    record = find(tmp_path / "cache", "a dog")
    assert record.rewrites == (Rewrite("x", "fine"), Rewrite("y\\ud800", "fine too"))
    assert record.rejections[0] == Rejection("y\\ud800", "odd \\udfff", "a text")
    assert [r.reason for r in record.rejections[1:]] == ["empty", "nul", "not-unicode", "unchanged"]
    assert CaptionCache(tmp_path / "cache").get("a dog") == record.rewrites


@pytest.mark.parametrize("fault", ["twice", "a caption nobody asked for", "silent"])
def test_an_augmenter_that_breaks_its_contract_is_refused(tmp_path, fault):
    with pytest.raises(CacheError, match="augmenter's author"):
        build_cache(write(tmp_path / "in.txt", "a dog"), tmp_path / "cache", Careless(fault))


class Flaky(ShoutAugmenter):
    """Its server refuses every caption with a number that is in ``down``."""

    down = ()

    def outcomes(self, captions, n, seed):
        for outcome in super().outcomes(captions, n, seed):
            if outcome.caption.split()[-1] in self.down:
                outcome = Outcome(outcome.caption, (), failed="server refused")
            yield outcome


def test_a_failure_of_the_surroundings_is_no_result(tmp_path):
    source, augmenter = write(tmp_path / "in.txt", *(f"photo {i}" for i in range(6))), Flaky()
    augmenter.down = ("2", "4")
    report = build_cache(source, tmp_path / "cache", augmenter)
    assert (report.made, report.failed) == (4, {"server refused": 2})
    (line,) = [line for line in report.lines() if "server refused" in line]
    assert "2 captions" in line
    assert "'photo 2'; 'photo 4'" in line
    assert "photo 2" not in CaptionCache(tmp_path / "cache")
    assert read_manifest(tmp_path / "cache").counts.captions == 4
    augmenter.down = ()
    report = build_cache(source, tmp_path / "cache", augmenter)
    assert (report.made, report.repeated, report.cache.captions) == (2, 4, 6)
    assert CaptionCache(tmp_path / "cache").get("photo 2")
    assert not report.failed


class Served(ShoutAugmenter):
    """Made by a server at some address, with some engine."""

    def __init__(self, address, **options):
        super().__init__(**options)
        self.address = address

    def provenance(self):
        return {"address": self.address, "engine": {"version": self.address[-1]}}


def test_another_address_or_engine_goes_on_with_the_same_cache(tmp_path):
    cache = tmp_path / "cache"
    build_cache(write(tmp_path / "a.txt", "a dog", "a cat"), cache, Served("http://one:1"), shard_rows=1)
    build_cache(write(tmp_path / "b.txt", "a cow"), cache, Served("http://two:2"))
    manifest = read_manifest(cache)
    assert [shard.made_by for shard in manifest.shards] == [[0], [0], [1]]
    assert [run["address"] for run in manifest.runs] == ["http://one:1", "http://two:2"]
    assert [run["engine"] for run in manifest.runs] == [{"version": "1"}, {"version": "2"}]
    assert manifest.runs[0]["versions"]["laclip-aug"]
    assert len(manifest.configs) == 1


def test_a_mix_is_recorded_where_it_is_wanted(tmp_path):
    cache, source = tmp_path / "cache", write(tmp_path / "b.txt", "a cow")
    build_cache(write(tmp_path / "a.txt", "a dog"), cache, ShoutAugmenter())
    with pytest.raises(CacheMismatchError, match="--allow-mixed"):
        build_cache(source, cache, ShoutAugmenter(mark="?"), seed=1)
    build_cache(source, cache, ShoutAugmenter(mark="?"), seed=1, allow_mixed=True)
    manifest = read_manifest(cache)
    assert [config.seed for config in manifest.configs] == [0, 1]
    assert [run["config"] for run in manifest.runs] == [0, 1]
    build_cache(write(tmp_path / "c.txt", "a hen"), cache, ShoutAugmenter(mark="?"), seed=1)  # it is one of them now
    assert len(CaptionCache(cache)) == 3
    assert verify_cache(cache) == ([], [])


def test_a_first_run_that_failed_refuses_no_other(tmp_path):
    source, cache = tmp_path / "in.csv", tmp_path / "cache"
    source.write_text("words\na dog\n")
    with pytest.raises(InputError, match="captoin"):
        build_cache(source, cache, ShoutAugmenter(), options=InputOptions(caption_key="captoin"))
    assert not cache.exists()

    class Broken(ShoutAugmenter):
        def outcomes(self, captions, n, seed):
            raise ModelError("no such model")

    cache.mkdir()  # made by the user: it stays
    with pytest.raises(ModelError):
        build_cache(source, cache, Broken(), options=InputOptions(caption_key="words"))
    assert build_cache(source, cache, ShoutAugmenter(mark="?"), options=InputOptions(caption_key="words")).made == 1


def test_another_configuration_is_refused_with_the_differences(tmp_path):
    source = write(tmp_path / "in.txt", "a dog")
    build_cache(source, tmp_path / "cache", ShoutAugmenter(), seed=1)
    before = (tmp_path / "cache" / "manifest.json").read_bytes()
    with pytest.raises(CacheMismatchError) as caught:
        build_cache(source, tmp_path / "cache", ShoutAugmenter(mark="?"), seed=2, n=3)
    for difference in ("seed: 1 there, 2", "n: 2 there, 3", "mark: '!' there, '?'", "another --cache directory"):
        assert difference in str(caught.value)
    nested = ShoutAugmenter(mark="?")
    nested.describe = lambda: {"model": {"sha256": "abc", "name": "x"}}  # type: ignore[method-assign]
    with pytest.raises(CacheMismatchError, match=r"model\.sha256: None there, 'abc' asked for"):
        build_cache(source, tmp_path / "cache", nested, seed=1)
    assert (tmp_path / "cache" / "manifest.json").read_bytes() == before


def test_directories_that_are_no_cache_are_refused(tmp_path):
    source = write(tmp_path / "in.txt", "a dog")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "dog.jpg").write_bytes(b"")
    with pytest.raises(CacheFormatError, match="neither empty nor a rewrite cache"):
        build_cache(source, tmp_path / "photos", ShoutAugmenter())
    assert [p.name for p in (tmp_path / "photos").iterdir() if p.name != "lock"] == ["dog.jpg"]
    with pytest.raises(CacheFormatError, match="is a file"):
        build_cache(source, source, ShoutAugmenter())
    with pytest.raises(CacheFormatError, match="no rewrite cache"):
        CaptionCache(tmp_path / "absent")
    (tmp_path / "photos" / "manifest.json").write_text('{"format": "photo album"}')
    with pytest.raises(CacheFormatError, match="not the manifest"):
        CaptionCache(tmp_path / "photos")


def test_an_address_is_no_cache_however_it_is_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    build_cache(write(tmp_path / "in.txt", "a dog"), tmp_path / "cache", ShoutAugmenter())
    here = set(tmp_path.iterdir())
    uses = [
        CaptionCache,
        verify_cache,
        repair_cache,
        compile_cache,
        read_manifest,
        report_of,
        CachedAugmenter,
        lambda place: CacheWriter(place, Config.of(ShoutAugmenter(), 0, 1)),
        lambda place: build_cache("in.txt", place, ShoutAugmenter()),
        lambda place: import_cache("in.txt", place, ImportForm()),
        lambda place: filter_cache(place, "out", "none"),
        lambda place: filter_cache("cache", place, "none"),
        lambda place: sweep(place, "kept>=0.5"),
    ]
    for use in uses:
        with pytest.raises(CacheError, match="s3://bucket/cache is an address; name a local directory"):
            use("s3://bucket/cache")
        with pytest.raises(CacheError, match="is an address"):
            use(Path("hf://somebody/cache"))
    with pytest.raises(ConfigurationError, match=r"aws s3 cp - s3://bucket/out\.jsonl"):
        export([], "s3://bucket/out.jsonl")
    assert set(tmp_path.iterdir()) == here


def test_another_format_version_is_refused(tmp_path):
    source = write(tmp_path / "in.txt", "a dog")
    build_cache(source, tmp_path / "cache", ShoutAugmenter())
    manifest = tmp_path / "cache" / "manifest.json"
    sound = manifest.read_text()
    for version, text in (
        (1, json.dumps({"format": "laclip-aug cache", "format_version": 1, "lookup": None})),  # had no checksum
        (99, json.dumps({"format": "laclip-aug cache", "format_version": 99})),
    ):
        manifest.write_text(text)
        for use in (CaptionCache, lambda path: build_cache(source, path, ShoutAugmenter()), verify_cache):
            with pytest.raises(CacheFormatError, match=f"format version {version}, this .* reads versions 2 to 4; use"):
                use(tmp_path / "cache")
    for text in (sound[:100], sound.replace('"rows": 1', '"rows": 2'), sound.replace('"checksum"', '"checksun"')):
        manifest.write_text(text)
        with pytest.raises(CacheCorruptError, match="cache repair"):
            read_manifest(tmp_path / "cache")
    manifest.write_bytes(sound.encode()[:50] + b"\xff" + sound.encode()[51:])
    with pytest.raises(CacheCorruptError, match="damaged"):
        read_manifest(tmp_path / "cache")


def test_lookup_of_many_buckets_equals_that_of_one(tmp_path):
    source = write(tmp_path / "in.txt", *(f"photo {i} {'x' * (i * 37 % 5000)}" for i in range(300)))
    build_cache(source, tmp_path / "cache", ShoutAugmenter(), max_caption_chars=10_000, shard_rows=70)
    directory = tmp_path / "cache"
    manifest = read_manifest(directory)
    content = {path.name: path.read_bytes() for path in directory.glob("lookup-*")}
    compile_lookup(directory, manifest, whole=True, bucket_records=13)
    assert not list(directory.glob("*.tmp"))
    assert {path.name: path.read_bytes() for path in directory.glob("lookup-*")} == content
    assert verify_cache(directory) == ([], [])


def test_shards_are_sorted_by_key(tmp_path):
    build_cache(write(tmp_path / "in.txt", *map(str, range(50))), tmp_path / "cache", ShoutAugmenter())
    (shard,) = read_manifest(tmp_path / "cache").shards
    keys = list(read_keys(tmp_path / "cache", shard))
    assert keys == sorted(keys)
    assert len(set(keys)) == 50


def test_browsing(tmp_path):
    build_cache(
        write(tmp_path / "in.txt", *(f"photo {i}" for i in range(20))),
        tmp_path / "cache",
        ShoutAugmenter(),
        shard_rows=6,
    )
    directory = tmp_path / "cache"
    everything = records(directory)
    assert head(directory, 8) == everything[:8]
    assert head(directory, 99) == everything
    drawn = sample(directory, 5, seed=1)
    assert len({record.caption for record in drawn}) == 5
    assert drawn == sample(directory, 5, seed=1)
    assert sample(directory, 99, seed=1) == everything
    assert find(directory, " photo  7").caption == "photo 7"
    assert find(directory, "photo 99") is None


def test_describe_may_hold_anything_json_cannot(tmp_path):
    augmenter = ShoutAugmenter()
    augmenter.describe = lambda: {"path": tmp_path}  # type: ignore[method-assign]
    assert Config.of(augmenter, 0, 1).describe == {"path": str(tmp_path)}


def test_the_progress_bar_tells_rates_acceptance_and_what_is_left(tmp_path, capsys):
    source = write(tmp_path / "in.txt", *(f"photo {i}" for i in range(30)), "hopeless")
    build_cache(source, tmp_path / "cache", ShoutAugmenter(delay=0.06), progress=True)
    shown = capsys.readouterr().err
    assert "31/31" in shown
    assert "97% accepted" in shown  # 60 of 62
    for unit in ("captions/s", "tokens/s", "left"):
        assert unit in shown


def test_no_fewer_than_no_rows_are_done(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(Progress, "show", lambda self, rows, *_: seen.append(rows))
    table = write(
        tmp_path / "in.jsonl", *(json.dumps({"r": [f"photo {i}", f"shot {i}", f"view {i}"]}) for i in range(9))
    )
    import_cache(table, tmp_path / "imported", ImportForm(list_key="r"))  # 27 captions in 9 rows
    assert min(seen) == 0 and max(seen) == 9


def test_a_log_gets_lines_from_the_first_seconds_and_no_control_characters(tmp_path, capsys, monkeypatch):
    source = write(tmp_path / "in.txt", *(f"photo {i}" for i in range(30)))
    build_cache(source, tmp_path / "short", ShoutAugmenter())
    assert capsys.readouterr().err == ""  # it was done before anybody could look

    monkeypatch.setattr("laclip_aug.cache.bar._FIRST_LINES", (0.3, 0.6))
    build_cache(source, tmp_path / "long", ShoutAugmenter(delay=0.05))
    lines = capsys.readouterr().err.split("\n")
    assert len(lines) == 4 and lines[-1] == ""  # two on the way, one at the end
    assert all(line.startswith("build: ") and "captions/s" in line and line.isprintable() for line in lines[:-1])
    assert "build: 30 rows of about 30 (100%)" in lines[-2]


def test_what_clip_reads_as_nothing_gets_no_rewrite_and_keeps_its_key(tmp_path):
    source = write(tmp_path / "in.txt", "salt &amp; pepper", "&nbsp;", "&amp;nbsp;", "nan", "?")
    report = build_cache(source, tmp_path / "cache", ShoutAugmenter())
    assert report.input.rejections == {"empty": 2, "missing": 1}
    cache = CaptionCache(tmp_path / "cache")
    assert all(cache.get(caption) == () for caption in ("&nbsp;", "&amp;nbsp;", "nan"))
    assert cache.get("salt &amp; pepper") and cache.get("salt & pepper") is None


def test_a_build_that_passes_over_what_it_has_says_nothing_of_acceptance(tmp_path):
    source = write(tmp_path / "in.txt", "a cat", "a dog")
    build_cache(source, tmp_path / "cache", ShoutAugmenter(), progress=False)
    ticks, out = count(), io.StringIO()
    progress = Progress(None, clock=lambda: 3.0 * next(ticks), stream=out)
    assert build_cache(source, tmp_path / "cache", ShoutAugmenter(), progress=progress).made == 0
    assert "build: 2 rows of about 2 (100%), 0.0 captions/s" in out.getvalue()
    assert "accepted" not in out.getvalue()
