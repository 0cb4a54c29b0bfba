"""The synonym table: word form → forms that can stand in for it.

Rows of lemmas (part of speech, lemma, synonyms) are compiled once into word forms, so that augmenting a caption looks
up "dogs" and gets "hounds". English words change their part of speech freely ("a train", "he will train"), so each
form holds the candidates for four contexts, told apart by the word before it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from laclip_aug.eda.inflection import Irregular, forms
from laclip_aug.eda.tokens import PROTECTED, is_name
from laclip_aug.encoding import decoded
from laclip_aug.errors import ConfigurationError, InputError

BUILTIN = Path(__file__).parent / "data" / "synonyms.tsv"
CONTEXTS = ("open", "nominal", "copular", "verbal")
DOMINANCE = 2.0
"""A part of speech counts as the word's usual one from this many times the weight of all others on."""

# the word before tells the part of speech: "the play", "is playing", "can play"
_NOMINAL = (
    *("a", "an", "the", "this", "that", "these", "those", "some", "any", "every", "each", "another", "several", "many"),
    *("few", "his", "her", "its", "their", "my", "our", "your", "of", "with", "for", "from"),
)
_COPULAR = ("is", "are", "was", "were", "be", "been", "being", "am", "get", "gets", "got", "looks", "seems")
_VERBAL = (
    *("can", "could", "will", "would", "may", "might", "shall", "should", "must", "let", "lets"),
    *("he", "she", "it", "they", "we", "i", "you", "who"),
)
_OPEN = {"out", "up", "down", "off", "left", "right", "no", "not", "never"}
_CONTEXT: dict[str, int] = {
    spelt: context
    for context, words in ((1, [*_NOMINAL, *PROTECTED - _OPEN]), (2, _COPULAR), (3, _VERBAL))
    for word in words
    for spelt in (word, word.capitalize(), word.upper())
}
FUNCTION_WORDS: frozenset[str] = frozenset(
    [
        *_NOMINAL,
        *_COPULAR,
        *_VERBAL,
        *("and", "but", "because", "though", "although", "while", "when", "where", "whether", "which", "what", "whose"),
        *("how", "why", "than", "then", "else", "also", "too", "very", "much", "more", "most", "less", "least", "even"),
        *("just", "only", "such", "same", "own", "other", "others", "all", "both", "here", "there", "now", "yet"),
        *("after", "before", "since", "until", "till", "during", "about", "like", "unlike", "despite", "except", "per"),
        *("have", "has", "had", "having", "does", "did", "done", "doing", "make", "makes", "made", "making", "set"),
        *("getting", "goes", "went", "gone", "going", "come", "comes", "came", "coming", "take", "takes", "took"),
        *("taken", "taking", "put", "puts", "putting", "used", "him", "them", "they", "she", "himself", "herself"),
        *("itself", "themselves", "mine", "yours", "theirs", "ours", "hers", "anyone", "everyone", "someone", "thing"),
    ]
)
"""Words that carry grammar rather than sense, and verbs whose sense lies in their object: they have no synonyms."""

Candidates = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...], tuple[str, ...]]
Word = tuple[Candidates, tuple[frozenset[str], frozenset[str]] | None]
"""A word's candidates by context, and the words that make a compound with it, before and after."""


@dataclass(frozen=True, slots=True)
class Row:
    """A lemma in one part of speech (``n v a r``), its synonyms in that sense, and how usual this reading is."""

    pos: str
    lemma: str
    synonyms: tuple[str, ...]
    weight: float = 1.0


class SynonymTable:
    """Compiled synonyms; immutable, and picklable as plain data for loader workers.

    Args:
        entries: candidates by lower-case word form, one tuple for each of ``CONTEXTS``.
        compounds: pairs of words that belong together, such as ``"hot dog"``: neither of the two is replaced.
        origin: where the words came from, for people.
    """

    def __init__(self, entries: dict[str, Candidates], compounds: frozenset[str], origin: str) -> None:
        self.entries = entries
        self.compounds = compounds
        self.origin = origin
        # by word, what makes a compound with it, before and after: {"hot": ({}, {"dog"}), "dog": ({"hot"}, {})}
        partners: dict[str, tuple[set[str], set[str]]] = {}
        for compound in compounds:
            first, _, second = compound.partition(" ")
            partners.setdefault(first, (set(), set()))[1].add(second)
            partners.setdefault(second, (set(), set()))[0].add(first)
        # a look-up for both; in the order of the entries, most used first: so they lie together in memory
        self.words: dict[str, Word] = {
            word: (entry, (frozenset(partners[word][0]), frozenset(partners[word][1])) if word in partners else None)
            for word, entry in entries.items()
        }

    @cached_property
    def digest(self) -> str:
        """sha256 of the content: two tables with one digest make the same texts."""
        return hashlib.sha256("\n".join(sorted(self.lines())).encode()).hexdigest()

    def lines(self) -> Iterator[str]:
        """The compiled form as text, one entry a line, in their order; :meth:`from_lines` reads it back."""
        for form in self.entries:
            yield "\t".join([form, *("|".join(words) for words in self.entries[form])])
        for compound in sorted(self.compounds):
            yield f"{compound}\t"

    @classmethod
    def from_lines(cls, lines: Iterable[str], origin: str) -> SynonymTable:
        """The table whose :meth:`lines` these are."""
        entries: dict[str, Candidates] = {}
        compounds = set()
        shared: dict[str, tuple[str, ...]] = {"": ()}
        for line in lines:
            form, *columns = line.split("\t")
            if len(columns) == 1:
                compounds.add(form)
                continue
            for column in columns:
                if column not in shared:
                    shared[column] = tuple(column.split("|"))
            a, b, c, d = (shared[column] for column in columns)
            entries[form] = (a, b, c, d)
        return cls(entries, frozenset(compounds), origin)


def fitting(word: Word, parts: list[str], place: int) -> tuple[str, ...]:
    """The synonyms of ``word``, which is at ``place``, that fit there; none for names and in compounds.

    :attr:`SynonymTable.words` has it under the lower-case form of ``parts[place]``.
    """
    by_context, partners = word
    before = ""
    if place > 1:
        if not parts[place].islower() and is_name(parts, place):
            return ()
        if parts[place - 1].isspace():
            before = parts[place - 2]
    found = by_context[_CONTEXT.get(before, 0)]
    if found and partners:
        firsts, seconds = partners
        if before.lower() in firsts or (seconds and place + 2 < len(parts) and parts[place + 2].lower() in seconds):
            return ()
    return found


def read_rows(path: Path) -> tuple[list[Row], frozenset[str]]:
    """Read a synonym file: lines ``pos TAB lemma TAB synonym|synonym``; ``#`` starts a comment line.

    ``pos`` is ``n``, ``v``, ``a`` or ``r``; a line ``x TAB two words`` names a compound that is left alone. Lemmas are
    base forms, inflections are derived. An optional fourth column is the weight of the reading, 1 by default.

    Raises:
        ConfigurationError: the file is missing, is not UTF-8, or a line has another form; names the line.
    """
    try:
        text = decoded(str(path), path.read_bytes())
    except (OSError, InputError) as error:
        raise ConfigurationError(f"the synonyms cannot be read; give a UTF-8 text file: {error}") from error
    rows, compounds = [], set()
    for number, line in enumerate(text.split("\n"), 1):
        columns = line.rstrip("\r").split("\t")
        if not line.strip() or line.startswith("#"):
            continue
        try:
            if columns[0] == "x" and len(columns) == 2:
                compounds.add(" ".join(columns[1].lower().split()))
                continue
            pos, lemma, synonyms = columns[:3]
            weight = float(columns[3]) if len(columns) == 4 else 1.0
            if pos not in ("n", "v", "a", "r") or len(columns) > 4 or not lemma or not weight > 0:
                raise ValueError
        except ValueError:
            raise ConfigurationError(
                f"{path}, line {number}: expected 'pos TAB lemma TAB synonym|synonym' with pos one of n, v, a, r, "
                f"or 'x TAB two words'; got {line[:80]!r}"
            ) from None
        rows.append(Row(pos, lemma.lower(), tuple(word for word in synonyms.lower().split("|") if word), weight))
    return rows, frozenset(compounds)


def compile_table(
    rows: Iterable[Row], compounds: frozenset[str], origin: str, irregular: Irregular | None = None
) -> SynonymTable:
    """Inflect ``rows`` and resolve each form's parts of speech into the contexts.

    Protected words become neither entries nor candidates. A row without synonyms still tells that the word has this
    reading, which keeps the others from being taken for its usual one.
    """
    merged: dict[tuple[str, str], Row] = {}
    for row in rows:
        known = merged.get((row.pos, row.lemma), Row(row.pos, row.lemma, (), 0.0))
        merged[row.pos, row.lemma] = Row(row.pos, row.lemma, known.synonyms + row.synonyms, known.weight + row.weight)
    readings: dict[str, list[_Reading]] = {}
    for row in merged.values():
        synonyms = [forms(word, row.pos, irregular) for word in dict.fromkeys(row.synonyms) if _usable(word)]
        own = forms(row.lemma, row.pos, irregular)
        for form in dict.fromkeys(own.values()):
            if " " in form or form in FUNCTION_WORDS or not _usable(form):
                continue
            # "hit" is base, past and participle: a synonym must agree in all of them, or the tense is unknown
            names = [name for name in own if own[name] == form]
            agreeing = [s[names[0]] for s in synonyms if len({s.get(name) for name in names}) == 1 and names[0] in s]
            words = tuple(word for word in agreeing if word != form and _usable(word))  # "exited" has "left"
            readings.setdefault(form, []).append(_Reading(row.pos, frozenset(names), words, row.weight))
    entries = {form: entry for form, found in readings.items() if any(entry := _contexts(found))}
    return SynonymTable(entries, compounds, origin)


@dataclass(frozen=True, slots=True)
class _Reading:
    """One way to read a word form: as these named forms of a lemma, with the synonyms in the same form."""

    pos: str
    names: frozenset[str]
    words: tuple[str, ...]
    weight: float


def _usable(word: str) -> bool:
    parts = word.replace("-", " ").split()
    return bool(parts) and not any(part in PROTECTED for part in parts) and all(part.isalpha() for part in parts)


def _contexts(found: list[_Reading]) -> Candidates:
    inflected = [r for r in found if r.pos == "v" and r.names & {"ing", "participle"}]
    finite = [r for r in found if r.pos == "v" and r.names & {"base", "s", "past"}]
    # "the opening": a noun, or an -ing form at work as one, which counts half
    nominal = [r for r in found if r.pos in "na"]
    if nominal:
        nominal += [replace(r, weight=r.weight / 2) for r in inflected]
    # after a form of be: "is playing", else "is bright"; after he, who, can: "plays", "will train"
    copular = inflected or [r for r in found if r.pos == "a"] or nominal
    return _usual(found), _usual(nominal), _usual(copular or found), _usual(finite)


def _usual(found: list[_Reading]) -> tuple[str, ...]:
    """The synonyms of the part of speech that outweighs the others; none when the case is open."""
    total = sum(r.weight for r in found)
    for pos in dict.fromkeys(r.pos for r in found):
        groups = [r.words for r in found if r.pos == pos]
        weight = sum(r.weight for r in found if r.pos == pos)
        if weight >= DOMINANCE * (total - weight):
            # two lemmas share the form ("lay" is also the past of "lie"): only what fits both
            return tuple(w for w in groups[0] if all(w in group for group in groups[1:]))
    return ()
