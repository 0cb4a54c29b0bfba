"""How many of a caption's content words a round trip brought back.

A translator that meets words it does not know writes a fluent sentence about something else. Colours and numbers may
even agree by chance, so what is asked for here is the words themselves, by stem: a synonym counts as a loss, so the
share that is asked for must be low. Stems and function words are English; in another language whole words compare. A
caption without a content word has nothing to compare, and no text is its round trip.
"""

from __future__ import annotations

import re

from laclip_aug.quality.checks import folded

_FUNCTION_WORDS = frozenset(
    "a an the of on in at to for from with by and or but as is are was were be been being it its this that these those "
    "he she they we you i his her their our your my him them there here while which who whose what how when where some "
    "any into onto over up out off has have had do does not no one so than then very during".split()
)
_WORD = re.compile(r"[^\W\d_]{2,}")
_STEM = 5


def content_stems(text: str) -> frozenset[str]:
    """The stems of the content words: ``content_stems("The dogs are running")`` is ``{"dog", "run"}``."""
    words = _WORD.findall(folded(text))
    return frozenset(_stem(word) for word in words if word not in _FUNCTION_WORDS)


def share_kept(caption: str, text: str) -> float:
    """Which share of the caption's content stems ``text`` has, 0 to 1; 0 if the caption has none."""
    wanted = content_stems(caption)
    return len(wanted & content_stems(text)) / len(wanted) if wanted else 0.0


def _stem(word: str) -> str:
    """Cut an English ending and what follows the fifth letter; crude, and the same on both sides."""
    for ending in ("ing", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)]
            if len(word) > 3 and word[-1] == word[-2]:
                word = word[:-1]  # running
            break
    return word[:_STEM].rstrip("e")
