"""Bits flipped in every file of a cache: no wrong text is ever served, and no caption is lost without being named."""

import contextlib
import io
import os
import random
import shutil
import struct
from itertools import combinations, pairwise

import pyarrow.parquet as pq
import pytest
from shouting import ShoutAugmenter

from laclip_aug.augmenter import Outcome, Rejection, Rewrite
from laclip_aug.cache.browse import records
from laclip_aug.cache.build import build_cache
from laclip_aug.cache.config import Config
from laclip_aug.cache.format import UNFINISHED
from laclip_aug.cache.journal import Journal, read_journal
from laclip_aug.cache.keys import caption_key
from laclip_aug.cache.lookup import CaptionCache
from laclip_aug.cache.repair import compile_cache, repair_cache
from laclip_aug.cache.table import Table, write_table
from laclip_aug.cache.verify import verify_cache
from laclip_aug.cache.writer import CacheWriter
from laclip_aug.cli import main
from laclip_aug.errors import CacheError

FLIPS = 250
OLD = [f"photo {i}" for i in range(40)]
ALL = [*OLD, *(f"picture {i}" for i in range(15)), "hopeless", "reject me"]
EXPECTED = {outcome.caption: outcome for outcome in ShoutAugmenter().outcomes(ALL, 2, 0)}


@pytest.fixture(autouse=True)
def disk_that_does_not_wait(monkeypatch):
    """Thousands of caches are written here; that each is flushed to the disk is tested with the kills."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


def build(directory, captions):
    source = directory.with_suffix(".txt")
    source.write_text("\n".join(captions))
    return build_cache(source, directory, ShoutAugmenter(), shard_rows=100, progress=False)


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A cache of two tables, and a copy with a build under way: a journal that no shard has yet."""
    finished = tmp_path_factory.mktemp("sound") / "cache"
    build(finished, OLD)
    build(finished, ALL[:45])
    under_way = finished.with_name("under_way")
    shutil.copytree(finished, under_way)
    with CacheWriter(under_way, Config.of(ShoutAugmenter(), 0, 2), shard_rows=100) as writer:
        for caption in ALL[45:]:
            writer.new([caption])
            writer.add(EXPECTED[caption])
    return {"finished": finished, "under way": under_way}


def damaged(sound, target, rng, flips):
    """``target`` as a copy of ``sound`` with one bit of each file flipped in turn, ``flips`` times a file."""
    for path in sorted(sound.iterdir()):
        content = path.read_bytes()
        for _ in range(flips if path.name != "lock" else 3):
            if not target.exists():
                shutil.copytree(sound, target)
            changed = bytearray(content)
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
            (target / path.name).write_bytes(changed)
            yield path.name
            if target.exists():
                (target / path.name).write_bytes(content)


def read_all(directory, captions):
    """The captions a trainer is refused, after checking that all others get what they should."""
    try:
        cache = CaptionCache(directory)
    except CacheError:
        return captions
    refused = []
    for caption in captions:
        try:
            assert cache.get(caption) == EXPECTED[caption].rewrites
        except CacheError:
            refused.append(caption)
    return refused


@pytest.mark.parametrize("state", ["finished", "under way"])
def test_flipped_bits(sound, tmp_path, state):
    directory, stored = tmp_path / "cache", ALL[:45] if state == "finished" else ALL
    for number, name in enumerate(damaged(sound[state], directory, random.Random(7), FLIPS)):
        named = name == "lock"
        refused = read_all(directory, ALL[:45])
        named |= bool(refused)
        try:
            found = list(records(directory))
            assert all(EXPECTED[record.caption] == record for record in found), name
            lost = set(stored) - {record.caption for record in found}
        except CacheError:
            lost, named = set(stored), True
        try:
            sentences = verify_cache(directory, progress=False)[0]
            named |= bool(sentences)
        except CacheError:
            sentences = ["named"]
        assert named, name  # each bit counts
        assert sentences or name == "lock", name
        assert not lost or sentences, name
        # what is derived from a damaged file is right, or is not made
        if number % 10 == 0:
            try:
                compile_cache(directory)
            except CacheError:
                pass
            else:
                assert len(CaptionCache(directory)) == len(stored)
                assert read_all(directory, stored) == []
            shutil.rmtree(directory)


@pytest.mark.parametrize("state", ["finished", "under way"])
def test_repair_and_build_bring_everything_back(sound, tmp_path, state):
    directory, stored = tmp_path / "cache", set(ALL[:45] if state == "finished" else ALL)
    for name in damaged(sound[state], directory, random.Random(11), FLIPS // 10):
        said = repair_cache(directory)
        kept = {record.caption: record for record in records(directory)}
        assert all(EXPECTED[caption] == record for caption, record in kept.items()), name
        if name.startswith(("manifest", "lookup", "lock")):
            assert set(kept) == stored, name
        lost = len(stored) - len(kept)
        missing = lost or state == "under way" or name.startswith("manifest")  # which knew of the build's end
        assert lost <= (1 if name.startswith("journal") else 40)
        if lost:
            assert any(f"{lost} of " in sentence or f"{lost} records lost" in sentence for sentence in said), (
                name,
                said,
            )
        assert verify_cache(directory, progress=False) == ([], [UNFINISHED] if missing else []), name
        assert read_all(directory, list(kept)) == []
        report = build(directory, ALL)
        assert report.made == len(ALL) - len(kept)
        assert {record.caption: record for record in records(directory)} == EXPECTED
        assert verify_cache(directory, progress=False) == ([], [])
        assert read_all(directory, ALL) == []
        shutil.rmtree(directory)


def test_repair_keeps_the_sound_rows_of_a_shard_and_the_damaged_file(tmp_path):
    directory = tmp_path / "cache"
    captions = [f"photo {i}" for i in range(5000)]  # more than one group of rows
    source = tmp_path / "in.txt"
    source.write_text("\n".join(captions))
    build_cache(source, directory, ShoutAugmenter(), progress=False)
    (shard,) = directory.glob("shard-*")
    content, file = bytearray(shard.read_bytes()), pq.ParquetFile(shard)
    content[500] ^= 1  # in the keys of the first group, which do not compress
    content[file.metadata.row_group(1).column(1).data_page_offset + 100] ^= 1  # in the captions of the second, which do
    shard.write_bytes(content)
    for use in (lambda: build(directory, ALL), lambda: compile_cache(directory), lambda: list(records(directory))):
        with pytest.raises(CacheError, match=r"shard-000000\.parquet is damaged.*cache repair"):
            use()
    assert CaptionCache(directory).get("photo 77")  # the look-up has nothing to do with it
    (sentence,) = repair_cache(directory)
    assert "2 of 5000 captions lost, 4998 kept" in sentence
    assert (directory / "damaged-shard-000000.parquet").read_bytes() == content
    assert build_cache(source, directory, ShoutAugmenter(), progress=False).made == 2
    assert verify_cache(directory, progress=False) == ([], [])


def test_each_damage_to_a_shard_leaves_a_copy_of_its_own(sound, tmp_path):
    directory = tmp_path / "cache"
    shutil.copytree(sound["finished"], directory)
    shard, copies = directory / "shard-000000.parquet", {}
    for name in ("damaged-shard-000000.parquet", "damaged-2-shard-000000.parquet", "damaged-3-shard-000000.parquet"):
        content = bytearray(shard.read_bytes())
        content[40] ^= 1  # in a key
        shard.write_bytes(content)
        copies[name] = bytes(content)
        assert "1 of " in repair_cache(directory)[0]
        assert {path.name: path.read_bytes() for path in directory.glob("damaged-*")} == copies


def test_repair_makes_a_lost_manifest_anew(sound, tmp_path):
    directory = tmp_path / "cache"
    shutil.copytree(sound["under way"], directory)
    before = CaptionCache(directory).manifest
    (directory / "manifest.json").unlink()
    with pytest.raises(CacheError, match="cache repair"):
        build(directory, ALL)
    said = repair_cache(directory)
    assert "manifest.json is missing" in said[0]
    manifest = CaptionCache(directory).manifest
    assert (manifest.configs, manifest.runs) == (before.configs, before.runs)
    assert {record.caption: record for record in records(directory)} == EXPECTED
    assert verify_cache(directory, progress=False) == ([], [UNFINISHED])  # nothing tells whether it was
    assert build(directory, ALL).made == 0
    assert verify_cache(directory, progress=False) == ([], [])


def test_repair_of_what_is_no_cache_or_sound(sound, tmp_path):
    with pytest.raises(CacheError, match="is no rewrite cache"):
        repair_cache(tmp_path)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "manifest.json").write_text("{")
    with pytest.raises(CacheError, match=r"nothing else is stored.*delete it"):
        repair_cache(tmp_path / "empty")
    directory = tmp_path / "cache"
    shutil.copytree(sound["finished"], directory)
    before = {path.name: path.read_bytes() for path in directory.iterdir() if path.name != "lock"}
    assert repair_cache(directory) == []
    assert {path.name: path.read_bytes() for path in directory.iterdir() if path.name != "lock"} == before


def test_a_build_names_what_the_journal_lost_and_makes_it_again(sound, tmp_path):
    directory = tmp_path / "cache"
    shutil.copytree(sound["under way"], directory)
    journal = next(directory.glob("journal-*"))
    content = journal.read_bytes()
    journal.write_bytes(content.replace(b'"PICTURE 9 ', b'"PICTURE 8 '))
    with pytest.raises(CacheError, match="picture 9"):
        compile_cache(directory)
    report = build(directory, ALL)
    (sentence,) = [line for line in report.lines() if "damaged" in line]
    assert "1 records lost, such as 'picture 9'; they are made again" in sentence
    assert report.made == 1
    assert {record.caption: record for record in records(directory)} == EXPECTED


def held_by_the_journal(directory, *held):
    """A cache of one shard, whose journal has the records ``held`` between two sound ones, as it could come about."""
    build(directory, OLD[:5])
    with CacheWriter(directory, Config.of(ShoutAugmenter(), 0, 2)) as writer:
        writer.add(EXPECTED[OLD[5]])
    path = directory / "journal-000001"
    journal = Journal(path, read_journal(path).origins[-1])
    for record in (*held, EXPECTED[OLD[6]]):
        journal.append(record)
    journal.close()


@pytest.mark.parametrize(
    ("use", "ends"),
    [
        pytest.param(lambda place: build(place, OLD[:7]).lines(), True, id="build"),
        pytest.param(repair_cache, False, id="repair"),
        pytest.param(lambda place: run_quietly("compile", place), False, id="compile"),
    ],
)
def test_records_that_no_shard_can_hold_are_left_out_and_named(tmp_path, use, ends):
    refused = Outcome("a dog\0 \ud83d", (), (Rejection("input", "nul"),))
    odd = Outcome("a cat", (Rewrite("x\ud83d", "the cat"),))
    directory = tmp_path / "cache"
    held_by_the_journal(directory, refused, odd)
    for look in ("info", "verify"):
        assert "journal-000001: 2 records left out, such as" in "\n".join(run_quietly(look, directory))
    (sentence,) = [line for line in use(directory) if "left out" in line]
    assert "2 records left out, such as 'a dog\\x00 \\ud83d'; 'a cat'" in sentence
    assert {record.caption: record for record in records(directory)} == {name: EXPECTED[name] for name in OLD[:7]}
    assert verify_cache(directory, progress=False) == ([], [] if ends else [UNFINISHED])
    assert not list(directory.glob("journal-*"))
    assert build(directory, OLD[:7]).made == 0
    assert verify_cache(directory, progress=False) == ([], [])


@pytest.mark.parametrize("use", [lambda place: build(place, OLD), repair_cache, compile_cache])
def test_a_journal_of_nothing_but_such_a_record_is_empty(tmp_path, use):
    directory = tmp_path / "cache"
    with CacheWriter(directory, Config.of(ShoutAugmenter(), 0, 2)) as writer:
        writer.add(EXPECTED[OLD[0]])
    path = directory / "journal-000000"
    (origin,) = read_journal(path).origins
    path.unlink()
    journal = Journal(path, origin)
    journal.append(Outcome("word " * 900 + "\ud83d", ()))
    journal.close()
    use(directory)
    assert build(directory, OLD).cache.captions == len(OLD)
    assert {record.caption for record in records(directory)} == set(OLD)
    assert verify_cache(directory, progress=False) == ([], [])


def run_quietly(action, directory):
    """The lines that ``laclip-aug cache`` prints."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert main(["cache", action, str(directory)]) == 0
    return out.getvalue().splitlines()


def test_records_of_other_keys_are_not_found(tmp_path):
    """Whichever bit of the keys in a table flips, the caption is an error, not unknown."""
    directory = tmp_path / "cache"
    build(directory, OLD)
    (table,) = directory.glob("lookup-*")
    content = table.read_bytes()
    key = caption_key("photo 3")
    at = content.index(key)
    for bit in range(8 * len(key)):
        changed = bytearray(content)
        changed[at + bit // 8] ^= 1 << bit % 8
        table.write_bytes(changed)
        with pytest.raises(CacheError, match="bucket"):
            CaptionCache(directory).get("photo 3")


def test_a_bucket_in_another_ones_place_is_not_believed(tmp_path):
    """A block that the disk wrote to, or read from, the wrong place is whole in itself."""
    keys = sorted(caption_key(f"photo {i}") for i in range(400))
    place, elsewhere, here = tmp_path / "here", tmp_path / "elsewhere", bytes(16)
    write_table(place, here, ((key, b"right") for key in keys), len(keys))
    write_table(elsewhere, bytes(15) + b"1", ((key, b"wrong") for key in keys), len(keys))
    content, other = place.read_bytes(), elsewhere.read_bytes()
    starts = struct.unpack_from("<101Q", content, 84)  # 100 buckets behind 80 bytes of head and 4 of its checksum
    spans = [slice(*ends) for ends in pairwise(starts)]
    pairs = [(a, b) for a, b in combinations(spans, 2) if a.stop - a.start == b.stop - b.start > 8]
    assert starts[-1] == len(content) and pairs

    first, second = pairs[0]
    swapped = bytearray(content)
    swapped[first], swapped[second] = content[second], content[first]
    foreign = bytearray(content)
    foreign[first] = other[first]
    for changed, wrong in ((swapped, (first, second)), (foreign, (first,))):
        place.write_bytes(changed)
        table = Table(place, here)
        for key in keys:
            home = next(span for span in spans if content.find(key, span.start, span.stop) >= 0)
            if home in wrong:
                with pytest.raises(CacheError, match="bucket"):
                    table.get(key)
            else:
                assert table.get(key) == b"right"
