"""How many tokens CLIP makes of a text, without open_clip's tokenizer module, which loads torch for seconds.

CLIP's vocabulary is a list of byte-pair merges in order of rank (Sennrich et al. 2016; on bytes as in GPT-2). open_clip
brings the list as a file. A text is repaired, lower-cased and cut into words; in each word the neighbours with the
lowest rank are joined until no neighbours are in the list. What remains are its tokens.
"""

from __future__ import annotations

import gzip
from functools import lru_cache
from itertools import islice, pairwise
from typing import Any

from laclip_aug.openclip import merges_file
from laclip_aug.quality.cleaning import as_clip_reads

_MERGES = 49152 - 256 - 2  # CLIP's vocabulary without one symbol a byte and its two marks; the file lists more merges
_MARKS = ("<start_of_text>", "<end_of_text>")
_WORDS = "|".join((*_MARKS, "'s", "'t", "'re", "'ve", "'m", "'ll", "'d", r"\p{L}+", r"\p{N}", r"[^\s\p{L}\p{N}]+"))
_WORD_END = "</w>"


def clip_token_count(text: str) -> int:
    """How many tokens CLIP's tokenizer makes of ``text``, start and end of text included, without truncation.

    More than 77 means that a CLIP text tower would not see the end.

    Raises:
        UnsupportedOpenClipError: open_clip or its list of merges is not installed.
    """
    plain = as_clip_reads(
        text.encode("utf-8", "replace").decode("utf-8")
    )  # the merges are of UTF-8: no lone surrogates
    return 2 + sum(_word_tokens(word) for word in _pattern().findall(" ".join(plain.split()).lower()))


@lru_cache(maxsize=1)
def _pattern() -> Any:
    import regex  # comes with open_clip; the standard library's re has no classes of letters and numbers

    return regex.compile(_WORDS, regex.IGNORECASE)


@lru_cache(maxsize=1)
def _ranks() -> dict[tuple[str, ...], int]:
    """Each pair of symbols that is joined, with its rank; the file's first line is a title."""
    with gzip.open(merges_file(), "rt", encoding="utf-8") as lines:
        return {tuple(line.split()): rank for rank, line in enumerate(islice(lines, 1, _MERGES + 1))}


@lru_cache(maxsize=1)
def _symbols() -> list[str]:
    """The character that stands for each byte: its own where that can be seen, else one from U+0100 on."""
    seen = {byte for byte in range(256) if chr(byte).isprintable() and chr(byte) != " "}
    others = iter(range(256, 512))
    return [chr(byte) if byte in seen else chr(next(others)) for byte in range(256)]


@lru_cache(maxsize=1 << 16)
def _word_tokens(word: str) -> int:
    if word in _MARKS:
        return 1
    ranks = _ranks()
    pieces = [_symbols()[byte] for byte in word.encode()]
    pieces[-1] += _WORD_END
    while len(pieces) > 1:
        best = min(pairwise(pieces), key=lambda pair: ranks.get(pair, _MERGES))
        if best not in ranks:
            break
        joined: list[str] = []
        for piece in pieces:  # the piece before may itself be a fresh join: then it no longer equals best[0]
            if joined and (joined[-1], piece) == best:
                joined[-1] += piece
            else:
                joined.append(piece)
        pieces = joined
    return len(pieces)
