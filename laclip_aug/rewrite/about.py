"""Whether a text is about its caption, or speaks to the user or of captions instead: told by content words."""

from __future__ import annotations

import re

from laclip_aug.quality.checks import UNSPACED, folded
from laclip_aug.quality.content import content
from laclip_aug.quality.normal import normal_form
from laclip_aug.quality.stems import sense

_SOME, _MANY = 3, 5
_KNOWN_SCRIPT = re.compile("[\\da-z\u00df-\u024f\u0400-\u04ff]|" + UNSPACED.pattern)
_SPEAKER = re.compile(
    r"\b(?:I|I['’](?:m|ve|d|ll)|me|my|myself)\b(?!\.)|\blet['’]s\b|^please\b|\byou['’](?:d|ll|re)\b"
    r"|\bas an? (?:\w+ ){0,3}(?:ai|model|assistant)\b"
)
_ABOUT = re.compile(
    r"\b(?:captions?|rewrit\w*|rewrote|rephras\w*|paraphras\w*|reword\w*|alternatives?|alternatively|versions?|"
    r"descriptions?|instructions?|requests?|prompts?|users?|words?|characters?|tokens?|original|output|assistant)\b",
    re.IGNORECASE,
)


def senses(text: str) -> frozenset[str]:
    """The content of ``text``, words of one meaning in captions (puppy, dog) as one."""
    return content(" ".join(sense(word) for word in folded(text).split()))


def fits(caption: str, text: str) -> bool:
    """Whether ``text`` shares a content word with ``caption``; where that has none, whether it shares any word."""
    wanted = senses(caption)
    if not wanted:
        return bool(set(folded(caption).split()) & set(folded(text).split()))
    return not wanted.isdisjoint(senses(text))


def unrelated(caption: str, text: str) -> bool:
    """Whether ``text`` has no content word of ``caption``; or one only, in a script whose function words are not known.

    >>> unrelated("a red kite", "I cannot help with that"), unrelated("a red kite", "the kite is red")
    (True, False)
    """
    shared = senses(caption) & senses(text)
    if not fits(caption, text) or len(shared) != 1 or len(senses(caption)) < _SOME:
        return not fits(caption, text)
    return len(text.split()) > _MANY and not _KNOWN_SCRIPT.match(normal_form("NFKC", next(iter(shared))))


def speaks(caption: str, text: str) -> bool:
    """Whether ``text`` speaks to the user where the caption does not: I and me, an offer, a question.

    >>> speaks("a red boat", "Would another boat do?"), speaks("I, robot", "I am a robot")
    (True, False)
    """
    if ("?" in text and "?" not in caption) or ("？" in text and "？" not in caption):
        return True
    return bool(_SPEAKER.search(text)) and not _SPEAKER.search(caption)


def remarks(caption: str, text: str) -> bool:
    """Whether ``text`` speaks to the user or about captions, and the caption does not."""
    return speaks(caption, text) or (bool(_ABOUT.search(text)) and not _ABOUT.search(caption))
