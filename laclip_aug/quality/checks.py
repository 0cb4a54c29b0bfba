"""Whether a text may stand for a caption, whatever made it: the checks that need nothing but the two texts.

Each check is a small function that answers whether to reject. ``TEXT_CHECKS`` names them in the order in which they are
asked, so that the first reason that applies is the one counted. LLM rewriting adds checks about prompts to these;
back-translation uses them as they are.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property, lru_cache

from laclip_aug.quality.attributes import Attributes, attributes
from laclip_aug.quality.context import CLIP, TextContext
from laclip_aug.quality.normal import normal_form

TEXT_REASONS: dict[str, str] = {
    "empty": "nothing is left of the text",
    "unprintable": "control, private or undecodable characters, or no letter at all",
    "too-short": "fewer than two words",
    "repetition": "it goes round in circles",
    "too-long": "over the tokens that the model reads (CLIP: 77), so its end would not be seen",
    "echo": "the caption again, but for case and punctuation",
    "duplicate": "the same as another rewrite of this caption",
    "number-changed": "a number that the caption does not have",
    "number-lost": "a number of the caption is missing",
    "colour-added": "a colour that the caption does not have",
    "colour-lost": "a colour of the caption is missing",
    "negation-added": "the text negates, the caption does not",
    "negation-lost": "the caption negates, the text does not",
}
"""Every reason of ``TEXT_CHECKS``, with its meaning. The names are stable."""

_REPEATED_UNIT = re.compile(r"([^\W\d]|[^\d]{2,20}?)\1{3,}")
# Thai, Lao, Tibetan, Burmese, Khmer, New Tai Lue to Tai Tham, kana and bopomofo, Han, Yi, half-width kana
UNSPACED = re.compile(
    "[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u1950-\u1aaf\u3040-\u312f\u31a0-\u31ff\u3400-\u4dbf\u4e00-\ua4cf"
    "\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff]"
)


class _Spaced(dict[int, str]):
    """A table for ``str.translate``: letters, digits and marks stay, all else is a space; each is looked at once."""

    def __missing__(self, code: int) -> str:
        letter = chr(code)
        self[code] = kept = letter if unicodedata.category(letter)[0] in "LMN" else " "
        return kept


_SPACED = _Spaced()


@dataclass(frozen=True)
class Candidate:
    """A text and its caption, with what the checks look at.

    ``others`` are the caption's texts accepted before, ``context`` is that of the model that is to read the text.
    """

    caption: str
    text: str
    others: Collection[str] = ()
    context: TextContext = CLIP

    @cached_property
    def words(self) -> list[str]:
        """The words of ``text``, folded."""
        return folded(self.text).split()

    @cached_property
    def before(self) -> Attributes:
        """The attributes of the caption."""
        return attributes(self.caption)

    @cached_property
    def after(self) -> Attributes:
        """The attributes of ``text``."""
        return attributes(self.text)


@lru_cache(maxsize=512)  # the checks of one text ask some twenty times, for the same few
def folded(text: str) -> str:
    """``text`` for comparison: compatibility forms, case and all but letters, digits and their marks taken away.

    >>> folded("A dog's  «Life»!")
    'a dog s life'
    """
    return " ".join(normal_form("NFKC", text).casefold().translate(_SPACED).split())


def is_short(text: str) -> bool:
    """Whether ``text`` has fewer than two words, for which the paper's loader shows the original instead.

    Words stand between white space; in a script without spaces (Chinese, Japanese, Thai, ...) two letters are one.

    >>> is_short("dog"), is_short("dog runs"), is_short("狗"), is_short("狗在海滩")
    (True, False, True, False)
    """
    if len(text.split(None, 1)) > 1:
        return False
    unspaced = len(UNSPACED.findall(text))
    return len(UNSPACED.sub(" ", text).split()) + (unspaced + 1) // 2 < 2


def _unprintable(draft: Candidate) -> bool:
    kinds = [unicodedata.category(c) for c in draft.text if c not in "\u200c\u200d"]
    no_letter = not any(kind[0] in "LN" for kind in kinds)
    return no_letter or "\ufffd" in draft.text or not {"Cc", "Cf", "Cs", "Co", "Cn"}.isdisjoint(kinds)


def _repetition(draft: Candidate) -> bool:
    """A unit of letters four times in a row, a group of up to four words three times, or few different words."""
    words = draft.words
    if _REPEATED_UNIT.search(draft.text.casefold()):
        return True
    for size in range(1, 5):
        for start in range(len(words) - 3 * size + 1):
            group = words[start : start + size]
            if group == words[start + size : start + 2 * size] == words[start + 2 * size : start + 3 * size]:
                return True
    return len(words) >= 10 and len(set(words)) < len(words) / 2


TEXT_CHECKS: dict[str, Callable[[Candidate], bool]] = {
    "empty": lambda draft: not draft.text,
    "unprintable": _unprintable,
    "too-short": lambda draft: is_short(draft.text) or is_short(" ".join(draft.words)),
    "repetition": _repetition,
    "too-long": lambda draft: not draft.context.holds(draft.text),
    "echo": lambda draft: folded(draft.text) == folded(draft.caption),
    "duplicate": lambda draft: folded(draft.text) in {folded(other) for other in draft.others},
    "number-changed": lambda draft: bool(draft.before.added_numbers(draft.after)),
    "number-lost": lambda draft: bool(draft.before.lost_numbers(draft.after)),
    "colour-added": lambda draft: bool(draft.after.colours - draft.before.colours),
    "colour-lost": lambda draft: bool(draft.before.colours - draft.after.colours),
    "negation-added": lambda draft: draft.after.negated and not draft.before.negated,
    "negation-lost": lambda draft: draft.before.negated and not draft.after.negated,
}
"""Reason → check, in the order in which they are asked."""


def reason_against(draft: Candidate) -> str | None:
    """The name of the first check that rejects ``draft``, or None if its text may stand for its caption."""
    return next((reason for reason, check in TEXT_CHECKS.items() if check(draft)), None)
