"""WordNet's dominant senses as rows for the synonym table; found and opened through nltk.

The two files of each part of speech are read directly (format: wndb(5WN) of the WordNet documentation). nltk's synset
objects would take half a minute for all of WordNet, this takes a few seconds.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping

from laclip_aug.eda.inflection import Irregular, irregular_from_exceptions
from laclip_aug.eda.synonyms import Row
from laclip_aug.errors import LaclipError

_FILES = {"n": "noun", "v": "verb", "a": "adj", "r": "adv"}
_KEY_POS = {"1": "n", "2": "v", "3": "a", "4": "r", "5": "a"}
SENSE_RANK = 1
"""A synonym counts when the shared sense is among this many first senses of its own."""
RARITY = 20
COMMON = 60
"""A synonym may be about ``RARITY`` times rarer than its lemma; a lemma counts as used ``COMMON`` times at most."""

_GLOSS_WORD = re.compile(r"(?<= )[a-z]{3,}(?=[ ;,\n\"])")


class WordNetMissingError(LaclipError):
    """WordNet is not installed."""


def read_corpus() -> dict[str, bytes]:
    """The WordNet files needed here by name, from the directories of ``nltk.data.path`` (``NLTK_DATA`` first).

    Raises:
        WordNetMissingError: nltk does not find the corpus.
    """
    import nltk.data

    def read(name: str) -> bytes:
        with nltk.data.find(f"corpora/wordnet/{name}").open() as file:
            return bytes(file.read())

    try:
        corpus = {f"{kind}.{pos}": read(f"{kind}.{pos}") for pos in _FILES.values() for kind in ("index", "data")}
        corpus |= {f"{pos}.exc": read(f"{pos}.exc") for pos in ("noun", "verb")}
    except (LookupError, OSError, ValueError) as error:
        raise WordNetMissingError("the WordNet corpus is not in any directory of nltk.data.path") from error
    try:
        corpus["cntlist.rev"] = read("cntlist.rev")
    except (LookupError, OSError, ValueError):
        corpus["cntlist.rev"] = b""  # some distributions have no sense counts
    return corpus


def corpus_digest(corpus: Mapping[str, bytes]) -> str:
    """sha256 over the names and contents of the files."""
    digest = hashlib.sha256()
    for name in sorted(corpus):
        digest.update(f"{name}\0{len(corpus[name])}\0".encode() + corpus[name])
    return digest.hexdigest()


def rows(corpus: Mapping[str, bytes]) -> tuple[list[Row], frozenset[str], Irregular]:
    """The lemmas of WordNet with the synonyms of their first sense, its two-word lemmas, and its irregular forms.

    A lemma's weight in a part of speech is its count in the sense-tagged texts; where no part of speech of the lemma
    was counted, the number of its senses. Synonyms are single words; one that is far rarer than the lemma in
    WordNet's own glosses ("hebdomad" for "week") is left out.
    """
    text = {name: data.decode("utf-8", "replace") for name, data in corpus.items()}
    counts = _counts(text["cntlist.rev"])
    counted = {lemma for _, lemma in counts}
    usage: Counter[str] = Counter()
    for file in _FILES.values():
        for line in text[f"data.{file}"].splitlines():
            usage.update(_GLOSS_WORD.findall(line, line.find(" | ") + 1))
    made = []
    compounds = set()
    for pos, file in _FILES.items():
        members = _synsets(text[f"data.{file}"])
        senses = dict(_index(text[f"index.{file}"]))
        for lemma, offsets in senses.items():
            if lemma.count("_") == 1:
                compounds.add(lemma.replace("_", " "))
            if not lemma.isalpha() or len(lemma) < 3:
                continue
            synonyms = tuple(
                word
                for word in members.get(offsets[0], ())
                if word != lemma
                and _plain(word)
                and offsets[0] in senses.get(word, ())[:SENSE_RANK]
                and usage[word] >= min(usage[lemma], COMMON) // RARITY
            )
            weight = counts.get((pos, lemma), 0) + 0.1 if lemma in counted else float(len(offsets))
            made.append(Row(pos, lemma, synonyms, weight))
    made.sort(key=lambda row: -usage[row.lemma])  # the table keeps this order, and with it common words together
    return made, frozenset(compounds), irregular_from_exceptions(text["noun.exc"], text["verb.exc"])


def _plain(word: str) -> bool:
    """A single word, and neither a name, an acronym or a species (capitals), nor with digits or marks."""
    return word.islower() and len(word) > 2 and word.replace("-", "").isalpha()


def _index(text: str) -> Iterator[tuple[str, list[str]]]:
    for line in text.splitlines():
        if line[:1].isspace():
            continue  # the licence
        fields = line.split()
        if len(fields) > 5 and fields[2].isdigit():
            count = int(fields[2])  # the last fields are the offsets of the synsets, most usual sense first
            yield fields[0], fields[-count:]


def _synsets(text: str) -> dict[str, list[str]]:
    members = {}
    for line in text.splitlines():
        if line[:1].isspace():
            continue
        fields = line.split(" ", 80)
        if len(fields) > 5:
            count = int(fields[3], 16)
            # adjectives may carry a syntactic marker: "galore(ip)"
            members[fields[0]] = [word.partition("(")[0] for word in fields[4 : 4 + 2 * count : 2]]
    return members


def _counts(text: str) -> dict[tuple[str, str], int]:
    counts: dict[tuple[str, str], int] = {}
    for line in text.splitlines():
        fields = line.split()
        if len(fields) == 3 and "%" in fields[0]:
            lemma, _, rest = fields[0].partition("%")
            key = (_KEY_POS.get(rest[:1], ""), lemma)
            counts[key] = counts.get(key, 0) + int(fields[2])
    return counts
