"""Lookup from many processes, from read-only places, and from damaged files."""

import errno
import fcntl
import multiprocessing
import os
import pickle

import pytest
from shouting import ShoutAugmenter

from laclip_aug.augmenter import Rewrite, create_augmenter
from laclip_aug.cache.build import build_cache
from laclip_aug.cache.format import read_manifest
from laclip_aug.cache.keys import caption_key
from laclip_aug.cache.lookup import CachedAugmenter, CaptionCache
from laclip_aug.cache.repair import compile_cache
from laclip_aug.errors import CacheCorruptError, CacheMissError, UnknownNameError

CAPTIONS = [f"photo {i}" for i in range(300)]


@pytest.fixture
def directory(tmp_path):
    (tmp_path / "in.txt").write_text("\n".join([*CAPTIONS, "hopeless"]))
    build_cache(tmp_path / "in.txt", tmp_path / "cache", ShoutAugmenter(), shard_rows=100)
    return tmp_path / "cache"


def expected(caption):
    loud, calm = ShoutAugmenter().augment([caption], 2, 0)[0]
    return (Rewrite("loud", loud), Rewrite("calm", calm))


def _ask(cache, captions, answers):
    answers.put((os.getpid(), [cache.get(caption) for caption in captions]))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_look_up_what_the_parent_does(directory, method, plugin_environment, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", plugin_environment["PYTHONPATH"])
    cache = CaptionCache(directory)
    other = CaptionCache(directory)
    assert cache.get("photo 5") == other.get("photo 5") == expected("photo 5")
    context = multiprocessing.get_context(method)
    answers = context.Queue()
    asked = ["photo 5", "nothing of the kind", "hopeless"]
    workers = [context.Process(target=_ask, args=(cache, asked, answers)) for _ in range(2)]
    for worker in workers:
        worker.start()
    found = [answers.get(timeout=120) for _ in workers]
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert len({process for process, _ in found} - {os.getpid()}) == 2
    assert all(answer == [expected("photo 5"), None, ()] for _, answer in found)
    assert other.get("photo 7") == expected("photo 7")  # the workers' ends left the parent's files alone


def test_a_forked_child_with_two_caches_and_no_exec(directory):
    first, second = CaptionCache(directory), CaptionCache(directory)
    assert first.get("photo 1") and second.get("photo 1")
    child = os.fork()
    if child == 0:
        same = first.get("photo 2") == second.get("photo 2") == expected("photo 2")
        os._exit(0 if same else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert first.get("photo 3") == expected("photo 3")


def test_pickled(directory):
    cache = CaptionCache(directory)
    assert cache.get("photo 1") == expected("photo 1")
    assert pickle.loads(pickle.dumps(cache)).get("photo 2") == expected("photo 2")  # noqa: S301 - made right here


def test_read_only_directory(directory):
    # root may write anywhere, so the modes alone prove nothing: no file may have appeared or changed either
    for path in directory.iterdir():
        path.chmod(0o444)
    directory.chmod(0o555)
    before = {path.name: path.stat().st_mtime_ns for path in directory.iterdir()}
    assert CaptionCache(directory).get("photo 1") == expected("photo 1")
    assert {path.name: path.stat().st_mtime_ns for path in directory.iterdir()} == before
    directory.chmod(0o755)


def test_size_and_membership(directory):
    cache = CaptionCache(directory)
    assert len(cache) == 301
    assert cache.sources == ("loud", "calm")
    assert "photo 1" in cache
    assert " photo\n1" in cache
    assert "hopeless" in cache
    assert "photo 300" not in cache
    assert cache.manifest.counts.captions == 301


def table(directory):
    (path,) = directory.glob("lookup-*.table")
    return path


def test_a_lookup_cut_short_while_it_is_open_is_an_error_not_a_bus_error(directory):
    cache = CaptionCache(directory)
    assert cache.get("photo 1") == expected("photo 1")
    os.truncate(table(directory), 5000)
    with pytest.raises(CacheCorruptError, match=r"cut short.*cache compile"):
        for caption in CAPTIONS:
            cache.get(caption)
    with pytest.raises(CacheCorruptError, match="cut short"):
        CaptionCache(directory)
    table(directory).unlink()
    with pytest.raises(CacheCorruptError, match=r"missing.*cache compile"):
        CaptionCache(directory)
    assert sum(entry.records for entry in compile_cache(directory).tables) == 301
    assert CaptionCache(directory).get("photo 1") == expected("photo 1")


def test_a_flipped_bit_in_a_text_is_seen_when_it_is_read(directory):
    content = bytearray(table(directory).read_bytes())
    content[content.index(b"PHOTO 17 ")] ^= 1
    table(directory).write_bytes(content)
    cache = CaptionCache(directory)
    with pytest.raises(CacheCorruptError, match=r"bucket \d+ is not what was written"):
        cache.get("photo 17")
    assert cache.get("photo 9") == expected("photo 9")
    with pytest.raises(CacheCorruptError, match="is damaged"):
        list(cache.texts())


def more(directory, tmp_path, captions):
    (tmp_path / "more.txt").write_text("\n".join(captions))
    return build_cache(tmp_path / "more.txt", directory, ShoutAugmenter(), shard_rows=100)


def test_a_running_trainer_keeps_its_generation_and_a_new_one_gets_the_last(directory, tmp_path):
    running, old = CaptionCache(directory), table(directory)
    more(directory, tmp_path, [f"picture {i}" for i in range(200)])  # merged: the old table is needed no more
    assert not [entry for entry in read_manifest(directory).tables if entry.name == old.name]
    assert old.exists()  # until the last reader closes it
    assert running.get("photo 5") == expected("photo 5")
    assert running.get("picture 5") is None
    assert pickle.loads(pickle.dumps(running)).get("photo 6") == expected("photo 6")  # noqa: S301 - made right here
    fresh = CaptionCache(directory)
    assert fresh.get("picture 5") == expected("picture 5")
    assert len(fresh) == 501
    del running
    more(directory, tmp_path, ["one more"])
    assert not old.exists()


def test_on_nfs_tables_are_cleared_as_elsewhere(directory, tmp_path, monkeypatch):
    flock = fcntl.flock

    def of_nfs(handle, operation):
        """As flock(2) says: to place an exclusive lock on NFS, the file must be open for writing."""
        if operation & fcntl.LOCK_EX and fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        flock(handle, operation)

    monkeypatch.setattr(fcntl, "flock", of_nfs)
    running, old = CaptionCache(directory), table(directory)
    more(directory, tmp_path, [f"picture {i}" for i in range(200)])
    assert old.exists()  # a reader has it open
    assert running.get("photo 5") == expected("photo 5")
    del running
    assert more(directory, tmp_path, ["one more"]).made == 1
    assert not old.exists()
    assert len(CaptionCache(directory)) == 502


def test_an_extension_under_way_leaves_the_cache_open(directory, tmp_path):
    class Look(ShoutAugmenter):
        def outcomes(self, captions, n, seed):
            for outcome in super().outcomes(captions, n, seed):
                cache = CaptionCache(directory)
                assert cache.get("photo 5") == expected("photo 5")
                assert len(cache) == 301
                yield outcome

    (tmp_path / "more.txt").write_text("\n".join(f"picture {i}" for i in range(30)))
    build_cache(tmp_path / "more.txt", directory, Look(), shard_rows=7)
    assert len(CaptionCache(directory)) == 331


def test_an_addition_costs_what_is_new(directory, tmp_path):
    (first,) = read_manifest(directory).tables
    before = (directory / first.name).stat().st_ino
    for number in range(8):
        more(directory, tmp_path, [f"addition {number} {i}" for i in range(10)])
    tables = read_manifest(directory).tables
    assert (tables[0].name, (directory / first.name).stat().st_ino) == (first.name, before)  # not written again
    assert [entry.records for entry in tables[1:]] != [10] * 8  # small ones were merged
    assert len(tables) <= 4
    cache = CaptionCache(directory)
    assert len(cache) == 381
    for number in range(8):
        assert cache.get(f"addition {number} 3") == expected(f"addition {number} 3")
    ordered = sorted([*CAPTIONS, *(f"addition {n} {i}" for n in range(8) for i in range(10))], key=caption_key)
    assert [*cache.texts()] == [r.text for caption in ordered for r in expected(caption)]


def test_all_texts_in_the_order_of_their_keys(directory):
    cache = CaptionCache(directory)
    ordered = sorted([*CAPTIONS, "hopeless"], key=caption_key)
    texts = cache.texts()
    assert [next(texts) for _ in range(10)] == [r.text for caption in ordered for r in cache.get(caption)][:10]
    assert [*cache.texts()] == [r.text for caption in ordered for r in cache.get(caption)]


def test_cached_augmenter_through_the_registry(directory):
    augmenter = create_augmenter("cached", cache=directory)
    assert isinstance(augmenter, CachedAugmenter)
    assert augmenter.sources == ("loud", "calm")
    loud, calm = ShoutAugmenter().augment(["photo 4"], 2, 0)[0]
    assert augmenter.augment(["photo 4", "hopeless"], 3, seed=9) == [[loud, calm, "photo 4"], ["hopeless"] * 3]
    assert augmenter.augment(["photo 4"], 1, seed=9) == [[loud]]
    with pytest.raises(CacheMissError, match="laclip-aug build"):
        augmenter.augment(["unknown"], 1, 0)
    lenient = create_augmenter("cached", cache=directory, on_miss="original")
    assert lenient.augment(["unknown", "photo 4"], 1, 0) == [["unknown"], [loud]]
    with pytest.raises(UnknownNameError, match="did you mean 'original'"):
        create_augmenter("cached", cache=directory, on_miss="orignal")


def test_cached_fingerprint_follows_the_texts(directory, tmp_path):
    same = CachedAugmenter(directory).fingerprint()
    assert same == CachedAugmenter(directory).fingerprint()
    (tmp_path / "more.txt").write_text("a new photo")
    build_cache(tmp_path / "more.txt", directory, ShoutAugmenter())
    assert CachedAugmenter(directory).fingerprint() != same
