"""Linked augmentation: does a model that is trained with it tell left from right, and colours, better?

Why it matters: mirroring photos is the plainest augmentation there is, and CLIP's captions forbid it: mirrored, "a dog
on the left" is false. Linked augmentation says what is true of the mirrored photo, so each photo shows both sides.

Scenes are drawn: one or two things (six colours, two shapes) left or right of the middle, over a noisy ground. Nine of
ten training captions name the sides. Small CLIPs are trained with ``open_clip train``, one thread each, for each of
``--seeds``, which changes scenes, weights and draws:

- plain;
- flip; gray; flip,gray: linked augmentation;
- image alone: the same photos are mirrored and turned grey as with flip,gray, and the texts stay as they were: what an
  augmentation that is not linked does.

Three zero-shot probes on ``--test`` new scenes, in percent: of one thing, is it on the left or right (chance 50); of
two things, which is on the left (chance 50; both texts have the same words); which of six colours has the thing (17).

Prints a table, with the means over the seeds and the least and the largest, and one JSON document as the last line.

    python benchmarks/linked.py --folder linked
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from tqdm import tqdm

from laclip_aug.models import load_model
from laclip_aug.openclip import LoadedModel, add_model_config

SIZE = 32
COLOURS = {
    "red": (210, 40, 40), "green": (40, 170, 60), "blue": (50, 80, 220),
    "yellow": (230, 210, 50), "purple": (140, 60, 170), "brown": (130, 80, 40),
}  # fmt: skip
SHAPES = ("circle", "square")
ARMS = {
    "plain": "", "flip": "flip", "gray": "gray", "flip,gray": "flip,gray", "image alone": "flip,gray",
}  # fmt: skip
PROBES = ("side of one", "order of two", "colour")
TRAIN = "import sys; from laclip_aug.cli.open_clip import main; sys.exit(main(['train', *sys.argv[1:]]))"
IMAGE_ALONE = f"""
from laclip_aug.training.linked import Linked
linked = Linked.__call__
def unlinked(self, caption, texts, *rest):
    return tuple(texts), linked(self, caption, texts, *rest)[1]
Linked.__call__ = unlinked
{TRAIN}"""


@dataclass(frozen=True)
class Thing:
    colour: str
    shape: str

    def __str__(self) -> str:
        return f"{self.colour} {self.shape}"


def draw_thing(pen: ImageDraw.ImageDraw, thing: Thing, drawn: random.Random, x: float, y: float) -> None:
    radius = drawn.uniform(5, 7)
    red, green, blue = (round(min(255, max(0, level + drawn.gauss(0, 30)))) for level in COLOURS[thing.colour])
    fill = (red, green, blue)
    box = (x - radius, y - radius, x + radius, y + radius)
    if thing.shape == "circle":
        pen.ellipse(box, fill=fill)
    else:
        pen.rectangle(box, fill=fill)


def scene(drawn: random.Random, things: int) -> tuple[Image.Image, list[Thing | None]]:
    """A picture, and what is in its left and its right half."""
    noise = np.random.default_rng(drawn.getrandbits(32)).normal(0, 10, (SIZE, SIZE, 3))
    ground = np.clip(drawn.randint(170, 235) + noise, 0, 255).astype(np.uint8)
    picture = Image.fromarray(ground)
    pen = ImageDraw.Draw(picture)
    halves: list[Thing | None] = [Thing(drawn.choice(list(COLOURS)), drawn.choice(SHAPES)) for _ in range(2)]
    if halves[0] == halves[1] or things == 1:
        halves[drawn.randrange(2)] = None
    for place, thing in enumerate(halves):
        if thing is not None:
            x = SIZE * (0.5 * place + drawn.uniform(0.22, 0.28))
            draw_thing(pen, thing, drawn, x, SIZE * drawn.uniform(0.4, 0.6))
    return picture, halves


def caption(drawn: random.Random, halves: list[Thing | None]) -> str:
    left, right = halves
    sided = drawn.random() < 0.9
    if left is None or right is None:
        thing, side = (left, "left") if left else (right, "right")
        forms = (f"a {thing} on the {side}", f"a picture with a {thing} on the {side} side")
        return drawn.choice(forms if sided else (f"a {thing}", f"a picture of a {thing}"))
    if not sided:
        first, second = drawn.sample([left, right], 2)
        return f"a {first} and a {second}"
    pairs = (f"a {left} to the left of a {right}", f"a {right} to the right of a {left}")
    return drawn.choice((*pairs, f"a {left} on the left and a {right} on the right"))


def make_data(folder: Path, seed: int, count: int) -> Path:
    drawn, rows = random.Random(f"train {seed}"), ["filepath\ttitle"]
    folder.mkdir(parents=True)
    for number in range(count):
        picture, halves = scene(drawn, drawn.choice((1, 1, 2)))
        picture.save(folder / f"{number}.png")
        rows.append(f"{folder / f'{number}.png'}\t{caption(drawn, halves)}")
    (folder / "train.tsv").write_text("\n".join(rows) + "\n")
    return folder / "train.tsv"


def make_model(folder: Path) -> Path:
    vision = {"image_size": SIZE, "layers": 3, "width": 64, "head_width": 16, "patch_size": 8}
    text = {"context_length": 32, "vocab_size": 49408, "width": 64, "heads": 4, "layers": 2}
    path = folder / "linked-tiny.json"
    path.write_text(json.dumps({"embed_dim": 64, "vision_cfg": vision, "text_cfg": text}))
    return path


def train(arm: str, seed: int, table: Path, model: Path, folder: Path, args: argparse.Namespace) -> Path:
    """Train one model; returns its last checkpoint."""
    name = f"{arm.replace(',', '-').replace(' ', '-')}-{seed}"
    last = folder / "logs" / name / "checkpoints" / f"epoch_{args.epochs}.pt"
    if last.exists():
        return last
    linked = ["--text-aug-linked", ARMS[arm], "--text-aug-seed", str(seed)] if ARMS[arm] else []
    subprocess.run(
        [
            sys.executable, "-c", IMAGE_ALONE if arm == "image alone" else TRAIN,
            *("--model-config", str(model), "--model", model.stem, "--train-data", str(table)),
            *("--epochs", str(args.epochs), "--batch-size", str(args.batch), "--workers", "0", "--seed", str(seed)),
            *"--precision fp32 --device cpu --warmup 50 --lr 1e-3 --wd 0.1".split(), "--text-aug-trim", "on",
            *("--save-frequency", str(args.epochs), "--logs", str(folder / "logs"), "--name", name), *linked,
        ],
        check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    return last


@torch.no_grad()
def accuracy(loaded: LoadedModel, questions: list[tuple[Image.Image, list[str]]]) -> float:
    """Percent of pictures whose first text is the nearest."""
    right = 0
    for start in range(0, len(questions), 100):
        part = questions[start : start + 100]
        images = loaded.model.encode_image(torch.stack([loaded.preprocess(image) for image, _ in part]), normalize=True)
        texts = [text for _, choices in part for text in choices]
        features = loaded.model.encode_text(loaded.tokenize(texts), normalize=True).view(len(part), -1, images.shape[1])
        right += int(((features @ images[:, :, None])[:, :, 0].argmax(dim=1) == 0).sum())
    return 100 * right / len(questions)


def probe(loaded: LoadedModel, seed: int, count: int) -> dict[str, float]:
    drawn = random.Random(f"test {seed}")
    questions: dict[str, list[tuple[Image.Image, list[str]]]] = {name: [] for name in PROBES}
    while min(map(len, questions.values())) < count:
        picture, (left, right) = scene(drawn, drawn.choice((1, 1, 2)))
        if left is not None and right is not None:
            if len(questions["order of two"]) < count:
                choices = [f"a {left} to the left of a {right}", f"a {right} to the left of a {left}"]
                questions["order of two"].append((picture, choices))
        elif len(questions["colour"]) < count:
            thing, (side, other) = (left, ("left", "right")) if left else (right, ("right", "left"))
            questions["side of one"].append((picture, [f"a {thing} on the {side}", f"a {thing} on the {other}"]))
            colours = sorted(COLOURS, key=lambda name: name != thing.colour)
            questions["colour"].append((picture, [f"a {colour} {thing.shape}" for colour in colours]))
    return {name: accuracy(loaded, asked) for name, asked in questions.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="for scenes and runs; a run that is there is kept")
    parser.add_argument("--arms", nargs="+", default=["plain", "flip,gray", "image alone"], choices=list(ARMS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--scenes", type=int, default=128)
    parser.add_argument("--test", type=int, default=400)
    parser.add_argument("--epochs", type=int, default=175)
    parser.add_argument("--batch", type=int, default=64)
    args = parser.parse_args()
    torch.set_num_threads(1)
    folder = args.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    model = make_model(folder)
    add_model_config(model)
    started, rows = time.perf_counter(), []
    for seed in tqdm(args.seeds, desc="seeds"):
        table = folder / f"scenes-{seed}" / "train.tsv"
        if not table.exists():
            make_data(table.parent, seed, args.scenes)
        for arm in args.arms:
            checkpoint = train(arm, seed, table, model, folder, args)
            rows.append({"arm": arm, "seed": seed, **probe(load_model(model.stem, str(checkpoint)), seed, args.test)})
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    print(f"| trained with | {' | '.join(PROBES)} |\n|---|{'---|' * len(PROBES)}")
    for arm in args.arms:
        cells = []
        for name in PROBES:
            found = [row[name] for row in rows if row["arm"] == arm]
            cells.append(f"{statistics.mean(found):.1f} ({min(found):.1f} to {max(found):.1f})")
        print(f"| {arm} | {' | '.join(cells)} |")
    settings = {name: getattr(args, name) for name in ("seeds", "scenes", "test", "epochs", "batch")}
    print(json.dumps({"settings": settings, "seconds": round(time.perf_counter() - started), "rows": rows}))


if __name__ == "__main__":
    main()
