"""Words for a scene: one narrow style for training, and other styles and words for the test.

A model that has only ever read the training style does not know that a hound is a dog. The test asks just that, so it
measures what text augmentation is for. Nothing here looks at the augmenters: the test's words are those that people
commonly use in photo captions.
"""

from __future__ import annotations

import random

from scenes import Scene

_TRAIN_PLACES = {
    "grass": "on the grass",
    "beach": "on the beach",
    "snow": "in the snow",
    "street": "on the street",
    "water": "on the water",
}
_COUNTS = {1: "a", 2: "two", 3: "three"}
_PLURAL = {
    "bus": "buses",
    "bench": "benches",
    "puppy": "puppies",
    "pony": "ponies",
    "kitty": "kitties",
    "coach": "coaches",
}

OTHER_WORDS = {
    "dog": ("puppy", "hound"),
    "cat": ("kitten", "kitty"),
    "bird": ("gull", "small bird"),
    "horse": ("pony", "stallion"),
    "car": ("automobile", "vehicle"),
    "bus": ("coach", "passenger bus"),
    "boat": ("sailboat", "ship"),
    "bicycle": ("bike", "cycle"),
    "ball": ("beach ball", "round ball"),
    "kite": ("flying kite", "toy kite"),
    "umbrella": ("parasol", "sunshade"),
    "house": ("home", "cottage"),
    "tree": ("leafy tree", "oak"),
    "bench": ("seat", "park bench"),
}
_OTHER_PLACES = {
    "grass": ("in a grassy field", "on a green lawn", "in a meadow"),
    "beach": ("by the sea", "on the sand", "at the shore"),
    "snow": ("on snowy ground", "outside in winter", "surrounded by snow"),
    "street": ("on a road", "along a city road", "on the pavement"),
    "water": ("at sea", "on a lake", "in the ocean"),
}
_OTHER_COUNTS = {1: ("a", "one", "a single"), 2: ("a pair of", "a couple of"), 3: ("a group of three", "a trio of")}


def _counted(count: str, rest: str, noun: str, many: bool) -> str:
    if many:
        *before, last = noun.split()
        noun = " ".join([*before, _PLURAL.get(last, last + "s")])
    words = f"{rest} {noun}".strip()
    if count == "a" and words[0] in "aeiou":
        count = "an"
    return f"{count} {words}"


def training_caption(scene: Scene) -> str:
    """Always the same form: ``two black dogs in the snow``, ``a red car on the street next to a green tree``."""
    text = _counted(_COUNTS[scene.count], scene.colour, scene.name, scene.count > 1)
    text = f"{text} {_TRAIN_PLACES[scene.place]}"
    if scene.other and scene.other_colour:
        text += f" next to {_counted('a', scene.other_colour, scene.other, many=False)}"
    return text


def test_caption(scene: Scene, seed: int, index: int) -> str:
    """A caption in another style and, where there are such, other words."""
    draw = random.Random(f"wording {seed} {index}")
    noun = draw.choice(OTHER_WORDS[scene.name])
    place = draw.choice(_OTHER_PLACES[scene.place])
    thing = _counted(draw.choice(_OTHER_COUNTS[scene.count]), scene.colour, noun, scene.count > 1)
    beside = ""
    if scene.other and scene.other_colour:
        other = _counted("a", scene.other_colour, draw.choice(OTHER_WORDS[scene.other]), many=False)
        beside = draw.choice((f" beside {other}", f" with {other}", f" near {other}"))
    styles = (
        f"There is {thing}{beside} {place}.",
        f"{place[0].upper()}{place[1:]}, {thing}{beside} can be seen.",
        f"Photo of {thing} {place}{beside}.",
        f"{thing[0].upper()}{thing[1:]}{beside}, {place}",
        f"We see {thing} {place}{beside}.",
    )
    return draw.choice(styles)


def class_prompts(name: str) -> list[str]:
    """Zero-shot prompts for a class, in the test's words."""
    return [f"a photo of {_counted('a', '', noun, many=False)}." for noun in OTHER_WORDS[name]]
