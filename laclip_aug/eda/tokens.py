"""Splitting a caption into words that may be touched and everything else, which may not.

A word here is a run of Latin letters, hyphens and apostrophes with white space (or an opening bracket) before it and
white space (or closing punctuation) after it. URLs, e-mail addresses, ``#tags``, ``@names``, ``<PERSON>``, numerals,
emoji and other scripts do not fit that shape, so they fall into the text between words, which no operation edits.
"""

from __future__ import annotations

import re

from laclip_aug.quality.attributes import COLOURS, NEGATIONS, NUMBER_WORDS, SPATIAL

_LETTER = "A-Za-zÀ-ÖØ-öø-ɏ"
_WORD_PATTERN = rf"(?<![^\s(\[])([{_LETTER}](?:[{_LETTER}'’-]*[{_LETTER}])?)(?=\s|[.,;:!?)\]…]*(?:\s|\Z))"
_WORD = re.compile(_WORD_PATTERN)
_MAY_QUOTE = re.compile(r"[\"“”„«‹‘`<{]")  # or two apostrophes
# bounded, so that many opening marks without a closing one stay linear
_SPAN_OR_WORD = re.compile(
    r"\"[^\"]{0,400}\"|[“„][^”“]{0,400}[”“]|«[^»]{0,400}»|‹[^›]{0,400}›|‘[^‘]{0,400}’|``.{0,400}?''|`[^`']{0,400}[`']"
    r"|(?<![^\W_])'[^']{1,400}'(?![^\W_])|<[^<>]{0,400}>|\{[^{}]{0,400}\}|" + _WORD_PATTERN,
    re.DOTALL,
)

PROTECTED: frozenset[str] = COLOURS | NUMBER_WORDS | NEGATIONS | SPATIAL
"""Words that no operation replaces, moves, deletes or brings in, lower case."""

_LONE_MARKS = frozenset(("", ",", ".", "-", ":", "!", "?", "&", "|", "'s"))  # tokenised captions have many
_MODIFIERS = COLOURS | NUMBER_WORDS | NEGATIONS
ARTICLES = frozenset(("a", "an", "A", "An", "AN"))
_SMALL_WORDS = frozenset(
    (
        *("a", "an", "the", "this", "that", "these", "those", "some", "his", "her", "its", "their", "my", "our"),
        *("your", "and", "as", "with", "for", "of", "to", "is", "are", "was", "it", "he", "she", "they", "who"),
    )
)
_SILENT_H = ("hour", "honest", "honor", "honour", "heir")
_YOU_SOUND = re.compile(r"(?:eu|ew|one(?:$|[-s])|once|u(?:ni(?!n|m)|s[eu]|til|te|ku|ra|to))", re.IGNORECASE)


def split(caption: str) -> list[str]:
    """``[between, word, between, …, word, between]``: words at the odd places; joined, it is ``caption`` again."""
    body = caption.rstrip(" .!?")
    pieces = body.split(" ")
    ascii_only = body.isascii()
    if ascii_only and "" not in pieces and "".join(pieces).isalpha():
        # letters and single spaces: most web captions, three times as fast as by pattern
        plain = [" "] * (2 * len(pieces) + 1)
        plain[0] = ""
        plain[-1] = caption[len(body) :]
        plain[1::2] = pieces
        return plain
    if _MAY_QUOTE.search(caption) is None and caption.count("'") < 2:
        return _join_pieces(pieces, caption[len(body) :]) if ascii_only else _WORD.split(caption)
    parts: list[str] = []
    start = 0
    for match in _SPAN_OR_WORD.finditer(caption):
        if match.group(1) is not None:
            parts += (caption[start : match.start()], match.group(1))
            start = match.end()
    parts.append(caption[start:])
    return parts


def _join_pieces(pieces: list[str], end: str) -> list[str]:
    """``_WORD.split`` of the ``pieces`` joined by spaces and ``end``; the pattern sees those not of plain letters.

    The pieces are ASCII; ``end`` holds spaces and full stops, exclamation or question marks.
    """
    parts: list[str] = []
    between = ""
    for piece in pieces:
        if piece.isalpha():
            parts += (between, piece)
            between = " "
        elif piece in _LONE_MARKS:
            between += piece + " "
        else:
            ahead, *rest = _WORD.split(piece)
            between += ahead
            if rest:
                parts += (between, *rest[:-1])
                between = rest[-1]
            between += " "
    parts.append(between[:-1] + end)
    return parts


def is_protected(word: str) -> bool:
    """Whether ``word`` is a colour, number, negation or word of place, or has one as a hyphenated part."""
    lower = word.lower()
    if lower in PROTECTED:
        return True
    if lower.isalpha():
        return False
    if lower.endswith(("n't", "n’t")):
        return True
    return "-" in lower and any(part in PROTECTED for part in lower.split("-"))


def is_bound(parts: list[str], place: int) -> bool:
    """Whether the word at ``place`` must stay: protected, or right behind a colour, number, negation or numeral.

    "two red cars": were "cars" moved or deleted, the colour and the number would fall to another word.
    """
    if is_protected(parts[place]):
        return True
    between = parts[place - 1]
    if not between.isspace():
        return bool(between) and any(mark.isdigit() for mark in between)
    before = parts[place - 2] if place > 1 else ""
    return before in _MODIFIERS or before.lower() in _MODIFIERS or before.endswith(("n't", "n’t"))


def is_name(parts: list[str], place: int) -> bool:
    """Whether the word at ``place`` looks like a part of a name: a capital inside a caption that is not in title case.

    "President Bush by the bush": the first is a name. In "Shop For A Bush" the capital tells nothing.
    """
    if place == 1 or parts[place].islower():
        return False
    return any(len(word) > 3 and word.islower() for word in parts[1::2])


def with_case_of(word: str, pattern: str) -> str:
    """``word`` in the case of ``pattern``: ``("puppy", "DOG")`` is ``"PUPPY"``, ``("puppy", "Dog")`` is ``"Puppy"``."""
    if pattern.islower():
        return word
    if len(pattern) > 1 and pattern.isupper():
        return word.upper()
    return word[0].upper() + word[1:] if pattern[0].isupper() else word


def takes_an(word: str) -> bool:
    """Whether "an" goes before ``word``, by sound: ``"hour"`` and ``"apple"`` do, ``"unicorn"`` does not."""
    lower = word.lower()
    if lower[0] in "aeiouàáâãäåæèéêëìíîïòóôõöøœùúûü":
        return _YOU_SOUND.match(lower) is None
    return lower.startswith(_SILENT_H)


def repair_article(parts: list[str], place: int) -> None:
    """Make an article before the word at ``place`` agree with it; for places whose word an operation changed.

    A capital A inside a sentence names something ("vitamin A"), unless the next word has a capital too.
    """
    if not 2 < place < len(parts) or (article := parts[place - 2]) not in ARTICLES or not parts[place - 1].isspace():
        return
    word = parts[place]
    if article[0] == "A" and place > 3 and not word[0].isupper():
        return
    right = "an" if takes_an(word) else "a"
    if right != article.lower():
        shouting = article == "AN" or (article == "A" and len(word) > 1 and word.isupper())
        parts[place - 2] = right.upper() if shouting else with_case_of(right, article)


def move_capital(parts: list[str], first: str) -> None:
    """After ``first`` left the sentence's start, give its capital to the word that is there now.

    A name keeps its own capital wherever it goes; an article or another small word becomes lower case.
    """
    if not first[0].isupper() or not (first[1:].islower() or len(first) == 1) or not parts[1].islower():
        return
    if first.lower() in _SMALL_WORDS and first in parts[3::2]:
        place = parts.index(first, 3)
        parts[place] = first.lower()
    parts[1] = parts[1][0].upper() + parts[1][1:]
