"""The recipe's rows, loss, resumption and export, on a model made here."""

import json
from pathlib import Path

import llama_cpp
import numpy as np
import pytest
import torch
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from benchmarks.caption_adapter import export, run, train
from benchmarks.caption_adapter.rows import END, START, Row, batches, collate, pack
from tests.gguf_maker import make_gguf

SETTINGS = train.Settings(rank=4, alpha=8, length=64, tokens=128, warmup=1, bfloat16=False)


def rows(seed: int, n: int) -> list[Row]:
    rng = np.random.default_rng(seed)

    def ids(low: int, high: int) -> list[int]:
        return [int(i) for i in rng.integers(3, 100, rng.integers(low, high))]

    return [Row([START, *ids(3, 9)], [[END, *ids(4, 8), END] for _ in range(rng.integers(1, 5))]) for _ in range(n)]


def tiny(seed: int = 0) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=100, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, tie_word_embeddings=True, bos_token_id=START, eos_token_id=END, pad_token_id=END,
    )  # fmt: skip
    return LlamaForCausalLM(config)


def shaken(model: torch.nn.Module) -> None:
    """Give the adapter's B, zero at first, some weight."""
    torch.manual_seed(7)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(0, 0.2)


def test_packed_loss_is_the_plain_loss_of_each_rewrite_after_its_caption() -> None:
    model = train.attach(tiny(), SETTINGS)
    shaken(model)
    own = rows(1, 5)
    plain, tokens = 0.0, 0
    for row in own:
        for branch in row.branches:
            ids = torch.tensor([[*row.trunk, *branch]])
            logits = model(input_ids=ids).logits[0]
            start = len(row.trunk) + 2  # the closing mark and the strategy's word are given, not predicted
            plain += F.cross_entropy(logits[start - 1 : -1], ids[0, start:], reduction="sum").item()
            tokens += ids.shape[1] - start
    total, count = 0.0, 0
    for batch in batches(own, SETTINGS.length, 2, seed=3):
        loss, n = train.loss_of(model, batch)
        total, count = total + loss.item(), count + n
    assert count == tokens
    assert total == pytest.approx(plain, rel=1e-5)


def test_packing_keeps_every_row_once_and_within_the_length() -> None:
    own = rows(2, 60)
    groups = pack(own, 64, seed=0)
    assert sorted(id(r) for g in groups for r in g) == sorted(id(r) for r in own)
    assert max(sum(map(len, g)) for g in groups) <= 64
    assert len(groups) <= 1.15 * sum(map(len, own)) / 64 + 1
    assert pack(own, 64, seed=0) == groups != pack(own, 64, seed=1)


def test_only_rewrites_and_their_ends_are_targets() -> None:
    batch = collate([[Row([START, 10, 11], [[END, 20, 21, 22, END], [END, 30, 31, END]])]], 16)
    assert batch.ids[0, :10].tolist() == [START, 10, 11, END, 20, 21, 22, END, 30, 31]
    assert batch.targets[0, :10].tolist() == [-100, -100, -100, -100, 21, 22, END, -100, 31, END]
    assert batch.positions[0, :10].tolist() == [0, 1, 2, 3, 4, 5, 6, 3, 4, 5]
    assert batch.mask[0, 0, 8, :10].tolist() == [True] * 3 + [False] * 4 + [True] * 2 + [False]


def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = rows(4, 40)
    whole = train.attach(tiny(), SETTINGS)
    train.train(whole, own, SETTINGS, tmp_path / "whole", every=2)

    loss_of, calls = train.loss_of, []

    def interrupted(model: train.PeftModel, batch: object) -> tuple[torch.Tensor, int]:
        calls.append(batch)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return loss_of(model, batch)  # type: ignore[arg-type]

    monkeypatch.setattr(train, "loss_of", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train.train(train.attach(tiny(), SETTINGS), own, SETTINGS, tmp_path / "cut", every=2)
    resumed = train.attach(tiny(), SETTINGS)
    train.train(resumed, own, SETTINGS, tmp_path / "cut", every=2)

    a, b = (torch.load(tmp_path / run / "checkpoint.pt", weights_only=True) for run in ("whole", "cut"))
    assert a["step"] == b["step"] > 4
    for name, value in a["adapter"].items():
        torch.testing.assert_close(value, b["adapter"][name])
    losses = [json.loads(line)["loss"] for line in (tmp_path / "whole/log.jsonl").read_text().splitlines()]
    assert losses[-1] < losses[0]


def test_exported_adapter_gives_llama_cpp_the_logits_of_pytorch(tmp_path: Path) -> None:
    heads = 4

    base = make_gguf(tmp_path / "base.gguf", n_embd=64, n_head=heads)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="base.gguf", dtype=torch.float32)
    model = train.attach(loaded, SETTINGS)
    shaken(model)
    kv_heads = loaded.config.num_key_value_heads
    found = export.tensors(train.get_peft_model_state_dict(model), heads, kv_heads)
    export.write_adapter(found, SETTINGS.alpha, "test", tmp_path / "adapter.gguf")
    export.write_merged(base, found, SETTINGS.alpha, tmp_path / "merged.gguf")

    tokens = [1, 300, 301, 320, 340, 330, 310]
    with torch.no_grad():
        want = model(input_ids=torch.tensor([tokens])).logits[0].numpy()
        plain = loaded.get_base_model() if hasattr(loaded, "get_base_model") else loaded
        with model.disable_adapter():
            bare = plain(input_ids=torch.tensor([tokens])).logits[0].numpy()

    def logits(path: Path, lora: Path | None) -> np.ndarray:
        llm = llama_cpp.Llama(
            str(path), lora_path=lora and str(lora), logits_all=True, n_ctx=64, n_threads=1, verbose=False
        )
        llm.eval(tokens)
        return np.array(llm.scores[: len(tokens)])

    for name, value in export.read_adapter(tmp_path / "adapter.gguf", heads, kv_heads).items():
        torch.testing.assert_close(value, train.get_peft_model_state_dict(model)[name], atol=1e-3, rtol=1e-3)
    scale = np.abs(want - bare).max()
    assert scale > 1  # the adapter matters
    assert np.abs(logits(base, tmp_path / "adapter.gguf") - want).max() < 0.02 * scale
    assert np.abs(logits(tmp_path / "merged.gguf", None) - want).max() < 0.1 * scale  # matrices in bfloat16


def test_the_mean_of_two_adapters_is_that_of_what_they_change() -> None:
    names = "layers.0.mlp.up_proj.lora_A.weight", "layers.0.mlp.up_proj.lora_B.weight"
    down, up = torch.tensor([[1.0, 2.0, 0.0], [0.0, 1.0, 1.0]]), torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
    one, three = dict(zip(names, (down, up), strict=True)), dict(zip(names, (-3 * down, -up), strict=True))
    found = export.mean(one, three)
    assert [found[name].shape for name in names] == [(2, 3), (3, 2)]
    torch.testing.assert_close(found[names[1]] @ found[names[0]], 2 * up @ down)  # of once and three times
    # rank 1: what one changes by 4 and the other, elsewhere, by 2 cannot both be kept
    along = dict(zip(names, (torch.tensor([[4.0, 0.0]]), torch.tensor([[1.0], [0.0]])), strict=True))
    across = dict(zip(names, (torch.tensor([[0.0, 2.0]]), torch.tensor([[0.0], [1.0]])), strict=True))
    found = export.mean(along, across)
    torch.testing.assert_close(found[names[1]] @ found[names[0]], torch.tensor([[2.0, 0.0], [0.0, 0.0]]))


def test_the_command_tunes_an_adapter_on_own_pairs_and_goes_on_from_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = make_gguf(tmp_path / "base.gguf")
    pairs = tmp_path / "mine.jsonl"
    pairs.write_text('{"caption": "a dog on the beach", "mscoco": "On the beach is a dog.", "human": null}\n')
    common = ["run", "--model", str(base), "--pairs", str(pairs)]
    monkeypatch.setattr("sys.argv", [*common, "--out", str(tmp_path / "first")])
    run.main()
    first = tmp_path / "first" / f"{run.NAME}.gguf"
    monkeypatch.setattr("sys.argv", [*common, "--start", str(first), "--out", str(tmp_path / "second")])
    run.main()
    before, after = (export.read_adapter(p, 4, 2) for p in (first, tmp_path / "second" / f"{run.NAME}.gguf"))
    assert before.keys() == after.keys()
    moved = max(float((after[name] - before[name]).abs().max()) for name in before)
    assert 0 < moved < 0.05  # trained on from the first, not from nothing
