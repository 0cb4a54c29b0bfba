"""Lookup from many processes, from read-only places, and from damaged files."""

import multiprocessing
import os
import pickle

import pytest
from shouting import ShoutAugmenter

from laclip_aug.augmenter import Rewrite, create_augmenter
from laclip_aug.cache.build import build_cache
from laclip_aug.cache.compile import compile_in
from laclip_aug.cache.keys import caption_key
from laclip_aug.cache.lookup import CachedAugmenter, CaptionCache
from laclip_aug.errors import CacheCorruptError, CacheFormatError, CacheMissError, UnknownNameError

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
    other = CaptionCache(directory)  # LMDB opens a file once per process, so the two must share
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
    assert other.get("photo 7") == expected("photo 7")  # the workers' ends left the parent's map alone


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


def test_truncated_lookup_is_refused_before_it_is_mapped(directory):
    lookup = directory / "lookup.lmdb"
    cache = CaptionCache(directory)  # maps nothing yet
    os.truncate(lookup, lookup.stat().st_size - 4096)
    with pytest.raises(CacheCorruptError, match="cut short"):
        cache.get("photo 1")
    with pytest.raises(CacheCorruptError, match="cache compile"):
        CaptionCache(directory)
    lookup.unlink()
    with pytest.raises(CacheCorruptError, match="cannot be read"):
        CaptionCache(directory)
    compile_in(directory)
    assert CaptionCache(directory).get("photo 1") == expected("photo 1")


def test_any_flipped_bit_is_seen_when_the_lookup_is_opened(directory):
    lookup = directory / "lookup.lmdb"
    sound = lookup.read_bytes()
    for place in range(0, len(sound), len(sound) // 40):
        damaged = bytearray(sound)
        damaged[place] ^= 4
        lookup.write_bytes(damaged)
        with pytest.raises(CacheCorruptError, match="is damaged"):
            CaptionCache(directory)


def test_a_flipped_bit_in_a_text_is_seen_when_it_is_read(directory):
    lookup = directory / "lookup.lmdb"
    content = bytearray(lookup.read_bytes())
    place = content.index(b"PHOTO 17 ")
    content[place] ^= 1
    lookup.write_bytes(content)
    cache = CaptionCache(directory, check=False)
    with pytest.raises(CacheCorruptError, match="record is damaged"):
        cache.get("photo 17")
    assert cache.get("photo 18") == expected("photo 18")
    with pytest.raises(CacheCorruptError, match="record is damaged"):
        list(cache.texts())


def test_all_texts_in_the_order_of_their_keys(directory):
    cache = CaptionCache(directory)
    ordered = sorted([*CAPTIONS, "hopeless"], key=caption_key)
    texts = cache.texts()
    assert [next(texts) for _ in range(10)] == [r.text for caption in ordered for r in cache.get(caption)][:10]
    assert [*cache.texts()] == [r.text for caption in ordered for r in cache.get(caption)]


def test_an_unfinished_cache_is_refused_and_can_be_compiled(directory, tmp_path):
    manifest = directory / "manifest.json"
    text = manifest.read_text()
    manifest.write_text(text.replace('"shards": 4', '"shards": 3'))
    with pytest.raises(CacheFormatError, match="cache compile"):
        CaptionCache(directory)
    assert compile_in(directory)["records"] == 301
    assert CaptionCache(directory).get("photo 9") == expected("photo 9")


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
