"""Single draws of the default rewriter, or of another adapter for it, to be judged by eye.

python -m benchmarks.quality.draws --captions DIR --out FILE.jsonl [--adapter ADAPTER.gguf] [--each 450]

One text a caption, of a strategy by hash, as the first attempt draws it, without any gate. Captions are of the held-out
fifth of COCO and CC3M (``benchmarks/caption_adapter/sources.py``) and of all of LAION, whose fifth is used up, in an
order by hash, but for those of the judged files, of pairs to train on and of the adapter's evaluation. Each line is
{"set", "caption", "strategy", "text", "likelihood", "own"}, the last the writer's verdict of its text; with "refused"
where the attribute rules do not let the text pass.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks.caption_adapter import evaluate, sources
from laclip_aug.generation.backend import Job, Sampling
from laclip_aug.generation.opening import open_backend
from laclip_aug.rewrite import embedded
from laclip_aug.rewrite.prompt import shown_caption
from laclip_aug.rewrite.reply import Acceptance
from laclip_aug.seeding import derive

HERE = Path(__file__).parent
SEEN = (
    "drawn.jsonl",
    "judged.jsonl",
    "blind.jsonl",
    "sound.jsonl",
    "fresh.jsonl",
    "../caption_adapter/pairs.jsonl",
    "../caption_adapter/bold.jsonl",
)


def hashed(text: str) -> bytes:
    """What captions are put in order by, and given a strategy."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass")).digest()


def captions(folder: Path) -> dict[str, list[str]]:
    """All captions of each set that may be drawn for."""
    seen = {
        json.loads(line)["caption"] for name in SEEN for line in (HERE / name).read_text(encoding="utf-8").splitlines()
    }
    for own in evaluate.sets(folder, "test").values():
        seen.update(own.captions, own.humans)
    held = {
        "coco": [caption for own in sources.coco(folder, held=True) for caption in own],
        "cc3m": sources.cc3m(folder, held=True),
        "laion": sources.laion(folder, held=True) + sources.laion(folder, held=False),
    }
    return {name: sorted(set(texts) - seen, key=lambda text: hashed(f"fresh{text}")) for name, texts in held.items()}


def jobs(found: dict[str, list[str]], each: int) -> Iterator[Job]:
    """One for each caption."""
    layout, strategies = embedded.layout(), list(embedded.WORDS)
    for name, texts in found.items():
        for caption in texts[:each]:
            strategy = strategies[hashed(caption)[0] % len(strategies)]
            seed = derive(0, "completion", strategy, caption, 0, 0, 0)
            yield layout.job(strategy, 0, shown_caption(caption), seed, (name, caption, strategy))


def main() -> None:
    """Draw and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--captions", type=Path, required=True, help="folder with the caption sets")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--adapter", type=Path, default=embedded.find().adapter)
    parser.add_argument("--each", type=int, default=450, help="captions of each set")
    args = parser.parse_args()
    how = embedded.DEFAULTS
    sampling = Sampling(how["temperature"], how["top_p"], how["max_new_tokens"])
    engine = {
        "adapter": str(args.adapter),
        "n_slots": how["n_slots"],
        "n_ctx": how["n_ctx"],
        "n_threads": 1,
        "reproducible": False,
    }
    backend, acceptance = open_backend("llama.cpp", embedded.MODEL, sampling, engine), Acceptance()
    rows: list[dict[str, Any]] = []
    for done in tqdm(backend.complete(jobs(captions(args.captions), args.each)), "drawing", unit=" texts"):
        name, caption, strategy = done.job.tag  # type: ignore[misc]
        text, reason = acceptance.judge(done, (), [])
        row = {"set": name, "caption": caption, "strategy": strategy, "text": text}
        row |= {
            "likelihood": round(done.log_likelihood, 4),
            "own": None if done.verdict is None else round(done.verdict, 4),
        }
        rows.append(row | ({"refused": reason} if reason else {}))
    backend.close()
    rows.sort(key=lambda row: (row["set"], row["caption"]))
    args.out.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


if __name__ == "__main__":
    main()
