"""Pairs written by hand, ``pairs.jsonl``, or a user's own: read and checked mechanically.

One JSON object a line: ``caption``, and for each strategy (``chatgpt``, ``bard``, ``mscoco``, ``human``) a rewrite or
null. A rewrite that adds or changes a number, a colour or a name, or that repeats the caption, is refused with a
reason.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

from benchmarks.caption_adapter.near import concepts, words
from benchmarks.caption_adapter.rows import TAILS, Pair
from laclip_aug.quality.attributes import attributes
from laclip_aug.rewrite.prompt import shown_caption

_NAME = re.compile(r"(?<![.!?:])\s([A-Z][^\W\d_]+)")


def fault(caption: str, text: str) -> str | None:
    """What is wrong with ``text`` as a rewrite of ``caption``, None if nothing."""
    a, b = attributes(caption), attributes(text)
    if b.colours - a.colours or b.numbers - a.numbers:
        return "number or colour added"
    if a.negated != b.negated:
        return "negation changed"
    if words(caption) == words(text):
        return "same words"
    if not 3 <= len(text.split()) <= 40:
        return "length"
    known = {w.lower() for w in re.findall(r"[^\W\d_]+", caption)}
    if any(name.lower() not in known and not name.isupper() for name in _NAME.findall(text)):
        return "name added"
    return None


def read(path: Path) -> tuple[list[Pair], Counter[str]]:
    """The pairs of a file, and how many rewrites were refused for which reason.

    Raises:
        ValueError: a line is not such an object; names the line.
    """
    pairs, refused = [], Counter[str]()
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            record = json.loads(line)
            caption = record["caption"]
            texts = [(s, record[s]) for s in TAILS if record.get(s)]
        except (ValueError, KeyError, TypeError) as e:
            raise ValueError(f'{path}:{number}: expected {{"caption": ..., "chatgpt": ..., ...}}: {e!r}') from e
        good = []
        for strategy, text in texts:
            text = " ".join(text.split())
            reason = fault(caption, text)
            if reason is None:
                good.append((strategy, text))
            else:
                refused[reason] += 1
        if good:
            pairs.append(Pair(shown_caption(caption), tuple(good)))
    return pairs, refused


def crossed(pair: Pair) -> list[Pair]:
    """The rewrites of a caption as captions themselves: each with those of the others that add nothing to it.

    They are sentences where the captions of the web often are none. Short ones serve as targets only.
    """
    found = []
    for strategy, source in pair.texts:
        own = concepts(source)
        texts = tuple(
            (other, text)
            for other, text in pair.texts
            if other != strategy and _follows(own, concepts(text), 0.1, 0.4) and fault(source, text) is None
        )
        if texts and strategy != "bard":
            found.append(Pair(source, texts))
    return found


def close(pair: Pair) -> Pair | None:
    """``pair`` without the rewrites that stray far in wording; None if no other is left.

    A person finds "The backdrop is water" for a pond; a model of 135M parameters that tries the like says what is not.
    """
    own = concepts(pair.caption)
    texts = tuple((strategy, text) for strategy, text in pair.texts if _follows(own, concepts(text), 0.34, 0.5))
    return Pair(pair.caption, texts) if texts else None


def _follows(source: frozenset[str], target: frozenset[str], new: float, lost: float) -> bool:
    """Whether at most the share ``new`` of ``target`` is new, and at most ``lost`` of ``source`` is left out."""
    if not source or not target:
        return False
    return len(target - source) <= new * len(target) and len(source - target) <= lost * len(source)
