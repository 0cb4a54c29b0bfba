"""What a photo's caption says once the photo is grey: no colours, which cannot be seen in it any more.

By rule, for English. A colour goes where it stands before what it describes: ``"a red and blue kite"`` -> ``"a kite"``.
Where it says more than that ("the car is red", "a man in red", "Red Square"), :func:`colourless` has no answer, and the
photo keeps its colours. Black, white, grey and silver stay, as they can still be seen.
"""

from __future__ import annotations

import re

from laclip_aug.eda.tokens import takes_an
from laclip_aug.quality.attributes import COLOURS

_STAY = frozenset("black white gray grey greyish grayish silver ivory blackish whitish blond blonde".split())
_SEEN = COLOURS - _STAY | frozenset("ochre azure emerald purplish orangish rainbow".split())
_HINTS = r"light|dark|bright|brightly|deep|pale|neon|hot|vivid|pastel|lime|sky|olive|baby|royal|fluorescent|dull"
_ONE = rf"(?:(?:{_HINTS})[ -])?(?:{'|'.join(sorted(_SEEN | _STAY, key=len, reverse=True))})"
_CHAIN = re.compile(
    rf"(?<![\w-])(?:{_ONE})(?:(?:, and |, | and | & |/|-){_ONE})*(?:-[a-z]+ed\b| colou?red\b)?(?![\w'’])"
    r"|(?<![\w-])(?:(?:brightly|multi)[ -]?)?colou?r(?:ful|ed)\b|(?<![\w-])multi-?colou?red\b",
    re.IGNORECASE,
)
_BARE = re.compile(
    r"\b(?:colou?rs?|colou?ring|colou?ri[sz]ed|hues?|shades?|sepia|redheads?|rainbows?|tinted|dyed)\b", re.IGNORECASE
)
_NEXT = re.compile(r"\s+([^\W\d_]+)")
_LAST = re.compile(r"([^\W\d_]+)(['’]s)?\s+$")
_SMALL = frozenset(
    "a an the this that these those and or but nor with without in on at by of to from for as is are was were be "
    "been has have had while who which whose where when near next into onto over under above below behind beside "
    "between through across around against along up down off out about after before during inside outside toward "
    "towards one ones it its he she they his her their them him not no can will may does do did so than then too "
    "very all both each stand stands sit sits walk walks run runs jump jumps play plays hold holds look looks "
    "ride rides".split()
)
"""Words that a colour before them does not describe."""
_SAYING = frozenset(
    "is are was were be been being turn turns turned painted paint paints dyed look looks looking seem seems "
    "appear go goes went glow glows shines burns mostly all".split()
)
"""Words after which a colour is said of what comes before."""
_WORN = frozenset(
    "shirt shirts jersey jerseys jacket jackets coat coats dress dresses hat hats cap caps pants trousers jeans "
    "shorts uniform uniforms suit suits sweater sweaters hoodie boots shoes gloves clothing clothes robes outfit "
    "outfits gear attire swimsuit swimsuits helmets vests socks paint light water leaves flowers".split()
)
_GREY = re.compile(r"\b(?:black[ -]and[ -]white|monochrome|gr[ae]y-?scale|b\s?&\s?w)\b", re.IGNORECASE)


def colourless(text: str) -> str | None:
    """``text`` as it is true of the grey photo, without its colours; ``None`` where they cannot be left out.

    A text without colours comes back as it is.
    """
    if _BARE.search(text):
        return None
    pieces: list[str] = []
    end = 0
    for found in _CHAIN.finditer(text):
        words = set(re.findall(r"[a-z]+", found[0].lower()))
        if not (words & _SEEN or "colo" in found[0].lower()):
            continue
        following = _NEXT.match(text, found.end())
        if following is None or not _describes(text[: found.start()], found[0], following[1]):
            return None
        pieces.append(_with_article(text[end : found.start()], following[1]))
        end = following.start(1)
        if found[0][0].isupper():
            pieces.append(text[end].upper())
            end += 1
    return "".join([*pieces, text[end:]])


def in_black_and_white(text: str) -> str:
    """``text`` with a word of what the photo is: ``"A dog runs."`` -> ``"A dog runs, in black and white."``"""
    if _GREY.search(text):
        return text
    body = text.rstrip()
    stop = body[-1:] if body[-1:] in tuple(".!") else ""
    return f"{body.rstrip('.! ')}, in black and white{stop}"


def _describes(before: str, colour: str, following: str) -> bool:
    """Whether a colour describes the word that follows it and nothing else."""
    match = _LAST.search(before)
    last = match[1].lower() if match else ""
    word = following.lower()
    if word in _SMALL or word.endswith("ing") or last in _SAYING:
        return False
    if last in ("in", "wearing") and word not in _WORN:
        return False
    if before.rstrip().endswith(","):
        return False  # "a ball, red and round": said of what comes before
    at_start = not before.strip() or before.rstrip()[-1] in ".!?:"
    name = colour[0].isupper() and (not at_start or following[0].isupper())
    return not name


def _with_article(before: str, following: str) -> str:
    """``before`` with its last word, if it is an article, as ``following`` wants it."""
    match = re.search(r"\b(an?)(\s+)$", before, re.IGNORECASE)
    if match is None:
        return before
    right = "an" if takes_an(following) else "a"
    right = right.capitalize() if match[1][0].isupper() else right
    return before[: match.start()] + right + match[2]
