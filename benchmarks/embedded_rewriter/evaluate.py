"""Measure the embedded rewriter on captions of images that never trained, beside EDA, identity and other people.

Each held-out image has five captions: one is the source, one is the human's rewrite, three are the documents that are
searched. Fidelity is retrieval: whether a rewrite finds the other captions of its own image among those of 1,000.
Prints a table and writes it with the figures as JSON; the held-out captions come from ``prepare``.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks.embedded_rewriter import metrics
from laclip_aug.augmenter import CaptionAugmenter, create_augmenter
from laclip_aug.seeding import generator

Groups = list[list[str]]


def roles(images: Sequence[Sequence[str]], most: int = 1000) -> tuple[list[str], list[str], Groups]:
    """Sources, one other human caption each, and three documents each, drawn by a hash of the image's captions."""
    sources, humans, documents = [], [], []
    for captions in images[:most]:
        order = generator("roles", captions[0]).sample(list(captions), len(captions))
        sources.append(order[0])
        humans.append(order[1])
        documents.append(order[2:])
    return sources, humans, documents


def rewrites(
    augmenter: CaptionAugmenter, captions: Sequence[str], n: int, seed: int = 0
) -> tuple[Groups, dict[str, Any]]:
    """Accepted texts of each caption, and what it took: rejections by reason, seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    unique = list(dict.fromkeys(captions))
    outcomes = {}
    with tqdm(total=len(unique), unit=" captions", desc=augmenter.name) as bar:
        for outcome in augmenter.outcomes(unique, n, seed):
            outcomes[outcome.caption] = outcome
            bar.update()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    reasons = Counter(r.reason for o in outcomes.values() for r in o.rejections)
    groups = [[r.text for r in outcomes[c].rewrites] for c in captions]
    accepted = sum(len(o.rewrites) for o in outcomes.values())
    cost = {
        "acceptance": accepted / (n * len(unique)),
        "rejections": dict(reasons.most_common()),
        "captions_per_second": len(unique) / wall,
        "captions_per_cpu_second": len(unique) / cpu,
    }
    return groups, cost


def figures(sources: Sequence[str], groups: Groups, documents: Groups, fluency: metrics.Trigrams) -> dict[str, float]:
    """All figures of one method; fidelity is over every accepted text."""
    pairs = [(source, text) for source, texts in zip(sources, groups, strict=True) for text in texts]
    hits, count = 0.0, 0
    for place in range(max(map(len, groups), default=0)):
        rows = [i for i, texts in enumerate(groups) if len(texts) > place]
        own = [groups[i][place] for i in rows]
        hits += metrics.recall_of(own, rows, documents) * len(rows)
        count += len(rows)
    return {
        "fidelity": hits / max(count, 1),
        "novelty": sum(metrics.novelty(a, b) for a, b in pairs) / max(len(pairs), 1),
        **metrics.shares(pairs),
        "distinct": metrics.distinct(groups),
        "spread": metrics.spread(groups),
        "perplexity": fluency.perplexity(text for _, text in pairs),
        "words": sum(len(text.split()) for _, text in pairs) / max(len(pairs), 1),
    }


def human_set(
    images: Sequence[Sequence[str]], augmenter: CaptionAugmenter, rival: CaptionAugmenter | None, most: int
) -> dict[str, Any]:
    """The methods side by side: captions of the first ``most`` images search among those of 1,000."""
    sources, humans, documents = roles(images)
    sources, humans = sources[:most], humans[:most]
    fluency = metrics.Trigrams(text for texts in documents for text in texts)
    groups, cost = rewrites(augmenter, sources, 4)
    answer: dict[str, Any] = {
        "rewriter": figures(sources, groups, documents, fluency) | cost,
        "human": figures(sources, [[h] for h in humans], documents, fluency),
        "identity": figures(sources, [[s] for s in sources], documents, fluency),
    }
    if rival is not None:
        groups_of_rival, rival_cost = rewrites(rival, sources, 4)
        answer["eda"] = figures(sources, groups_of_rival, documents, fluency) | rival_cost
    answer["sample"] = [[s, *texts] for s, texts in list(zip(sources, groups, strict=True))[:15]]
    return answer


def evaluate(held: Path, augmenter: CaptionAugmenter, with_eda: bool = True, most: int = 1000) -> dict[str, Any]:
    """Figures on held-out COCO and Multi30k images and on CC3M's alt-texts; ``held`` is ``held_out.json``."""
    captions = json.loads(held.read_text())
    rival = create_augmenter("eda") if with_eda else None
    report = {name: human_set(captions[name], augmenter, rival, most) for name in ("coco", "multi30k")}
    alt_texts = captions["cc3m"][:most]
    groups, cost = rewrites(augmenter, alt_texts, 4)
    pairs = [(source, text) for source, texts in zip(alt_texts, groups, strict=True) for text in texts]
    report["cc3m"] = (
        cost
        | metrics.shares(pairs)
        | {
            "novelty": sum(metrics.novelty(a, b) for a, b in pairs) / max(len(pairs), 1),
            "distinct": metrics.distinct(groups),
            "sample": [[s, *texts] for s, texts in list(zip(alt_texts, groups, strict=True))[:40]],
        }
    )
    return report


def table(report: dict[str, Any]) -> str:
    """The figures as Markdown."""
    columns = [
        "fidelity",
        "novelty",
        "identical",
        "changed",
        "lost",
        "names_kept",
        "distinct",
        "spread",
        "perplexity",
        "words",
        "acceptance",
    ]
    lines = ["| set | method | " + " | ".join(columns) + " |", "|---" * (len(columns) + 2) + "|"]
    for name in ("coco", "multi30k"):
        for method in ("rewriter", "eda", "human", "identity"):
            if row := report[name].get(method):
                cells = [f"{row[c]:.3f}" if c in row else "" for c in columns]
                lines.append(f"| {name} | {method} | " + " | ".join(cells) + " |")
    row = report["cc3m"]
    lines.append("| cc3m | rewriter | " + " | ".join(f"{row[c]:.3f}" if c in row else "" for c in columns) + " |")
    return "\n".join(lines)
