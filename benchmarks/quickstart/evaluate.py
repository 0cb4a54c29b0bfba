"""Zero-shot and retrieval accuracy of a checkpoint on the test scenes."""

from __future__ import annotations

import json
from pathlib import Path

import open_clip
import torch
from PIL import Image
from wording import OTHER_WORDS, class_prompts


def _load(config: Path, checkpoint: Path) -> tuple[torch.nn.Module, object, object]:
    open_clip.add_model_config(config)
    model, _, preprocess = open_clip.create_model_and_transforms(config.stem)
    saved = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    model.load_state_dict({key.removeprefix("module."): value for key, value in saved.items()})
    return model.eval(), preprocess, open_clip.get_tokenizer(config.stem)


def recall_at_1(queries: torch.Tensor, candidates: torch.Tensor, keys: list[str]) -> float:
    """Share of queries whose nearest candidate shows the same scene.

    ``queries`` and ``candidates`` are unit rows ``[N, D]``; row ``i`` of both is scene ``i``. ``keys[i]`` tells what
    scene ``i`` shows, so a caption that fits two pictures alike may find either.
    """
    nearest = (queries @ candidates.T).argmax(dim=1).tolist()
    return sum(keys[i] == keys[j] for i, j in enumerate(nearest)) / len(keys)


@torch.inference_mode()
def evaluate(config: Path, checkpoint: Path, test: Path) -> dict[str, float]:
    """Accuracies in percent.

    ``zero_shot``: 14 classes, prompts in the test's words. ``image_to_text`` and ``text_to_image``: recall at 1 among
    all test scenes, captions in the test's styles. ``same_style``: text-to-image recall with captions in the training
    style, which tells how well the pictures themselves were learnt.
    """
    model, preprocess, tokenizer = _load(config, checkpoint)
    rows = [json.loads(line) for line in test.read_text().splitlines()]
    pictures = torch.stack([preprocess(Image.open(test.parent / row["image"])) for row in rows])  # type: ignore[operator]
    images = torch.cat([model.encode_image(part, normalize=True) for part in pictures.split(250)])

    def encode(texts: list[str]) -> torch.Tensor:
        tokens = tokenizer(texts)  # type: ignore[operator]
        return torch.cat([model.encode_text(part, normalize=True) for part in tokens.split(250)])

    names = sorted(OTHER_WORDS)
    classes = torch.stack([encode(class_prompts(name)).mean(dim=0) for name in names])
    predicted = (images @ torch.nn.functional.normalize(classes, dim=-1).T).argmax(dim=1).tolist()
    keys = [row["training_style"] for row in rows]
    other = encode([row["caption"] for row in rows])
    same = encode(keys)
    accuracies = {
        "zero_shot": sum(names[k] == row["name"] for k, row in zip(predicted, rows, strict=True)) / len(rows),
        "image_to_text": recall_at_1(images, other, keys),
        "text_to_image": recall_at_1(other, images, keys),
        "same_style": recall_at_1(same, images, keys),
    }
    return {name: round(100 * value, 1) for name, value in accuracies.items()}
