"""Caches as earlier versions wrote them, made here by hand: read as they were, and written on in the new format."""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from shouting import ShoutAugmenter

from laclip_aug.augmenter import Outcome, Rejection, Rewrite, Told
from laclip_aug.cache.browse import records
from laclip_aug.cache.build import build_cache
from laclip_aug.cache.config import KEYED_BY, Config
from laclip_aug.cache.filter import filter_cache
from laclip_aug.cache.format import Manifest, counted, read_manifest
from laclip_aug.cache.keys import record_key
from laclip_aug.cache.lookup import CaptionCache
from laclip_aug.cache.merge import merge_caches
from laclip_aug.cache.repair import compile_cache, repair_cache
from laclip_aug.cache.report import report_of
from laclip_aug.cache.verify import verify_cache
from laclip_aug.cache.writer import CacheWriter
from laclip_aug.errors import CacheFormatError

CAPTIONS = [f"photo {i}" for i in range(9)]
CONFIG = Config.of(ShoutAugmenter(), 0, 2)
RUN = {"versions": {"laclip-aug": "0.0.9"}}


def made(captions: Sequence[str]) -> list[Outcome]:
    return list(ShoutAugmenter().outcomes(captions, 2, 0))


def payload(record: Outcome) -> bytes:
    """A record as the journals had it: a list for each text, with value and place where a gate refused it."""
    rejections = [
        [r.source, r.reason, r.text] + ([] if r.place is None else [r.value, r.place]) for r in record.rejections
    ]
    fields = [record.caption, [[r.source, r.text] for r in record.rewrites], rejections, record.tokens]
    return json.dumps([*fields, *([record.image] if record.image else [])], separators=(",", ":")).encode()


def old_shard(directory: Path, records: Sequence[Outcome], config: Config) -> dict[str, Any]:
    """Write shard 0 with the columns that there were, and return what a manifest says of it."""
    text = pa.string()
    refused = [("source", text), ("reason", text), ("text", text), ("value", pa.float64()), ("place", pa.int32())]
    columns = [
        ("key", pa.binary(16)),
        ("caption", text),
        ("rewrites", pa.list_(pa.struct([("source", text), ("text", text)]))),
        ("rejections", pa.list_(pa.struct(refused))),
        ("tokens", pa.int64()),
        ("crc32", pa.uint32()),
        *([("image", text)] if records[0].image else []),
    ]
    rows = [
        {
            "key": record_key(r.caption, r.image),
            "caption": r.caption,
            "rewrites": [{"source": t.source, "text": t.text} for t in r.rewrites],
            "rejections": [{name: getattr(t, name) for name, _ in refused} for t in r.rejections],
            "tokens": r.tokens,
            "crc32": zlib.crc32(payload(r)),
            "image": r.image,
        }
        for r in records
    ]
    origins = json.dumps([{"config": asdict(config), "run": RUN}]).encode()
    schema = pa.schema(columns, metadata={b"laclip-aug": b"%08x" % zlib.crc32(origins) + origins})
    table = pa.Table.from_pylist(sorted(rows, key=lambda row: row["key"]), schema=schema)
    pq.write_table(table, directory / "shard-000000.parquet", compression="zstd", row_group_size=4096)
    sha256 = hashlib.sha256((directory / "shard-000000.parquet").read_bytes()).hexdigest()
    counts = asdict(counted(records))
    return {"name": "shard-000000.parquet", "rows": len(rows), "sha256": sha256, "counts": counts, "made_by": [0]}


def old_journal(path: Path, records: Sequence[Outcome], config: Config) -> None:
    data = b""
    for number, body in enumerate(
        [json.dumps({"config": asdict(config), "run": RUN}, separators=(",", ":")).encode(), *map(payload, records)]
    ):
        head = struct.pack("<4sIII", b"\xf5LA\xf6", number, len(body), zlib.crc32(body))
        data += head + struct.pack("<I", zlib.crc32(head)) + body
    path.write_bytes(data)


def old_cache(
    directory: Path, stored: Sequence[Outcome], journaled: Sequence[Outcome] = (), config: Config = CONFIG
) -> Path:
    """A cache whose build was killed behind its first shard, of version 2 or, keyed by images, 3."""
    directory.mkdir()
    shard = old_shard(directory, stored, config)
    if journaled:
        old_journal(directory / "journal-000001", journaled, config)
    raw = asdict(Manifest([config], runs=[{"config": 0, **RUN}], unfinished=bool(journaled)))
    version = 3 if stored[0].image else 2
    body = {"format": "laclip-aug cache", "format_version": version, **raw, "shards": [shard]}
    text = json.dumps(body, sort_keys=True, separators=(",", ":"))
    checksum = hashlib.sha256(text.encode()).hexdigest()
    (directory / "manifest.json").write_text(json.dumps({**body, "checksum": checksum}, indent=1) + "\n")
    return directory


def version(directory: Path) -> int:
    return int(json.loads((directory / "manifest.json").read_text())["format_version"])


def in_order(found: Any) -> list[Outcome]:
    return sorted(found, key=lambda record: (record.caption, record.image))


def test_shards_and_journals_are_read_and_a_build_goes_on_in_the_new_format(tmp_path: Path) -> None:
    directory = old_cache(tmp_path / "cache", made(CAPTIONS[:5]), made(CAPTIONS[5:7]))
    assert repr(in_order(records(directory))) == repr(made(CAPTIONS[:7]))  # what was told included: nothing
    assert verify_cache(directory, progress=False)[0] == []
    assert version(directory) == 2
    (tmp_path / "in.txt").write_text("\n".join(CAPTIONS))
    report = build_cache(tmp_path / "in.txt", directory, ShoutAugmenter(), n=2, progress=False)
    assert (report.made, report.recovered, version(directory)) == (2, 2, 4)
    assert verify_cache(directory, progress=False) == ([], [])
    assert repr(in_order(records(directory))) == repr(made(CAPTIONS))
    cache = CaptionCache(directory)
    assert [cache.get(record.caption) for record in made(CAPTIONS)] == [record.rewrites for record in made(CAPTIONS)]


def test_a_cache_that_is_keyed_by_images_is_read_and_filtered_in_the_new_format(tmp_path: Path) -> None:
    config = Config("llm", "x", 0, 1, ("human",), {KEYED_BY: "image"})
    stored = [Outcome("image", (Rewrite("human", f"a photo of {i} boats"),), image=f"{i:04x}") for i in range(4)]
    directory = old_cache(tmp_path / "cache", stored, stored[:0], config)
    assert version(directory) == 3 and read_manifest(directory).by_image
    compile_cache(directory)
    assert version(directory) == 4
    assert CaptionCache(directory).get("image", "0002") == stored[2].rewrites
    directory = old_cache(tmp_path / "other", stored, stored[:0], config)
    filter_cache(directory, tmp_path / "out", "novelty>=0.5", progress=False)
    assert version(tmp_path / "out") == 4
    assert repr(in_order(records(tmp_path / "out"))) == repr(stored)


def test_what_a_text_was_refused_for_is_all_that_is_known_of_it(tmp_path: Path) -> None:
    config = Config("llm", "x", 0, 1, ("human",), {"gate": {"spec": "sound>=0.65", "vocabulary": "0"}})
    refused = tuple(
        Rejection("human", reason, f"dog, {reason}", value, place)
        for place, (reason, value) in enumerate({"sound": 0.4, "likelihood": -2.0, "verdict": 0.25}.items(), 1)
    )
    stored = [Outcome("a dog", (Rewrite("human", "the dog"),), refused)]
    directory = old_cache(tmp_path / "cache", stored, (), config)
    report = filter_cache(directory, tmp_path / "out", "sound>=0.5 likelihood>=-1 verdict>=0.5", progress=False)
    assert version(tmp_path / "out") == 4
    assert repr(list(records(tmp_path / "out"))) == repr(stored)
    assert report.unknown == {"sound": 3, "likelihood": 2, "verdict": 1}  # of what the conditions before let pass
    filter_cache(directory, tmp_path / "sound", "sound>=0.4 likelihood>=-1 verdict>=0.5", progress=False)
    (record,) = records(tmp_path / "sound")
    assert [r.reason for r in record.rejections] == ["surplus", "likelihood", "verdict"]
    signals = report_of(directory, "sound>=0.65")["signals"]
    assert sum(signals["sound"]["refused"]) == 1 and "likelihood" not in signals


def test_a_damaged_shard_keeps_its_sound_rows(tmp_path: Path) -> None:
    directory = old_cache(tmp_path / "cache", made(CAPTIONS))
    path = directory / "shard-000000.parquet"
    data = bytearray(path.read_bytes())
    data[data.index(record_key(CAPTIONS[3], ""))] ^= 1
    path.write_bytes(data)
    (sentence, *_) = repair_cache(directory)
    assert "1 of 9 captions lost, 8 kept" in sentence
    assert repr(in_order(records(directory))) == repr(made([c for c in CAPTIONS if c != CAPTIONS[3]]))
    assert version(directory) == 4


def test_one_cache_has_shards_of_both(tmp_path: Path) -> None:
    old = old_cache(tmp_path / "old", made(CAPTIONS[:5]))
    new = [
        Outcome(r.caption, tuple(Rewrite(t.source, t.text, Told(-0.5, None)) for t in r.rewrites), r.rejections)
        for r in made(CAPTIONS[3:])
    ]
    with CacheWriter(tmp_path / "new", CONFIG) as writer:
        writer.new_records(new)
        for record in new:
            writer.add(record)
        writer.finish()
    merge_caches([old, tmp_path / "new"], tmp_path / "both", progress=False)
    assert version(tmp_path / "both") == 4 and verify_cache(tmp_path / "both", progress=False) == ([], [])
    found = {record.caption: {t.told for t in record.rewrites} for record in records(tmp_path / "both")}
    assert found == {c: {None} if i < 5 else {(-0.5, None)} for i, c in enumerate(CAPTIONS)}


@pytest.mark.parametrize("unknown", [1, 5, None])
def test_other_versions_are_refused_with_those_that_are_read(tmp_path: Path, unknown: int | None) -> None:
    manifest = tmp_path / "manifest.json"
    manifest.write_text(json.dumps({"format": "laclip-aug cache", "format_version": unknown}))
    with pytest.raises(
        CacheFormatError, match=f"format version {unknown}, .* reads versions 2 to 4; .*export it there"
    ):
        read_manifest(tmp_path)
