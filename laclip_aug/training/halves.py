"""What a caption says of one half of its photo, where it names what is in each half, and nothing else.

By rule, for English: ``"a dog on the left and a cat on the right"`` is ``"a dog"`` once the right half is cut off. Any
other caption has no answer here, since what a cut takes away cannot be known, and its photo is not cut.
"""

from __future__ import annotations

import re

from laclip_aug.quality.attributes import SPATIAL

OPPOSITE = {"left": "right", "right": "left", "top": "bottom", "bottom": "top"}
_PLACE = (
    r"(?:(?:is|are) )?(?:on|at|in|to) the (?P<{0}>left|right|top|bottom)(?: side| half)?"
    r"(?: of the (?:image|picture|photo|photograph|frame))?"
)
_BOTH = re.compile(
    r"(?P<lead>(?:an? |the )?(?:image|picture|photo|photograph|drawing|painting) (?:of|with) )?"
    rf"(?P<first>[^,;]+?)\s*,? {_PLACE.format('one')}(?:, and| and|, with| with|,|;) "
    rf"(?P<second>[^,;]+?)\s*,? {_PLACE.format('other')}(?P<stop>[.!]?)\s*",
    re.IGNORECASE,
)
_LONGEST = 6  # words of a thing; more are likely to say how it stands to the other


def of_half(text: str, kept: str) -> str | None:
    """What ``text`` says of the half ``kept`` (left, right, top or bottom); ``None`` where it does not name both."""
    found = _BOTH.fullmatch(text) if text.count(" the ") > 1 else None  # few captions are worth the search
    if found is None or OPPOSITE[found["one"].lower()] != found["other"].lower():
        return None
    if kept not in (found["one"].lower(), found["other"].lower()):
        return None
    if not (_is_thing(found["first"]) and _is_thing(found["second"])):
        return None
    thing: str = found["first"] if kept == found["one"].lower() else found["second"]
    whole = f"{found['lead'] or ''}{thing}{found['stop']}"
    return whole[0].upper() + whole[1:] if text[0].isupper() else whole


def halves_of(text: str) -> tuple[str, ...]:
    """The halves that :func:`of_half` has an answer for: two, or none."""
    return tuple(side for side in OPPOSITE if of_half(text, side) is not None)


def _is_thing(words: str) -> bool:
    """Whether ``words`` name a thing by itself: few, no place, no second thing."""
    parts = words.lower().split()
    return 0 < len(parts) <= _LONGEST and not {*parts} & (SPATIAL - {"in"} | {"and", "or", "both", "it", "them"})
