"""A cache of the embedded rewriter's texts through gates on what that rewriter told of them, without a new build."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from laclip_aug import create_augmenter
from laclip_aug.cache.browse import records
from laclip_aug.cache.build import build_cache
from laclip_aug.cache.filter import filter_cache
from laclip_aug.cache.lookup import CaptionCache
from laclip_aug.cache.report import report_of
from laclip_aug.rewrite import embedded

CAPTIONS = [
    "a man rides a brown horse on the beach",
    "two dogs play in the snow",
    "Gotrek &amp; Felix: The Third Omnibus (Warhammer) (Reprint)",
    "salt &amp; pepper shakers on a table",
    "a cafÃ© in Paris at night",
    "the men&#39;s red shirt on a hanger => sale",
    "sport makes the top list of most demanding extreme sports !",
    "１２ photos of a cat",
]
LOOSE = "sound>=0.3 truth>=0.1"
STRICT = ("sound>=0.75 truth>=0.2", "verdict>=0.9 truth>=0.2", "likelihood>=-0.15 truth>=0.2")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A cache by a loose gate, and one by the rewriter's own."""
    home = tmp_path_factory.mktemp("embedded")
    (home / "in.txt").write_text("\n".join(CAPTIONS), encoding="utf-8")
    made = {"loose": LOOSE, "its own": embedded.DEFAULTS["gate"]}
    for name, gate in made.items():
        augmenter = create_augmenter("llm", gate=gate, n_slots=8, max_attempts=2)
        build_cache(home / "in.txt", home / name, augmenter, progress=False)
        augmenter.close()
    return {name: home / name for name in made}


def content(directory: Path) -> dict[str, bytes]:
    return {f.name: f.read_bytes() for f in directory.iterdir() if f.suffix in (".parquet", ".table")}


def texts_of(directory: Path) -> set[tuple[str, str]]:
    cache = CaptionCache(directory)
    return {(caption, rewrite.text) for caption in CAPTIONS for rewrite in cache.get(caption) or ()}


def test_stricter_gates_and_back_to_the_byte(built: dict[str, Path], tmp_path: Path) -> None:
    filter_cache(built["loose"], tmp_path / "loose", LOOSE, progress=False)
    every = texts_of(built["loose"])
    for number, gate in enumerate(STRICT):
        strict = tmp_path / f"strict {number}"
        filter_cache(built["loose"], strict, gate, progress=False)
        kept = texts_of(strict)
        assert 0 < len(kept & every) < len(every)
        filter_cache(strict, tmp_path / f"back {number}", LOOSE, progress=False)
        filter_cache(tmp_path / f"back {number}", tmp_path / f"again {number}", gate, progress=False)
        assert content(tmp_path / f"back {number}") == content(tmp_path / "loose")
        assert content(tmp_path / f"again {number}") == content(strict)
    signals = report_of(tmp_path / "strict 0")["signals"]
    accepted = sum(len(record.rewrites) for record in records(tmp_path / "strict 0"))
    for name in ("likelihood", "verdict", "sound"):
        assert sum(signals[name]["accepted"]) == accepted and signals[name]["unknown"] == 0
    assert signals["sound"]["held"] == [1.0]


def test_the_gate_of_the_build_divides_as_the_build_did_also_where_clip_reads_other_characters(
    built: dict[str, Path], tmp_path: Path
) -> None:
    for number, directory in enumerate(built.values()):
        filter_cache(directory, tmp_path / str(number), "default", progress=False)
        shard = "shard-000000.parquet"
        assert pq.read_table(tmp_path / str(number) / shard).equals(pq.read_table(directory / shard))
        reasons = {r.reason for record in records(directory) for r in record.rejections if r.place is not None}
        assert "sound" in reasons
        judged = [
            t for r in records(directory) for t in (*r.rewrites, *(x for x in r.rejections if x.place is not None))
        ]
        assert all(t.told is not None and None not in t.told for t in judged)
