"""The CTranslate2 translator on tiny real models."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import sentencepiece as spm
import torch
from safetensors.torch import load_file
from torch import nn

from laclip_aug.backtranslation.ctranslate import CTranslate2Model, Decoding
from laclip_aug.backtranslation.folder import infer
from laclip_aug.backtranslation.translator import clean
from laclip_aug.errors import ConfigurationError, ModelError

from .marian_maker import DECODER, ENCODER, FORWARD, HEADS, SENTENCES, WIDTH

HOSTILE = [
    "",
    " \n\t",
    "\x00",
    "a dog\x00 runs\nfast\r\n",
    "🐶🐶 dog 🏖️",
    "一只狗在海滩上奔跑",
    "\ud800 lone surrogate",
    "</s> >>de<< <unk> eng_Latn",
    "dog " * 2500,
    "x" * 10_000,
    "a\u202edog",
]


class Reference:
    """Marian's network out of torch's own Transformer layers, decoding greedily."""

    def __init__(self, folder: Path) -> None:
        w = load_file(folder / "model.safetensors")
        self.table, self.bias = w["model.shared.weight"], w["final_logits_bias"][0]
        self.pieces = spm.SentencePieceProcessor(model_file=str(folder / "source.spm"))
        self.encoder = [self._load(nn.TransformerEncoderLayer, w, f"model.encoder.layers.{i}") for i in range(ENCODER)]
        self.decoder = [self._load(nn.TransformerDecoderLayer, w, f"model.decoder.layers.{i}") for i in range(DECODER)]

    @staticmethod
    def _load(kind: type, w: dict[str, torch.Tensor], name: str) -> nn.Module:
        layer = kind(WIDTH, HEADS, FORWARD, dropout=0.0, batch_first=True).eval()
        state = {}
        attentions = [("self_attn", "self_attn")]
        norms = ["self_attn_layer_norm", "final_layer_norm"]
        if kind is nn.TransformerDecoderLayer:
            attentions.append(("multihead_attn", "encoder_attn"))
            norms.insert(1, "encoder_attn_layer_norm")
        for ours, theirs in attentions:
            for kind_of in ("weight", "bias"):
                parts = [w[f"{name}.{theirs}.{p}_proj.{kind_of}"] for p in "qkv"]
                state[f"{ours}.in_proj_{kind_of}"] = torch.cat(parts)
                state[f"{ours}.out_proj.{kind_of}"] = w[f"{name}.{theirs}.out_proj.{kind_of}"]
        for kind_of in ("weight", "bias"):
            state[f"linear1.{kind_of}"], state[f"linear2.{kind_of}"] = (w[f"{name}.fc{i}.{kind_of}"] for i in (1, 2))
            for i, norm in enumerate(norms, 1):
                state[f"norm{i}.{kind_of}"] = w[f"{name}.{norm}.{kind_of}"]
        layer.load_state_dict(state)
        return layer

    def _embed(self, rows: torch.Tensor) -> torch.Tensor:
        place = torch.arange(len(rows))[:, None]
        angle = place / 10000 ** (2 * torch.arange(WIDTH // 2) / WIDTH)
        return rows * math.sqrt(WIDTH) + torch.cat([angle.sin(), angle.cos()], 1)

    @torch.no_grad()
    def greedy(self, text: str, limit: int) -> tuple[list[str], float]:
        """The likeliest pieces one by one, and the sum of their log-probabilities, the end mark's included."""
        source = self.pieces.encode(text)
        limit = min(limit, 2 * len(source) + 16)
        memory = self._embed(self.table[[*source, 0]])[None]
        for layer in self.encoder:
            memory = layer(memory)
        rows, made, total = [torch.zeros(WIDTH)], [], 0.0
        while len(made) < limit:
            x = self._embed(torch.stack(rows))[None]
            mask = nn.Transformer.generate_square_subsequent_mask(len(rows))
            for layer in self.decoder:
                x = layer(x, memory, tgt_mask=mask, tgt_is_causal=True)
            logits = (x[0, -1] @ self.table.T + self.bias)[:-1]
            logits[1] = -math.inf  # <unk> is never an answer
            if not made:
                logits[0] = -math.inf  # nor is an empty translation
            scores = logits.log_softmax(0)
            best = int(scores.argmax())
            total += float(scores[best])
            if best == 0:
                return [self.pieces.id_to_piece(i) for i in made], total
            made.append(best)
            rows.append(self.table[best])
        return [self.pieces.id_to_piece(i) for i in made], math.nan  # cut off: no end mark to count


def test_greedy_float32_equals_torch(marian: Path, exact: Path) -> None:
    reference = Reference(marian)
    model = CTranslate2Model(exact, Decoding(max_tokens=40))
    captions = SENTENCES[::97]
    for caption, found in zip(captions, model.translator("en", "xx").translate(captions), strict=True):
        pieces, _ = reference.greedy(caption, 40)
        assert found[0].text == clean(reference.pieces.decode_pieces(pieces))
        assert found[0].tokens == len(pieces)


def test_scores_are_log_probabilities(marian: Path, exact: Path) -> None:
    reference = Reference(marian)
    translator = CTranslate2Model(exact, Decoding(max_tokens=100)).translator("en", "xx")
    compared = 0
    for caption in SENTENCES[::60]:
        (found,) = translator.translate([caption])[0]
        _, total = reference.greedy(caption, 100)
        if not math.isnan(total):
            assert found.score == pytest.approx(total, rel=1e-3, abs=1e-3)
            compared += 1
    assert compared >= 3


def test_a_translation_does_not_depend_on_its_batch(bilingual: Path) -> None:
    captions = [*SENTENCES[::53], "dog", "a red boat " * 12]
    together = CTranslate2Model(bilingual).translator("en", "xx")
    small = CTranslate2Model(bilingual, Decoding(batch_tokens=48, threads=2)).translator("en", "xx")
    expected = [together.translate([caption], 3) for caption in captions]
    assert [[found] for found in together.translate(captions, 3)] == expected
    assert [[found] for found in small.translate(captions[::-1], 3)][::-1] == expected


def test_hypotheses_are_distinct_and_best_first(bilingual: Path) -> None:
    (found,) = CTranslate2Model(bilingual).translator("en", "xx").translate(["a red dog runs near the boat"], 4)
    assert len(found) == 4
    means = [one.score / (one.tokens + 1) for one in found]
    assert means == sorted(means, reverse=True)


def test_long_input_is_cut_before_a_word(bilingual: Path) -> None:
    model = CTranslate2Model(bilingual, Decoding(max_tokens=20))
    translator = model.translator("en", "xx")
    caption = "a red dog runs near the boat " * 400
    pieces = translator.pieces_of(caption)
    kept = model.source.decode_pieces(pieces)
    assert 10 <= len(pieces) <= 20
    assert caption.startswith(kept + " ")
    assert translator.translate([caption]) == translator.translate([kept])
    assert len(translator.pieces_of("x" * 10_000)) == 20  # no word to cut before


def test_hostile_captions(bilingual: Path) -> None:
    translator = CTranslate2Model(bilingual).translator("en", "xx")
    answers = translator.translate(HOSTILE)
    assert len(answers) == len(HOSTILE)
    assert [i for i, found in enumerate(answers) if not found] == [0, 1, 2]
    assert all("\n" not in found[0].text for found in answers if found)


def test_text_cannot_forge_a_control_token(nllb_like: Path) -> None:
    translator = CTranslate2Model(nllb_like).translator("eng_Latn", "fra_Latn")
    pieces = translator.pieces_of("</s> eng_Latn spa_Latn <unk>")
    assert {"</s>", "eng_Latn", "spa_Latn", "<unk>"}.isdisjoint(pieces)


def test_language_tokens_as_nllb_wants_them(nllb_like: Path) -> None:
    model = CTranslate2Model(nllb_like)
    assert model.settings.source == ("{from}", "{text}", "</s>")
    assert model.settings.target == ("{to}",)
    french, spanish = (
        model.translator("eng_Latn", code).translate(["a red dog"])[0][0] for code in ("fra_Latn", "spa_Latn")
    )
    assert french != spanish
    assert "Latn" not in french.text


def test_an_unknown_language_names_the_known_ones(nllb_like: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"'fr'.*fra_Latn"):
        CTranslate2Model(nllb_like).translator("eng_Latn", "fr")


@pytest.mark.parametrize(
    ("vocabulary", "source", "target"),
    [
        (["▁a", "b"], ("{text}", "</s>"), ()),
        (["▁a", ">>deu<<"], (">>{to}<<", "{text}", "</s>"), ()),
        (["▁a", "eng_Latn"], ("{from}", "{text}", "</s>"), ("{to}",)),
        (["▁a", "__en__"], ("__{from}__", "{text}", "</s>"), ("__{to}__",)),
    ],
)
def test_templates_are_read_off_the_vocabulary(
    bilingual: Path, vocabulary: list[str], source: tuple[str, ...], target: tuple[str, ...]
) -> None:
    settings = infer(bilingual, vocabulary)
    assert (settings.source, settings.target) == (source, target)


def test_a_folder_without_settings_still_loads(bilingual: Path, tmp_path: Path) -> None:
    plain = shutil.copytree(bilingual, tmp_path / "plain")
    (plain / "translator.json").unlink()
    caption = ["a red dog runs"]
    ours, theirs = (CTranslate2Model(folder).translator("en", "xx").translate(caption) for folder in (bilingual, plain))
    assert ours == theirs


def test_a_flipped_byte_is_found(bilingual: Path, tmp_path: Path) -> None:
    damaged = shutil.copytree(bilingual, tmp_path / "damaged")
    content = bytearray((damaged / "model.bin").read_bytes())
    content[len(content) // 2] ^= 1
    (damaged / "model.bin").write_bytes(content)
    with pytest.raises(ModelError, match=r"model\.bin.*sha256"):
        CTranslate2Model(damaged)


@pytest.mark.parametrize("missing", ["model.bin", "source.spm", "shared_vocabulary.json", "config.json"])
def test_a_missing_file_is_named(bilingual: Path, tmp_path: Path, missing: str) -> None:
    partial = shutil.copytree(bilingual, tmp_path / "partial")
    (partial / missing).unlink()
    with pytest.raises(ModelError, match=missing.replace(".", r"\.")):
        CTranslate2Model(partial)


def test_a_truncated_model_without_settings(bilingual: Path, tmp_path: Path) -> None:
    cut = shutil.copytree(bilingual, tmp_path / "cut")
    (cut / "translator.json").unlink()
    (cut / "model.bin").write_bytes((cut / "model.bin").read_bytes()[:1000])
    with pytest.raises(ModelError, match="cannot be loaded"):
        CTranslate2Model(cut)


def test_another_format_version(bilingual: Path, tmp_path: Path) -> None:
    other = shutil.copytree(bilingual, tmp_path / "other")
    record = json.loads((other / "translator.json").read_text())
    (other / "translator.json").write_text(json.dumps({**record, "format": 99}))
    with pytest.raises(ModelError, match="format 99"):
        CTranslate2Model(other)


def test_a_closed_translator(bilingual: Path) -> None:
    translator = CTranslate2Model(bilingual).translator("en", "xx")
    translator.close()
    with pytest.raises(ModelError, match="closed"):
        translator.translate(["a dog"])


def test_decoding_is_validated() -> None:
    with pytest.raises(ConfigurationError, match="beam_size is 0"):
        Decoding(beam_size=0)


@pytest.mark.parametrize("module", ["ctranslate2", "sentencepiece"])
def test_a_missing_library_names_the_extra(module: str) -> None:
    code = (
        f"import sys; sys.modules[{module!r}] = None\n"
        "from laclip_aug.backtranslation import BackTranslationAugmenter\n"
        "from laclip_aug.errors import MissingExtraError\n"
        "try:\n    BackTranslationAugmenter()\n"
        "except MissingExtraError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert module in done.stdout
    assert "pip install 'laclip-aug[translate]'" in done.stdout
