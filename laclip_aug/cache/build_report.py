"""What one run over an input did, for whoever started it: captions made and refused, and what the cache now holds."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from laclip_aug.augmenter import Outcome
from laclip_aug.cache.format import Counts
from laclip_aug.exchange.log import InputLog

_EXAMPLES = 3


@dataclass
class BuildReport:
    """What one run did (``made``, ``run``), and what the cache now holds (``cache``).

    ``repeated`` counts input captions that were in the cache already, from an earlier run or further up in the input;
    ``folded`` those that got the rewrites of a near-duplicate; ``elsewhere`` rows of other parts of a divided build;
    ``failed`` counts by reason the captions of which nothing was stored, since they were not at fault; the next run
    asks for them again. ``recovered`` and ``dropped_bytes`` tell what the journal of a killed run held,
    ``damage`` what was wrong with it, ``left_out`` which records in it no shard can hold.
    """

    made: int = 0
    repeated: int = 0
    folded: int = 0
    elsewhere: int = 0
    seconds: float = 0.0
    recovered: int = 0
    dropped_bytes: int = 0
    damage: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    failed: Counter[str] = field(default_factory=Counter)
    failed_examples: dict[str, list[str]] = field(default_factory=dict)
    run: Counts = field(default_factory=Counts)
    cache: Counts = field(default_factory=Counts)
    input: InputLog = field(default_factory=InputLog)

    def fail(self, outcome: Outcome) -> None:
        """Count an outcome that is no result, and name the first few captions of each reason."""
        self.failed[outcome.failed] += 1
        examples = self.failed_examples.setdefault(outcome.failed, [])
        if len(examples) < _EXAMPLES:
            examples.append(repr(outcome.caption[:60]))

    def lines(self) -> list[str]:
        """The report for people, one statement a line."""
        run = self.run
        out = [*(f"{sentence}; they are made again" for sentence in self.damage), *self.left_out]
        if self.recovered or self.dropped_bytes:
            out.append(
                f"recovered from a killed run: {self.recovered} captions; torn end: {self.dropped_bytes} bytes dropped"
            )
        for reason, number in self.failed.most_common():
            out.append(
                f"failed, {reason}: {number} captions, for example {'; '.join(self.failed_examples[reason])}; nothing "
                "is stored of them: run the same command again to ask for them again"
            )
        rate = self.made / max(self.seconds, 1e-9)
        folded = f"{self.folded} folded onto a near-duplicate, " if self.folded else ""
        out.append(
            f"read {self.input.rows} rows: {self.made} captions made, {folded}{self.repeated} repeated or made before, "
            f"{sum(self.input.rejections.values())} refused"
        )
        if self.elsewhere:
            out.append(f"  {self.elsewhere} rows are of other shards")
        out += [f"  {line}" for line in (*self.input.lines(), *self.input.audit)]
        tried = f", {run.acceptance:.1%} of attempts accepted" if run.tried else ""
        out.append(
            f"this run: {self.seconds:.1f} s, {rate:.1f} captions/s, "
            f"{run.tokens / max(self.seconds, 1e-9):.0f} tokens/s{tried}"
        )
        return [*out, *self.cache.lines()]
