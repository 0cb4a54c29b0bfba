"""Tables of texts: in several files, compressed, and as the first release wrote them."""

import errno
import os
import struct
import threading
import zlib

import pytest
from shouting import ShoutAugmenter

from laclip_aug.augmenter import Rewrite
from laclip_aug.cache import compile as compiling
from laclip_aug.cache import dictionary as dictionaries
from laclip_aug.cache.build import build_cache
from laclip_aug.cache.format import read_manifest
from laclip_aug.cache.keys import caption_key, part_of
from laclip_aug.cache.lookup import CaptionCache
from laclip_aug.cache.repair import compile_cache, repair_cache
from laclip_aug.cache.table import Table, write_table
from laclip_aug.cache.verify import verify_cache
from laclip_aug.errors import CacheCorruptError, CacheError

ORIGIN = bytes(range(16))
PAIRS = sorted((caption_key(f"photo {i}"), f"a picture with the number {i} on it".encode()) for i in range(3000))


def built(tmp_path, captions, directory="cache"):
    (tmp_path / "in.txt").write_text("\n".join(captions))
    build_cache(tmp_path / "in.txt", tmp_path / directory, ShoutAugmenter(), shard_rows=100)
    return tmp_path / directory


@pytest.fixture
def small_parts(monkeypatch):
    """Seven files for 700 captions, as 400 million are 50."""
    monkeypatch.setitem(compiling.compile_lookup.__kwdefaults__, "part_records", 100)


def test_part_of_is_the_leading_bits_of_the_key():
    assert [part_of(bytes([first]) + bytes(15), 4) for first in (0, 63, 64, 127, 128, 255)] == [0, 0, 1, 1, 2, 3]


def test_parts_hold_each_key_once_in_order(tmp_path):
    found, sizes = [], []
    for part in range(3):
        own = [pair for pair in PAIRS if part_of(pair[0], 3) == part]
        size, records = write_table(tmp_path / f"{part}", ORIGIN, own, 1000, part, 3)
        assert (size, records) == ((tmp_path / f"{part}").stat().st_size, len(own))
        table = Table(tmp_path / f"{part}", ORIGIN)
        assert (table.part, table.parts, table.records) == (part, 3, len(own))
        assert all(table.get(key) == value for key, value in own)
        found += table.items()
        sizes.append(records)
    assert found == PAIRS and min(sizes) > 900
    with pytest.raises(ValueError, match="not those of part 0"):
        write_table(tmp_path / "wrong", ORIGIN, PAIRS, 3000, 0, 3)
    assert not (tmp_path / "wrong").exists()


@pytest.mark.parametrize("room", [7, 4000, 6027])
def test_a_disk_that_fills_up_while_the_offsets_are_written_is_an_error(tmp_path, monkeypatch, room):
    """The system takes as much of a write as there is room for, says how much that was, and refuses the next one."""
    left, write = [room], os.pwrite

    def pwrite(file, data, at):
        if not left[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken = bytes(data[: left[0]])
        left[0] -= len(taken)
        return write(file, taken, at)

    monkeypatch.setattr(os, "pwrite", pwrite)
    with pytest.raises(CacheError, match=r"cannot write .*table.*No space left.*run the same command again"):
        write_table(tmp_path / "table", ORIGIN, PAIRS, len(PAIRS))
    assert not list(tmp_path.iterdir())


def test_writes_that_take_a_part_at_a_time_make_the_same_table(tmp_path, monkeypatch):
    write_table(tmp_path / "at once", ORIGIN, PAIRS, len(PAIRS))
    write = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, data, at: write(file, bytes(data[:100]), at))
    write_table(tmp_path / "in parts", ORIGIN, PAIRS, len(PAIRS))
    assert (tmp_path / "in parts").read_bytes() == (tmp_path / "at once").read_bytes()


def test_a_large_cache_is_several_files(tmp_path, small_parts):
    captions = [f"photo {i}" for i in range(700)]
    directory = built(tmp_path, captions)
    entries = read_manifest(directory).tables
    assert [(entry.part, entry.parts) for entry in entries] == [(part, 7) for part in range(7)]
    assert sum(entry.records for entry in entries) == 700
    assert sorted(path.name for path in directory.glob("lookup-*")) == [entry.name for entry in entries]
    cache, whole = CaptionCache(directory), CaptionCache(built(tmp_path, captions[:50], "other"))
    for caption in captions[:50]:
        assert cache.get(caption) == whole.get(caption) != ()
    assert cache.get("photo 700") is None and len(cache) == 700
    assert list(cache.texts()) == [r.text for c in sorted(captions, key=caption_key) for r in cache.get(c)]
    assert verify_cache(directory) == ([], [])


def test_parts_are_merged_and_made_again_together(tmp_path, small_parts):
    captions = [f"photo {i}" for i in range(700)]
    directory = built(tmp_path, captions)
    running = CaptionCache(directory)
    built(tmp_path, [f"picture {i}" for i in range(20)])
    assert [entry.parts for entry in read_manifest(directory).tables] == [7] * 7 + [1]
    built(tmp_path, [f"drawing {i}" for i in range(500)])
    entries = read_manifest(directory).tables
    assert [(entry.part, entry.parts) for entry in entries] == [(part, 13) for part in range(13)]
    assert running.get("photo 699") == CaptionCache(directory).get("photo 699") != ()  # its files are there still
    del running
    os.truncate(directory / entries[5].name, 1000)
    with pytest.raises(CacheCorruptError, match="cache compile"):
        CaptionCache(directory)
    assert any(entries[5].name in sentence for sentence in repair_cache(directory))
    assert verify_cache(directory) == ([], [])
    (directory / entries[7].name).unlink()
    compile_cache(directory)
    assert verify_cache(directory) == ([], [])
    assert CaptionCache(directory).get("drawing 499") is not None


def test_a_part_in_another_ones_place_is_refused(tmp_path, small_parts):
    directory = built(tmp_path, [f"photo {i}" for i in range(300)])
    first, second, _ = (directory / entry.name for entry in read_manifest(directory).tables)
    second.write_bytes(first.read_bytes())
    with pytest.raises(CacheCorruptError, match="part 0 of 3, and should be part 1"):
        CaptionCache(directory)


def test_values_of_a_large_table_are_compressed(tmp_path, monkeypatch):
    plain, _ = write_table(tmp_path / "plain", ORIGIN, PAIRS, len(PAIRS))
    monkeypatch.setattr(dictionaries, "DICTIONARY_FROM", 1000)
    monkeypatch.setattr(dictionaries, "_BYTES", 4096)
    size, records = write_table(tmp_path / "packed", ORIGIN, PAIRS, len(PAIRS))
    assert records == 3000 and size - 4096 < plain - 3000 * 20
    table = Table(tmp_path / "packed", ORIGIN)
    assert list(table.items()) == PAIRS
    answers = []

    def ask():  # one decompressor in two threads would be a crash
        answers.append(all(table.get(key) == value for key, value in PAIRS))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [True] * 4
    child = os.fork()
    if child == 0:
        os._exit(0 if table.get(PAIRS[7][0]) == PAIRS[7][1] else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_no_flipped_bit_of_a_compressed_table_becomes_another_text(tmp_path, monkeypatch):
    monkeypatch.setattr(dictionaries, "DICTIONARY_FROM", 100)
    monkeypatch.setattr(dictionaries, "_BYTES", 1024)
    pairs, path = PAIRS[:1500], tmp_path / "table"
    write_table(path, ORIGIN, pairs, len(pairs))
    sound = path.read_bytes()
    for at in range(0, len(sound), 41):
        changed = bytearray(sound)
        changed[at] ^= 1 << at % 8
        path.write_bytes(changed)
        right = wrong = 0
        try:
            table = Table(path, ORIGIN)
            for key, value in pairs[:: 1 if at < 200 else 97]:
                try:
                    assert table.get(key) == value
                    right += 1
                except CacheCorruptError:
                    wrong += 1
        except CacheCorruptError:
            wrong += 1
        assert right + wrong
        if 84 <= at < 84 + 1024:
            assert right == 0  # without the dictionary nothing can be read


def test_values_with_nothing_in_common_are_stored_as_they_are(tmp_path, monkeypatch):
    monkeypatch.setattr(dictionaries, "DICTIONARY_FROM", 10)
    pairs = [(key, b"") for key, _ in PAIRS[:20]]
    write_table(tmp_path / "table", ORIGIN, pairs, 20)
    assert list(Table(tmp_path / "table", ORIGIN).items()) == pairs


def test_a_table_of_the_first_release_still_opens(tmp_path):
    """Its head has neither part nor dictionary: 64 bytes and their checksum, then the offsets."""
    write_table(tmp_path / "now", ORIGIN, PAIRS, len(PAIRS))
    now = (tmp_path / "now").read_bytes()
    buckets = 750
    offsets = [offset - 16 for offset in struct.unpack_from(f"<{buckets + 1}Q", now, 84)]
    longest = struct.unpack_from("<Q", now, 48)[0]
    head = struct.pack("<16s16sQQQQ", b"laclip-aug tab 2", ORIGIN, buckets, len(PAIRS), longest, len(now) - 16)
    then = head + struct.pack("<I", zlib.crc32(head)) + struct.pack(f"<{buckets + 1}Q", *offsets)
    (tmp_path / "then").write_bytes(then + now[len(then) + 16 :])
    table = Table(tmp_path / "then", ORIGIN)
    assert list(table.items()) == PAIRS
    assert table.get(PAIRS[5][0]) == PAIRS[5][1] and table.get(caption_key("no photo")) is None
    assert (table.part, table.parts) == (0, 1)


def test_rewrites_of_shards_are_those_of_their_records(tmp_path):
    from laclip_aug.cache.shards import read_rewrites, read_shard

    directory = built(tmp_path, [*(f"photo {i}" for i in range(130)), "hopeless"])
    for shard in read_manifest(directory).shards:
        texts = [(key, [Rewrite(*pair) for pair in pairs]) for key, pairs in read_rewrites(directory, shard)]
        assert texts == [(key, list(record.rewrites)) for key, record in read_shard(directory, shard)]
