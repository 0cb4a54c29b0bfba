"""A judge that reads: the rewriter itself, tuned to say from a caption and its rewrite whether the rewrite is true.

python -m benchmarks.quality.tuned_judge --out DIR [--share 0.5] [--epochs 2]

SmolLM2 with the shipped adapter merged gets a further LoRA adapter and one linear unit on the state of the token that
closes the text, the very sequence that the engine has in its cache when a text ends. Trained on ``drawn.jsonl`` and
``judged.jsonl`` (what passes the attribute rules), but for a quarter of the captions by hash, which it is measured on.
Some twenty minutes of two cores. Prints AUC and the share of the true kept at 5% of the false: of the judge, of
``truth`` and the likelihood fitted together, and of all three, fitted in ten folds of the measured captions.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from benchmarks.caption_adapter.train import MODULES, schedule
from benchmarks.quality.evidence import Reader
from benchmarks.quality.evidence_study import auc, folds, kept
from laclip_aug.quality.checks import Candidate, reason_against
from laclip_aug.quality.signals import TextPair, create_signal

HERE = Path(__file__).parent
BATCH, RATE, WARMUP, END = 16, 3e-4, 20, 0.03
Row = dict[str, Any]


def verdicts() -> tuple[list[Row], list[Row]]:
    """Judged rewrites to train on and to measure on, no caption in both."""
    rows = [
        json.loads(line)
        for name in ("drawn", "judged")
        for line in (HERE / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    rows = [row for row in rows if reason_against(Candidate(row["caption"], row["text"])) is None]
    return [row for row in rows if not measured(row["caption"])], [row for row in rows if measured(row["caption"])]


def measured(caption: str) -> bool:
    """Whether a caption is of the quarter that is only measured on.

    Not of the half of ``halves.py``, which would leave a judge too few to learn from.
    """
    return int(hashlib.blake2b(caption.encode(), digest_size=8).hexdigest(), 16) % 4 == 0


class Judge(torch.nn.Module):
    """Scores of (caption, rewrite), as token ids: ``[B]`` logits that the rewrite is true."""

    def __init__(self, causal: Any) -> None:
        super().__init__()
        lora = LoraConfig(r=16, lora_alpha=32, lora_dropout=0.05, target_modules=MODULES)
        self.tuned = get_peft_model(causal, lora)
        self.head = torch.nn.Linear(causal.config.hidden_size, 1)
        torch.nn.init.zeros_(self.head.weight)

    def forward(self, texts: Sequence[Sequence[int]]) -> Tensor:
        """Each text's last token has seen all of it; what stands after it in a shorter one is masked."""
        ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(text) for text in texts], batch_first=True)
        ends = torch.tensor([len(text) for text in texts])
        mask = (torch.arange(ids.shape[1]) < ends[:, None]).long()
        body = self.tuned.get_base_model().model
        states = body(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        return self.head(states[torch.arange(len(texts)), ends - 1])[:, 0]


def batches(texts: Sequence[Sequence[int]], rng: random.Random) -> Iterator[list[int]]:
    """Numbers of texts, in random order, those of a batch of about one length."""
    order = rng.sample(range(len(texts)), len(texts))
    found = []
    for at in range(0, len(order), 16 * BATCH):
        near = sorted(order[at : at + 16 * BATCH], key=lambda i: len(texts[i]))
        found += [near[i : i + BATCH] for i in range(0, len(near), BATCH)]
    return iter(rng.sample(found, len(found)))


def train(judge: Judge, texts: Sequence[Sequence[int]], true: Tensor, epochs: int, seed: int) -> None:
    """Cross-entropy on the verdicts."""
    rng = random.Random(seed)
    plan = [batch for _ in range(epochs) for batch in batches(texts, rng)]
    own = [parameter for parameter in judge.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(own, lr=RATE, weight_decay=0.01)
    judge.train()
    for step, batch in enumerate(bar := tqdm(plan, "training", unit=" steps")):
        for group in optimizer.param_groups:
            group["lr"] = RATE * schedule(step, len(plan), WARMUP, END)
        loss = F.binary_cross_entropy_with_logits(judge([texts[i] for i in batch]), true[batch])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(own, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        bar.set_postfix(loss=f"{loss.item():.3f}")


@torch.inference_mode()
def scored(judge: Judge, texts: Sequence[Sequence[int]]) -> np.ndarray:
    """Of each text, in their order."""
    judge.eval()
    order, found = sorted(range(len(texts)), key=lambda i: len(texts[i])), np.zeros(len(texts))
    for at in range(0, len(order), 32):
        found[order[at : at + 32]] = judge([texts[i] for i in order[at : at + 32]]).numpy()
    return found


def together(table: np.ndarray, true: np.ndarray, captions: np.ndarray) -> np.ndarray:
    """A logistic model's scores, each text's by a model that was fitted without its caption's fold."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    found = np.zeros(len(true))
    for fitted, left in folds(captions, 10, 0):
        model = make_pipeline(StandardScaler(), LogisticRegression()).fit(table[fitted], true[fitted])
        found[left] = model.decision_function(table[left])
    return found


def main() -> None:
    """Train, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the scores of the measured texts")
    parser.add_argument("--share", type=float, default=1.0, help="of the texts to train on, for a learning curve")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    some, shown = verdicts()
    some = random.Random(args.seed).sample(some, round(args.share * len(some)))
    reader = Reader()
    true = np.array([row["verdict"] for row in shown])
    likelihood = [reader.likelihood(row) for row in tqdm(shown, "reading")]
    truth = create_signal("truth").measure([TextPair(row["caption"], row["text"]) for row in shown])
    judge = Judge(reader.model)
    train(judge, [reader.written(row) for row in some], torch.tensor([float(r["verdict"]) for r in some]),
          args.epochs, args.seed)  # fmt: skip
    scores = scored(judge, [reader.written(row) for row in shown])
    args.out.mkdir(parents=True, exist_ok=True)
    np.savez(args.out / "scores.npz", judge=scores, truth=truth, likelihood=likelihood, true=true)
    captions = np.array([row["caption"] for row in shown])
    print(f"trained on {len(some)} texts, measured on {len(shown)}, of which {true.sum()} true")
    for name, found in (
        ("the judge", scores),
        ("`truth`, likelihood", together(np.c_[truth, likelihood], true, captions)),
        ("all three", together(np.c_[scores, truth, likelihood], true, captions)),
    ):
        print(f"| {name} | {auc(found, true):.3f} | {kept(found, true):.3f} |")


if __name__ == "__main__":
    main()
