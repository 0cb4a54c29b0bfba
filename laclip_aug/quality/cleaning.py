"""A caption as CLIP's tokenizer reads it, before it cuts it into tokens."""

from __future__ import annotations

import html

from laclip_aug.quality.normal import has_many_marks, normal_form

_FEW = 1024
"""Characters that could be or become marks, up to which ftfy's way is quick enough."""
_MISREAD = "\u052f"
"""The last letter of Cyrillic: bytes that are read in another encoding become letters up to here."""


def as_clip_reads(text: str) -> str:
    """``text`` repaired and unescaped as open_clip's tokenizers do it: mojibake mended, HTML escapes resolved twice.

    The web's captions hold escapes, some escaped once more. Keys and look-ups keep a caption as it came.

    >>> as_clip_reads("salt &amp;amp; pepper&#39;s &nbsp;")
    "salt & pepper's"
    """
    if "&" not in text and text.isascii() and text.isprintable():
        return text.strip()  # nothing to repair
    return html.unescape(html.unescape(_repaired(text))).strip()


def _repaired(text: str) -> str:
    """``ftfy.fix_text(text)``, in time that grows with the text and no faster.

    ftfy ends each of its rounds with a normal form, CPython's, which many marks in a row make slow
    (:mod:`laclip_aug.quality.normal`), and what it unescapes, widens, decodes and takes away can bring them together.
    So the rounds of a long text are gone through without forms first, with ours between them. If there were never many
    marks in a row, which no ordinary text has, ftfy does it all again by itself.
    """
    from ftfy import fix_text  # comes with open_clip

    if len(text) - len(text.encode("ascii", "ignore")) + text.count("&") <= _FEW:
        return fix_text(text)
    fixed, before, many = text, "", False
    while fixed != before:
        before, plain = fixed, fix_text(fixed, normalization=None)
        many = many or has_many_marks(plain)
        fixed = normal_form("NFC", plain)
    return fixed if many else fix_text(text)


def is_nothing(caption: str) -> bool:
    """Whether CLIP makes nothing at all of ``caption``: it is empty, or holds only what the cleaning takes away.

    >>> is_nothing("&nbsp;"), is_nothing("Â\\xa0"), is_nothing("?")
    (True, True, False)
    """
    # these have letters that go: escapes, wide ones too, terminal colours, and what is left of a space read in another
    # encoding ("Â\xa0"), all in those of Latin, Greek and Cyrillic
    if not any(sign in caption for sign in "&\uff06\x1b") and any(map(_stays, caption)):
        return False
    return not as_clip_reads(caption)


def _stays(character: str) -> bool:
    return character.isalnum() and (character.isascii() or character > _MISREAD)
