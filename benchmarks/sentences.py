"""Long captions as sentences: how long the texts are, and of how many CLIP would not read the end.

For each set of captions: how many have more than one sentence; how many are over CLIP's 77 tokens, and how many of the
texts that are made of those; and what share of all tokens is cut off, of captions and of texts. ``--join`` adds sets
whose captions are so many lines of a set in a row, as the several human captions of one image are, for long captions
where there are none. Cost is CPU time of this process.

Each set is a file with one JSON object a line and the key of its captions: CapsFusion's sample
(https://huggingface.co/datasets/BAAI/CapsFusion-120M), LAION's alt-texts, MS-COCO's five captions of an image one after
the other.

    python benchmarks/sentences.py capsfusion.jsonl:fused laion.jsonl:caption coco.jsonl:caption --join 5
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from laclip_aug.quality.cliptokens import clip_token_count
from laclip_aug.sentences import SentencesAugmenter
from laclip_aug.sentences.splitting import sentences_of

READ = 77
TEXTS = 8


def captions_of(source: str) -> list[str]:
    """The captions of ``FILE:KEY``; a list under the key is several."""
    path, _, key = source.rpartition(":")
    found: list[str] = []
    with Path(path).open(encoding="utf-8") as lines:
        for line in lines:
            value = json.loads(line).get(key)
            found += [str(item) for item in (value if isinstance(value, list) else [value]) if item]
    return found


def cut(counts: Sequence[int]) -> float:
    """Percent of all tokens that are behind the last that is read."""
    return 100 * sum(max(0, count - READ) for count in counts) / max(1, sum(counts))


def row(name: str, captions: list[str], most: int) -> dict[str, Any]:
    started = time.process_time()
    split = {caption: sentences_of(caption) for caption in captions}
    cost = 1e6 * (time.process_time() - started) / len(captions)
    several = [caption for caption in captions if len(split[caption]) > 1]
    started = time.process_time()
    made = SentencesAugmenter(most=most).augment(several, TEXTS, seed=0)
    draws = 1e6 * (time.process_time() - started) / max(1, len(several))
    texts = [list(dict.fromkeys(t for t in row if t != c)) for c, row in zip(several, made, strict=True)]
    lengths = {caption: clip_token_count(caption) for caption in several}
    long = [place for place, caption in enumerate(several) if lengths[caption] > READ]
    of_all = [clip_token_count(text) for row in texts for text in row]
    of_long = [clip_token_count(text) for place in long for text in texts[place]]
    return {
        "set": name,
        "captions": len(captions),
        "of several sentences": len(several),
        "sentences each": statistics.mean(len(split[caption]) for caption in several) if several else 0,
        "tokens of a caption": statistics.median(lengths.values()) if several else 0,
        "tokens of a text": statistics.median(of_all) if several else 0,
        "captions cut": len(long),
        "their texts": len(of_long),
        "of those cut": sum(count > READ for count in of_long),
        "% tokens cut, captions": cut([lengths[several[place]] for place in long]),
        "% tokens cut, texts": cut(of_long),
        "one sentence, cut": sum(clip_token_count(c) > READ for c in captions if len(split[c]) < 2),
        "us to split": cost,
        f"us for {TEXTS} texts": draws,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+", metavar="FILE:KEY")
    parser.add_argument("--join", type=int, metavar="N", help="also N captions of the last set in a row as one")
    parser.add_argument("--most", type=int, nargs="*", default=[1, 3])
    parser.add_argument("--json", type=Path, help="also write the JSON document here")
    args = parser.parse_args()
    sets = {f"{Path(source.rpartition(':')[0]).stem}, {source.rpartition(':')[2]}": source for source in args.sets}
    found = {name: captions_of(source) for name, source in sets.items()}
    if args.join:
        name = list(found)[-1]
        ended = [c if c.rstrip()[-1:] in tuple(".!?") else f"{c.rstrip()}." for c in found[name]]
        rows = [ended[start : start + args.join] for start in range(0, len(ended), args.join)]
        found[f"{name}, {args.join} in a row"] = [" ".join(row) for row in rows]
    rows_ = []
    for most in args.most:
        for name, captions in found.items():
            rows_.append({"most": most, **row(name, captions, most)})
            if len(rows_) == 1:
                print("| " + " | ".join(rows_[0]) + " |\n|" + "---|" * len(rows_[0]))
            shown = [f"{value:.1f}" if isinstance(value, float) else str(value) for value in rows_[-1].values()]
            print("| " + " | ".join(shown) + " |", flush=True)
    document = json.dumps({"read": READ, "texts": TEXTS, "rows": rows_})
    if args.json:
        args.json.write_text(document + "\n")
    print(document)


if __name__ == "__main__":
    main()
