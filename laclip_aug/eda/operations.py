"""The four operations of EDA on a split caption (Wei and Zou 2019, section 2).

Each takes the list of :func:`laclip_aug.eda.tokens.split`, edits it in place and draws from ``draws``. The number of
edits in a caption of l words is ``max(1, int(alpha * l))``, as in the paper; deletion drops each word with
probability alpha. Words that :func:`laclip_aug.eda.tokens.is_bound` names are neither moved nor deleted.
"""

from __future__ import annotations

from collections.abc import Callable
from math import log, log1p

from laclip_aug.eda.synonyms import SynonymTable, fitting
from laclip_aug.eda.tokens import ARTICLES, is_bound, move_capital, repair_article, with_case_of
from laclip_aug.seeding import caption_number

_PLENTY = 1 << 96  # as long as this much is left, a draw below 2⁶⁴ is biased by no more than 2⁻³²


class Draws:
    """Random integers from one hash, read as a number in mixed radix: each draw is ``divmod`` with its own radix.

    The 256 bits of :func:`laclip_aug.seeding.caption_number` serve most captions; then the key is hashed for more.
    Making a ``random.Random`` for each caption would cost 8 µs, this 0.2 µs.
    """

    __slots__ = ("_key", "_left")

    def __init__(self, key: int) -> None:
        self._key = self._left = key

    def _more(self) -> int:
        self._key = caption_number(self._key, "")
        return self._key

    def below(self, n: int) -> int:
        """Uniform over ``0 … n-1``."""
        left = self._left if self._left > _PLENTY else self._more()
        self._left, drawn = divmod(left, n)
        return drawn

    def take(self, items: list[int]) -> int:
        """Remove a random one of ``items`` and return it."""
        return items.pop(self.below(len(items)))

    def synonym(self, parts: list[str], pool: list[int], table: SynonymTable) -> tuple[int, str]:
        """A random place of ``pool`` whose word has synonyms, and one of them; ``(0, "")`` if there is none.

        The places tried are taken out of ``pool``.
        """
        words = table.words
        left = self._left
        while pool:
            # below() written out: this loop is most of the time of an augmentation
            left, i = divmod(left if left > _PLENTY else self._more(), len(pool))
            place = pool.pop(i)
            word = words.get(parts[place].lower())
            if word and (candidates := fitting(word, parts, place)):
                left, i = divmod(left if left > _PLENTY else self._more(), len(candidates))
                self._left = left
                return place, candidates[i]
        self._left = left
        return 0, ""

    def hits(self, n: int, probability: float) -> list[int]:
        """Those of ``0 … n-1`` that come up, each with ``probability``.

        The gap before the next one is geometric, log(u) / log(1 - probability) rounded down for u uniform over (0, 1],
        so there is one draw for each that comes up and one more, not one for each of ``n``.
        """
        if probability >= 1:
            return list(range(n))
        scale = log1p(-probability)
        found: list[int] = []
        i = 0
        while (gap := log((self.below(1 << 53) + 1) / (1 << 53)) / scale) < n - i:
            i += int(gap)
            found.append(i)
            i += 1
        return found


Operation = Callable[[list[str], float, SynonymTable, Draws], None]


def replace_synonyms(parts: list[str], alpha: float, table: SynonymTable, draws: Draws) -> None:
    """Synonym replacement: ``max(1, int(alpha * l))`` random words that have synonyms become one of them."""
    pool = [*range(1, len(parts), 2)]
    for _ in range(int(alpha * len(pool)) or 1):
        place, synonym = draws.synonym(parts, pool, table)
        if not place:
            return
        spelt = parts[place]
        parts[place] = synonym if spelt.islower() else with_case_of(synonym, spelt)
        if place > 1 and parts[place - 2] in ARTICLES:
            repair_article(parts, place)


def insert_synonyms(parts: list[str], alpha: float, table: SynonymTable, draws: Draws) -> None:
    """Random insertion: ``max(1, int(alpha * l))`` times, a synonym of a random word at a random place.

    The place is before a word that follows white space: never the sentence's start, nor inside brackets.
    """
    gaps = [2 * i + 3 for i, between in enumerate(parts[2:-1:2]) if between.isspace()]
    if not gaps:
        return
    found = []
    pool = [*range(1, len(parts), 2)]
    for _ in range(int(alpha * len(pool)) or 1):
        place, synonym = draws.synonym(parts, pool, table)
        if not place:
            break
        # the sentence's capital is not the word's own
        spelt = synonym if place == 1 else with_case_of(synonym, parts[place])
        found.append((gaps[draws.below(len(gaps))], spelt))
    shouting = parts[1].isupper() and "".join(parts[1::2]).isupper()
    for place, synonym in sorted(found, reverse=True):  # from the end, so that the places before stay valid
        parts[place:place] = [synonym.upper() if shouting else synonym, " "]
        repair_article(parts, place)


def swap_words(parts: list[str], alpha: float, table: SynonymTable, draws: Draws) -> None:
    """Random swap: ``max(1, int(alpha * l))`` times, two random words change places.

    The capital of the sentence's first word stays at the first place.
    """
    first = parts[1]
    for _ in range(int(alpha * (len(parts) // 2)) or 1):
        pool = [*range(1, len(parts), 2)]
        i = j = 0
        while not j:
            if not pool:
                return
            place = draws.take(pool)
            if not is_bound(parts, place):
                i, j = place, i
        parts[i], parts[j] = parts[j], parts[i]
        for place in (i, j):
            repair_article(parts, place)
            repair_article(parts, place + 2)
    if parts[1] != first:
        move_capital(parts, first)


def delete_words(parts: list[str], alpha: float, table: SynonymTable, draws: Draws) -> None:
    """Random deletion: each word goes with probability ``alpha``, its white space with it; two words stay at least.

    A word stays if its removal would leave bare punctuation, such as empty brackets.
    """
    words = len(parts) // 2
    first = parts[1]
    for i in reversed(draws.hits(words, alpha)):
        place = 2 * i + 1
        if words <= 2:
            break
        before, after = parts[place - 1], parts[place + 1]
        if place == 1:
            between = before + after.lstrip() if after.isspace() else None
        elif before.isspace():
            between = after
        else:
            between = before if after.isspace() else None
        if between is not None and not is_bound(parts, place):
            parts[place - 1 : place + 2] = [between]
            words -= 1
            repair_article(parts, place)
    if parts[1] != first:
        move_capital(parts, first)


OPERATIONS: dict[str, Operation] = {
    "sr": replace_synonyms,
    "ri": insert_synonyms,
    "rs": swap_words,
    "rd": delete_words,
}
"""The operations by their names in the paper's experiments."""
