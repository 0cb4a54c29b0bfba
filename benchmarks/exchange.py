"""Ten thousand real rows through every exchange format, into a cache and out: equal row for row, and at what cost.

Rewrites come in files and go to files, of tools that know nothing of this package. So each format is written here with
the standard library, pyarrow or tarfile, imported into a cache, exported beside the same rows without their texts, and
read back as it was written. A row is equal if every cell of it is: image, caption and both texts, to the character.

Rows: CapsFusion's sample (alt-text; the texts are a captioning model's caption and a language model's fusion of both),
MS-COCO's captions of 2017's validation images (first caption; the texts are the second and the third), and Conceptual
Captions' validation split (the texts are made with EDA), in this order, up to ``--rows``. A cache by captions holds one
record of a caption: of later images with the same caption and other texts, which the table counts, the first one's
texts come out. A cache by image keys has no such rows. LaCLIP's text files hold one line a text, so line breaks within
texts (two of these rows have some) are spaces there from the start.

    python -m benchmarks.exchange DATA_FOLDER

``DATA_FOLDER`` has ``capsfusion_sample.jsonl`` (``raw``, ``synthetic``, ``fused``; from BAAI/CapsFusion, Hugging Face),
``coco_val2017_captions.jsonl`` (``captions``, a list for each image; from captions_val2017.json of cocodataset.org) and
``cc3m_validation.tsv`` (``caption``, ``url``; ai.google.com/research/ConceptualCaptions). Prints the table of
``results/exchange.md``, in CPU-seconds; the last line is JSON.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from laclip_aug.cache.browse import records
from laclip_aug.cache.export import export_beside, export_records
from laclip_aug.cache.ingest import import_cache
from laclip_aug.cache.keys import normalise
from laclip_aug.eda import EDAAugmenter
from laclip_aug.exchange.import_form import ImportForm

SOURCES = ("one", "two")
COLUMNS = ("filepath", "caption", *SOURCES)
Rows = list[tuple[str, ...]]


def rows_of(folder: Path) -> Iterator[tuple[str, str, str]]:
    """Caption and two texts."""
    with (folder / "capsfusion_sample.jsonl").open(encoding="utf-8") as file:
        for row in map(json.loads, file):
            yield row["raw"], row["synthetic"], row["fused"]
    with (folder / "coco_val2017_captions.jsonl").open(encoding="utf-8") as file:
        for row in map(json.loads, file):
            first, second, third, *_ = row["captions"]
            yield first, second, third
    with (folder / "cc3m_validation.tsv").open(encoding="utf-8", newline="") as file:
        captions = [row["caption"] for row in csv.DictReader(file, delimiter="\t")]
    texts = EDAAugmenter().augment(captions, 2, 0)
    yield from ((caption, *made) for caption, made in zip(captions, texts, strict=True))


def write_csv(path: Path, rows: Rows, width: int) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else ",", lineterminator="\n")
        writer.writerows([COLUMNS[:width], *(row[:width] for row in rows)])


def read_csv(path: Path) -> Rows:
    with path.open(encoding="utf-8", newline="") as file:
        return [tuple(row) for row in csv.reader(file, delimiter="\t" if path.suffix == ".tsv" else ",")][1:]


def dicts(rows: Rows, width: int) -> list[dict[str, str]]:
    return [dict(zip(COLUMNS[:width], row, strict=False)) for row in rows]


def tuples(rows: list[dict[str, str]]) -> Rows:
    return [tuple("" if row[name] is None else row[name] for name in COLUMNS) for row in rows]


def write_jsonl(path: Path, rows: Rows, width: int) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in dicts(rows, width)), encoding="utf-8")


def read_jsonl(path: Path) -> Rows:
    with path.open(encoding="utf-8") as file:
        return tuples([json.loads(line) for line in file])


def write_json(path: Path, rows: Rows, width: int) -> None:
    path.write_text(json.dumps(dicts(rows, width), indent=1), encoding="utf-8")


def read_json(path: Path) -> Rows:
    return tuples(json.loads(path.read_text(encoding="utf-8")))


def write_parquet(path: Path, rows: Rows, width: int) -> None:
    pq.write_table(pa.Table.from_pylist(dicts(rows, width)), path)


def read_parquet(path: Path) -> Rows:
    return tuples(pq.read_table(path).to_pylist())


def pixels(number: int) -> bytes:
    """Bytes in the place of an image; nothing looks at them."""
    return number.to_bytes(4, "big") * 250


def write_tar(path: Path, rows: Rows, width: int) -> None:
    """A caption in ``.txt``, texts in ``.json``."""
    with tarfile.open(path, "w") as tar:
        for number, (image, caption, *texts) in enumerate(rows):
            row = {"url": image, **dict(zip(SOURCES, texts[: width - 2], strict=False))}
            members = {"jpg": pixels(number), "txt": caption.encode(), "json": json.dumps(row).encode()}
            for ending, data in members.items():
                info = tarfile.TarInfo(f"{number:06d}.{ending}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))


def read_tar(path: Path) -> Rows:
    found: Rows = []
    with tarfile.open(path / "in.tar") as tar:
        members = iter(tar)
        for number, (jpg, txt, meta) in enumerate(zip(members, members, members, strict=True)):
            data = [tar.extractfile(member).read() for member in (jpg, txt, meta)]  # type: ignore[union-attr]
            if data[0] != pixels(number):
                raise SystemExit(f"the image {number} is another")
            row, caption = json.loads(data[2]), data[1].decode()
            if row["original"] != caption:
                raise SystemExit(f"the caption in the .json of sample {number} is another")
            found.append((row["url"], caption, row.get("one", ""), row.get("two", "")))
    return found


def write_lines(path: Path, rows: Rows, width: int) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(row[:2] for row in rows)
    for place, source in enumerate(SOURCES[: width - 2], 2):
        path.with_name(f"{source}.txt").write_text("".join(row[place] + "\n" for row in rows), encoding="utf-8")


def read_lines(path: Path) -> Rows:
    with (path.parent / "original.csv").open(encoding="utf-8", newline="") as file:
        pairs = list(csv.reader(file))
    texts = [(path.parent / f"{source}.txt").read_text(encoding="utf-8").split("\n")[:-1] for source in SOURCES]
    return list(zip(*zip(*pairs, strict=True), *texts, strict=True))  # type: ignore[arg-type]


TABLES: dict[str, tuple[str, str, Callable[[Path, Rows, int], None], Callable[[Path], Rows]]] = {
    "LaCLIP's CSV and text files": ("in.csv", "{source}.txt", write_lines, read_lines),
    "CSV": ("in.csv", "out.csv", write_csv, read_csv),
    "TSV": ("in.tsv", "out.tsv", write_csv, read_csv),
    "JSONL": ("in.jsonl", "out.jsonl", write_jsonl, read_jsonl),
    "JSON array": ("in.json", "out.json", write_json, read_json),
    "Parquet": ("in.parquet", "out.parquet", write_parquet, read_parquet),
    "webdataset tar, fields of .json": ("in.tar", "tars", write_tar, read_tar),
}


def expected(rows: Rows) -> tuple[Rows, int]:
    """What is to come out, and how many rows have a caption of an earlier row and other texts than it."""
    first: dict[str, tuple[str, ...]] = {}
    out = [(image, caption, *first.setdefault(normalise(caption), tuple(texts))) for image, caption, *texts in rows]
    return out, sum(row != mine for row, mine in zip(rows, out, strict=True))


def through_a_table(name: str, rows: Rows, folder: Path) -> dict[str, object]:
    inward, outward, write, read = TABLES[name]
    if "{" in outward:
        rows = [(image, caption, *(" ".join(text.splitlines()) for text in texts)) for image, caption, *texts in rows]
    whole, plain, out = folder / "whole", folder / "plain", folder / "out"
    for place, width in ((whole, 4), (plain, 2), (out, 0)):
        place.mkdir(parents=True)
        if width:
            write(place / inward, rows, width)
    lines = tuple(f"{source}={whole / source}.txt" for source in SOURCES) if "{" in outward else ()
    form = ImportForm(lines=lines) if lines else ImportForm(rewrite_keys=SOURCES)
    started = time.process_time()
    import_cache(whole / inward, folder / "cache", form)
    imported = time.process_time()
    export_beside(folder / "cache", str(out / outward), [str(plain / inward)])
    exported = time.process_time()
    wanted, shared = expected(rows)
    return compared(name, read(out / outward), wanted, imported - started, exported - imported, shared)


def compared(name: str, found: Rows, wanted: Rows, inward: float, outward: float, shared: int) -> dict[str, object]:
    different = [(a, b) for a, b in zip(found, wanted, strict=True) if a != b]
    for a, b in different[:3]:
        print(f"{name}: {a} instead of {b}", file=sys.stderr)
    equal = len(wanted) - len(different)
    return {"format": name, "in": inward, "out": outward, "rows": len(wanted), "equal": equal, "shared": shared}


def through_records(ending: str, rows: Rows, folder: Path) -> dict[str, object]:
    """Records by image keys, out and in again by the package's own formats."""
    folder.mkdir()
    write_parquet(folder / "in.parquet", rows, 4)
    form = ImportForm(rewrite_keys=SOURCES, image_key="filepath")
    import_cache(folder / "in.parquet", folder / "cache", form)
    started = time.process_time()
    export_records(folder / "cache", str(folder / f"out{ending}"))
    exported = time.process_time()
    back = folder / f"out{ending}"
    if not ending:
        import datasets

        datasets.disable_progress_bars()
        loaded = datasets.load_dataset(str(back), cache_dir=str(folder / "hub"))["train"]
        if sorted(loaded["image_key"]) != sorted(row[0] for row in rows):
            raise SystemExit("datasets loads other rows")
        back = folder / "out" / "data" / "00000.parquet"
    reading = time.process_time()
    import_cache(back, folder / "second", ImportForm())
    imported = time.process_time()
    first = {record.image: record for record in records(folder / "cache")}
    second = {record.image: record for record in records(folder / "second")}
    texts = {image: [*record.rewrites, *record.rejections] for image, record in second.items()}
    for image, caption, *own in rows:
        said = sorted(item.text for item in texts[image])
        if second[image].caption != normalise(caption) or said != sorted(own):
            first.pop(image, None)
    equal = sum(second[image] == record for image, record in first.items())
    name = {"": "folder for load_dataset"}.get(ending, f"records as {ending}")
    times = {"in": imported - reading, "out": exported - started}
    return {"format": f"{name}, by image keys", **times, "rows": len(rows), "equal": equal, "shared": 0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="DATA_FOLDER")
    parser.add_argument("--rows", type=int, default=10_000)
    args = parser.parse_args()
    rows: Rows = [
        (f"images/{number:06d}.jpg", *texts) for number, texts in enumerate(islice(rows_of(args.data), args.rows))
    ]
    results = []
    with tempfile.TemporaryDirectory() as scratch:
        for number, name in enumerate(TABLES):
            results.append(through_a_table(name, rows, Path(scratch) / str(number)))
        for number, ending in enumerate((".jsonl", ".csv", ".parquet", "")):
            results.append(through_records(ending, rows, Path(scratch) / f"records-{number}"))
    print("| format | rows | equal | an earlier row's texts, by their caption | in, CPU-s | out, CPU-s |")
    print("|---|---|---|---|---|---|")
    for row in results:
        print("| {format} | {rows:,} | {equal:,} | {shared} | {in:.1f} | {out:.1f} |".format(**row))
    print(json.dumps({"options": {"rows": len(rows)}, "results": results}))


if __name__ == "__main__":
    main()
