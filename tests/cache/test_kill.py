"""Real processes killed at every kind of moment: nothing acknowledged is lost, nothing is recorded twice."""

import signal
import subprocess
import sys

import pytest
from shouting import ShoutAugmenter

from laclip_aug.cache.build import build_cache
from laclip_aug.cache.format import read_manifest
from laclip_aug.cache.lookup import CaptionCache
from laclip_aug.cache.shards import read_shard
from laclip_aug.cache.verify import verify_cache

CAPTIONS = [f"photo {i}" for i in range(40)]

# Builds with shards of 15, and dies at the N-th call of one system function: before it, or, for a write, half way.
# Each record that `add` returned from is acknowledged on standard output.
VICTIM = """
import os, signal, sys
from pathlib import Path
from shouting import ShoutAugmenter
from laclip_aug.cache import writer
from laclip_aug.cache.build import build_cache

source, cache, function, number = sys.argv[1:]
owner = Path if function in ("replace", "unlink") else os
original, calls = getattr(owner, function), 0

def deadly(*args, **kwargs):
    global calls
    calls += 1
    if calls == int(number):
        if function == "write":
            original(args[0], bytes(args[1])[: len(args[1]) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*args, **kwargs)

add = writer.CacheWriter.add
def acknowledged(self, record):
    add(self, record)
    sys.stdout.write(record.caption + "\\n")
    sys.stdout.flush()

writer.CacheWriter.add = acknowledged
setattr(owner, function, deadly)
build_cache(source, cache, ShoutAugmenter(), shard_rows=15)
"""


def records(directory):
    return {
        record.caption: record
        for shard in read_manifest(directory).shards
        for _, record in read_shard(directory, shard)
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The records of a build that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "in.txt").write_text("\n".join(CAPTIONS))
    build_cache(folder / "in.txt", folder / "cache", ShoutAugmenter(), shard_rows=15)
    return records(folder / "cache")


@pytest.mark.parametrize(
    ("function", "number"),
    [
        ("write", 3),  # in the middle of the first record
        ("write", 12),
        ("write", 35),  # in the third shard
        ("replace", 1),  # before there is a manifest
        ("replace", 2),  # the first shard is written, but not in place
        ("replace", 3),  # the shard is in place, the manifest does not list it
        ("replace", 6),  # the lookup is compiled but not in place
        ("unlink", 1),  # the manifest lists the shard, its journal is still there
        ("unlink", 2),
        ("fsync", 8),
    ],
)
def test_killed_builds_go_on(tmp_path, plugin_environment, whole, function, number):
    source, cache = tmp_path / "in.txt", tmp_path / "cache"
    source.write_text("\n".join(CAPTIONS))
    victim = subprocess.run(
        [sys.executable, "-c", VICTIM, source, cache, function, str(number)],
        env=plugin_environment,
        capture_output=True,
        text=True,
    )
    assert victim.returncode == -signal.SIGKILL, victim.stderr
    acknowledged = victim.stdout.split("\n")[:-1]
    report = build_cache(source, cache, ShoutAugmenter(), shard_rows=15)
    # made after the kill = all that were not acknowledged, or one fewer: stored, and killed before it could say so
    assert len(CAPTIONS) - report.made - len(acknowledged) in (0, 1)
    assert report.cache.captions == len(CAPTIONS)
    assert sum(shard.rows for shard in read_manifest(cache).shards) == len(CAPTIONS)
    assert records(cache) == whole
    assert verify_cache(cache) == ([], [])
    assert len(CaptionCache(cache)) == len(CAPTIONS)
    assert not [p.name for p in cache.iterdir() if p.name.startswith("journal") or p.name.endswith(".tmp")]


def test_an_unfinished_cache_says_so(tmp_path, plugin_environment):
    source, cache = tmp_path / "in.txt", tmp_path / "cache"
    source.write_text("\n".join(CAPTIONS))
    subprocess.run(
        [sys.executable, "-c", VICTIM, source, cache, "write", "30"], env=plugin_environment, capture_output=True
    )
    damage, unfinished = verify_cache(cache)
    assert damage == []
    assert any("run the same build again" in sentence for sentence in unfinished)
    assert any("no lookup" in sentence for sentence in unfinished)


@pytest.mark.parametrize(
    ("captions", "limit", "stopped_in"),
    [(40, 2000, "journal-000000"), (10, 1800, "shard-000000"), (10, 7500, "lookup.lmdb")],
)
def test_a_full_disk_is_an_error_that_a_second_run_survives(tmp_path, plugin_environment, captions, limit, stopped_in):
    code = (
        "import resource, signal, sys; from shouting import ShoutAugmenter\n"
        "from laclip_aug.cache.build import build_cache; from laclip_aug.errors import CacheError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # then a write beyond the limit is an OSError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]),) * 2)\n"
        "try: build_cache(sys.argv[1], sys.argv[2], ShoutAugmenter())\n"
        "except CacheError as error: print(error); sys.exit(9)"
    )
    source, cache = tmp_path / "in.txt", tmp_path / "cache"
    source.write_text("\n".join(CAPTIONS[:captions]))
    full = subprocess.run(
        [sys.executable, "-c", code, source, cache, str(limit)], env=plugin_environment, capture_output=True, text=True
    )
    assert full.returncode == 9, full.stderr
    assert stopped_in in full.stdout
    assert "free some space" in full.stdout
    assert build_cache(source, cache, ShoutAugmenter()).cache.captions == captions
    assert verify_cache(cache) == ([], [])
