"""An adapter's own draws for captions to train on: refused by a rule, or most likely sound, they teach it to write.

python -m benchmarks.caption_adapter.own_draws --captions DIR --adapter ADAPTER.gguf --out FILE.jsonl

Four texts, one a strategy, for each of 6,000 captions that were not held out (``sources.py``), as the first attempt
draws them: 2,300 of COCO, most with a colour, 2,500 of CC3M, many with a colour, a number or a negation, and 1,200 of
LAION. Fourteen minutes of one core. ``verdicts.py --own FILE`` takes them.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks.caption_adapter import sources
from benchmarks.caption_adapter.metrics import novelty
from benchmarks.quality import fresh
from benchmarks.quality.draws import hashed
from laclip_aug.generation.backend import Job, Sampling
from laclip_aug.generation.opening import open_backend
from laclip_aug.quality.attributes import attributes
from laclip_aug.quality.signals import create_signal
from laclip_aug.rewrite import embedded
from laclip_aug.rewrite.prompt import shown_caption
from laclip_aug.rewrite.reply import Acceptance
from laclip_aug.seeding import derive

SURE, NEW = 0.85, 0.3  # `sound` and novelty, from which a draw counts as sound and worth learning
COLOURED, OTHERS = 1200, 1600
"""How many of the sound are taken whose captions have a colour, and of those that have none."""
SEED = 7
Row = dict[str, Any]


def captions(folder: Path) -> dict[str, list[str]]:
    """Captions of each set, in an order by hash; those of ``fresh.jsonl`` are left out."""
    read = {json.loads(line)["caption"] for line in fresh.FILE.read_text(encoding="utf-8").splitlines()}
    coco = {caption for own in sources.coco(folder, held=False) for caption in own} - read
    cc3m, laion = set(sources.cc3m(folder, held=False)) - read, set(sources.laion(folder, held=False)) - read

    def first(texts: set[str], n: int) -> list[str]:
        return sorted(texts, key=hashed)[:n]

    coloured = first({caption for caption in coco if attributes(caption).colours}, 1600)
    told = first({caption for caption in cc3m if _attributes(caption)}, 1000)
    return {
        "coco": coloured + first(coco - set(coloured), 700),
        "cc3m": told + first(cc3m - set(told), 1500),
        "laion": first(laion, 1200),
    }


def rows(draws: Sequence[Row], rng: random.Random) -> list[Row]:
    """The texts that a rule refuses, and some that are most likely sound, with their weights in writing and judging.

    No verdict is asked of either: the rules come first, and nobody read the others.
    """
    refused = [row | {"strict": "false", "writing": 1.0} for row in draws if row.get("refused", "spoken") != "spoken"]
    told = [row for row in draws if "refused" not in row and row["own"] is not None]
    sure = create_signal("sound").measure(fresh.pairs(told))
    good = [
        row | {"strict": "ok", "writing": 0.5}
        for row, probability in zip(told, sure, strict=True)
        if probability >= SURE and novelty(row["caption"], row["text"]) >= NEW
    ]
    coloured = [row for row in good if attributes(row["caption"]).colours]
    others = [row for row in good if not attributes(row["caption"]).colours]
    chosen = [rng.sample(some, min(n, len(some))) for some, n in ((coloured, COLOURED), (others, OTHERS))]
    return [row | {"judging": 0.0} for row in [*refused, *chosen[0], *chosen[1]]]


def main() -> None:
    """Draw and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--captions", type=Path, required=True, help="folder with the caption sets")
    parser.add_argument("--adapter", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    drawing = embedded.DEFAULTS
    sampling = Sampling(drawing["temperature"], drawing["top_p"], drawing["max_new_tokens"])
    engine = {"adapter": str(args.adapter), "n_threads": 1, "reproducible": False}
    engine |= {name: drawing[name] for name in ("n_slots", "n_ctx")}
    backend, acceptance = open_backend("llama.cpp", embedded.MODEL, sampling, engine), Acceptance()
    found = captions(args.captions)
    asked, lines = len(embedded.WORDS) * sum(map(len, found.values())), []
    for done in tqdm(backend.complete(_jobs(found)), "drawing", total=asked, unit=" texts"):
        name, caption, strategy = done.job.tag  # type: ignore[misc]
        text, reason = acceptance.judge(done, (), [])
        row = {"set": name, "caption": caption, "strategy": strategy, "text": text}
        row |= {"likelihood": done.log_likelihood, "own": done.verdict} | ({"refused": reason} if reason else {})
        lines.append(json.dumps(row, ensure_ascii=False) + "\n")
    backend.close()
    args.out.write_text("".join(sorted(lines)), encoding="utf-8")


def _attributes(caption: str) -> bool:
    found = attributes(caption)
    return bool(found.colours or found.numbers or found.negated)


def _jobs(found: dict[str, list[str]]) -> Iterator[Job]:
    layout = embedded.layout()
    for name, texts in found.items():
        for caption in texts:
            for strategy in embedded.WORDS:
                seed = derive(SEED, "completion", strategy, caption, 0, 0, 0)
                yield layout.job(strategy, 0, shown_caption(caption), seed, (name, caption, strategy))


if __name__ == "__main__":
    main()
