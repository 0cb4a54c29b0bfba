"""A build with a real model whose process is killed again and again: each life adds captions, and nothing differs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from laclip_aug import create_augmenter
from laclip_aug.augmenter import Outcome
from laclip_aug.cache.build import build_cache
from laclip_aug.cache.format import read_manifest
from laclip_aug.cache.shards import read_shard

CAPTIONS = [
    f"a {thing} {place}"
    for thing in ("dog", "red boat", "hat", "man")
    for place in ("here", "up", "near the sea", "at home", "in snow", "by night")
]
OPTIONS = {
    "gate": "none",
    "strategies": "bard,human", "variants": 3, "max_attempts": 2, "max_new_tokens": 12, "n_slots": 4, "n_threads": 1,
    "allow": "cut,unprintable,number-changed,colour-added,negation-added",
}  # fmt: skip
COMPLETIONS = 28  # of one life; a caption takes two to four, and four are in the slots

VICTIM = f"""
import os, signal, sys
from laclip_aug import create_augmenter
from laclip_aug.cache.build import build_cache

source, cache, model = sys.argv[1:]
augmenter = create_augmenter("llm", model=model, **{OPTIONS!r})
complete = augmenter._backend.complete

def deadly(jobs):
    for number, completion in enumerate(complete(jobs), 1):
        if number > {COMPLETIONS}:
            os.kill(os.getpid(), signal.SIGKILL)
        yield completion

augmenter._backend.complete = deadly
build_cache(source, cache, augmenter)
"""


def records(cache: Path) -> dict[str, Outcome]:
    return {r.caption: r for shard in read_manifest(cache).shards for _, r in read_shard(cache, shard)}


def stored(cache: Path) -> int:
    """How many captions a killed build has left in the journal."""
    data = b"".join(journal.read_bytes() for journal in cache.glob("journal-*"))
    return sum(f'["{caption}",'.encode() in data for caption in CAPTIONS)


def test_each_life_adds_captions_and_the_content_is_that_of_an_unbroken_build(tiny_gguf: Path, tmp_path: Path) -> None:
    source, cache = tmp_path / "in.txt", tmp_path / "cache"
    source.write_text("\n".join(CAPTIONS))
    lives, before = 0, 0
    while True:
        command = [sys.executable, "-c", VICTIM, str(source), str(cache), str(tiny_gguf)]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
        now = stored(cache)
        assert now >= before + 3, f"life {lives} added {now - before} captions"
        lives, before = lives + 1, now
    assert lives >= 2
    augmenter = create_augmenter("llm", model=tiny_gguf, **OPTIONS)
    build_cache(source, tmp_path / "whole", augmenter)
    augmenter.close()
    whole = records(tmp_path / "whole")
    found = records(cache)
    assert found == whole
    for caption, record in whole.items():
        for one, other in zip(found[caption].rewrites, record.rewrites, strict=True):
            assert one.told is not None and other.told is not None and one.told.verdict is None
            assert one.told.likelihood == pytest.approx(other.told.likelihood, abs=2e-4) and one.told.likelihood < 0
    assert set(whole) == set(CAPTIONS) and any(r.rejections for r in whole.values())
    texts = [text.text for record in whole.values() for text in (*record.rewrites, *record.rejections)]
    assert len(texts) >= 2 * len(CAPTIONS) and len(set(texts)) > len(CAPTIONS)
