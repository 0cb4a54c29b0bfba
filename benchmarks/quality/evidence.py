"""What the rewriting model says of each token of the judged texts: its log-probability, rank, and the entropy there.

python -m benchmarks.quality.evidence --out evidence.jsonl

The model is SmolLM2 with the adapter that ships; the published figures are of the one before it was tuned on verdicts.
Each text is read after its own caption, as when it was written, and after other prompts, to see what it owes to the
caption: none, another caption of the set, the caption with its content words in another order, the text itself. The
caption is read after the text, after the text in another order, after itself and after none, to see what was left out.
About a CPU second a text. ``evidence_study.py`` takes it from there.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from laclip_aug.generation.adapters import merged
from laclip_aug.generation.models import resolve_model
from laclip_aug.quality.stems import FUNCTION_WORDS
from laclip_aug.rewrite import embedded
from laclip_aug.rewrite.prompt import shown_caption

HERE = Path(__file__).parent
SHIPPED = HERE.parent / "results" / "caption_adapter"
AT_DEFAULTS = "shipped, behind its gate"
"""Origin of the texts that the shipped rewriter's own gate had let pass before they were judged."""

Ids = list[int]


def main() -> None:
    """Read all texts and write a JSON line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    rows = list(judged_rows())
    captions: dict[str, list[str]] = {}
    for row in rows:
        captions.setdefault(row["set"], []).append(row["caption"])
    draw, reader = random.Random(0), Reader()
    with args.out.open("w", encoding="utf-8") as out:
        for row in rows:
            other = draw.choice([caption for caption in captions[row["set"]] if caption != row["caption"]])
            out.write(json.dumps({**row, **reader.evidence(row, other)}) + "\n")


def judged_rows() -> Iterator[dict[str, Any]]:
    """All judged texts, of ``judged.jsonl`` and of the adapter's evaluation, with a verdict of true or false."""
    for line in (HERE / "judged.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        yield {key: row[key] for key in ("set", "caption", "text", "origin", "strategy")} | {"true": row["verdict"]}
    for name in ("coco", "cc3m", "laion"):
        for line in (SHIPPED / f"{name}.jsonl").read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            kept = {key: row[key] for key in ("caption", "text", "strategy")}
            yield {"set": name, "origin": AT_DEFAULTS, "true": row["verdict"] == "ok", **kept}


class Reader:
    """The merged model; reads one sequence at a time."""

    def __init__(self) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        found = embedded.find()
        file = merged(resolve_model(found.model), resolve_model(str(found.adapter)), "BF16")
        if file is None:
            raise SystemExit("the merged model cannot be kept; free some space in the cache directory")
        folder, name = file[0].parent, file[0].name
        self.model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32).eval()
        tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
        self._ids: Callable[[str], Ids] = lambda text: tokenizer(text, add_special_tokens=False).input_ids
        self._piece: Callable[[int], str] = lambda token: tokenizer.decode([token])

    def evidence(self, row: dict[str, Any], other: str) -> dict[str, Any]:
        """Pieces of text and caption, and what the model says of each after each prompt."""
        caption, text = shown_caption(row["caption"]), row["text"].strip()
        word = embedded.WORDS[row["strategy"]]
        of_text, of_caption = (self._ids(f" {side}<|im_end|>") for side in (text, caption))
        after: dict[str, dict[str, list[float]]] = {}
        for name, source in (
            ("caption", caption),
            ("none", ""),
            ("other", shown_caption(other)),
            ("text", text),
            ("shuffled", shuffled(caption)),
        ):
            after[name] = self._read(self._prompt(source, word), of_text)
        back = {
            name: self._read(self._prompt(source, "photo"), of_caption)["lp"]
            for name, source in (("text", text), ("none", ""), ("caption", caption), ("shuffled", shuffled(text)))
        }
        pieces = [self._piece(token) for token in of_text[:-1]]
        return {
            "pieces": pieces,
            "caption pieces": [self._piece(token) for token in of_caption[:-1]],
            "after": {name: found if name == "caption" else {"lp": found["lp"]} for name, found in after.items()},
            "back": back,
        }

    def _prompt(self, source: str, word: str) -> Ids:
        lead = " " + source if source else ""
        return self._ids(f"<|im_start|>{lead}<|im_end|> {word}")

    @torch.inference_mode()
    def _read(self, prompt: Ids, text: Ids) -> dict[str, list[float]]:
        read = self.model(torch.tensor([prompt + text[:-1]]), logits_to_keep=len(text))
        scores = read.logits[0].double().log_softmax(dim=-1)  # [text, vocabulary]
        own = scores.gather(1, torch.tensor(text)[:, None])
        found = {
            "lp": own[:, 0],
            "rank": (scores > own).sum(dim=1),
            "entropy": -(scores.exp() * scores).sum(dim=1),
            "most": scores.max(dim=1).values,
        }
        return {name: [round(number, 4) for number in values.tolist()] for name, values in found.items()}


def shuffled(text: str) -> str:
    """``text`` with its content words in another order, what stands between them where it was."""
    words, draw = text.split(), random.Random(text)
    places = [place for place, word in enumerate(words) if _plain(word) and _plain(word) not in FUNCTION_WORDS]
    orders = [draw.sample(places, len(places)) for _ in range(6)]
    order = max(orders, key=lambda order: sum(a != b for a, b in zip(places, order, strict=True)))
    moved = dict(zip(places, order, strict=True))
    return " ".join(words[moved.get(place, place)] for place in range(len(words)))


def _plain(word: str) -> str:
    return "".join(filter(str.isalnum, word.casefold()))


if __name__ == "__main__":
    main()
