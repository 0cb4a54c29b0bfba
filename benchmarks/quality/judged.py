"""The judged rewrites: ``judged.jsonl`` and the other files of readings beside this file.

Each line is {"set", "caption", "text", "origin", "strategy", "verdict"}, some with "fault" and "log_likelihood". A text
is true if all that it says holds where the caption holds, if it still names what the caption is mainly about, and if it
can be read; leaving out a detail is allowed. Captions are of COCO, Conceptual Captions and LAION, none of which the
rewriters were trained on then; texts are single draws, whatever the checks say of them. Their "log_likelihood" is at
the temperature that they were drawn at, as the engine told it then.

``drawn.jsonl`` and ``blind.jsonl`` are single draws of the default rewriter at its defaults, that pass the attribute
rules; with "likelihood", its own, read back; in the latter with "writer" ("before" or "tuned" on verdicts), its verdict
"own", and "at_draw", a likelihood at the temperature of the draw, as the engine told it to gates then. Where a text is
false, "fault" says why ("relation": what is said of what, "said": something more, "main": not what the caption is
mainly about, "garbled"). All true ones were read again, more strictly, and have "strict": "ok", "english" (true, but no
sound English), "false" or "garbled". ``sound.jsonl`` has the strict reading alone, of draws at two temperatures, and
"refused" instead, with the reason, where an attribute rule refuses the text. "round" 2 are draws of a rewriter tuned on
those without; 3 of one tuned on both, the second tuning; 4 of one that was tuned on 3 and by hand and never shipped;
5 of the one that ships, for captions to train on, most of LAION's, of which ``sound`` is 0.25 or more.
``../caption_adapter/verdicts.py`` tunes on all four but for round 5, and for the captions that it measures on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from laclip_aug.quality.checks import Candidate, reason_against

FILE = Path(__file__).parent / "judged.jsonl"
SECOND = 3
"""The round of draws of the rewriter of the second tuning: it learned from those before."""
FURTHER = 5
"""The round of draws of the rewriter that ships: one that learned from them as well was no better."""


@dataclass(frozen=True)
class Judged:
    """A rewrite with its verdict."""

    set: str
    caption: str
    text: str
    origin: str
    true: bool
    log_likelihood: float | None

    @cached_property
    def passes_rules(self) -> bool:
        """Whether the checks that need no gate let it pass."""
        return reason_against(Candidate(self.caption, self.text)) is None


def judged() -> list[Judged]:
    """All rows."""
    rows = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]
    return [Judged(r["set"], r["caption"], r["text"], r["origin"], r["verdict"], r.get("log_likelihood")) for r in rows]


def readings() -> list[dict[str, Any]]:
    """All lines of ``blind.jsonl`` and ``sound.jsonl``, those refused by a rule too."""
    return [
        json.loads(line)
        for name in ("blind", "sound")
        for line in (FILE.parent / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    ]


def true(row: Mapping[str, Any]) -> bool:
    """Whether a reader found that a text says nothing false: the later, strict reading where it had one."""
    return row["strict"] in ("ok", "english") if "strict" in row else bool(row.get("verdict", False))


def sound(row: Mapping[str, Any]) -> bool:
    """Whether it is true and in sound English.

    What a first reading found true was read strictly later, but for texts of the model as it came.
    """
    return bool(row["strict"] == "ok" if "strict" in row else row.get("verdict", False))
