"""Tune an adapter on verdicts: to write what was judged sound rather than what was not, and to tell them apart.

python -m benchmarks.caption_adapter.verdicts --start ADAPTER.gguf --out DIR [--own FILE] [--captions DIR] [--all]

The texts are rewrites of the rewriter's own, judged by eye (``benchmarks/quality``) or mended, rewrites by hand, sound
ones made false, and ``--own`` draws of ADAPTER, refused by a rule or most likely sound (``judged_rows.py``,
``corrupted.py``, ``own_draws.py``; WordNet has to be installed for nltk). A sound one is true and in sound English.
With π the model in training, ρ the model at the start, y the verdict (1 or -1) and w and v weights, a text x costs

    w (-log σ(y β (log π(x) - log ρ(x))) - [y = 1] α log π(x) / |x|) - v log σ(y (z_true - z_false))

The first term is that of unpaired preferences (KTO, arXiv 2402.01306, with 0 for its reference point), the second keeps
sound texts likely. By w the sound texts of a set and novelty weigh as much in the first as the others, and the bolder a
little more; rewrites by hand and sound draws have 0.5 of that, and texts made false nothing: nobody would write them. v
is 1 but for these (0.6) and for own draws (0), which nobody judged. z are the scores of the two words of verdict where
the text ends: the engine has them at hand there. A quarter of the captions, by hash, is only measured on (none with
``--all``). With ``--own`` the adapter at the end is the mean of ADAPTER and what became of it: better than either.
Resumable; 50 minutes of one core with AVX512-BF16. Prints, at the start and after each pass, AUC and the share of the
sound kept at 5% of the others. The model card tells how the adapter that ships came to be.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from peft import PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm
from transformers import AutoTokenizer

from benchmarks.caption_adapter import export, train
from benchmarks.caption_adapter.corrupted import wordnet_words
from benchmarks.caption_adapter.judged_rows import Row, verdicts
from benchmarks.caption_adapter.metrics import novelty
from benchmarks.caption_adapter.rows import END, START, Encode
from benchmarks.caption_adapter.run import base_model, finish
from benchmarks.quality.evidence_study import auc, kept
from benchmarks.quality.judged import sound
from laclip_aug.rewrite import embedded
from laclip_aug.rewrite.prompt import shown_caption

BATCH, READ, PIECE = 16, 32, 256


@dataclass(frozen=True)
class Preference:
    """α, β, the passes over the texts, and what they weigh."""

    beta: float = 0.2
    anchor: float = 0.5
    epochs: int = 1
    most_weight: float = 3.0
    bold: float = 1.2


class Written(NamedTuple):
    """A prompt and a text with its closing token, as token ids."""

    prompt: list[int]
    text: list[int]


class Reading(NamedTuple):
    """Of each text ``[B]``: log-probability, the same a token, and z_true - z_false."""

    log_probability: Tensor
    per_token: Tensor
    log_odds: Tensor


def weights(rows: Sequence[Row], how: Preference) -> Tensor:
    """``[N]``: in each bin of set and novelty the sound weigh as much as the others, no text more than ``most_weight``.

    But a sound text of novelty v weighs 1 + ``bold`` (v - 1/3) times that.
    """
    new = [novelty(row["caption"], row["text"]) for row in rows]
    bins = [(row["set"], min(int(v * 6), 3)) for row, v in zip(rows, new, strict=True)]
    counts = Counter((one, sound(row)) for one, row in zip(bins, rows, strict=True))
    found = torch.zeros(len(rows))
    for i, (one, row) in enumerate(zip(bins, rows, strict=True)):
        whole = counts[one, True] + counts[one, False]
        found[i] = min(how.most_weight, 0.5 * whole / counts[one, sound(row)])
        found[i] *= 1 + how.bold * (new[i] - 1 / 3) if sound(row) else 1
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
    scored = wanted >= 0
    with torch.autocast(model.device.type, torch.bfloat16, enabled=causal.lm_head.weight.dtype == torch.bfloat16):
        states = causal.model(
            input_ids=together, attention_mask=(places < ends[:, None]).long(), use_cache=False
        ).last_hidden_state
        scores = causal.lm_head(states[scored])
    logs = torch.zeros(wanted.shape, device=model.device)
    logs[scored] = -F.cross_entropy(scores.float(), wanted[scored], reduction="none")
    true, false = (causal.lm_head.weight[word].float() for word in words)
    odds = states[torch.arange(len(texts)), ends - 1].float() @ (true - false)
    return Reading(logs.sum(1), logs.sum(1) / scored.sum(1), odds)


def cost(reading: Reading, start: Tensor, true: Tensor, weight: Tensor, judged: Tensor, how: Preference) -> Tensor:
    """The mean cost of texts; all ``[B]``: ``start`` is log ρ, ``true`` 1 or 0, ``weight`` that of writing.

    ``judged`` is that of judging: 0 for a text that the rules refuse, of which no verdict is asked later.
    """
    reward = how.beta * (reading.log_probability - start)
    writing = -F.logsigmoid((2 * true - 1) * reward) - how.anchor * true * reading.per_token
    judging = F.binary_cross_entropy_with_logits(reading.log_odds, true, reduction="none")
    return (weight * writing + judged * judging).mean()


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
    """How well verdict and likelihood tell sound texts from others."""
    known = true.numpy() > 0
    shown = {"verdict": reading.log_odds, "likelihood": reading.per_token}
    cells = (f"{name}: AUC {auc(v.numpy(), known):.3f}, kept {kept(v.numpy(), known):.3f}" for name, v in shown.items())
    return f"{len(known)} texts, {int(known.sum())} sound; {'; '.join(cells)}"


def tune(
    model: PeftModel, texts: Sequence[Written], start: Tensor, true: Tensor, weight: Tensor, judged: Tensor,
    words: tuple[int, int], settings: train.Settings, how: Preference, folder: Path, every: int = 40,
) -> Iterator[int]:  # fmt: skip
    """Run to the end, or on from the last checkpoint in ``folder``; yields the number of each pass that ends.

    Raises:
        ValueError: the checkpoint is of other texts or settings.
    """
    rng = random.Random(settings.seed)
    passes = [list(batches(texts, rng)) for _ in range(how.epochs)]
    plan = [batch for one in passes for batch in one]

    def loss(batch: list[int]) -> Tensor:
        given = (one[batch].to(model.device) for one in (start, true, weight, judged))
        return cost(read(model, [texts[i] for i in batch], words), *given, how)

    of = repr((texts, true.tolist(), weight.tolist(), judged.tolist(), words, settings, how))
    for step, _ in train.steps(model, plan, loss, settings, folder, of, every):
        if (step + 1) % len(passes[0]) == 0:
            yield (step + 1) // len(passes[0])


def main() -> None:
    """Tune, measure, write the adapter."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints and the adapter")
    parser.add_argument("--start", type=Path, required=True, help="the adapter to tune, such as run.py makes")
    parser.add_argument("--own", type=Path, help="draws of that adapter, as own_draws.py makes them")
    parser.add_argument("--captions", type=Path, help="folder with the caption sets, as of run.py, for its figures")
    parser.add_argument("--all", action="store_true", help="train on the measured quarter as well")
    arguments = parser.parse_args()
    out, base = arguments.out, base_model()
    out.mkdir(parents=True, exist_ok=True)
    fast = torch.cuda.is_available() or bool(torch.cpu.get_capabilities().get("avx512_bf16"))
    settings, how = replace(train.Settings(), rate=2e-4, end=0.03, dropout=0.1, bfloat16=fast), Preference()
    tokenizer = AutoTokenizer.from_pretrained(base.parent, gguf_file=base.name)

    def encode(text: str) -> list[int]:
        return list(tokenizer.encode(text, add_special_tokens=False))

    model = train.load(base, settings)
    heads, kv_heads = model.config.num_attention_heads, model.config.num_key_value_heads
    begun = export.read_adapter(arguments.start, heads, kv_heads)
    set_peft_model_state_dict(model, begun)
    lines = arguments.own.read_text(encoding="utf-8").splitlines() if arguments.own else []
    some, shown = verdicts(wordnet_words(), [json.loads(line) for line in lines], arguments.all)
    texts, others = ([written(row, encode) for row in rows] for rows in (some, shown))
    true, known = (torch.tensor([float(sound(row)) for row in rows]) for rows in (some, shown))
    ((yes,), (no,)) = map(encode, embedded.VERDICT_WORDS)
    start = read_all(model, texts, (yes, no)).log_probability
    print("at the start:", figures(read_all(model, others, (yes, no)), known))
    writing, judging = (torch.tensor([row[part] for row in some]) for part in ("writing", "judging"))
    weight = torch.zeros(len(some))
    weight[writing > 0] = weights([row for row in some if row["writing"]], how) * writing[writing > 0]
    for number in tune(model, texts, start, true, weight, judging, (yes, no), settings, how, out):
        print(f"after pass {number}:", figures(read_all(model, others, (yes, no)), known))
    if arguments.own:
        mean = export.mean(begun, get_peft_model_state_dict(model))
        set_peft_model_state_dict(model, mean)
        print("their mean:", figures(read_all(model, others, (yes, no)), known))
    finish(model, base, settings.alpha, out, arguments.captions, embedded.DEFAULTS["gate"])


if __name__ == "__main__":
    main()
