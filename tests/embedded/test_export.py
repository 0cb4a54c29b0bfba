"""The exported file is the trained model: llama.cpp reads the same tokens and computes the same scores."""

from pathlib import Path

import llama_cpp
import numpy as np
import pytest
import torch

from benchmarks.embedded_rewriter import vocabulary
from benchmarks.embedded_rewriter.export import export
from benchmarks.embedded_rewriter.generate import generate, load, prompt
from benchmarks.embedded_rewriter.model import Rewriter, Shape

TEXTS = [
    "Two brown dogs are playing in the snow.", "A man rides a wave on his surfboard.",
    "A woman in a red jacket walks down the street.", "Children's toys: 3 cars, 12 balls & a boat!",
    "A group of people stand near a large white building.", "the new terminal on an island at sunset",
]  # fmt: skip
HARD = [
    "two brown dogs", "A dog's ball, isn't it?", "  leading and  double   spaces ", "12,345.67 and 3/4", "naïve café",
    "日本語の写真", "🐶 two dogs 🏖️", "tab\there", "<|mscoco|> </s> <s>", "▁marks▁", "ALL CAPS", "x" * 300, "é\u0301",
]  # fmt: skip
TINY = Shape(vocabulary=420, width=64, layers=2, heads=2, hidden=96, context=256)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A tiny untrained model with lively weights: checkpoint, vocabulary, GGUF in F32."""
    folder = tmp_path_factory.mktemp("export")
    model_file = vocabulary.train(TEXTS * 4, folder / "vocabulary", TINY.vocabulary)
    torch.manual_seed(0)
    model = Rewriter(TINY)
    for name, parameter in model.named_parameters():
        parameter.data = (
            parameter.data * (40 if name == "embedding.weight" else 2)
            if parameter.ndim == 2
            else (1 + 0.3 * torch.randn_like(parameter))
        )
    weights = {name: parameter.detach() for name, parameter in model.named_parameters()}
    torch.save({"model": model.state_dict(), "average": weights, "shape": TINY.dict()}, folder / "checkpoint.pt")
    export(folder / "checkpoint.pt", model_file, folder / "tiny.gguf", "f32")
    return folder / "checkpoint.pt", model_file, folder / "tiny.gguf"


@pytest.fixture(scope="module")
def engine(made: tuple[Path, Path, Path]) -> llama_cpp.Llama:
    return llama_cpp.Llama(str(made[2]), n_ctx=256, n_threads=1, logits_all=True, verbose=False)


@pytest.mark.parametrize("text", [*TEXTS, *HARD])
def test_both_tokenizers_agree(text: str, made: tuple[Path, Path, Path], engine: llama_cpp.Llama) -> None:
    tokenizer = vocabulary.Tokenizer(made[1])
    ids = tokenizer.encode(text)
    assert engine.tokenize((" " + text).encode(), add_bos=False, special=False) == ids
    assert tokenizer.decode(ids) == text.replace("▁", " ").strip()


def test_control_tokens_are_read_only_where_asked(made: tuple[Path, Path, Path], engine: llama_cpp.Llama) -> None:
    tokenizer = vocabulary.Tokenizer(made[1])
    for strategy, token in tokenizer.strategies.items():
        assert engine.tokenize(f"<|{strategy}|>".encode(), add_bos=False, special=True) == [token]
        assert token not in engine.tokenize(f"<|{strategy}|>".encode(), add_bos=False, special=False)


def test_scores_and_greedy_text_agree(made: tuple[Path, Path, Path], engine: llama_cpp.Llama) -> None:
    model, tokenizer = load(made[0]), vocabulary.Tokenizer(made[1])
    for text in TEXTS:
        ids = prompt(tokenizer, text, "human")
        positions, mask = (
            torch.arange(len(ids))[None],
            torch.ones(len(ids), len(ids), dtype=torch.bool).tril()[None, None],
        )
        with torch.no_grad():
            expected = model.logits(model(torch.tensor([ids]), positions, mask))[0].numpy()
        engine.reset()
        engine.eval(ids)
        scores = np.array(engine.scores[: len(ids)])
        assert np.abs(scores - expected).max() < 0.02 * expected.std()
        (greedy,) = generate(model, [ids], limit=12)
        engine.reset()
        engine.eval(ids)
        made_ids = []
        while len(made_ids) < 12 and (best := int(np.argmax(engine.scores[engine.n_tokens - 1]))) != vocabulary.EOS:
            made_ids.append(best)
            engine.eval([best])
        assert made_ids == greedy


def test_the_licence_is_in_the_file(made: tuple[Path, Path, Path], engine: llama_cpp.Llama) -> None:
    assert "research use" in engine.metadata["general.license"]
    assert "Multi30k" in engine.metadata["general.license"]


def test_half_the_bytes_give_nearly_the_same_scores(
    made: tuple[Path, Path, Path], engine: llama_cpp.Llama, tmp_path: Path
) -> None:
    ids = prompt(vocabulary.Tokenizer(made[1]), TEXTS[0], "bard")
    engine.reset()
    engine.eval(ids)
    expected = np.array(engine.scores[: len(ids)])
    for kind, tolerance in (("f16", 0.02), ("q8_0", 0.1)):
        export(made[0], made[1], tmp_path / f"{kind}.gguf", kind)
        other = llama_cpp.Llama(str(tmp_path / f"{kind}.gguf"), n_ctx=256, n_threads=1, logits_all=True, verbose=False)
        other.eval(ids)
        assert np.abs(np.array(other.scores[: len(ids)]) - expected).max() < tolerance * expected.std() * 3
        other.close()
