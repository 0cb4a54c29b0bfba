"""English noun plurals and verb forms, by rule with the irregular words of ``data/irregular.tsv``.

``forms("ride", "v")`` is ``{"base": "ride", "s": "rides", "ing": "riding", "past": "rode", "participle": "ridden"}``;
``forms("box", "n")`` is ``{"base": "box", "s": "boxes"}``; adjectives and adverbs have a base form only.
A phrase inflects its head: the last word of a noun phrase, the first word of a verb phrase.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

Irregular = dict[tuple[str, str], dict[str, str]]
"""Forms by name for a part of speech and lemma; forms that are not named follow the rules."""

_DATA = Path(__file__).parent / "data" / "irregular.tsv"
_COLUMNS = {"n": ("n", ("s",)), "v": ("v", ("past", "participle")), "g": ("v", ("ing",)), "t": ("v", ("s",))}
_COLUMNS["r"] = _COLUMNS["n"]
_SIBILANT = re.compile(r"(?:s|x|z|ch|sh)$")
_PLURAL_ALREADY = re.compile(r"[^aisu]s$")  # "stalls", "trousers"
_CONSONANT_Y = re.compile(r"[^aeiou]y$")
_SHORT_SYLLABLE = re.compile(r"[^aeiou]*(?:qu)?[aeiou][bdfgklmnprtvz]$")
# "fireman", "grandchild", "penknife": the plural is that of the last part
_IRREGULAR_ENDS = ("man", "child", "person", "fish", "foot", "tooth", "knife", "wife", "shelf", "craft", "leaf")


@lru_cache(maxsize=1)
def _irregular() -> Irregular:
    table: Irregular = {}
    for line in _DATA.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            kind, lemma, *words = line.split("\t")
            pos, names = _COLUMNS[kind]
            table.setdefault((pos, lemma), {}).update(zip(names, words, strict=True))
    return table


def forms(lemma: str, pos: str, irregular: Irregular | None = None) -> dict[str, str]:
    """The forms of ``lemma`` by name; ``pos`` is ``n``, ``v``, ``a`` or ``r`` as in WordNet.

    ``irregular`` holds further irregular forms; the package's own come first.
    """
    if pos == "n":
        before, gap, last = lemma.rpartition(" ")
        return {"base": lemma, "s": before + gap + _known("n", last, irregular).get("s", plural(last))}
    if pos != "v":
        return {"base": lemma}
    first, gap, rest = lemma.partition(" ")
    regular = _regular_past(first)
    inflected = {"s": _with_s(first), "ing": _regular_gerund(first), "past": regular, "participle": regular}
    inflected |= _known("v", first, irregular)
    return {"base": lemma, **{name: form + gap + rest for name, form in inflected.items() if form}}


def _known(pos: str, word: str, irregular: Irregular | None) -> dict[str, str]:
    return {**(irregular or {}).get((pos, word), {}), **_irregular().get((pos, word), {})}


def plural(noun: str) -> str:
    """``"dog"`` → ``"dogs"``, ``"city"`` → ``"cities"``, ``"fireman"`` → ``"firemen"``."""
    if known := _irregular().get(("n", noun)):
        return known["s"]
    for end in _IRREGULAR_ENDS:
        if noun.endswith(end):
            return noun[: -len(end)] + _irregular().get(("n", end), {"s": end})["s"]
    if _PLURAL_ALREADY.search(noun):
        return noun
    return _with_s(noun)


def _with_s(word: str) -> str:
    if _SIBILANT.search(word):
        return word + "es"
    return word[:-1] + "ies" if _CONSONANT_Y.search(word) else word + "s"


def _regular_gerund(verb: str) -> str:
    if verb.endswith("e") and not verb.endswith(("ee", "oe", "ye")) and len(verb) > 2:
        return verb[:-1] + "ing"
    return _stem(verb) + "ing"


def _regular_past(verb: str) -> str:
    if verb.endswith("e"):
        return verb + "d"
    return verb[:-1] + "ied" if _CONSONANT_Y.search(verb) else _stem(verb) + "ed"


def _stem(verb: str) -> str:
    """``"stop"`` → ``"stopp"``, ``"picnic"`` → ``"picnick"``: before an ending that starts with a vowel."""
    if verb.endswith("ic"):
        return verb + "k"
    return verb + verb[-1] if _SHORT_SYLLABLE.fullmatch(verb) else verb


def irregular_from_exceptions(nouns: str, verbs: str) -> Irregular:
    """What WordNet's exception lists (lines ``form lemma``) tell about irregular forms.

    A verb with two irregular past forms does not say which is the participle: both are left out, as ``""``.
    """
    table: Irregular = {}
    for line in nouns.splitlines():
        form, _, lemma = line.partition(" ")
        table.setdefault(("n", lemma.strip()), {}).setdefault("s", form)
    pasts: dict[str, list[str]] = {}
    for line in verbs.splitlines():
        form, _, lemma = line.partition(" ")
        lemma = lemma.strip()
        if form.endswith("ing"):
            table.setdefault(("v", lemma), {}).setdefault("ing", form)
        elif not form.endswith("s") or lemma.endswith("s"):
            pasts.setdefault(lemma, []).append(form)
    for lemma, found in pasts.items():
        past = found[0] if len(set(found)) == 1 else ""
        table.setdefault(("v", lemma), {}).update(past=past, participle=past)
    return table
