"""What several caches were built from, as one account."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from laclip_aug.cache.format import Manifest
from laclip_aug.exchange.log import EXAMPLES, InputLog

_OF_A_PART = ("empty", "too-long", "nul", "not-unicode")
"""Reasons of a refused caption that each part of a divided build counts for its own captions only."""
Inputs = dict[str, dict[str, Any]]


def take_inputs(target: Manifest, sources: Iterable[Manifest]) -> None:
    """Let ``target`` tell what the merged ``sources`` read, besides what it tells already.

    A source that was taken before, and has grown since, counts as it is now.
    """
    before = list(joined(target.merged.inputs.values()).values())
    own = {name: entry for name, entry in target.inputs.items() if entry not in before}
    for source in sources:
        target.merged.inputs[source.shards[0].sha256] = source.inputs
    target.inputs = joined([own, *target.merged.inputs.values()])


def joined(accounts: Iterable[Inputs]) -> Inputs:
    """What was read. The parts of a divided build read the same rows, and each counts what is wrong with its own."""
    found: Inputs = {}
    for account in accounts:
        for name, entry in account.items():
            before = found.get(name)
            if before is None or not ("shard" in before and "shard" in entry):
                found[name if before is None else f"{name} ({len(found) + 1})"] = dict(entry)
                continue
            before["rows"] = max(before["rows"], entry["rows"])
            before["shard"] = f"{before['shard']}, {entry['shard']}"
            for group in ("rejections", "failed"):
                mine = dict(before.get(group, {}))
                for reason, number in entry.get(group, {}).items():
                    one = mine.get(reason, 0)
                    mine[reason] = one + number if group == "failed" or reason in _OF_A_PART else max(one, number)
                if mine or group == "rejections":
                    before[group] = mine
    return found


def take_log(log: InputLog, part: InputLog) -> None:
    """Let ``log`` tell too what was read for another part of a divided build."""
    log.rows = max(log.rows, part.rows)
    log.audit = log.audit or part.audit
    for reason, number in part.rejections.items():
        if reason in _OF_A_PART:
            log.rejections[reason] += number
            log.examples[reason] = [*log.examples.get(reason, []), *part.examples[reason]][:EXAMPLES]
        elif number > log.rejections[reason]:
            log.rejections[reason], log.examples[reason] = number, part.examples[reason]
    log.advice = part.advice | log.advice
