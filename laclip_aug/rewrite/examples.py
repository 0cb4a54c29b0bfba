"""Meta-input-output pairs: a caption and a rewrite of it, shown to the LLM as in-context examples.

Each strategy is a set of pairs in one manner (paper, section 3.2). The four built-in strategies have 16 pairs each,
written for this project. ``load_pairs`` reads a user's own from JSON lines, ``{"caption": ..., "rewrite": ...,
"source": ...}``, or from tab-separated text: caption, rewrite and, if wanted, a source.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from laclip_aug.encoding import decoded
from laclip_aug.errors import InputError, UnknownNameError

STRATEGIES: tuple[str, ...] = ("chatgpt", "bard", "mscoco", "human")
"""The built-in strategies, in the order in which the paper adds them."""

MAX_CHARACTERS = 500
"""The longest caption or rewrite of a pair; longer ones would fill a small model's context."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A meta-input-output pair; ``source`` says how it came about."""

    caption: str
    rewrite: str
    source: str = ""


def builtin_pairs(strategy: str) -> tuple[Pair, ...]:
    """The 16 pairs of a built-in strategy.

    Raises:
        UnknownNameError: there is no such strategy; suggests the nearest.
    """
    if strategy not in STRATEGIES:
        raise UnknownNameError("strategy", strategy, STRATEGIES)
    resource = files("laclip_aug.rewrite") / "data" / f"{strategy}.jsonl"
    return tuple(_from_jsonl(resource.read_text(encoding="utf-8"), f"{strategy}.jsonl"))


def load_pairs(path: str | Path) -> tuple[Pair, ...]:
    """A user's own pairs from a ``.jsonl`` or ``.tsv`` file; a first TSV line ``caption<TAB>rewrite`` is a header.

    Raises:
        InputError: the file cannot be read, or a line is no pair; names the line.
    """
    path = Path(path)
    text = read_text(path)
    rows = _from_jsonl(text, path) if path.suffix.lower() in (".jsonl", ".ndjson") else _from_tsv(text, path)
    pairs = tuple(rows)
    if not pairs:
        raise InputError(f"{path} holds no pair; write one JSON object or one tab-separated pair a line")
    return pairs


def checked_pair(caption: object, rewrite: object, source: object, where: str) -> Pair:
    """A pair fit for a prompt: two single lines of printable text, none of which holds the delimiter ``=>``.

    Raises:
        InputError: it is not; ``where`` (file and line) begins the message.
    """
    for field, text in (("caption", caption), ("rewrite", rewrite)):
        if not isinstance(text, str):
            raise InputError(f"{where}: the {field} is {type(text).__name__}, not text; give both as strings")
        if not text.strip():
            raise InputError(f"{where}: the {field} is empty; fill it in or drop the line")
        if len(text) > MAX_CHARACTERS:
            raise InputError(f"{where}: the {field} has {len(text)} characters; shorten it to {MAX_CHARACTERS}")
        if bad := next((c for c in text.strip() if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")), None):
            raise InputError(f"{where}: the {field} holds U+{ord(bad):04X}; a pair is two lines of printable text")
        if "=>" in text:
            raise InputError(
                f"{where}: the {field} holds '=>', which divides the two in the prompt; write it otherwise"
            )
    if not isinstance(source, str):
        raise InputError(f"{where}: the source is {type(source).__name__}, not text; say how the pair came about")
    return Pair(" ".join(str(caption).split()), " ".join(str(rewrite).split()), source)


def read_text(path: Path, limit: int = 1 << 24) -> str:
    """The UTF-8 text of ``path``, at most ``limit`` bytes.

    Raises:
        InputError: it cannot be read, is larger, or is not UTF-8; names the line of the first bad byte.
    """
    try:
        if (size := path.stat().st_size) > limit:
            raise InputError(
                f"{path} has {size:,} bytes; a file of this kind may have {limit:,}. Is it the right file?"
            )
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}; check the path") from error
    return decoded(str(path), data)


def _from_jsonl(text: str, path: str | Path) -> Iterator[Pair]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f'{where}: no JSON ({error}); write {{"caption": "...", "rewrite": "..."}}') from error
        if not isinstance(row, dict) or not {"caption", "rewrite"} <= row.keys():
            raise InputError(f'{where}: no object with "caption" and "rewrite"; each line needs both')
        yield checked_pair(row["caption"], row["rewrite"], row.get("source", str(path)), where)


def _from_tsv(text: str, path: Path) -> Iterator[Pair]:
    for number, line in enumerate(text.split("\n"), 1):
        cells = line.rstrip("\r").split("\t")
        if not line.strip() or (number == 1 and [c.strip().lower() for c in cells[:2]] == ["caption", "rewrite"]):
            continue
        where = f"{path}, line {number}"
        if len(cells) not in (2, 3):
            raise InputError(f"{where}: {len(cells)} tab-separated columns; write caption<TAB>rewrite[<TAB>source]")
        yield checked_pair(cells[0], cells[1], cells[2] if len(cells) == 3 else str(path), where)
