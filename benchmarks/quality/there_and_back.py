"""Two gates and back: a cache of many texts is filtered twice and brought back, and compared byte by byte.

python -m benchmarks.quality.there_and_back --captions captions.jsonl

The file has JSON lines with a list "captions", such as five people's captions of one photo (COCO, Multi30k): the first
is the caption, the others are its texts. Prints texts a CPU-second for each gate, and whether the caches are equal.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

from laclip_aug.cache.filter import filter_cache
from laclip_aug.cache.format import read_manifest
from laclip_aug.cache.ingest import import_cache
from laclip_aug.exchange.import_form import ImportForm

STRICT, LOOSE, FAISS = "words>=0 tfidf>=0.35", "words>=-1", "rank<=10 neighbours<=0.95"


def main() -> None:
    """Filter, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--captions", type=Path, required=True)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        import_cache(str(args.captions), place / "first", ImportForm(list_key="captions"))
        texts = sum(read_manifest(place / "first").counts.rewrites.values())
        rates = {}
        for source, spec, out in (
            ("first", STRICT, "strict"),
            ("strict", LOOSE, "loose"),
            ("loose", STRICT, "strict again"),
            ("strict again", "none", "back"),
            ("first", FAISS, "faiss"),
        ):
            started = time.process_time()
            filter_cache(place / source, place / out, spec, progress=False)
            rates[f"{spec} ({source} to {out})"] = round(texts / (time.process_time() - started))
        equal = {
            "strict, directly and by the loose one": content(place / "strict") == content(place / "strict again"),
            "first and brought back": content(place / "first") == content(place / "back"),
        }
        kept = {name: sum(read_manifest(place / name).counts.rewrites.values()) for name in ("strict", "loose", "back")}
    print(json.dumps({"texts": texts, "kept": kept, "texts a CPU-second": rates, "byte-identical": equal}, indent=1))


def content(directory: Path) -> dict[str, bytes]:
    """All bytes of shards and look-up."""
    return {file.name: file.read_bytes() for file in directory.iterdir() if file.suffix in (".parquet", ".table")}


if __name__ == "__main__":
    main()
