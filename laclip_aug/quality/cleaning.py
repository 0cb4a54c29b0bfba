"""A caption as CLIP's tokenizer reads it, before it cuts it into tokens."""

from __future__ import annotations

import html

from laclip_aug.quality.normal import in_order


def as_clip_reads(text: str) -> str:
    """``text`` repaired and unescaped as open_clip's tokenizers do it: mojibake mended, HTML escapes resolved twice.

    The web's captions hold escapes, some escaped once more. Keys and look-ups keep a caption as it came.

    >>> as_clip_reads("salt &amp;amp; pepper&#39;s &nbsp;")
    "salt & pepper's"
    """
    if "&" not in text and text.isascii() and text.isprintable():
        return text.strip()  # nothing to repair
    from ftfy import fix_text  # comes with open_clip

    return html.unescape(html.unescape(fix_text(in_order(text)))).strip()


def is_nothing(caption: str) -> bool:
    """Whether CLIP makes nothing at all of ``caption``: it is empty, or holds only what the cleaning takes away.

    >>> is_nothing("&nbsp;"), is_nothing("\\x07"), is_nothing("?")
    (True, True, False)
    """
    if "&" not in caption and "\x1b" not in caption and any(map(str.isalnum, caption)):
        return False  # a letter stays, whatever is repaired; terminal colours have letters that go
    return not as_clip_reads(caption)
