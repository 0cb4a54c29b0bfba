"""Takes off a line what a model puts around a caption: marks, quotes, labels, remarks.

Nothing is taken that the caption has itself. A label goes if it says nothing of the caption that the rest does not say;
a sentence before or after goes if it shares no content word with the caption, or speaks of captions or to the user.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import islice

from laclip_aug.quality.checks import folded
from laclip_aug.quality.content import content
from laclip_aug.quality.letters import MARKS
from laclip_aug.rewrite.about import fits, remarks, senses

_PAIRS: tuple[tuple[str, str], ...] = (
    ("``", "''"),
    *(
        (pair[0], pair[1])
        for pair in "“” ”“ „“ „” ‚‘ ‘’ «» »« ‹› ›‹ 「」 『』 《》 〈〉 〝〞 【】 ＂＂ ”” ’’ () [] （）".split()
    ),
    *((mark, mark) for mark in "*** ___ ** __ ~~ == $$ `` '' * _ ` $ \" ' ″ |".split()),
)
_LONGEST_LINE = 1500
_OPENING_QUOTES = '"“„«「『‹'
_CLOSING_QUOTES = '"”“»」』›'
_BULLET = re.compile(r"(?:[-=]+>|[-*+•·–—>#▪▫◦●○■□➤➔→►▶✓✔☑⁃‣]+|\[[ xX]?\])[ \t]+|[•▪◦●■►➤✓✔>]+(?=\S)|#{1,6}(?=[A-Z])")
_NUMBER = re.compile(
    r"((?:no\.? ?|#)?\(?\d{1,2}[.)\]]\)?|\(?[a-zA-Z][)]|[a-hA-H]\.|\(?[ivx]{1,4}[.)]|\d️?⃣|[①-⑳❶-❿])[ \t]+", re.I
)
_LABEL = re.compile(r"([^:：\n]{1,120}?)\s*(?::(?=[\s\"“„«'‘*]|$)|：)\s*")
_DASH_LABEL = re.compile(r"([^-–—:\n]{1,40}?)\s+(?:[-–—]+>?|=>?|→|⇒)\s+")
_PROMPT_LABEL = re.compile(r"@?(\w[\w .-]{0,24}?)\s?>+\s+|@(\w[\w-]{0,24})[,:]?\s+")
_ASSIGNED = re.compile(r"([\w .-]{1,30}?)\s*=\s*(?=[\"'“„«])")
_BRACKET_LABEL = re.compile(r"([\[(【（<*]{1,2}([^\]\[()】（）<>*]{1,30})[\])】）>*]{1,2})\s*[:：-]?\s+")
_END_BRACKET = re.compile(r"\s*([(\[（【][^()\[\]（）【】]*[)\]）】])[.\s]*$")
_FRAME = re.compile(r"([=~^+#_-])\1*\s*(.*?\w.*?)\s*\1+$")
_TALK = re.compile(r"[^\"“”„«»「」]*[\"“„«「]([^\"“”„«»「」]{8,})[\"”“»」][^\"“”„«»「」]*")
_HASHTAGS = re.compile(rf"(?:\s+#[^\W\d][\w{MARKS}]*)+\s*$")
_SENTENCE_END = re.compile(r"(?<=[.!?。！？…])[\"”'’*)]*\s+(?=[^\sa-z])|(?<=[。！？])(?=\S)")
_EMOJI = re.compile(
    "[\U0001f000-\U0001faff\u2600-\u27bf\u2b00-\u2bff\u231a-\u23ff\U000e0020-\U000e007f]"
    "[\ufe0f\u200d\u20e3\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f]*"
)


def unwrap(text: str, caption: str) -> str:
    """``text``, one line, without its wrappers.

    >>> unwrap('1. **Rewrite:** "A dog runs." (9 words)', "a running dog")
    'A dog runs.'
    """
    if len(text) > _LONGEST_LINE:
        return text  # no caption; and some of the patterns would take their time
    steps: tuple[Callable[[str, str], str], ...] = (
        _emoji, _bullet, _number, _frame, _emphasis, _paired, _lone_quote, _label, _leading, _trailing, _spoken_of,
    )  # fmt: skip
    for _ in range(10):  # each may hide another: - "1. ..."
        before = text
        for step in steps:
            text = step(text.strip().lstrip(",.;:!? "), caption)
        if text == before:
            break
    return text


def _emoji(text: str, caption: str) -> str:
    bare = " ".join(_EMOJI.sub(lambda found: found[0] if found[0][0] in caption else " ", text).split())
    return re.sub(r" (?=[.,;!](?:\s|$))", "", bare) if bare and bare != text else bare or text


def _bullet(text: str, caption: str) -> str:
    found = _BULLET.match(text)
    if found is None or caption.startswith(found[0].strip()):
        return text
    return text[found.end() :]


def _number(text: str, caption: str) -> str:
    found = _NUMBER.match(text)
    if found is None:
        return text
    rest = text[found.end() :]
    return text if found[1].casefold() in caption.casefold().split() and not rest.startswith(found[1]) else rest


def _frame(text: str, caption: str) -> str:
    """A row of one sign at both ends: ``=== A kite ===``."""
    found = _FRAME.match(text)
    return found[2] if found and found[1] not in caption else text


def _emphasis(text: str, caption: str) -> str:
    """Marks of Markdown inside: ``a **red** kite``, ``[a kite](address)``."""
    text = re.sub(r"!?\[([^\[\]]+)\]\(\S*\)", r"\1", text)
    if "`" not in caption:
        text = re.sub(r"(?<!`)`([^`]+)`(?!`)", r"\1", text)
    for mark in ("**", "__", "~~"):
        if text.count(mark) >= 2 and text.count(mark) % 2 == 0 and mark not in caption:
            text = text.replace(mark, "")
    if "*" not in caption:
        text = re.sub(r"(?<![\w*])\*([^\s*](?:[^*]*[^\s*])?)\*(?![\w*])", r"\1", text)
        text = re.sub(r"^\*+\s*|\s*\*+$", "", text)
    if "_" not in caption:
        text = re.sub(r"(?<!\w)_([^\s_](?:[^_]*[^\s_])?)_(?!\w)", r"\1", text)
    return text


def _paired(text: str, caption: str) -> str:
    """Quotes or brackets around the whole, a full stop behind them included."""
    core = text.rstrip(" .,;。") if len(text) > 2 and not text[-1].isalnum() else text
    for candidate in (text, core):
        for opening, closing in _PAIRS:
            inner = candidate[len(opening) : len(candidate) - len(closing)]
            if (
                inner.strip()
                and candidate.startswith(opening)
                and candidate.endswith(closing)
                and not (caption.startswith(opening) and caption.rstrip(".").endswith(closing))
                and _closes_last(inner, opening, closing)
            ):
                return inner.strip()
    return text


def _closes_last(inner: str, opening: str, closing: str) -> bool:
    """Whether a mark before ``inner`` is closed behind it: not in ``"Stop" says the "sign"``."""
    if opening != closing:
        depth = 0
        for character in inner:
            depth += (character == opening) - (character == closing and not _apostrophe(character))
            if depth < 0:
                return False
        return True
    if opening in "'’":
        inner = re.sub(r"(?<=\w)['’](?=\w)|(?<=s)['’](?=\s)", "", inner)
    first = inner.find(opening)
    return first < 0 or (inner.count(opening) % 2 == 0 and (first == 0 or inner[first - 1].isspace()))


def _apostrophe(character: str) -> bool:
    return character == "’"


def _lone_quote(text: str, caption: str) -> str:
    """A quote that is opened and not closed, or closed and not opened."""
    if text[:1] in _OPENING_QUOTES and text[:1] not in caption and not any(c in text[1:] for c in _CLOSING_QUOTES):
        return text[1:]
    end = text.rstrip(".,;")
    if (
        end[-1:] in _CLOSING_QUOTES
        and end[-1:] not in caption
        and not any(c in end[:-1] for c in _OPENING_QUOTES)
        and not end[-2:-1].isdigit()  # inches
    ):
        return end[:-1]
    return text


def _label(text: str, caption: str) -> str:
    """``Rewrite:``, ``Here it is:``, ``[Rewrite]``, ``rewrite = "``; also the caption again and what follows it."""
    whole = folded(caption)
    for found in islice(re.finditer(r"(?:[:：→⇒]|[-=]+>)\s*", text), 8):
        left, right = text[: found.start()], text[found.end() :]
        if whole and f" {whole} " in f" {folded(left)} " and fits(caption, right) and found.start() > 0:
            if ": " in caption and folded(right) in whole:
                continue
            return right
    wanted = senses(caption)
    for pattern in (_LABEL, _ASSIGNED, _BRACKET_LABEL, _PROMPT_LABEL, _DASH_LABEL):
        match = pattern.match(text)
        rest = text[match.end() :].strip() if match else ""
        if match is None or not rest:
            continue
        label = match[1] or match[2]
        if pattern is _PROMPT_LABEL and set(">@") & set(caption):
            continue
        if pattern is _DASH_LABEL and (re.search(r"\s[-–—=→⇒]", caption) or len(label.split()) > 3):
            continue
        if pattern is _BRACKET_LABEL and (label in caption or senses(label) & wanted):
            continue
        if pattern is _LABEL and _labelled(caption, label):
            continue
        if (senses(label) & wanted) <= senses(rest) and fits(caption, rest):
            return re.sub(r"^[|>][-+]?\s+", "", rest)
    return text


def _labelled(caption: str, label: str) -> bool:
    """Whether the caption has this label itself."""
    own = [folded(part).split() for part in re.split("[:：]", caption)[:-1]]
    words = folded(label).split()
    return bool(words) and any(part[-len(words) :] == words for part in own)


def _spoken_of(text: str, caption: str) -> str:
    """A rewrite quoted in a sentence that says nothing else of the caption: ``You could say "a kite flies"``."""
    found = _TALK.fullmatch(text)
    if found is None or " " not in found[1].strip() or set(_OPENING_QUOTES) & set(caption):
        return text
    around = text.replace(found[1], " ")
    return found[1] if fits(caption, found[1]) and not fits(caption, around) else text


def _sentences(text: str, caption: str) -> list[str]:
    """``text`` cut at its sentence ends, but for abbreviations: short capitalised words and those of the caption."""
    parts: list[str] = []
    for part in filter(None, _SENTENCE_END.split(text)):
        last = parts[-1].split()[-1] if parts and parts[-1].split() else ""
        if last.endswith(".") and ((last[0].isupper() and len(last) <= 4) or f" {last} " in f" {caption}"):
            start = text.index(parts[-1])
            parts[-1] = text[start : text.index(part, start + len(parts[-1])) + len(part)]
        else:
            parts.append(part)
    return parts


def _leading(text: str, caption: str) -> str:
    """A short exclamation in front: ``Sure! A dog runs.``"""
    parts = _sentences(text, caption)
    if len(parts) > 1 and len(parts[0].split()) <= 6 and not fits(caption, parts[0]):
        rest = text[text.index(parts[0]) + len(parts[0]) :].lstrip("\"”'’*) ")
        if fits(caption, rest):
            return rest
    return text


def _trailing(text: str, caption: str) -> str:
    """Notes in brackets, hashtags, and sentences that say nothing of the caption or something about it."""
    text = re.split(r"\s+(?:-{2,}|_{3,}|\*{3,}|={3,})\s+", text)[0] if "--" not in caption else text
    if (found := _HASHTAGS.search(text)) and "#" not in caption:
        text = text[: found.start()]
    if (found := _END_BRACKET.search(text)) and found.start() > 0:
        note = found[1][1:-1]
        mine = folded(note) and folded(note) in folded(caption)
        before = text[: found.start()].split()[-1]
        whole = not before[-1].isalnum() or content(before)  # not: waits for [vehicle]
        if not mine and whole and (not fits(caption, note) or _LABEL.match(note) or remarks(caption, note)):
            return text[: found.start()]
    while len(parts := _sentences(text, caption)) > 1:
        last, start = parts[-1], text.rindex(parts[-1])
        rest = text[:start].rstrip()
        label = _LABEL.match(last)
        noted = label is not None and not _labelled(caption, label[1]) and not fits(caption, label[1])
        if not fits(caption, rest) or (fits(caption, last) and not noted and not remarks(caption, last)):
            break
        text = rest
    return text
