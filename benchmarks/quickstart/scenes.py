"""Draw small scenes of everyday things, each with what it shows written down.

A scene is a place, one to three things of one kind and colour, and sometimes a second thing beside them. Scenes are
a function of (seed, index) alone. Pictures are drawn four times too large and scaled down, so that edges are smooth.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image, ImageDraw

SIZE = 48
_SCALE = 4

RGB = {
    "red": (208, 38, 38),
    "blue": (40, 84, 206),
    "yellow": (240, 205, 40),
    "green": (24, 120, 50),
    "black": (28, 28, 30),
    "white": (246, 246, 242),
    "brown": (128, 78, 36),
    "purple": (130, 50, 160),
}
PLACES = {  # sky, ground
    "grass": ((150, 205, 240), (104, 178, 78)),
    "beach": ((140, 215, 240), (232, 208, 150)),
    "snow": ((190, 205, 220), (232, 238, 246)),
    "street": ((190, 196, 202), (112, 112, 118)),
    "water": ((170, 210, 240), (52, 120, 170)),
}

Colour = tuple[int, int, int]
Draw = Callable[["Pen", Colour], None]


class Pen:
    """Draws in a unit square placed somewhere in the picture: (0, 0) is its top left, (1, 1) its bottom right."""

    def __init__(self, draw: ImageDraw.ImageDraw, x: float, y: float, side: float) -> None:
        self._draw, self._x, self._y, self._side = draw, x, y, side

    def _points(self, *coordinates: float) -> list[tuple[float, float]]:
        pairs = zip(coordinates[::2], coordinates[1::2], strict=True)
        return [(self._x + a * self._side, self._y + b * self._side) for a, b in pairs]

    def box(self, *corners: float, fill: Colour) -> None:
        self._draw.rectangle(self._points(*corners), fill=fill)

    def oval(self, *corners: float, fill: Colour) -> None:
        self._draw.ellipse(self._points(*corners), fill=fill)

    def shape(self, *corners: float, fill: Colour) -> None:
        self._draw.polygon(self._points(*corners), fill=fill)

    def line(self, *points: float, fill: Colour, width: float = 0.06) -> None:
        self._draw.line(self._points(*points), fill=fill, width=max(2, round(width * self._side)))


_DARK, _GLASS, _WOOD, _LEAF = (40, 40, 44), (200, 228, 240), (110, 70, 36), (40, 140, 60)


def _dog(pen: Pen, c: Colour) -> None:
    pen.box(0.2, 0.45, 0.75, 0.7, fill=c)
    for x in (0.22, 0.34, 0.58, 0.68):
        pen.box(x, 0.68, x + 0.07, 1.0, fill=c)
    pen.oval(0.66, 0.22, 0.98, 0.54, fill=c)
    pen.shape(0.68, 0.22, 0.64, 0.5, 0.76, 0.34, fill=_DARK)
    pen.line(0.22, 0.5, 0.06, 0.28, fill=c, width=0.07)
    pen.oval(0.84, 0.3, 0.89, 0.35, fill=_DARK)


def _cat(pen: Pen, c: Colour) -> None:
    pen.oval(0.25, 0.45, 0.75, 1.0, fill=c)
    pen.oval(0.28, 0.15, 0.72, 0.55, fill=c)
    pen.shape(0.3, 0.28, 0.3, 0.02, 0.46, 0.2, fill=c)
    pen.shape(0.7, 0.28, 0.7, 0.02, 0.54, 0.2, fill=c)
    pen.line(0.72, 0.92, 0.95, 0.8, 0.92, 0.5, fill=c, width=0.08)
    for x in (0.38, 0.55):
        pen.oval(x, 0.28, x + 0.07, 0.36, fill=(80, 190, 80))


def _bird(pen: Pen, c: Colour) -> None:
    pen.oval(0.2, 0.35, 0.75, 0.7, fill=c)
    pen.oval(0.62, 0.2, 0.88, 0.48, fill=c)
    pen.shape(0.86, 0.3, 1.0, 0.36, 0.86, 0.41, fill=(240, 160, 30))
    pen.shape(0.3, 0.5, 0.0, 0.15, 0.55, 0.42, fill=tuple(v * 3 // 4 for v in c))  # type: ignore[arg-type]
    for x in (0.42, 0.54):
        pen.line(x, 0.68, x, 0.9, fill=(240, 160, 30), width=0.04)


def _horse(pen: Pen, c: Colour) -> None:
    pen.box(0.15, 0.4, 0.7, 0.62, fill=c)
    for x in (0.16, 0.28, 0.54, 0.62):
        pen.box(x, 0.6, x + 0.06, 1.0, fill=c)
    pen.shape(0.58, 0.5, 0.74, 0.05, 0.88, 0.1, 0.72, 0.55, fill=c)
    pen.shape(0.74, 0.05, 1.0, 0.2, 0.96, 0.3, 0.76, 0.24, fill=c)
    pen.line(0.72, 0.04, 0.6, 0.4, fill=_DARK, width=0.06)
    pen.line(0.15, 0.42, 0.04, 0.75, fill=_DARK, width=0.06)


def _car(pen: Pen, c: Colour) -> None:
    pen.shape(0.22, 0.55, 0.34, 0.3, 0.68, 0.3, 0.8, 0.55, fill=c)
    pen.box(0.02, 0.52, 0.98, 0.78, fill=c)
    pen.shape(0.3, 0.53, 0.37, 0.36, 0.49, 0.36, 0.49, 0.53, fill=_GLASS)
    pen.shape(0.53, 0.53, 0.53, 0.36, 0.65, 0.36, 0.72, 0.53, fill=_GLASS)
    for x in (0.14, 0.64):
        pen.oval(x, 0.66, x + 0.24, 0.9, fill=_DARK)


def _bus(pen: Pen, c: Colour) -> None:
    pen.box(0.02, 0.15, 0.98, 0.8, fill=c)
    for x in (0.08, 0.3, 0.52, 0.74):
        pen.box(x, 0.25, x + 0.17, 0.48, fill=_GLASS)
    for x in (0.14, 0.66):
        pen.oval(x, 0.7, x + 0.22, 0.92, fill=_DARK)


def _boat(pen: Pen, c: Colour) -> None:
    pen.shape(0.02, 0.7, 0.98, 0.7, 0.8, 0.95, 0.2, 0.95, fill=c)
    pen.line(0.5, 0.7, 0.5, 0.05, fill=_WOOD, width=0.05)
    pen.shape(0.54, 0.08, 0.9, 0.62, 0.54, 0.62, fill=(250, 250, 250))
    pen.shape(0.46, 0.15, 0.46, 0.62, 0.18, 0.62, fill=(235, 235, 235))


def _bicycle(pen: Pen, c: Colour) -> None:
    for x in (0.0, 0.58):
        pen.oval(x, 0.5, x + 0.42, 0.92, fill=_DARK)
        pen.oval(x + 0.07, 0.57, x + 0.35, 0.85, fill=(215, 215, 215))
    pen.line(0.21, 0.71, 0.4, 0.4, 0.7, 0.4, 0.79, 0.71, fill=c, width=0.08)
    pen.line(0.4, 0.4, 0.5, 0.71, 0.7, 0.4, fill=c, width=0.08)
    pen.line(0.66, 0.25, 0.8, 0.25, fill=_DARK, width=0.07)
    pen.line(0.32, 0.32, 0.46, 0.32, fill=_DARK, width=0.08)


def _ball(pen: Pen, c: Colour) -> None:
    pen.oval(0.2, 0.38, 0.82, 1.0, fill=c)
    pen.oval(0.32, 0.46, 0.48, 0.6, fill=tuple(min(255, v + 70) for v in c))  # type: ignore[arg-type]


def _kite(pen: Pen, c: Colour) -> None:
    pen.shape(0.5, 0.0, 0.82, 0.32, 0.5, 0.74, 0.18, 0.32, fill=c)
    pen.line(0.5, 0.0, 0.5, 0.74, fill=_DARK, width=0.03)
    pen.line(0.5, 0.72, 0.38, 0.84, 0.56, 0.92, 0.44, 1.0, fill=_DARK, width=0.04)


def _umbrella(pen: Pen, c: Colour) -> None:
    pen.shape(0.02, 0.5, 0.12, 0.24, 0.32, 0.1, 0.5, 0.06, 0.68, 0.1, 0.88, 0.24, 0.98, 0.5, fill=c)
    pen.line(0.5, 0.48, 0.5, 0.94, 0.62, 0.94, fill=_DARK, width=0.05)


def _house(pen: Pen, c: Colour) -> None:
    pen.box(0.12, 0.45, 0.88, 1.0, fill=c)
    pen.shape(0.02, 0.47, 0.5, 0.08, 0.98, 0.47, fill=(120, 60, 50))
    pen.box(0.42, 0.68, 0.6, 1.0, fill=_WOOD)
    pen.box(0.2, 0.55, 0.36, 0.7, fill=_GLASS)
    pen.box(0.66, 0.55, 0.82, 0.7, fill=_GLASS)


def _tree(pen: Pen, c: Colour) -> None:
    pen.box(0.44, 0.55, 0.56, 1.0, fill=_WOOD)
    pen.oval(0.15, 0.05, 0.85, 0.65, fill=c)


def _bench(pen: Pen, c: Colour) -> None:
    for y in (0.35, 0.48, 0.64):
        pen.box(0.05, y, 0.95, y + 0.08, fill=c)
    for x in (0.12, 0.8):
        pen.box(x, 0.35, x + 0.08, 0.98, fill=_DARK)


@dataclass(frozen=True, slots=True)
class Thing:
    """What can be drawn: its colours, and the places where it looks at home."""

    name: str
    draw: Draw
    colours: tuple[str, ...]
    places: tuple[str, ...]


_PAINT = ("red", "blue", "yellow", "green", "black", "white", "purple")
_FUR = ("black", "white", "brown")
_LAND = ("grass", "beach", "snow")
THINGS = {
    thing.name: thing
    for thing in (
        Thing("dog", _dog, _FUR, (*_LAND, "street")),
        Thing("cat", _cat, _FUR, ("grass", "snow", "street")),
        Thing("bird", _bird, ("red", "blue", "yellow", "black", "white", "brown"), (*_LAND, "water")),
        Thing("horse", _horse, _FUR, _LAND),
        Thing("car", _car, _PAINT, ("street", "snow", "beach")),
        Thing("bus", _bus, _PAINT, ("street", "snow")),
        Thing("boat", _boat, _PAINT, ("water", "beach")),
        Thing("bicycle", _bicycle, _PAINT, ("street", "grass", "beach")),
        Thing("ball", _ball, _PAINT, ("grass", "beach", "street", "water")),
        Thing("kite", _kite, _PAINT, ("grass", "beach", "water")),
        Thing("umbrella", _umbrella, _PAINT, ("beach", "street", "snow")),
        Thing("house", _house, ("red", "blue", "yellow", "white", "brown"), ("grass", "snow", "beach")),
        Thing("tree", _tree, ("green",), ("grass", "snow", "street")),
        Thing("bench", _bench, ("brown", "red", "green", "white"), ("grass", "beach", "snow", "street")),
    )
}


@dataclass(frozen=True, slots=True)
class Scene:
    """``count`` things called ``name`` of one ``colour`` at ``place``; perhaps ``other``, one more thing, beside."""

    name: str
    colour: str
    count: int
    place: str
    other: str | None
    other_colour: str | None
    other_side: str


def make_scene(seed: int, index: int) -> Scene:
    """Scene number ``index`` of the set ``seed``."""
    draw = random.Random(f"scene {seed} {index}")
    thing = THINGS[draw.choice(sorted(THINGS))]
    place = draw.choice(thing.places)
    count = draw.choice((1, 1, 1, 2, 2, 3))
    colour = draw.choice(thing.colours)
    others = [t for t in THINGS.values() if place in t.places and t is not thing]
    other = draw.choice(others) if count == 1 and draw.random() < 0.5 else None
    other_colour = draw.choice(other.colours) if other else None
    return Scene(
        thing.name, colour, count, place, other.name if other else None, other_colour, draw.choice(("left", "right"))
    )


def paint(scene: Scene, seed: int, index: int) -> Image.Image:
    """The picture of ``scene``, RGB, ``SIZE`` × ``SIZE`` pixels; positions and sizes vary with (seed, index)."""
    draw = random.Random(f"paint {seed} {index}")
    side = SIZE * _SCALE
    sky, ground = PLACES[scene.place]
    image = Image.new("RGB", (side, side), sky)
    canvas = ImageDraw.Draw(image)
    horizon = side * draw.uniform(0.42, 0.55)
    canvas.rectangle((0, horizon, side, side), fill=ground)
    if scene.place == "street":
        canvas.rectangle((0, side * 0.86, side, side * 0.89), fill=(235, 235, 200))
    if scene.place == "beach":
        canvas.rectangle((0, horizon, side, horizon + side * 0.1), fill=(70, 150, 200))
    shown = [(scene.name, scene.colour)] * scene.count
    if scene.other and scene.other_colour:
        shown.insert(0 if scene.other_side == "left" else 1, (scene.other, scene.other_colour))
    width = side / len(shown)
    for slot, (name, colour) in enumerate(shown):
        box = min(width, side * 0.62) * draw.uniform(0.82, 0.98)
        left = slot * width + (width - box) * draw.uniform(0.2, 0.8)
        bottom = side * (draw.uniform(0.5, 0.62) if name == "kite" else draw.uniform(0.78, 0.94))
        THINGS[name].draw(Pen(canvas, left, bottom - box, box), RGB[colour])
    return image.resize((SIZE, SIZE), Image.Resampling.LANCZOS)
