"""Colours, numbers and negation in a caption: what a rewrite must not change.

An embedding hardly notices when "two red cars" becomes "three blue cars", yet the caption is then wrong. These
attributes are therefore read off by rule, for English captions, and compared as sets.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from laclip_aug.quality.letters import run
from laclip_aug.quality.normal import normal_form

_COLOURS: dict[str, str] = {
    **{
        word: word
        for word in (
            "red orange yellow green blue purple violet pink brown black white gray beige tan gold golden silver "
            "turquoise teal cyan magenta maroon crimson scarlet indigo lavender burgundy khaki navy ivory bronze "
            "peach lilac fuchsia aqua amber mauve"
        ).split()
    },
    "grey": "gray",
    "greyish": "gray",
    "grayish": "gray",
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
    "pinkish": "pink",
    "purplish": "purple",
}
_UNITS = {
    word: value
    for value, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
        "seventeen eighteen nineteen".split()
    )
}
_TENS = {
    word: 10 * value for value, word in enumerate("twenty thirty forty fifty sixty seventy eighty ninety".split(), 2)
}
_SCALES = {"dozen": 12, "hundred": 100, "thousand": 1000, "million": 1000000}
_GROUPS = {"duo": "2", "trio": "3", "triplets": "3", "quartet": "4"}
_ORDINALS = {
    word: f"#{value}"
    for value, word in enumerate("first second third fourth fifth sixth seventh eighth ninth tenth".split(), 1)
}
# Words that may stand for a number and may not: "a pair of jeans" is one thing, "both" often has no number beside it.
# They make good a number elsewhere ("two dogs", "a pair of dogs") but neither ask for one nor bring one in.
_LOOSE = {
    "pair": "2",
    "pairs": "2",
    "couple": "2",
    "both": "2",
    "twin": "2",
    "twins": "2",
    "double": "2",
    "triple": "3",
}
_LOOSE |= _ORDINALS
_NEGATIONS = frozenset(
    "no not without never none nobody nothing neither nor nowhere cannot hardly barely "
    "dont doesnt didnt isnt arent wasnt werent wont cant couldnt hasnt havent".split()
)

COLOURS: frozenset[str] = frozenset(_COLOURS)
"""The colour words known here, lower case."""
NUMBER_WORDS: frozenset[str] = frozenset(
    {*_UNITS, *_TENS, *_SCALES, *_GROUPS, *_LOOSE, "single", "half", "once", "twice"}
)
"""Words that count, lower case. ``attributes`` leaves out "one" and "single", which trade places with "a"."""
NEGATIONS: frozenset[str] = _NEGATIONS
"""Words that negate, lower case; words in -n't negate too."""
SPATIAL: frozenset[str] = frozenset(
    "above across against along among around at atop behind below beneath beside besides between beyond by down in "
    "inside into left near next off on onto opposite out outside over past right through toward towards under "
    "underneath up upon within front back top bottom middle center centre corner".split()
)
"""Prepositions and nouns of place, lower case."""

_LETTERS = run(r"[^\W\d_]")
_WORD = re.compile(rf"\d+(?:[.,]\d+)*|{_LETTERS}(?:['’]{_LETTERS})?")
_THOUSANDS = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?")


@dataclass(frozen=True, slots=True)
class Attributes:
    """The canonical colours (``grey`` is ``gray``), numbers (``two`` is ``2``, ``2nd`` is ``#2``) and negation.

    ``loose`` holds numbers that the text may mean: ``a pair``, ``both``, ``the second``.
    """

    colours: frozenset[str]
    numbers: frozenset[str]
    negated: bool
    loose: frozenset[str] = frozenset()

    def lost_numbers(self, text: Attributes) -> frozenset[str]:
        """The numbers of this caption that ``text`` does not have."""
        return self.numbers - text.numbers - text.loose

    def added_numbers(self, text: Attributes) -> frozenset[str]:
        """The numbers of ``text`` that this caption does not have."""
        return text.lost_numbers(self)


def attributes(text: str) -> Attributes:
    """Read colours, numbers and negation off ``text``.

    ``attributes("Two grey cats, no dog")`` is ``Attributes({"gray"}, {"2"}, True)``. "one" counts as an article, unless
    it is part of a larger number. Numbers in words and in digits are the same: "twenty-five", "25"; "2 million".
    """
    words = _WORD.findall(normal_form("NFKC", text).lower())
    colours, numbers, loose, negated = set(), set(), set(), False
    at = 0
    while at < len(words):
        word = words[at]
        following = words[at + 1] if at + 1 < len(words) else ""
        used, number = _number(words, at)
        if used:
            if number != "1":
                numbers.add(number)
            at += used
            continue
        if colour := _COLOURS.get(word):
            colours.add(colour)
        elif group := _GROUPS.get(word):
            numbers.add(group)
        elif possible := _LOOSE.get(word):
            loose.add(possible)
        elif (word == "no" and following[:1].isdecimal()) or (word == "not" and following == "only"):
            pass  # "No. 5" numbers a thing, "not only ... but" adds one; neither negates
        elif word in _NEGATIONS or word.endswith(("n't", "n’t")):
            negated = True
        at += 1
    return Attributes(frozenset(colours), frozenset(numbers), negated, frozenset(loose))


def _number(words: list[str], start: int) -> tuple[int, str]:
    """How many of ``words`` from ``start`` make up a number, and which: ``["two", "dozen"]`` -> ``(2, "24")``."""
    word = words[start]
    if word[0].isdecimal():
        rest = words[start + 1] if start + 1 < len(words) else ""
        plain = word.replace(",", "") if _THOUSANDS.fullmatch(word) else word.replace(",", ".")
        if not plain.isdecimal():
            return 1, plain
        if len(plain) > 18:
            return 1, plain  # an identifier; int() would refuse a very long one
        value = int(plain)
        if rest in ("st", "nd", "rd", "th"):
            return 2, f"#{value}"
        return (2, str(value * _SCALES[rest])) if rest in _SCALES else (1, str(value))
    total = current = 0
    at, last = start, ""
    while at < len(words):
        word = words[at]
        if word in _UNITS and last in ("", "tens", "scale") and not (last == "tens" and not 0 < _UNITS[word] < 10):
            current, last = current + _UNITS[word], "unit"
        elif word in _TENS and last in ("", "scale"):
            current, last = current + _TENS[word], "tens"
        elif word in _SCALES and last != "scale":
            scale = _SCALES[word]
            current = max(current, 1) * scale
            if scale >= 1000:
                total, current = total + current, 0
            last = "scale"
        else:
            break
        at += 1
    return at - start, str(total + current)
