"""Texts of variable length, as open_clip 4 has them: the gradients are its own on the slices of texts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from laclip_aug import openclip
from laclip_aug.training.loader import TrainingLoader, VariableLength

from .one_step import CAPTIONS, Batch, Run, error, first_gradients, make_batch, mean, rewrites


def test_rows_are_taken_apart_and_cut_to_the_longest_text() -> None:
    """Two images with two texts of at most four tokens; 9 is the padding, and the collator has added a column."""
    rows = torch.tensor([[1, 9, 9, 9, 2, 3, 9, 9, 9], [4, 5, 9, 9, 6, 9, 9, 9, 9]])
    seen: list[tuple[list[list[int]], int]] = []
    variable = VariableLength(texts_per_image=2, length=4, pad_id=9)

    batches = [{"text": rows, "text_valid": rows != 9}]
    loader = TrainingLoader(batches, lambda texts, k: seen.append((texts.tolist(), k)), lambda: None, variable)
    (batch,) = loader
    assert batch["text"].tolist() == [[1, 9], [2, 3], [4, 5], [6, 9]]
    assert batch.keys() == {"text"}
    assert seen == [([[1, 9, 9, 9], [2, 3, 9, 9], [4, 5, 9, 9], [6, 9, 9, 9]], 2)]  # ids of rows see no batch

    by_three = VariableLength(2, 4, 9, multiple=3)
    assert by_three.cut(by_three.apart(rows).flatten(0, 1)).shape == (4, 3)
    assert by_three.cut(torch.tensor([[1, 2, 3, 4], [1, 9, 9, 9]])).shape == (2, 4)  # never beyond the context
    assert by_three.cut(torch.full((2, 4), 9)).shape == (2, 3)


def variable_model(root: Path) -> Path:
    """A tiny model whose text tower takes texts of any length, with a tokenizer of the test's words."""
    texts = [text for caption in CAPTIONS for text in (caption, *rewrites(caption).values())]
    words = ["[PAD]", "[EOS]", "[UNK]", *sorted({word for text in texts for word in text.split()})]
    made = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.post_processor = processors.TemplateProcessing("$A [EOS]", special_tokens=[("[EOS]", 1)])
    marks = {"pad_token": "[PAD]", "eos_token": "[EOS]", "unk_token": "[UNK]"}
    PreTrainedTokenizerFast(tokenizer_object=made, **marks).save_pretrained(root / "words")
    text = {
        "text_arch": "modern",
        "variable_text": True,
        "context_length": 32,
        "vocab_size": len(words),
        "hf_tokenizer_name": str(root / "words"),
        "pad_id": 0,
        "eos_id": 1,
        "pool_type": "eos",
        "attention_mode": "bidirectional",
        "width": 32,
        "heads": 2,
        "layers": 1,
        "pos_embed": "rope",
    }
    vision = {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16}
    path = root / "variable-clip.json"
    path.write_text(json.dumps({"embed_dim": 32, "vision_cfg": vision, "text_cfg": text, "custom_text": True}))
    return path


FORMS: dict[str, tuple[tuple[str, ...], int]] = {
    "plain": ((), 1),
    "multiples": (("--text-pad-multiple", "8"), 1),
    "two processes": (("--local-loss", "--gather-with-grad", "--batch-size", "4"), 2),
}

if openclip.has_tasks():

    @pytest.fixture(scope="module")
    def batch(tmp_path_factory: pytest.TempPathFactory) -> Batch:
        return make_batch(tmp_path_factory.mktemp("variable"))

    def test_gradients_are_open_clips_own_on_the_slices(batch: Batch) -> None:
        root = batch.model.parent
        path = variable_model(root)
        runs: dict[object, Run] = {}
        for form, (options, processes) in FORMS.items():
            extra = ("--model-config", str(path), "--model", path.stem, *options)
            tables = {f"slice {j}": table for j, table in enumerate(batch.slices)} | {"drawn": batch.drawn}
            for key, table in tables.items():
                runs[form, key] = batch.run(table, processes=processes, extra=extra)
            for mode in ("laclip", "laclip-mt"):
                runs[form, mode] = batch.run(
                    batch.slices[0], processes=processes, extra=(*extra, *batch.augmented(mode))
                )
        cut_up = ("--accum-freq", "2", "--batch-size", "4")  # at which open_clip 4.2 itself breaks off
        whole = ("--model-config", str(path), "--model", path.stem)
        runs["accumulated"] = batch.run(batch.slices[0], extra=(*whole, *cut_up, *batch.augmented("laclip-mt")))
        found = first_gradients(runs, root)
        accumulated, plain = found["accumulated"], found["plain", "laclip-mt"]
        assert error(accumulated["towers"], plain["towers"]) < 1e-5
        assert error(accumulated["scalars"], 2 * plain["scalars"]) < 1e-5  # as with any loss of open_clip's
        for form in FORMS:
            slices = [found[form, f"slice {j}"] for j in range(3)]
            for part in ("towers", "scalars"):
                assert error(found[form, "laclip-mt"][part], mean(slices)[part]) < 1e-5, (form, part)
                assert error(found[form, "laclip"][part], found[form, "drawn"][part]) < 1e-5, (form, part)
            assert error(found[form, "laclip-mt"]["towers"], slices[0]["towers"]) > 0.01
