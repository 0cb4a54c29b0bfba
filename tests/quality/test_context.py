"""Lengths in a model's own tokens: real tokenizers of Hugging Face's library behind real open_clip configurations."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from subprocess import run

import pytest
from open_clip.tokenizer import SimpleTokenizer
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from laclip_aug.augmenter import create_augmenter
from laclip_aug.cli import main
from laclip_aug.eda.augmenter import EDAAugmenter
from laclip_aug.errors import ConfigurationError, UnknownNameError
from laclip_aug.quality.checks import TEXT_CHECKS, Candidate
from laclip_aug.quality.context import CLIP, context_for, context_of, recorded

TEXTS = (
    "",
    "a dog",
    "The dogs' toys, two of them; isn't it?",
    "a small dog on a wide beach in the late sun with its ball",
    "狗在海滩 and Mädchen &amp; co",
    "dog " * 40,
)
WORDS = ["a", "dog", "s", "beach", "sun", "the", "small", "on", "##s", "##og", "d", ",", "'", "two", "of"]
LAYOUTS = {
    "bert": ("[CLS] $A [SEP]", "[PAD]", {}),
    "bert, end stripped": ("[CLS] $A [SEP]", "[PAD]", {"strip_sep_token": True}),
    "padded with the end, as SigLIP": ("$A [SEP]", "[SEP]", {"clean": "canonicalize"}),
    "no marks": ("$A", "[PAD]", {}),
}


def model_config(folder: Path, layout: str, length: int = 12) -> Path:
    """A model of open_clip with a WordPiece tokenizer; the configuration's path."""
    template, pad, options = LAYOUTS[layout]
    vocabulary = {word: number for number, word in enumerate(["[PAD]", "[SEP]", "[CLS]", "[UNK]", *WORDS])}
    made = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.TemplateProcessing(template, special_tokens=[("[CLS]", 2), ("[SEP]", 1)])
    marks = {"pad_token": pad, "sep_token": "[SEP]", "cls_token": "[CLS]", "unk_token": "[UNK]"}
    name = layout.replace(",", "").replace(" ", "-")
    PreTrainedTokenizerFast(tokenizer_object=made, **marks).save_pretrained(folder / f"{name}-tokenizer")
    text = {
        "context_length": length,
        "hf_tokenizer_name": str(folder / f"{name}-tokenizer"),
        "tokenizer_kwargs": options,
    }
    path = folder / f"{name}.json"
    vision = {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16}
    path.write_text(json.dumps({"embed_dim": 32, "vision_cfg": vision, "text_cfg": text}))
    return path


@pytest.mark.parametrize("layout", LAYOUTS)
def test_counts_are_the_tokenizers_own(tmp_path: Path, layout: str) -> None:
    path = model_config(tmp_path, layout)
    context = context_for(str(path))
    from laclip_aug.models import load_tokenizer

    theirs = load_tokenizer(str(path))
    for text in TEXTS:
        length = len(theirs.tokenizer(theirs.clean_fn(text)).input_ids)
        assert context.count(text) == min(length, 64)
        assert context.holds(text) is (length <= 12)
    assert context.tokens == 12
    assert context.tokenizer != "clip"


def test_another_length_and_another_tokenizer_are_another_context(tmp_path: Path) -> None:
    bert, stripped = (str(model_config(tmp_path, layout)) for layout in ("bert", "bert, end stripped"))

    assert context_for(bert) != context_for(stripped)
    assert context_for(f"{bert}:20") != context_for(bert)
    assert context_for(f"{bert}:20").tokens == 20


def test_clips_own_tokenizer_is_known_at_any_length() -> None:
    assert context_for(None) is CLIP
    assert context_for("ViT-B-32") == CLIP == context_for("ViT-L-14")
    assert (context_for("ViT-B-32:32").tokens, context_for("ViT-B-32:32").tokenizer) == (32, "clip")
    eight = context_of(SimpleTokenizer(context_length=8))
    assert eight is not None
    theirs = SimpleTokenizer(context_length=100)
    for text in TEXTS:
        assert eight.holds(text) is (int((theirs(text) != 0).sum()) <= 8)
    other = context_of(SimpleTokenizer(clean="canonicalize"))
    assert other is not None
    assert other.tokenizer != "clip"


def test_the_check_for_long_texts_takes_the_context() -> None:
    long = "a dog " * 20  # 42 tokens with the marks

    assert not TEXT_CHECKS["too-long"](Candidate("a dog", long))
    assert TEXT_CHECKS["too-long"](Candidate("a dog", long, context=context_for("ViT-B-32:41")))
    assert not TEXT_CHECKS["too-long"](Candidate("a dog", long, context=context_for("ViT-B-32:42")))
    longer = "a dog " * 100
    assert TEXT_CHECKS["too-long"](Candidate("a dog", longer))
    assert not TEXT_CHECKS["too-long"](Candidate("a dog", longer, context=context_for("ViT-B-32:248")))


def test_unknown_models_are_named() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'ViT-B-32'"):
        context_for("ViT-B32")
    with pytest.raises(ConfigurationError, match="cannot be loaded"):
        context_for("local-dir:/no/such/folder")


def test_word_level_texts_stay_within_the_context() -> None:
    captions = [
        f"a small dog runs along the wide {thing} in the late sun" for thing in ("beach", "road", "park", "hill")
    ]
    bound = context_for("ViT-B-32:14")  # what these captions have, to the token
    free, held = (EDAAugmenter(**options).augment(captions, 8, 0) for options in ({}, {"for_model": "ViT-B-32:14"}))

    assert all(bound.holds(caption) for caption in captions)
    assert not all(bound.holds(text) for texts in free for text in texts)
    assert all(bound.holds(text) for texts in held for text in texts)
    assert sum(text != caption for caption, texts in zip(captions, held, strict=True) for text in texts) > 24


def built(tmp_path: Path, name: str, *extra: str) -> dict[str, object]:
    (tmp_path / "captions.txt").write_text("a small dog runs along the wide beach\n")
    command = ["build", str(tmp_path / "captions.txt"), "--cache", str(tmp_path / name), "--augmenter", "eda", *extra]
    assert main(command) == 0
    config: dict[str, object] = json.loads((tmp_path / name / "manifest.json").read_text())["configs"][0]
    return config


def test_a_build_notes_its_context_and_keeps_to_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain, clip = built(tmp_path, "plain"), built(tmp_path, "clip", "--for-model", "ViT-B-32")
    same = built(tmp_path, "same", "--for-model", "ViT-L-14")

    assert "context" not in plain["describe"]
    assert clip["describe"]["context"] == {"tokens": 77, "tokenizer": "clip", "model": "ViT-B-32"}
    assert recorded(clip["describe"]) == CLIP
    assert clip["fingerprint"] == same["fingerprint"] != plain["fingerprint"]
    command = ["build", str(tmp_path / "captions.txt"), "--cache", str(tmp_path / "clip"), "--augmenter", "eda"]
    assert main([*command, "--for-model", "ViT-B-32:20"]) == 2
    assert "context.tokens: 77 there, 20 asked for" in capsys.readouterr().err


def test_back_translation_tells_other_contexts_from_clips() -> None:
    plain, clip, short = (create_augmenter("back-translation", for_model=m) for m in (None, "ViT-B-32", "ViT-B-32:8"))
    outcome = next(iter(short.outcomes(["a small dog runs along the wide sandy beach in the late sun"], 1, 0)))

    assert plain.fingerprint() == clip.fingerprint() != short.fingerprint()
    assert not outcome.rewrites
    assert "too-long" in {rejection.reason for rejection in outcome.rejections}
    for augmenter in (plain, clip, short):
        augmenter.close()


def test_a_build_for_no_model_needs_no_torch(tmp_path: Path) -> None:
    (tmp_path / "captions.txt").write_text("a small dog runs\n")
    words: Sequence[str] = (
        "build",
        str(tmp_path / "captions.txt"),
        "--cache",
        str(tmp_path / "c"),
        "--augmenter",
        "eda",
    )
    code = f"import sys; from laclip_aug.cli import main; main({list(words)!r}); print('torch' in sys.modules)"

    done = run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
