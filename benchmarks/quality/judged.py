"""The judged rewrites: ``judged.jsonl`` beside this file.

Each line is {"set", "caption", "text", "origin", "strategy", "verdict"}, some with "fault" and "log_likelihood". A text
is true if all that it says holds where the caption holds, if it still names what the caption is mainly about, and if it
can be read; leaving out a detail is allowed. Captions are of COCO, Conceptual Captions and LAION, none of which the
rewriters were trained on then; texts are single draws, whatever the checks say of them. Their "log_likelihood" is at
the temperature that they were drawn at, as the engine told it then.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from laclip_aug.quality.checks import Candidate, reason_against

FILE = Path(__file__).parent / "judged.jsonl"


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
