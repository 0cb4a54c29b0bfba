"""Colours, numbers and negation in a caption: what a rewrite must not change.

An embedding hardly notices when "two red cars" becomes "three blue cars", yet the caption is then wrong. These
attributes are therefore read off by rule, for English captions, and compared as sets.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_COLOURS = {
    **{
        word: word
        for word in (
            "red orange yellow green blue purple violet pink brown black white gray beige tan gold golden silver "
            "turquoise teal cyan magenta maroon crimson scarlet indigo lavender burgundy khaki navy ivory bronze "
            "peach lilac fuchsia aqua amber mauve"
        ).split()
    },
    "grey": "gray",
    "gold": "gold",
    "golden": "gold",
    "blonde": "blond",
    "blond": "blond",
    "reddish": "red",
    "bluish": "blue",
    "greenish": "green",
    "yellowish": "yellow",
    "brownish": "brown",
    "whitish": "white",
    "blackish": "black",
    "oranges": "",  # the fruit
}
_NUMBERS = {
    word: str(value)
    for value, words in {
        0: "zero",
        2: "two pair couple both twin twins duo",
        3: "three trio triple triplets",
        4: "four quartet",
        5: "five",
        6: "six",
        7: "seven",
        8: "eight",
        9: "nine",
        10: "ten",
        11: "eleven",
        12: "twelve dozen",
        13: "thirteen",
        14: "fourteen",
        15: "fifteen",
        16: "sixteen",
        17: "seventeen",
        18: "eighteen",
        19: "nineteen",
        20: "twenty",
        30: "thirty",
        40: "forty",
        50: "fifty",
        60: "sixty",
        70: "seventy",
        80: "eighty",
        90: "ninety",
        100: "hundred",
        1000: "thousand",
        1000000: "million",
    }.items()
    for word in words.split()
}
_NEGATIONS = frozenset("no not without never none nobody nothing neither nor nowhere cannot hardly barely".split())

COLOURS: frozenset[str] = frozenset(word for word, canonical in _COLOURS.items() if canonical)
"""The colour words known here, lower case."""
NUMBER_WORDS: frozenset[str] = frozenset(_NUMBERS) | {"one", "single", "half", "once", "twice"}
"""Words that count, lower case. ``attributes`` leaves out "one" and "single", which trade places with "a"."""
NEGATIONS: frozenset[str] = _NEGATIONS
"""Words that negate, lower case; words in -n't negate too."""
SPATIAL: frozenset[str] = frozenset(
    "above across against along among around at atop behind below beneath beside besides between beyond by down in "
    "inside into left near next off on onto opposite out outside over past right through toward towards under "
    "underneath up upon within front back top bottom middle center centre corner".split()
)
"""Prepositions and nouns of place, lower case."""

_WORD = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]+(?:['’][^\W\d_]+)?")


@dataclass(frozen=True, slots=True)
class Attributes:
    """The canonical colours (``grey`` is ``gray``), numbers (``two`` and ``a pair`` are ``2``) and negation."""

    colours: frozenset[str]
    numbers: frozenset[str]
    negated: bool


def attributes(text: str) -> Attributes:
    """Read colours, numbers and negation off ``text``.

    ``attributes("Two grey cats, no dog")`` is ``Attributes({"gray"}, {"2"}, True)``. "one" counts as an article.
    """
    colours, numbers, negated = set(), set(), False
    for word in _WORD.findall(text.lower()):
        if colour := _COLOURS.get(word):
            colours.add(colour)
        elif number := _NUMBERS.get(word):
            numbers.add(number)
        elif word[0].isdigit():
            value = word.replace(",", "")
            if value != "1":
                numbers.add(value)
        elif word in _NEGATIONS or word.endswith(("n't", "n’t")):
            negated = True
    return Attributes(frozenset(colours), frozenset(numbers), negated)
