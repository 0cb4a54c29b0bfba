"""What a mirrored photo's caption says: left for right, where the words surely mean the side.

By rule, for English. A caption that :func:`is_readable` says shows something to read (a sign, a clock, a quote, a name
in capitals) is of a photo that must not be mirrored. Where "left" or "right" may mean something else ("left the
building", "right away"), or cannot be told, :func:`mirrored` has no answer, and the photo stays as it is.
"""

from __future__ import annotations

import re
from functools import lru_cache

_READABLE = re.compile(
    r"(?:sign(?:s|age|post|posts|board|ed|ature|atures)?|text|texts|words?|letter(?:s|ed|ing)?|writ(?:ing|ings|ten|es)|"
    r"wrote|handwrit\w+|spell\w*|reads?|reading|says?|saying|states|inscri\w+|engrav\w+|label\w*|logo(?:s|type)?|slogan\w*|"
    r"caption\w*|headline\w*|title[sd]?|poster\w*|placard\w*|banner\w*|billboard\w*|plaque\w*|marquee\w*|graffiti|"
    r"book\w*|newspaper\w*|magazine\w*|comics?|page[sd]?|document\w*|menu\w*|receipt\w*|ticket\w*|stamps?|coins?|"
    r"banknotes?|bills?|money|currency|passport\w*|cards?|certificate\w*|calendar\w*|screenshot\w*|screens?|website\w*|"
    r"keyboard\w*|laptop\w*|monitor\w*|typ(?:ed|ewriter\w*)|print(?:ed|s)?|font\w*|numbers?|numbered|numerals?|digits?|"
    r"digital|license|licence|plates?|jerseys?|scoreboard\w*|score[sd]?|dial\w*|gauge\w*|thermometer\w*|speedometer\w*|"
    r"maps?|charts?|graphs?|diagram\w*|infographic\w*|blackboard\w*|chalkboard\w*|whiteboard\w*|flags?|tattoo\w*|brand\w*|"
    r"trademark\w*|ads?|advert\w*|storefronts?|shopfronts?|name[sd]?|nametags?|monogram\w*|alphabet\w*|"
    r"clock\w*|watch|watches|wristwatch\w*|o['’]clock|(?:counter|anti)?clockwise|sundial\w*|"
    r"starboard|portside|southpaws?|lefty|piano\w*|violin\w*|guitar\w*)"
)
"""Things with writing, faces of clocks, and what else looks wrong in a mirror; of one word in small letters."""
_CAPITALS = re.compile(r"(?!I{1,3}$|TV$)[A-Z][A-Z0-9]+")
_MARKS = re.compile(r"#\s?\d|[\"“”«»„]|(?<!\w)['‘][^'’]+['’](?!\w)|\bport side\b|\bsheet music\b")
_TOKEN = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_SIDE = re.compile(r"\b(left|right)(?=(?:most|wards?|side|hand)?\b)", re.IGNORECASE)
_WORD = re.compile(r"[^\W\d_]+(?:['’][a-z]+)?|[,.;:()/-]")

_PLACED = frozenset("far extreme upper lower top bottom furthest farthest bottommost topmost".split())
_TOWARDS = frozenset("on to at from in toward towards into of along facing by near onto above below".split())
_OWNERS = frozenset("the his her its their my your our one a each".split())
_NOUNS = frozenset(
    "side sides hand hands handed corner corners edge edges half end part third arm arms leg legs foot feet paw "
    "paws eye eyes ear ears shoulder shoulders knee knees elbow wrist wrists cheek ankle hip thigh thumb finger "
    "fingers palm glove shoe boot sleeve lane lanes turn profile most bank wing wheel front rear back image "
    "picture photo photograph panel frame one ones foreground background facing forearm".split()
)
_TURNS = frozenset("turn turns turning turned face faces facing faced veer veers veering point points pointing".split())
_ELSE = frozenset(
    "now after before next behind beside above below in at by up down along through into onto on off out over "
    "under near around against across away back there here past outside inside where when as for".split()
)
"""What follows "right" that means "exactly"."""
_GO_ON = frozenset(
    "is are was were has have had in of with and or but while who that which as next to on at from by looks wears "
    "stands sits holds walks runs smiles for near behind hand hands".split()
)
"""What follows "on the left" in a sentence that goes on; "on the right track" is something else."""
_OTHER = frozenset("place time way moment order amount size thing angle angles wing winger field fielder".split())
_VERBAL = frozenset("is was are were be been being has have had what what's that's all remains who".split())


def is_readable(text: str) -> bool:
    """Whether ``text`` speaks of something that a mirror would spoil: writing, numbers to read, clocks.

    ``"a man next to a stop sign"`` is, and so are quotes and words in capitals: ``"a NASA rocket"``. A text that is in
    capitals altogether is, too.
    """
    return any(map(_spoils, _TOKEN.findall(text))) or _MARKS.search(text) is not None


@lru_cache(maxsize=1 << 16)  # captions share their words: ten times as quick as to search each caption
def _spoils(word: str) -> bool:
    return bool(_READABLE.fullmatch(re.sub("['’]s$", "", word.lower())) or _CAPITALS.fullmatch(word))


def mirrored(text: str) -> str | None:
    """``text`` as it is true of the mirrored photo, with left and right exchanged; ``None`` where that is not sure.

    ``"a dog to the left of a cat"`` -> ``"a dog to the right of a cat"``; ``"a boy right behind her"`` stays as it is;
    ``"the food left on a plate"`` -> ``None``.
    """
    pieces, end = [], 0
    for found in _SIDE.finditer(text):
        meant = _meaning(text, found)
        if meant is None:
            return None
        pieces.append(text[end : found.start()])
        pieces.append(_other_side(found[0]) if meant else found[0])
        end = found.end()
    return "".join([*pieces, text[end:]])


def _meaning(text: str, found: re.Match[str]) -> bool | None:
    """Whether a "left" or "right" means the side; ``None`` where it cannot be told."""
    word = found[0].lower()
    if text[found.end() : found.end() + 1].isalpha():  # leftmost, rightward, lefthand
        return True
    before = [""] * 3 + _WORD.findall(text[: found.start()].lower())
    after = [*_WORD.findall(text[found.end() :].lower()), "", "", ""]
    last, second, following = before[-1], before[-2], after[0]
    if following == "-" and after[1] in _OTHER:
        return None
    if following == "-":  # left-hand, right-handed, left-facing; not right-wing
        return True if after[1] in _NOUNS else (True if after[1] in ("to", "of") else None)
    if last == "-":  # top-left, upper-right, left-to-right
        return True if second in _PLACED or second in ("to", "centre", "center", "front", "back") else None
    if following in _OTHER or (following == "side" and after[1] == "up"):
        return None
    if following in ("and", "or", "to", "/") and after[1] in ("left", "right") and after[1] != word:
        return True
    if last in ("and", "or", "to", "/") and second in ("left", "right") and second != word:
        return True
    if last in _PLACED:
        return True
    ends = not following.isalpha() or following in _GO_ON or following in _NOUNS or following.endswith("ing")
    if last == "the" and second in _TOWARDS and ends:
        return True
    if last in _OWNERS and second in ("to", "on", "at") and ends:  # "looks to his left"
        return True
    if last in ("on", "from", "at") and not following.isalpha():  # "a cat on left."
        return True
    if (last == "to" or last in _TURNS) and (not following.isalpha() or following in ("of", "and", "with", "side")):
        return True
    if following in _NOUNS and (last in _OWNERS or last.endswith(("'s", "’s")) or following in ("side", "corner")):
        return following not in ("front", "back", "rear") or last in _OWNERS
    if following == "of" and last not in _VERBAL:
        return True
    if last == "(" and following == ")":
        return True
    if word == "right" and following in _ELSE and last != "the":
        return False
    return None


def _other_side(word: str) -> str:
    """``"Left"`` -> ``"Right"``, in the same case."""
    other = "right" if word.lower() == "left" else "left"
    return other.upper() if word.isupper() else other.capitalize() if word[0].isupper() else other
