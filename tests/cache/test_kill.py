"""Real processes killed at every change that they make to a file: nothing acknowledged is lost, nothing comes twice."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from unittest import mock

import faiss
import pytest
from shouting import ShoutAugmenter

from laclip_aug.augmenter import Outcome
from laclip_aug.cache import build as build_module
from laclip_aug.cache import writer
from laclip_aug.cache.add import add_texts
from laclip_aug.cache.browse import records
from laclip_aug.cache.build import build_cache
from laclip_aug.cache.filter import filter_cache
from laclip_aug.cache.folding import leader_of
from laclip_aug.cache.format import UNFINISHED, read_manifest
from laclip_aug.cache.ingest import import_cache
from laclip_aug.cache.lookup import CaptionCache
from laclip_aug.cache.merge import merge_caches
from laclip_aug.cache.part import Part
from laclip_aug.cache.repair import compile_cache, repair_cache
from laclip_aug.cache.verify import verify_cache
from laclip_aug.exchange.import_form import ImportForm

OLD = [f"photo {i}" for i in range(12)]
NEW = [f"picture {i}" for i in range(8)]
CHANGES = {
    os: ("write", "pwrite", "fsync", "ftruncate", "link"),
    Path: ("replace", "unlink", "mkdir", "rmdir", "open"),
}


def build(cache: Path, captions: list[str]) -> None:
    source = cache.with_suffix(".txt")
    source.write_text("\n".join(captions))
    build_cache(source, cache, ShoutAugmenter(), shard_rows=5, progress=False)


def extend(cache: Path) -> None:
    build(cache, [*OLD, *NEW])


def start(cache: Path) -> None:
    build(cache, OLD)


def load(cache: Path) -> None:
    source = cache.with_suffix(".jsonl")
    source.write_text("".join(f'{{"caption": "{text}", "x": "{text.upper()}"}}\n' for text in OLD))
    import_cache(source, cache, ImportForm(rewrite_keys=("x",)))


def nothing(cache: Path) -> None:
    pass


def unfinished(cache: Path) -> None:
    """Three shards, two records in the journal, no look-up."""
    config = writer.Config.of(ShoutAugmenter(), 0, 2)
    with writer.CacheWriter(cache, config, shard_rows=5) as open_writer:
        for caption in OLD:
            open_writer.new([caption])
            open_writer.add(next(ShoutAugmenter().outcomes([caption], 2, 0)))


def damaged(cache: Path) -> None:
    """A flipped bit in a shard, a shard that is gone, and one in the look-up."""
    start(cache)
    first, second, _ = sorted(cache.glob("shard-*"))
    (table,) = cache.glob("lookup-*")
    for path in (first, table):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    second.unlink()


def parts(cache: Path) -> None:
    """Beside the cache: three parts of a build, and a cache that shares captions with them."""
    source = cache.with_suffix(".txt")
    source.write_text("\n".join([*OLD, *NEW]))
    for index in range(3):
        place = cache.with_name(f"part{index}")
        build_cache(source, place, ShoutAugmenter(), shard_rows=3, progress=False, part=Part(index, 3))
    source.write_text("\n".join([*OLD[:3], "another", "and one more"]))
    build_cache(source, cache.with_name("others"), ShoutAugmenter(), progress=False)


def merge(cache: Path) -> None:
    merge_caches([cache.with_name(name) for name in ("part1", "part0", "part2", "others")], cache, progress=False)


def merged_before(cache: Path) -> None:
    """Two of these parts are merged; since then, one has grown."""
    parts(cache)
    merge_caches([cache.with_name(name) for name in ("part1", "part0")], cache, progress=False)
    source = cache.with_suffix(".txt")
    source.write_text("\n".join([*OLD, *NEW, *(f"later {i}" for i in range(9))]))
    build_cache(source, cache.with_name("part0"), ShoutAugmenter(), shard_rows=3, progress=False, part=Part(0, 3))


def merge_again(cache: Path) -> None:
    merge_caches([cache.with_name(name) for name in ("others", "part0", "part1", "part2")], cache, progress=False)


def one_source(cache: Path) -> None:
    source = cache.with_suffix(".jsonl")
    source.write_text("".join(f'{{"caption": "{text}", "x": "{text.upper()} on"}}\n' for text in OLD))
    import_cache(source, cache.with_name("given"), ImportForm(rewrite_keys=("x",)))


def add(cache: Path) -> None:
    add_texts(cache.with_name("given"), cache, ShoutAugmenter(), progress=False)


def filtered(cache: Path) -> None:
    filter_cache(cache.with_name("given"), cache, "novelty>=0.1", progress=False)


LIKE = ["A dog runs on the beach", "two boats", "a dog runs on the beach.", "a red car", "Two boats!", "a blue car"]
LATER = ["a dog, runs on the beach", "A RED CAR", "two boats", "three boats", "a house", "Three boats.", "a house!"]


def fold(cache: Path, captions: list[str]) -> None:
    """In slabs of four captions, so that some fold onto a leader whose rewrites were stored before they came."""
    source = cache.with_suffix(".txt")
    source.write_text("\n".join(captions))
    with mock.patch.object(build_module, "CHUNK", 4):
        build_cache(source, cache, ShoutAugmenter(), shard_rows=3, progress=False, fold=0.98)


def fold_first(cache: Path) -> None:
    fold(cache, LIKE)


def fold_all(cache: Path) -> None:
    fold(cache, [*LIKE, *LATER])


def fold_later(cache: Path) -> None:
    """Captions that were folded before come first: they lead nothing."""
    fold(cache, [*reversed(LIKE), *LATER])


def killed_at(number: int, work, cache: Path, acknowledged: Path) -> bool:
    """Run ``work`` in a child that is killed before its change ``number``, a write half way; False without so many."""
    child = os.fork()
    if child == 0:
        try:
            log = os.open(acknowledged, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            write, calls = os.write, 0

            def deadly(name, original):
                def call(*args, **kwargs):
                    nonlocal calls
                    calls += name != "open" or "w" in str(args[1:])
                    if calls == number:
                        if name in ("write", "pwrite"):
                            original(args[0], bytes(args[1])[: len(args[1]) // 2], *args[2:])
                        os.kill(os.getpid(), signal.SIGKILL)
                    return original(*args, **kwargs)

                return call

            add = writer.CacheWriter.add

            def acknowledging(self, record):
                add(self, record)
                write(log, (record.caption + "\n").encode())

            writer.CacheWriter.add = acknowledging
            for owner, names in CHANGES.items():
                for name in names:
                    setattr(owner, name, deadly(name, getattr(owner, name)))
            work(cache)
            os._exit(0)
        finally:
            os._exit(1)
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL)
    return status == signal.SIGKILL


@pytest.mark.parametrize(
    ("before", "work", "least", "whole_input"),
    [
        pytest.param(nothing, start, 40, True, id="build"),
        pytest.param(start, extend, 25, True, id="extension"),
        pytest.param(nothing, load, 30, True, id="import"),
        pytest.param(parts, merge, 25, True, id="merge"),
        pytest.param(merged_before, merge_again, 25, True, id="merge again"),
        pytest.param(one_source, add, 30, True, id="add-strategy"),
        pytest.param(one_source, filtered, 20, True, id="filter"),
        pytest.param(nothing, fold_all, 50, True, id="fold"),
        pytest.param(fold_first, fold_later, 40, True, id="fold-extension"),
        pytest.param(unfinished, compile_cache, 10, False, id="compile"),
        pytest.param(damaged, repair_cache, 15, False, id="repair"),
    ],
)
def test_killed_at_every_change(tmp_path, before, work, least, whole_input):
    faiss.omp_set_num_threads(1)  # more threads would not survive the fork
    before(tmp_path / "before")
    whole = tmp_path / "whole"
    if (tmp_path / "before").exists():
        shutil.copytree(tmp_path / "before", whole)
        first = next(iter(records(whole))).caption if before is not damaged else ""
    work(whole)
    expected = {record.caption: record for record in records(whole)}
    assert len(expected) >= 6
    number, cache, acknowledged = 1, tmp_path / "cache", tmp_path / "acknowledged"
    while True:
        shutil.rmtree(cache, ignore_errors=True)
        if (tmp_path / "before").exists():
            shutil.copytree(tmp_path / "before", cache)
        if not killed_at(number, work, cache, acknowledged):
            break
        stored = acknowledged.read_text().splitlines()
        if stored:
            assert set(stored) <= {record.caption for record in records(cache)}, number
        if before in (start, merged_before):  # trainers can go on, and start, at any moment
            assert CaptionCache(cache).get(first), number
        work(cache)
        found = list(records(cache))
        assert len(found) == len(expected), number
        assert {record.caption: record for record in found} == expected, number
        # what is not yet there is named, whatever the look-up holds
        assert verify_cache(cache, progress=False) == ([], [] if whole_input else [UNFINISHED]), number
        lookup = CaptionCache(cache)
        assert all(lookup.get(caption) == record.rewrites for caption, record in expected.items()), number
        left = {path.name.split("-")[0].split(".")[-1] for path in cache.iterdir()}
        assert left <= {"lock", "json", "shard", "lookup", "damaged"}, number
        number += 1
    assert number > least  # the kills did happen


@pytest.mark.parametrize(("at", "lost"), [pytest.param(40, 1, id="a key"), pytest.param(-1, 5, id="the file's end")])
def test_a_repair_that_is_killed_and_run_again_keeps_the_damaged_shard(tmp_path, at, lost):
    start(tmp_path / "before")
    shard = tmp_path / "before" / "shard-000000.parquet"
    content = bytearray(shard.read_bytes())
    content[at] ^= 1
    shard.write_bytes(content)
    number, cache = 1, tmp_path / "cache"
    while True:
        shutil.copytree(tmp_path / "before", cache)
        killed = killed_at(number, repair_cache, cache, tmp_path / "acknowledged")
        repair_cache(cache)
        assert len(list(records(cache))) == 12 - lost, number
        kept = {path.name: path.read_bytes() for path in cache.glob("damaged-*")}
        assert kept == {"damaged-shard-000000.parquet": bytes(content)}, number
        if not killed:
            break
        shutil.rmtree(cache)
        number += 1
    assert number > 15  # the kills did happen


def test_folding_builds_fold_within_a_slab_and_across(tmp_path):
    fold_all(tmp_path / "one")
    leaders = {record.caption: leader_of(record) for record in records(tmp_path / "one")}
    assert {caption: leader for caption, leader in leaders.items() if leader} == {
        "a dog runs on the beach.": LIKE[0],
        "a dog, runs on the beach": LIKE[0],
        "Two boats!": "two boats",
        "A RED CAR": "a red car",
        "Three boats.": "three boats",
        "a house!": "a house",
    }


def test_an_unfinished_cache_says_so(tmp_path):
    unfinished(tmp_path / "cache")
    damage, sentences = verify_cache(tmp_path / "cache")
    assert damage == []
    assert any("journal holds 2 captions" in sentence and "same build again" in sentence for sentence in sentences)
    assert any("no look-up" in sentence for sentence in sentences)
    assert len(list(records(tmp_path / "cache"))) == 12
    assert sum(table.records for table in compile_cache(tmp_path / "cache").tables) == 12
    assert CaptionCache(tmp_path / "cache").get("photo 11")
    assert verify_cache(tmp_path / "cache") == ([], [UNFINISHED])
    extend(tmp_path / "cache")
    assert len(CaptionCache(tmp_path / "cache")) == 20
    assert verify_cache(tmp_path / "cache") == ([], [])


def test_a_build_that_finds_all_there_ends_an_unfinished_one(tmp_path):
    unfinished(tmp_path / "cache")
    compile_cache(tmp_path / "cache")
    start(tmp_path / "cache")
    assert verify_cache(tmp_path / "cache") == ([], [])


def test_a_file_is_on_the_disk_before_it_takes_its_name(tmp_path, monkeypatch):
    """What a power cut leaves cannot be seen here; the order of the calls can."""
    calls: list[tuple[str, str]] = []
    fsync, replace = os.fsync, Path.replace

    def name_of(handle: int) -> str:
        return Path(f"/proc/self/fd/{handle}").resolve().name

    monkeypatch.setattr(os, "fsync", lambda handle: (calls.append(("fsync", name_of(handle))), fsync(handle))[1])
    monkeypatch.setattr(
        Path, "replace", lambda self, target: (calls.append(("replace", self.name)), replace(self, target))[1]
    )
    start(tmp_path / "cache")
    renamed = [name for call, name in calls if call == "replace"]
    assert {name.split("-")[0].split(".")[0] for name in renamed} == {"manifest", "shard", "lookup"}
    for number, (call, name) in enumerate(calls):
        if call == "replace":
            assert calls[number - 1] == ("fsync", name)
            assert calls[number + 1] == ("fsync", "cache")


def test_files_of_a_later_state_are_refused(tmp_path):
    start(tmp_path / "cache")
    manifest = (tmp_path / "cache" / "manifest.json").read_bytes()
    extend(tmp_path / "cache")
    journal = tmp_path / "cache" / "journal-000009"
    journal.write_bytes(b"")
    for path in (journal, tmp_path / "cache" / "shard-000003.parquet"):
        before = {p.name: p.read_bytes() for p in (tmp_path / "cache").iterdir()}
        with pytest.raises(writer.CacheCorruptError, match=f"{path.name} belongs to a later state.*cache repair"):
            start(tmp_path / "cache")
        assert {p.name: p.read_bytes() for p in (tmp_path / "cache").iterdir() if p.name != "lock"} | {
            "lock": before["lock"]
        } == before
        assert any(path.name in sentence for sentence in verify_cache(tmp_path / "cache")[0])
        journal.unlink(missing_ok=True)
        (tmp_path / "cache" / "manifest.json").write_bytes(manifest)  # as restored from an old copy
    said = repair_cache(tmp_path / "cache")
    assert any("was not in the manifest" in sentence for sentence in said)
    assert {record.caption for record in records(tmp_path / "cache")} == {*OLD, *NEW}
    assert verify_cache(tmp_path / "cache") == ([], [])


@pytest.mark.parametrize(
    ("rows", "limit", "stopped_in"),
    [(120, 3000, "journal-000000"), (10, 2600, "shard-000000"), (40, 7000, "lookup-")],
)
def test_a_full_disk_is_an_error_that_a_second_run_survives(tmp_path, plugin_environment, rows, limit, stopped_in):
    code = (
        "import resource, signal, sys; from shouting import ShoutAugmenter\n"
        "from laclip_aug.cache.build import build_cache; from laclip_aug.errors import CacheError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # then a write beyond the limit is an OSError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]),) * 2)\n"
        "try: build_cache(sys.argv[1], sys.argv[2], ShoutAugmenter(), shard_rows=int(sys.argv[4]))\n"
        "except CacheError as error: print(error); sys.exit(9)"
    )
    source, cache = tmp_path / "in.txt", tmp_path / "cache"
    source.write_text("\n".join(f"photo {i}" for i in range(120)))
    full = subprocess.run(
        [sys.executable, "-c", code, source, cache, str(limit), str(rows)],
        env=plugin_environment,
        capture_output=True,
        text=True,
    )
    assert full.returncode == 9, full.stderr
    assert stopped_in in full.stdout
    assert "free some space" in full.stdout
    assert build_cache(source, cache, ShoutAugmenter()).cache.captions == 120
    assert verify_cache(cache) == ([], [])


def test_what_an_augmenter_settled_before_it_broke_is_kept(tmp_path):
    class Breaks(ShoutAugmenter):
        def outcomes(self, captions, n, seed):
            for number, outcome in enumerate(super().outcomes(captions, n, seed)):
                if number == 7:
                    raise ConnectionError("the server went away")
                yield outcome

    (tmp_path / "in.txt").write_text("\n".join(OLD))
    with pytest.raises(ConnectionError):
        build_cache(tmp_path / "in.txt", tmp_path / "cache", Breaks(), shard_rows=5)
    assert [type(record) for record in records(tmp_path / "cache")] == [Outcome] * 7
    assert build_cache(tmp_path / "in.txt", tmp_path / "cache", ShoutAugmenter(), shard_rows=5).made == 5
    assert len(read_manifest(tmp_path / "cache").shards) == 3
