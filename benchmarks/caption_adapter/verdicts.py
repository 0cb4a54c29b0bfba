"""Tune an adapter on verdicts: to write what was judged true rather than what was judged false, and to tell them apart.

python -m benchmarks.caption_adapter.verdicts --start ADAPTER.gguf --out DIR [--captions DIR] [--all]

The texts are rewrites judged by eye (``benchmarks/quality/drawn.jsonl``, ``judged.jsonl``). With π the model in
training, ρ the model at the start, y the verdict (1 or -1) and w a weight, a text x costs

    w (-log σ(y β (log π(x) - log ρ(x))) - [y = 1] α log π(x) / |x|) - log σ(y (z_true - z_false))

The first term is that of unpaired preferences (KTO, arXiv 2402.01306, with 0 for its reference point), the second keeps
true texts likely. By w the true texts of a set and novelty weigh as much in the first as the false ones, so that to
write boldly is neither good nor bad in itself. z are the scores of the two words of verdict where the text ends: the
engine has them at hand there. A quarter of the captions, by hash, is only measured on (none with ``--all``). Resumable;
some fifty minutes of two cores. Prints, at the start and after each pass, AUC and the share of the true kept at 5% of
the false. The shipped adapter was made without ``--all`` from the one of commit bcd64ce (sha256 a42bbe00...).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from peft import PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm
from transformers import AutoTokenizer

from benchmarks.caption_adapter import export, train
from benchmarks.caption_adapter.metrics import novelty
from benchmarks.caption_adapter.rows import END, START, Encode
from benchmarks.caption_adapter.run import base_model, finish
from benchmarks.quality.evidence_study import auc, kept
from laclip_aug.quality.checks import Candidate, reason_against
from laclip_aug.rewrite import embedded
from laclip_aug.rewrite.prompt import shown_caption

JUDGED = Path(__file__).parents[1] / "quality"
BATCH, READ, PIECE = 16, 32, 256
Row = dict[str, Any]


@dataclass(frozen=True)
class Preference:
    """α, β and the passes over the texts."""

    beta: float = 0.2
    anchor: float = 0.5
    epochs: int = 2
    most_weight: float = 3.0


class Written(NamedTuple):
    """A prompt and a text with its closing token, as token ids."""

    prompt: list[int]
    text: list[int]


class Reading(NamedTuple):
    """Of each text ``[B]``: log-probability, the same a token, and z_true - z_false."""

    log_probability: Tensor
    per_token: Tensor
    log_odds: Tensor


def verdicts() -> tuple[list[Row], list[Row]]:
    """Judged rewrites that pass the attribute rules, to train on and to measure on, no caption in both."""
    rows = [
        json.loads(line)
        for name in ("drawn", "judged")
        for line in (JUDGED / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    rows = [row for row in rows if reason_against(Candidate(row["caption"], row["text"])) is None]
    return [row for row in rows if not measured(row["caption"])], [row for row in rows if measured(row["caption"])]


def measured(caption: str) -> bool:
    """Whether a caption is of the quarter that is only measured on."""
    return int(hashlib.blake2b(caption.encode(), digest_size=8).hexdigest(), 16) % 4 == 0


def weights(rows: Sequence[Row], most: float) -> Tensor:
    """``[N]``: in each bin of set and novelty the true weigh as much as the false, none more than ``most``.

    Texts of the model as it came, or of its first round, teach judging only.
    """
    bins = [(row["set"], min(int(novelty(row["caption"], row["text"]) * 6), 3)) for row in rows]
    own = [not any(other in row.get("origin", "") for other in ("in-context", "round 0")) for row in rows]
    counts = Counter((one, row["verdict"]) for one, row, it in zip(bins, rows, own, strict=True) if it)
    found = torch.zeros(len(rows))
    for i in (i for i, it in enumerate(own) if it):
        whole = counts[bins[i], True] + counts[bins[i], False]
        found[i] = min(most, 0.5 * whole / counts[bins[i], rows[i]["verdict"]])
    return found


def written(one: Row, encode: Encode) -> Written:
    """As the engine reads and writes it."""
    word = embedded.WORDS[one["strategy"]]
    prompt = [START, *encode(" " + shown_caption(one["caption"])), END, *encode(f" {word}")]
    return Written(prompt, [*encode(" " + one["text"].strip()), END])


def read(model: PeftModel, texts: Sequence[Written], words: tuple[int, int]) -> Reading:
    """Score texts; what stands after the end of a shorter one is masked."""
    ids = [torch.tensor(one.prompt + one.text[:-1]) for one in texts]
    goals = [torch.tensor([-100] * (len(one.prompt) - 1) + one.text) for one in texts]
    together, wanted = (
        torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=value).to(model.device)
        for rows, value in ((ids, END), (goals, -100))
    )
    ends = torch.tensor([len(row) for row in ids], device=model.device)
    places = torch.arange(together.shape[1], device=model.device)
    causal = model.get_base_model()
    states = causal.model(
        input_ids=together, attention_mask=(places < ends[:, None]).long(), use_cache=False
    ).last_hidden_state
    scored = wanted >= 0
    logs = torch.zeros(wanted.shape, device=model.device)
    logs[scored] = -F.cross_entropy(causal.lm_head(states[scored]).float(), wanted[scored], reduction="none")
    true, false = (causal.lm_head.weight[word] for word in words)
    odds = states[torch.arange(len(texts)), ends - 1] @ (true - false)
    return Reading(logs.sum(1), logs.sum(1) / scored.sum(1), odds)


def cost(reading: Reading, start: Tensor, true: Tensor, weight: Tensor, how: Preference) -> Tensor:
    """The mean cost of texts; ``start`` is log ρ, ``true`` 1 or 0, ``weight`` that of writing, all ``[B]``."""
    reward = how.beta * (reading.log_probability - start)
    writing = -F.logsigmoid((2 * true - 1) * reward) - how.anchor * true * reading.per_token
    judging = F.binary_cross_entropy_with_logits(reading.log_odds, true)
    return (weight * writing).mean() + judging


def batches(texts: Sequence[Written], rng: random.Random) -> Iterator[list[int]]:
    """Numbers of texts, in random order, those of a batch of about one length."""
    order = rng.sample(range(len(texts)), len(texts))
    found = []
    for at in range(0, len(order), PIECE):
        near = sorted(order[at : at + PIECE], key=lambda i: len(texts[i].prompt) + len(texts[i].text))
        found += [near[i : i + BATCH] for i in range(0, len(near), BATCH)]
    return iter(rng.sample(found, len(found)))


@torch.inference_mode()
def read_all(model: PeftModel, texts: Sequence[Written], words: tuple[int, int]) -> Reading:
    """Readings in the order of ``texts``."""
    model.eval()
    order = sorted(range(len(texts)), key=lambda i: len(texts[i].prompt) + len(texts[i].text))
    found = torch.zeros(3, len(texts))
    for at in tqdm(range(0, len(order), READ), "reading", unit=" batches"):
        chosen = order[at : at + READ]
        found[:, chosen] = torch.stack(read(model, [texts[i] for i in chosen], words)).cpu()
    return Reading(*found)


def figures(reading: Reading, true: Tensor) -> str:
    """How well verdict and likelihood tell true texts from false ones."""
    known = true.numpy() > 0
    shown = {"verdict": reading.log_odds, "likelihood": reading.per_token}
    cells = (f"{name}: AUC {auc(v.numpy(), known):.3f}, kept {kept(v.numpy(), known):.3f}" for name, v in shown.items())
    return f"{len(known)} texts, {int(known.sum())} true; {'; '.join(cells)}"


def tune(
    model: PeftModel, texts: Sequence[Written], start: Tensor, true: Tensor, weight: Tensor, words: tuple[int, int],
    settings: train.Settings, how: Preference, folder: Path, every: int = 40,
) -> Iterator[int]:  # fmt: skip
    """Run to the end, or on from the last checkpoint in ``folder``; yields the number of each pass that ends.

    Raises:
        ValueError: the checkpoint is of other texts or settings.
    """
    rng = random.Random(settings.seed)
    passes = [list(batches(texts, rng)) for _ in range(how.epochs)]
    plan = [batch for one in passes for batch in one]
    own = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(own, lr=settings.rate, betas=(0.9, 0.98), weight_decay=0.0)
    saved, done = folder / "checkpoint.pt", 0
    of = hashlib.blake2b(repr((texts, true.tolist(), settings, how)).encode()).hexdigest()
    if saved.exists():
        state = torch.load(saved, weights_only=True)
        if state["of"] != of:
            raise ValueError(f"{saved} is of other texts or settings; take another folder, or delete it")
        torch.set_rng_state(state["random"])
        set_peft_model_state_dict(model, state["adapter"])
        optimizer.load_state_dict(state["optimizer"])
        done = state["step"]
    with tqdm(total=len(plan), initial=done, unit=" steps") as bar:
        for step in range(done, len(plan)):
            model.train()
            for group in optimizer.param_groups:
                group["lr"] = settings.rate * train.schedule(step, len(plan), settings.warmup, settings.end)
            batch = plan[step]
            given = (one[batch].to(model.device) for one in (start, true, weight))
            loss = cost(read(model, [texts[i] for i in batch], words), *given, how)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(own, 1.0)
            optimizer.step()
            optimizer.zero_grad()
            bar.set_postfix(loss=f"{loss.item():.3f}")
            bar.update()
            if (step + 1) % every == 0 or step + 1 == len(plan):
                state = {
                    "of": of,
                    "step": step + 1,
                    "adapter": get_peft_model_state_dict(model),
                    "optimizer": optimizer.state_dict(),
                    "random": torch.get_rng_state(),
                }
                torch.save(state, saved.with_suffix(".new"))
                saved.with_suffix(".new").replace(saved)
            if (step + 1) % len(passes[0]) == 0:
                yield (step + 1) // len(passes[0])


def main() -> None:
    """Tune, measure, write the adapter."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints and the adapter")
    parser.add_argument("--start", type=Path, required=True, help="the adapter to tune, such as run.py makes")
    parser.add_argument("--captions", type=Path, help="folder with the caption sets, as of run.py, for its figures")
    parser.add_argument("--all", action="store_true", help="train on the measured quarter as well")
    arguments = parser.parse_args()
    out, base = arguments.out, base_model()
    out.mkdir(parents=True, exist_ok=True)
    settings, how = replace(train.Settings(), rate=3e-4, end=0.03, dropout=0.05, bfloat16=False), Preference()
    tokenizer = AutoTokenizer.from_pretrained(base.parent, gguf_file=base.name)

    def encode(text: str) -> list[int]:
        return list(tokenizer.encode(text, add_special_tokens=False))

    model = train.load(base, settings)
    heads, kv_heads = model.config.num_attention_heads, model.config.num_key_value_heads
    begun = export.read_adapter(arguments.start, heads, kv_heads)
    set_peft_model_state_dict(model, begun)
    some, shown = verdicts()
    some = some + shown if arguments.all else some
    texts, others = ([written(row, encode) for row in rows] for rows in (some, shown))
    true, known = (torch.tensor([float(row["verdict"]) for row in rows]) for rows in (some, shown))
    ((yes,), (no,)) = map(encode, embedded.VERDICT_WORDS)
    start = read_all(model, texts, (yes, no)).log_probability
    print("at the start:", figures(read_all(model, others, (yes, no)), known))
    for number in tune(model, texts, start, true, weights(some, how.most_weight), (yes, no), settings, how, out):
        print(f"after pass {number}:", figures(read_all(model, others, (yes, no)), known))
    finish(model, base, settings.alpha, out, arguments.captions, embedded.DEFAULTS["gate"])


if __name__ == "__main__":
    main()
