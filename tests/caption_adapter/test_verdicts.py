"""Tuning on verdicts: what a text costs, what it weighs, and that it learns and goes on, on a model made here."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import get_peft_model_state_dict
from sklearn.metrics import roc_auc_score
from torch.nn import functional as F

from benchmarks.caption_adapter import train
from benchmarks.caption_adapter.corrupted import Words
from benchmarks.caption_adapter.judged_rows import Row, measured, verdicts
from benchmarks.caption_adapter.rows import END, START
from benchmarks.caption_adapter.verdicts import (
    Preference,
    Reading,
    Written,
    cost,
    read_all,
    tune,
    weights,
)
from benchmarks.quality import fresh
from benchmarks.quality.judged import readings, sound
from tests.caption_adapter.test_training import SETTINGS, shaken, tiny

WORDS = 50, 60
NOUNS = Words(frozenset({"man", "woman", "dog", "table", "street", "person", "photo"}), frozenset({"white", "black"}))


def texts(seed: int, n: int, of: tuple[int, int] = (3, 50)) -> list[Written]:
    """Texts of tokens in the range ``of``, after prompts of any."""
    rng = np.random.default_rng(seed)

    def ids(shortest: int, longest: int, low: int = 3, high: int = 50) -> list[int]:
        return [int(i) for i in rng.integers(low, high, rng.integers(shortest, longest))]

    return [Written([START, *ids(3, 9), END, *ids(1, 2)], [*ids(4, 12, *of), END]) for _ in range(n)]


def test_texts_of_any_length_read_together_score_as_each_alone() -> None:
    model = train.attach(tiny(), SETTINGS).eval()
    shaken(model)
    own = texts(1, 7)
    found = read_all(model, own, WORDS)
    for i, one in enumerate(own):
        logits = model(input_ids=torch.tensor([one.prompt + one.text])).logits[0].detach()
        before = logits[len(one.prompt) - 1 : -1]
        own_log = -F.cross_entropy(before, torch.tensor(one.text), reduction="sum").item()
        assert found.log_probability[i].item() == pytest.approx(own_log, rel=1e-4)
        assert found.per_token[i].item() == pytest.approx(own_log / len(one.text), rel=1e-4)
        end = logits[len(one.prompt) + len(one.text) - 2]  # where the text ends, its closing token yet to come
        assert found.log_odds[i].item() == pytest.approx((end[50] - end[60]).item(), abs=1e-4)


def test_what_a_text_costs() -> None:
    reading = Reading(torch.tensor([-2.0, -2.0]), torch.tensor([-0.5, -0.5]), torch.tensor([1.0, 3.0]))
    how = Preference(beta=0.25, anchor=0.5)

    def softplus(x: float) -> float:
        return math.log1p(math.exp(x))

    # both are e² times as likely as at the start, which is good of the first alone: -log σ(±0.5)
    writing = 2.0 * (softplus(-0.5) + 0.5 * 0.5), 1.0 * softplus(0.5)
    judging = softplus(-1.0), softplus(3.0)
    given = torch.tensor([-4.0, -4.0]), torch.tensor([1.0, 0.0]), torch.tensor([2.0, 1.0])
    found = cost(reading, *given, torch.tensor([1.0, 1.0]), how)
    assert found.item() == pytest.approx(sum(writing) / 2 + sum(judging) / 2, rel=1e-5)
    refused = cost(reading, *given, torch.tensor([1.0, 0.0]), how)  # the second by a rule: it has no verdict
    assert refused.item() == pytest.approx(sum(writing) / 2 + judging[0] / 2, rel=1e-5)


def test_of_a_set_and_novelty_the_sound_weigh_as_much_as_the_others() -> None:
    same = {"set": "coco", "caption": "a dog runs", "text": "A dog runs"}
    new = {"set": "coco", "caption": "a dog runs", "text": "one hound is sprinting"}
    rows = [same | {"strict": "ok"}] * 5 + [same | {"verdict": True}] + [same | {"verdict": False}] * 2
    rows += [new | {"verdict": True, "strict": "ok"}, *[new | {"verdict": True, "strict": "english"}] * 8]
    rows += [new | {"refused": "number-added"}]
    plain, bold = weights(rows, Preference(bold=0.0)), weights(rows, Preference(bold=0.9))
    assert plain[:6].tolist() == pytest.approx([8 / 12] * 6)
    assert plain[6:8].tolist() == pytest.approx([8 / 4] * 2)
    assert plain[8].item() == 3.0  # 5, were it not for the bound
    assert plain[9:].tolist() == pytest.approx([10 / 18] * 9)
    # "A dog runs" has no new word, "one hound is sprinting" nothing else
    assert bold[:6].tolist() == pytest.approx([8 / 12 * (1 - 0.3)] * 6)
    assert bold[8].item() == pytest.approx(3 * (1 + 0.6))
    assert bold[6:8].tolist() == plain[6:8].tolist() and bold[9:].tolist() == plain[9:].tolist()


def test_sound_is_what_the_strict_reading_found_true_and_sound_english() -> None:
    read = {"ok": True, "english": False, "false": False, "garbled": False}
    assert {label: sound({"verdict": True, "strict": label}) for label in read} == read
    assert sound({"verdict": True}) and not sound({"verdict": False}) and not sound({"refused": "echo"})


def test_it_learns_both_and_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    own = texts(2, 48, (3, 25)) + texts(3, 48, (25, 50))
    true = torch.tensor([1.0] * 48 + [0.0] * 48)
    settings = replace(SETTINGS, rate=2e-2, warmup=2, dropout=0.02)
    how = Preference(beta=1.0, epochs=12)

    def run(folder: Path, passes: int) -> tuple[Reading, Reading, dict[str, torch.Tensor]]:
        folder.mkdir(exist_ok=True)
        model = train.attach(tiny(), settings)
        before = read_all(model, own, WORDS)
        torch.manual_seed(4)
        given = before.log_probability, true, torch.ones(96), torch.ones(96)
        steps = tune(model, own, *given, WORDS, settings, how, folder, every=3)
        for number in steps:
            if number == passes:
                break
        return before, read_all(model, own, WORDS), get_peft_model_state_dict(model)

    (tmp_path / "a").mkdir()
    before, after, whole = run(tmp_path / "a", 12)
    gain = after.log_probability - before.log_probability
    assert gain[true > 0].mean() > 1 + gain[true == 0].mean()
    assert roc_auc_score(true, after.log_odds) > 0.9 > 0.7 > roc_auc_score(true, before.log_odds)
    run(tmp_path / "b", 5)
    _, again, parts = run(tmp_path / "b", 12)
    assert all(torch.allclose(parts[name], whole[name], atol=1e-6) for name in whole)
    assert torch.allclose(again.log_odds, after.log_odds, atol=1e-4)


@pytest.fixture(scope="module")
def rows() -> tuple[list[Row], list[Row]]:
    """What is trained on and what is measured on."""
    return verdicts(NOUNS)


def test_no_caption_is_both_trained_on_and_measured(rows: tuple[list[Row], list[Row]]) -> None:
    some, shown = rows
    assert not {row["caption"] for row in some} & {row["caption"] for row in shown}
    assert all(measured(row["caption"]) for row in shown) and len(shown) > 3000
    assert {sound(row) for row in shown} == {True, False}
    judged = [row for row in some + shown if "refused" not in row]
    assert all("strict" in row or row["verdict"] is False for row in judged), "each sound text was read strictly"
    shown_later = [json.loads(line) for line in fresh.FILE.read_text(encoding="utf-8").splitlines()]
    everything, _ = verdicts(NOUNS, everything=True)
    assert any(measured(row["caption"]) for row in everything)
    assert not {row["caption"] for row in shown_later} & {row["caption"] for row in some + shown + everything}


def test_where_the_texts_come_from_and_what_they_weigh_in_writing_and_judging(
    rows: tuple[list[Row], list[Row]],
) -> None:
    some, _ = rows
    assert some == verdicts(NOUNS)[0], "the same for whoever makes it again"
    false = [row for row in some if "kind" in row]
    hand = [row for row in some if row["set"] == "hand" and "kind" not in row]
    repaired = [row for row in some if "repaired_from" in row]
    read = [row for row in some if row["set"] != "hand" and "kind" not in row and "repaired_from" not in row]
    assert (len(hand), len(repaired)) == (1200, 800) and 7000 < len(false) <= 8000, "few nouns are known here"
    assert sum(row.get("round", 1) < 3 for row in read) == sum(row.get("round", 1) > 2 for row in read) == 2500
    assert max(row.get("round", 1) for row in read + repaired) == 4, "what came of round 5 did not ship"
    given = {(row["caption"], row["text"]) for row in readings() if "refused" not in row}
    assert {(row["caption"], row["text"]) for row in read} <= given
    assert {(row["writing"], row["judging"], sound(row)) for row in false} == {(0.0, 0.6, False)}
    assert {(row["writing"], row["judging"], sound(row)) for row in hand} == {(0.5, 1.0, True)}
    assert {(row["writing"], row["judging"], sound(row)) for row in repaired} == {(1.0, 1.0, True)}
    assert {(row["writing"], row["judging"], "refused" in row) for row in read} == {(1.0, 1.0, False)}
    assert not {(row["caption"], row["text"]) for row in false} & {
        (row["caption"], row["text"]) for row in some if sound(row)
    }, "no false text is one that was found sound"


def test_a_checkpoint_of_other_texts_is_refused(tmp_path: Path) -> None:
    model, own = train.attach(tiny(), SETTINGS), texts(2, 16)
    rest = torch.ones(16), torch.ones(16), torch.ones(16), WORDS, SETTINGS, Preference(epochs=1), tmp_path
    list(tune(model, own, torch.zeros(16), *rest, every=1))
    list(tune(model, own, torch.zeros(16), *rest, every=1))  # goes on from its end
    with pytest.raises(ValueError, match="of other texts or settings"):
        list(tune(model, texts(3, 16), torch.zeros(16), *rest, every=1))
