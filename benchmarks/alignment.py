"""The alignment audit of imports: what passes, what is refused, and how near the first bad row is.

Why it matters: files that are joined line by line lose a line silently, and a model trained on shifted texts learns
nothing; but a check that refuses honest texts is switched off. Real pairs, as they are and damaged in ways that really
happen, are judged by ``laclip_aug.exchange.alignment``. ``off`` is the reported first bad row minus the true one.

The pairs are made of a directory with ``capsfusion_sample.jsonl`` (``{raw, synthetic, fused}``, the sample of
https://github.com/baaivision/CapsFusion), ``coco_val2017_captions.jsonl`` (``{captions}`` of an image; the annotations
of https://cocodataset.org), ``cc3m_validation.tsv`` (caption, url; Conceptual Captions), ``laion_alt_text.jsonl``
(``{caption}``) and ``multi30k/`` (https://github.com/multi30k/dataset). Texts for CC3M and LAION are the captions
themselves with each word kept at 60%. The last line is one JSON document.

    python benchmarks/alignment.py DIRECTORY
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from laclip_aug.exchange.alignment import SourceAudit, Verdict, words

Pairs = tuple[list[str], list[str]]


def pairs(place: Path) -> dict[str, Pairs]:
    """Captions and texts that belong together."""

    def rows(name: str) -> list[dict[str, object]]:
        return [json.loads(line) for line in (place / name).read_text(encoding="utf-8").splitlines()]

    def lines(name: str) -> list[str]:
        with gzip.open(place / "multi30k" / name, "rt", encoding="utf-8") as file:
            return [line.strip() for line in file][:10000]

    def thinned(captions: list[str]) -> list[str]:
        rng = random.Random(0)
        return [" ".join(word for word in caption.split() if rng.random() < 0.6) for caption in captions]

    fusion = rows("capsfusion_sample.jsonl")
    raw = [str(row["raw"]) for row in fusion]
    coco = [list(map(str, row["captions"])) for row in rows("coco_val2017_captions.jsonl")]  # type: ignore[call-overload]
    laion = [str(row["caption"]) for row in rows("laion_alt_text.jsonl")]
    table = (place / "cc3m_validation.tsv").read_text(encoding="utf-8").splitlines()[1:]
    cc3m = [line.split("\t")[0] for line in table]
    return {
        "CapsFusion, alt-text and BLIP's caption": (raw, [str(row["synthetic"]) for row in fusion]),
        "CapsFusion, alt-text and fused": (raw, [str(row["fused"]) for row in fusion]),
        "COCO, two captions of an image": ([one[0] for one in coco], [one[1] for one in coco]),
        "Multi30k, two German captions": (lines("task2_train.1.de.gz"), lines("task2_train.2.de.gz")),
        "CC3M, thinned": (cc3m, thinned(cc3m)),
        "LAION, thinned": (laion, thinned(laion)),
        "Multi30k, English and German": (lines("task1_train.en.gz"), lines("task1_train.de.gz")),
    }


def damages(size: int) -> dict[str, tuple[int | None, Callable[[list[str]], list[str]]]]:
    """The first row, counted from 1, that is wrong after each damage."""
    half, quarter = size // 2, size // 4
    gone = set(random.Random(5).sample(range(size), size // 100))

    def moved(texts: list[str], start: int, end: int) -> list[str]:
        return [*texts[:start], *texts[start + 1 : end], texts[start], *texts[end:]]

    def shuffled(texts: list[str]) -> list[str]:
        return random.Random(2).sample(texts, len(texts))

    return {
        "as they are": (None, lambda texts: texts),
        "first line missing": (1, lambda texts: texts[1:]),
        "one missing in the middle, same length": (half + 1, lambda t: [*t[:half], *t[half + 1 :], t[0]]),
        "one too many in the middle": (half + 2, lambda t: [*t[:half], t[0], *t[half:-1]]),
        "one moved far": (quarter + 1, lambda texts: moved(texts, quarter, 3 * quarter)),
        "one moved by 50": (half + 1, lambda texts: moved(texts, half, half + 50)),
        "1% missing": (min(gone) + 1, lambda texts: [text for n, text in enumerate(texts) if n not in gone]),
        "a block of 200 twice": (half + 201, lambda texts: [*texts[: half + 200], *texts[half:-200]]),
        "second half shuffled": (half + 1, lambda texts: [*texts[:half], *shuffled(texts[half:])]),
        "all shuffled": (None, shuffled),
    }


def judged(captions: Sequence[str], texts: Sequence[str]) -> Verdict:
    audit = SourceAudit("texts")
    for number, (caption, text) in enumerate(zip(captions, texts, strict=False), 1):
        audit.add(words(caption), words(text), str(number))
    return audit.verdict()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    place = parser.parse_args().directory
    found = []
    for name, (captions, texts) in pairs(place).items():
        print(f"\n**{name}**, {len(captions)} rows\n")
        print("| damage | judged | agree with own | with a far one | verdict | out of line | first bad row | off |")
        print("|---|---|---|---|---|---|---|---|")
        for damage, (true, make) in damages(len(captions)).items():
            started = time.process_time()
            verdict = judged(captions, make(texts))
            seconds = time.process_time() - started
            first = int(verdict.first.place) if verdict.first else None
            off = first - true if first is not None and true is not None else None
            said = "refused" if verdict.misaligned else "in line" if verdict.related else "cannot tell"
            row = {
                "pairs": name,
                "damage": damage,
                "judged": round(verdict.judged / verdict.rows, 3),
                "own": round(verdict.own, 3),
                "far": round(verdict.far, 3),
                "verdict": said,
                "misaligned": verdict.misaligned,
                "first": first,
                "off": off,
                "microseconds_per_row": round(seconds / verdict.rows * 1e6),
            }
            found.append(row)
            print(
                f"| {damage} | {row['judged']:.0%} | {row['own']:.1%} | {row['far']:.1%} | {said} "
                f"| {verdict.misaligned} | {'' if first is None else first} | {'' if off is None else f'{off:+d}'} |",
                flush=True,
            )
    print()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
