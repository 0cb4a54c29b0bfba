"""Linked augmentation: the rules of its texts, drawn scenes whose truth is known, and open_clip's real loaders."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
from PIL import Image, ImageDraw

from laclip_aug.errors import ConfigurationError, UnknownNameError
from laclip_aug.training.colourless import colourless, in_black_and_white
from laclip_aug.training.halves import halves_of, of_half
from laclip_aug.training.linked import Linked
from laclip_aug.training.mirror import is_readable, mirrored
from laclip_aug.training.options import TextAugOptions
from laclip_aug.training.parser import parse


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A dog to the left of a cat.", "A dog to the right of a cat."),
        ("The man on the left looks at the woman on the right", "The man on the right looks at the woman on the left"),
        ("from left to right : three boys", "from right to left : three boys"),
        ("Left to right: Ann, Bob and Cy", "Right to left: Ann, Bob and Cy"),
        ("holding a cup in her right hand", "holding a cup in her left hand"),
        ("a right-handed batter in the upper left corner", "a left-handed batter in the upper right corner"),
        ("the leftmost of three cups", "the rightmost of three cups"),
        ("a boy turning left", "a boy turning right"),
        ("LEFT SIDE of a barn", "RIGHT SIDE of a barn"),
        ("she looks to his left", "she looks to his right"),
        ("a car left of a tree", "a car right of a tree"),
        ("two beds right next to each other", "two beds right next to each other"),
        ("the right back wheel", "the left back wheel"),
        ("a bright day at Wright beach", "a bright day at Wright beach"),
        ("two dogs", "two dogs"),
        ("a puppy left on a couch", None),
        ("the train has left the station", None),
        ("pick the right bird for your table", None),
        ("a photo in the right colours", None),
        ("on the right track", None),
        ("a right-wing rally", None),
        ("a right angle", None),
        ("placed right side up", None),
    ],
)
def test_left_and_right_change_places_where_they_are_sides(text: str, expected: str | None) -> None:
    assert mirrored(text) == expected
    if expected is not None:
        assert mirrored(expected) == text


@pytest.mark.parametrize(
    "text",
    [
        "a stop sign", "the clock’s face", 'he says "no"', "a clock on a tower", "a NASA rocket",
        "the number 7 on his jersey", "letters on a wall", "the logo of a bank", "“open” in neon",
        "she checks her watch", "cup #3",
    ],
)  # fmt: skip
def test_what_can_be_read_is_never_mirrored(text: str) -> None:
    assert is_readable(text)
    linked = Linked(["flip"])
    assert all(not linked("a wall", [text], epoch, b"i")[1] for epoch in range(20))
    assert all(not linked(text, ["a wall"], epoch, b"i")[1] for epoch in range(20))  # a rewrite does not say it


@pytest.mark.parametrize("text", ["A dog's ball", "two dogs play on the grass", "I see a bird", "a ready swimmer"])
def test_other_photos_may_be_mirrored(text: str) -> None:
    assert not is_readable(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a red car", "a car"),
        ("An orange cat and an old, wet dog", "A cat and an old, wet dog"),
        ("a red apple on a blue plate", "an apple on a plate"),
        ("Red, white and blue kites fly.", "Kites fly."),
        ("a light blue shirt", "a shirt"),
        ("a brown-haired girl", "a girl"),
        ("a yellow colored bus", "a bus"),
        ("brightly colored flags", "flags"),
        ("a man in a bright red and black jacket", "a man in a jacket"),
        ("a man in red shorts", "a man in shorts"),
        ("a black and white dog", "a black and white dog"),
        ("a grey sky", "a grey sky"),
        ("a redwood and a greenhouse", "a redwood and a greenhouse"),
        ("the car is red", None),
        ("a girl in pink twirls a ribbon", None),
        ("a ball, red and round", None),
        ("an orange on a table", None),
        ("a red one", None),
        ("the Red Sox", None),
        ("Red Square at night", None),
        ("shades of green paint", None),
        ("a sepia photo", None),
    ],
)
def test_colours_go_where_they_can(text: str, expected: str | None) -> None:
    assert colourless(text) == expected


def test_a_grey_photo_may_be_called_so() -> None:
    assert in_black_and_white("A dog runs.") == "A dog runs, in black and white."
    assert in_black_and_white("a dog") == "a dog, in black and white"
    assert in_black_and_white("a black and white photo of a dog") == "a black and white photo of a dog"


@pytest.mark.parametrize(
    ("text", "left", "right"),
    [
        ("a dog on the left and a cat on the right", "a dog", "a cat"),
        ("A red ball on the right side, and two cups on the left side.", "Two cups.", "A red ball."),
        ("a photo of a dog on the left and a cat on the right", "a photo of a dog", "a photo of a cat"),
        ("a dog on the left", None, None),
        ("a dog and a cat on the left and a cow on the right", None, None),
        ("a dog on the left and a cat on the left", None, None),
        ("a dog near a tree on the left and a cat on the right", None, None),
        ("a dog at the top and a cat on the right", None, None),
        ("two dogs", None, None),
    ],
)
def test_a_half_has_a_caption_only_where_both_are_named(text: str, left: str | None, right: str | None) -> None:
    assert (of_half(text, "left"), of_half(text, "right")) == (left, right)
    assert halves_of(text) == (() if left is None else ("left", "right"))


def test_top_and_bottom_are_halves_too() -> None:
    assert of_half("a bird at the top and a fish at the bottom", "bottom") == "a fish"


COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (40, 60, 230), "yellow": (230, 220, 40)}
SHAPES = ("square", "circle")
FORMS = (
    "a {0} on the left and a {1} on the right",
    "A {0} to the left of a {1}.",
    "a {1} right of a {0}",
    "the {0} is on the left, the {1} is on the right",
)


def scene(number: int) -> tuple[Image.Image, str]:
    """Two shapes, one in each half, and a caption that says so."""
    drawn = random.Random(number)
    picture = Image.new("RGB", (64, 32), (255, 255, 255))
    pen = ImageDraw.Draw(picture)
    words = []
    for place in (0, 1):
        colour, shape = drawn.choice(list(COLOURS)), SHAPES[place] if number % 2 else SHAPES[1 - place]
        box = (32 * place + 6, 6, 32 * place + 25, 25)
        (pen.rectangle if shape == "square" else pen.ellipse)(box, fill=COLOURS[colour])
        words.append(f"{colour} {shape}")
    return picture, FORMS[drawn.randrange(len(FORMS))].format(*words)


def seen(picture: Image.Image) -> list[tuple[str, str]]:
    """What each half of a scene shows, read off its pixels: colour ("" if grey) and shape."""
    pixels = np.asarray(picture).astype(int)
    found = []
    for half in np.split(pixels, 2, axis=1) if pixels.shape[1] == 64 else [pixels]:
        middle = half[16, 16]
        grey = int(middle.max() - middle.min()) <= 2
        colour = "" if grey else min(COLOURS, key=lambda name: int(np.abs(middle - COLOURS[name]).sum()))
        corner = half[8, 8] if abs(int(half[8, 8].sum())) < 700 else half[8, 23]
        found.append((colour, "square" if int(np.abs(corner - middle).sum()) < 60 else "circle"))
    return found


def is_true(text: str, shown: list[tuple[str, str]]) -> bool:
    """Whether every form that the scenes' captions have agrees with what is shown, and names no unseen colour."""
    bare = text.lower().replace(", in black and white", "").rstrip(".")
    names = [f"{colour} {shape}".strip() for colour, shape in shown]
    articles = ("a ", "an ", "the ")
    if len(names) == 1:
        allowed = {article + names[0] for article in articles}
    else:
        left, right = names
        forms = [
            *FORMS, "a {1} on the right and a {0} on the left", "a {1} to the right of a {0}", "a {0} left of a {1}",
            "the {1} is on the right, the {0} is on the left",
        ]  # fmt: skip
        allowed = {form.lower().rstrip(".").format(left, right) for form in forms}
    return bare.replace("an ", "a ") in {text.replace("an ", "a ") for text in allowed}


def test_captions_stay_true_in_1000_of_1000_scenes() -> None:
    linked = Linked(("flip", "gray", "crop"), seed=4)
    done: Counter[str] = Counter()
    for number in range(1000):
        picture, caption = scene(number)
        assert is_true(caption, seen(picture)), caption
        (text,), steps = linked(caption, [caption], number % 3, number.to_bytes(8, "little"))
        for step in steps:
            picture = step(picture)
        assert is_true(text, seen(picture)), (caption, text, seen(picture))
        done.update(
            [f"{len(seen(picture))} halves", "grey" if seen(picture)[0][0] == "" else "coloured", str(len(steps))]
        )
    assert done["grey"] > 100
    assert done["1 halves"] > 50
    assert all(done[str(number)] > 0 for number in range(4))
    line = linked.line(0)
    assert line.startswith("linked augmentation, epoch 0: of 1000 images: flip ")


def test_a_false_caption_would_be_noticed() -> None:
    picture, caption = scene(1)
    assert is_true(caption, seen(picture))
    assert not is_true(caption, seen(picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)))
    assert not is_true(caption, seen(picture.convert("L").convert("RGB")))


def test_all_texts_follow_or_none() -> None:
    linked = Linked(["flip"], seed=1)
    both = ["a dog on the left", "left of the tree stands a dog"]
    results = {linked(both[0], both, epoch, b"")[0] for epoch in range(20)}
    assert results == {tuple(both), ("a dog on the right", "right of the tree stands a dog")}
    assert {linked(both[0], [both[0], "a dog left alone"], epoch, b"")[0] for epoch in range(20)} == {
        (both[0], "a dog left alone")
    }


def test_options() -> None:
    options, rest = parse(["--text-aug-linked", "flip,gray", "--text-aug-seed", "3", "--lr", "1"])
    assert options.linked == ("flip", "gray")
    assert rest == ["--lr", "1"]
    with pytest.raises(UnknownNameError, match="--text-aug-linked"):
        TextAugOptions(linked=("flop",))
    with pytest.raises(ConfigurationError, match="--text-aug-seed"):
        TextAugOptions(seed=3)
