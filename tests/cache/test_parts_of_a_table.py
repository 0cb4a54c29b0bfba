"""A look-up of several files, by key, and of compressed texts: the same answers, and damage is still told."""

from __future__ import annotations

import os
import random
import threading
from pathlib import Path

import pytest

from laclip_aug.augmenter import Outcome, Rewrite
from laclip_aug.cache import compile as compiling
from laclip_aug.cache import dictionary
from laclip_aug.cache.config import Config
from laclip_aug.cache.lookup import CaptionCache
from laclip_aug.cache.repair import compile_cache, repair_cache
from laclip_aug.cache.table import Table
from laclip_aug.cache.verify import verify_cache
from laclip_aug.cache.writer import CacheWriter
from laclip_aug.errors import CacheCorruptError

WORDS = "a the red blue dog cat boat runs sits sails along near on beach wall lake at dawn".split()


def caption(number: int) -> str:
    return f"photo {number}"


def texts(number: int) -> tuple[Rewrite, ...]:
    draw = random.Random(number)
    return tuple(
        Rewrite(source, " ".join(draw.choices(WORDS, k=9))) for source in ("one", "two")[: 1 + number % 2] if number % 7
    )


def add(directory: Path, numbers: range) -> None:
    with CacheWriter(directory, Config("llm", "x", seed=0, n=2, sources=("one", "two")), shard_rows=500) as writer:
        for number in numbers:
            writer.new([caption(number)])
            writer.add(Outcome(caption(number), texts(number)))
        writer.finish()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of 400 records, and a dictionary from 300 on."""
    monkeypatch.setattr(dictionary, "DICTIONARY_FROM", 300)
    monkeypatch.setitem(compiling.compile_lookup.__kwdefaults__, "bucket_records", 700)
    monkeypatch.setitem(compiling.compile_lookup.__kwdefaults__, "part_records", 400)


def check(cache: CaptionCache, count: int) -> None:
    assert len(cache) == count
    for number in range(count):
        assert cache.get(caption(number)) == texts(number)
    assert cache.get("photo of nobody") is None
    expected = sorted(text.text for number in range(count) for text in texts(number))
    assert sorted(cache.texts()) == expected


@pytest.mark.usefixtures("small")
def test_a_large_look_up_is_several_files_of_compressed_texts(tmp_path: Path) -> None:
    add(tmp_path / "c", range(3000))
    cache = CaptionCache(tmp_path / "c")
    files = sorted((tmp_path / "c").glob("lookup-*.table"))
    assert len(files) == 8  # 3000 in files of about 400
    assert [entry.part for entry in cache.manifest.tables] == list(range(8))
    check(cache, 3000)
    assert all(b"along near" not in file.read_bytes()[100_000:] for file in files)
    assert verify_cache(tmp_path / "c", progress=False) == ([], [])

    add(tmp_path / "c", range(3000, 3300))  # a table of its own, of one file
    assert len(sorted((tmp_path / "c").glob("lookup-*.table"))) == 9
    check(CaptionCache(tmp_path / "c"), 3300)
    check_old = [cache.get(caption(number)) for number in range(0, 3000, 97)]  # what was open goes on
    assert check_old == [texts(number) for number in range(0, 3000, 97)]
    add(tmp_path / "c", range(3300, 7000))  # both are merged into the new one
    check(CaptionCache(tmp_path / "c"), 7000)
    assert {entry.parts for entry in CaptionCache(tmp_path / "c").manifest.tables} == {18}


@pytest.mark.usefixtures("small")
def test_threads_and_forks_read_side_by_side(tmp_path: Path) -> None:
    add(tmp_path / "c", range(1500))
    cache, wrong = CaptionCache(tmp_path / "c"), list[int]()

    def read(start: int) -> None:
        wrong.extend(n for n in range(start, 1500, 3) if cache.get(caption(n)) != texts(n))

    threads = [threading.Thread(target=read, args=(start,)) for start in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("place", [80, 200, -40])
def test_a_flipped_bit_is_an_error_and_is_repaired(tmp_path: Path, place: int) -> None:
    """In the dictionary, and in the last bucket; never another text."""
    add(tmp_path / "c", range(1500))
    file = sorted((tmp_path / "c").glob("lookup-*.table"))[1]
    data = bytearray(file.read_bytes())
    data[place] ^= 4
    file.write_bytes(bytes(data))
    told = 0
    try:
        cache = CaptionCache(tmp_path / "c")
    except CacheCorruptError:
        told = 1
    else:
        for number in range(1500):
            try:
                assert cache.get(caption(number)) == texts(number)
            except CacheCorruptError:
                told += 1
    assert told
    assert verify_cache(tmp_path / "c", progress=False)[0]
    repair_cache(tmp_path / "c")
    compile_cache(tmp_path / "c")
    check(CaptionCache(tmp_path / "c"), 1500)


@pytest.mark.usefixtures("small")
def test_files_of_one_look_up_share_their_dictionary_in_memory(tmp_path: Path) -> None:
    add(tmp_path / "c", range(3000))
    add(tmp_path / "c", range(3000, 3400))  # another look-up, which has one of its own
    cache = CaptionCache(tmp_path / "c")
    check(cache, 3400)
    first, second = cache._tables
    assert (len(first), len(second)) == (8, 1)
    assert len({id(part._dictionary) for part in first}) == 1
    assert second[0]._dictionary not in (b"", first[0]._dictionary)
    alone = Table(first[3].path, bytes.fromhex(cache.manifest.tables[3].origin))  # each file has what it needs
    assert list(alone.items()) == list(first[3].items())


def test_look_ups_expect_random_reads_and_exports_a_sequence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []
    monkeypatch.setattr(os, "posix_fadvise", lambda handle, start, length, advice: told.append(advice))
    add(tmp_path / "c", range(20))
    cache = CaptionCache(tmp_path / "c")
    assert cache.get(caption(3)) == texts(3)
    assert told[-1] == os.POSIX_FADV_RANDOM
    rewrites = cache.texts()
    next(rewrites)
    assert told[-1] == os.POSIX_FADV_SEQUENTIAL
    assert cache.get(caption(3)) == texts(3)
    rewrites.close()  # type: ignore[attr-defined]
    assert told[-1] == os.POSIX_FADV_RANDOM
