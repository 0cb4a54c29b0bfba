"""A caption's sentences, in order and without a word lost.

A full stop ends a sentence or an abbreviation, which nltk's Punkt decides (Kiss and Strunk 2006), here with a list of
abbreviations as its parameters, so that no model is needed. Marks that end sentences only, such as the ideographic full
stop and the danda, are found first, as Punkt knows none of them and needs a space behind a mark.
"""

from __future__ import annotations

import re

from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer

from laclip_aug.quality.checks import UNSPACED, is_short

ABBREVIATIONS = frozenset(
    "a.d a.k.a a.m abt acad adm apr approx apt asst attn aug ave b.c b.v bldg blvd bros ca capt cf cir cm cmdr co "
    "corp cpl ct dec dept diam dr dwt e.g ed eds encl esp esq est etc feb fig figs fl fr ft gal gov h hr hwy i.e "
    "illus inc incl int intl jan jr jul jun kg km lb lbs lt ltd mfg mg mi misc ml mm mr mrs ms msgr mt mtn n.b "
    "nat nov nr nos oct orig oz p.m pg ph.d pkg pl pp pres prof pt pts pub pvt qt qty r.i.p rd rt s.a sec sept "
    "sgt sq sr st ste tbsp tel temp thurs tsp tue tues u.k u.n u.s u.s.a univ var vol vols vs wk wt yd yr yrs bzw "
    "evtl ggf inkl str usw z.b mme mlle av env sra srta ud uds c w v".split()
)
"""Without their last dot, in lower case; of captions, product titles and addresses, in English and some neighbours."""
_CLOSING = "[\"'”’»)\\]」』】）》〉]*"
_ENDS = re.compile(
    rf"(?:[。！？｡।॥؟۔។༎]+{_CLOSING}"  # ideographic, full-width, Devanagari, Arabic, Urdu, Khmer, Tibetan
    rf"|[!?]+{_CLOSING}(?={UNSPACED.pattern})"
    r"|(?<=[^\s])\s*(?:\r?\n|\u2028|\u2029)+)\s*"
)
_NUMBERED = re.compile(r"\b(?:no|art|ref|ch|sec|item|model)\.$", re.IGNORECASE)  # words, unless a number follows
_NUMBERING = re.compile(r"^(?:\W*\w{1,3}[.)]|\W+)$")


def _punkt() -> PunktSentenceTokenizer:
    parameters = PunktParameters()
    parameters.abbrev_types = set(ABBREVIATIONS)
    return PunktSentenceTokenizer(parameters)


_PUNKT = _punkt()


def sentences_of(caption: str) -> list[str]:
    """The sentences of ``caption``. Put together again with spaces, they are the caption but for white space.

    A piece of one word, or a bare number of a list, is no sentence and stays with the one behind it, or before it at
    the end. Where the caption begins with a capital letter, a small one begins no sentence.

    >>> sentences_of("Dr. Lee feeds two dogs. They are brown.")
    ['Dr. Lee feeds two dogs.', 'They are brown.']
    """
    pieces: list[str] = []
    start = 0
    for end in _ENDS.finditer(caption):
        pieces += _split(caption[start : end.end()])
        start = end.end()
    pieces += _split(caption[start:])
    capitals = caption.lstrip()[:1].isupper()
    found: list[str] = []
    for piece in pieces:
        if found and (
            _incomplete(found[-1])
            or (capitals and piece[0].islower())
            or (piece[0].isdigit() and _NUMBERED.search(found[-1]))
        ):
            found[-1] = _joined(found[-1], piece)
        else:
            found.append(piece)
    if len(found) > 1 and _incomplete(found[-1]):
        last = found.pop()
        found[-1] = _joined(found[-1], last)
    return found


def _split(text: str) -> list[str]:
    whole = text.strip()
    if not whole or not any(mark in whole for mark in ".!?"):
        return [whole] if whole else []
    return [piece for start, end in _PUNKT.span_tokenize(whole) if (piece := whole[start:end].strip())]


def _incomplete(piece: str) -> bool:
    return is_short(piece) or bool(_NUMBERING.match(piece))


def _joined(left: str, right: str) -> str:
    return f"{left}{'' if UNSPACED.match(right) and not left[-1].isascii() else ' '}{right}"


def join(sentences: list[str]) -> str:
    """Sentences that follow each other as one text; scripts without spaces get none."""
    text = sentences[0]
    for sentence in sentences[1:]:
        text = _joined(text, sentence)
    return text
