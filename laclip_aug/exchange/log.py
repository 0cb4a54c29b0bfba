"""What was read of an input: how much, what was refused and why, and what to do about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

EXAMPLES = 3
"""Places that are named of each reason."""


@dataclass
class InputLog:
    """Rows, refusals by reason with the first few places of each, and how far along the reading is.

    ``place`` is where the record stands that a reader gave last, if it says so; ``audit`` holds sentences about the
    whole input.
    """

    rows: int = 0
    rejections: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    advice: dict[str, str] = field(default_factory=dict)
    place: str = ""
    audit: list[str] = field(default_factory=list)
    bytes_total: int = 0
    bytes_before: int = 0
    position: Callable[[], int] = field(default=lambda: 0)

    def reject(self, reason: str, where: str, advice: str = "") -> None:
        """Count one row or caption as refused for ``reason``; the first ``advice`` given for a reason is kept."""
        self.rejections[reason] += 1
        places = self.examples.setdefault(reason, [])
        if len(places) < EXAMPLES:
            places.append(where)
        if advice:
            self.advice.setdefault(reason, advice)

    def lines(self) -> list[str]:
        """One sentence for each reason: how often, where for example, and what to do."""
        return [
            f"refused, {reason}: {number}, for example {'; '.join(self.examples[reason])}"
            + (f". {self.advice[reason]}" if reason in self.advice else "")
            for reason, number in self.rejections.most_common()
        ]

    @property
    def fraction(self) -> float | None:
        """The part of the input's bytes that was read; ``None`` if unknown."""
        return min(1.0, (self.bytes_before + self.position()) / self.bytes_total) if self.bytes_total else None
