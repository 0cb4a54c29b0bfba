"""The texts that ``verdicts.py`` tunes on: judged, mended, made false, rewritten by hand, and own draws."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.caption_adapter import own_draws
from benchmarks.caption_adapter.corrupted import Words, corrupt
from benchmarks.quality.judged import FURTHER, SECOND, readings, sound
from laclip_aug.quality.checks import Candidate, reason_against
from laclip_aug.rewrite.embedded import WORDS

HERE = Path(__file__).parent
LATE, EARLIER, REPAIRED, BY_HAND, FALSE, DONORS = 2500, 2500, 800, 1200, 8000, 3000
"""How many of each are drawn; ``DONORS`` are the sound texts that lend their nouns."""
SEED = 21
Row = dict[str, Any]


def verdicts(words: Words, own: Sequence[Row] = (), everything: bool = False) -> tuple[list[Row], list[Row]]:
    """Texts to train on and to measure on; no caption is in both, unless ``everything`` is trained on.

    Those to train on have their weights in "writing" and "judging". They are some readings of rounds 3 and 4 and some
    of those before; some unsound texts as a writer mended them; some rewrites by hand; sound texts of all these made
    false; and what is to be learnt of ``own`` draws (``own_draws.py``). What the rewriter wrote before its first tuning
    is left out, as it does not write like that any more, and so is round 5, of which nothing better came. Those to
    measure on are readings of any round.
    """
    rng = random.Random(SEED)
    read = [row for row in readings() if row.get("writer") != "before" and "refused" not in row]
    read = [row for row in read if row.get("round", 1) < FURTHER and _passes(row)]
    shown = [row for row in read if measured(row["caption"])]
    repaired = [row | {"strict": "ok"} for row in _lines("repaired") if row.get("round", 1) < FURTHER]
    read, repaired, hand = (
        [row for row in rows if everything or not measured(row["caption"])] for rows in (read, repaired, by_hand())
    )
    late = [row for row in read if row.get("round", 1) >= SECOND]
    early = [row for row in read if row.get("round", 1) < SECOND]
    judged = rng.sample(late, LATE) + rng.sample(early, EARLIER) + rng.sample(repaired, REPAIRED)
    hand = rng.sample(hand, BY_HAND)
    made = list(islice(false_texts([row for row in read + repaired if sound(row)] + hand, words, rng), FALSE))
    some = [row | {"writing": 1.0, "judging": 1.0} for row in judged]
    some += [row | {"writing": 0.5, "judging": 1.0} for row in hand]
    some += [row | {"writing": 0.0, "judging": 0.6} for row in made]
    return some + own_draws.rows([row for row in own if everything or not measured(row["caption"])], rng), shown


def measured(caption: str) -> bool:
    """Whether a caption is of the quarter that is only measured on."""
    return int(hashlib.blake2b(caption.encode(), digest_size=8).hexdigest(), 16) % 4 == 0


def by_hand() -> list[Row]:
    """The rewrites of ``bold.jsonl``, which move far from their captions, and of ``pairs.jsonl``, as sound texts."""
    rows = [
        {"set": "hand", "caption": pair["caption"], "text": pair[strategy], "strategy": strategy, "strict": "ok"}
        for name in ("bold", "pairs")
        for pair in _lines(name)
        for strategy in WORDS
        if pair.get(strategy)
    ]
    return [row for row in rows if _passes(row)]


def false_texts(rows: Sequence[Row], words: Words, rng: random.Random) -> Iterator[Row]:
    """Sound rows in random order, each made false in one way, its "kind"; those that the rules refuse are left out."""
    lenders = rng.sample(rows, min(DONORS, len(rows)))
    donors = [word.lower().strip(".,") for row in lenders for word in row["text"].split() if words.is_noun(word)]
    for row in rng.sample(rows, len(rows)):
        made = corrupt(row["caption"], row["text"], rng, words, donors)
        if made is not None:
            false = {"set": row["set"], "caption": row["caption"], "strategy": row["strategy"], "strict": "false"}
            false |= {"kind": made[0], "text": made[1]}
            if _passes(false):
                yield false


def _passes(row: Row) -> bool:
    return reason_against(Candidate(row["caption"], row["text"])) is None


def _lines(name: str) -> Iterator[Row]:
    return map(json.loads, (HERE / f"{name}.jsonl").read_text(encoding="utf-8").splitlines())
