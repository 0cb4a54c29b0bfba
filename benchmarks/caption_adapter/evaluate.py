"""What the tuned model does with captions that it was not trained on.

Fidelity: a rewrite, as a query, must find its own image among all held-out ones, each a document of three captions
that the rewriter never saw (TF-IDF, recall at 1). Beside it a person's other caption of the image, and the caption
itself. Alt-texts have no second caption: there a rewrite must find its own source among all. The sets have two
slices: ``test`` for figures and ``settings`` for choosing how to draw.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks.caption_adapter import metrics, sources
from laclip_aug.generation.backend import Backend, Completion, Job, Sampling
from laclip_aug.generation.opening import open_backend
from laclip_aug.rewrite.embedded import layout
from laclip_aug.rewrite.rewriter import LLMAugmenter

TEST, SETTINGS = 500, 300


@dataclass(frozen=True)
class Set:
    """``documents[i]`` is what a rewrite of ``captions[i]`` must find; more may follow. ``humans`` may be empty."""

    captions: list[str]
    humans: list[str]
    documents: list[list[str]]


def _shuffled(texts: Iterable[Any], key: Any = str) -> list[Any]:
    return sorted(texts, key=lambda text: hashlib.blake2b(key(text).encode("utf-8", "surrogatepass")).digest())


def sets(folder: Path, part: str) -> dict[str, Set]:
    """The held-out sets; ``part`` is ``"test"`` or ``"settings"``."""
    here = slice(0, TEST) if part == "test" else slice(TEST, TEST + SETTINGS)
    found = {}
    for name, images in (("coco", sources.coco(folder, held=True)), ("multi30k", sources.multi30k(folder))):
        ordered = [random.Random(own[0]).sample(own, len(own)) for own in _shuffled(images, key=lambda own: own[0])]
        chosen = ordered[here]
        rest = ordered[: here.start] + ordered[here.stop :]
        found[name] = Set([o[0] for o in chosen], [o[1] for o in chosen], [o[2:] for o in chosen + rest])
    for name, texts in (("cc3m", sources.cc3m(folder, held=True)), ("laion", sources.laion(folder, held=True))):
        chosen = _shuffled(set(texts))[here]
        found[name] = Set(chosen, [], [[text] for text in chosen])
    return found


class Counted:
    """A backend that counts its completions."""

    def __init__(self, inner: Backend) -> None:
        self.inner, self.sampling, self.completions, self.tokens = inner, getattr(inner, "sampling", None), 0, 0

    def complete(self, jobs: Iterable[Job]) -> Iterator[Completion]:
        for completion in self.inner.complete(jobs):
            self.completions += 1
            self.tokens += completion.tokens
            yield completion

    def describe(self) -> dict[str, Any]:
        return self.inner.describe()

    def provenance(self) -> dict[str, Any]:
        return self.inner.provenance()

    def close(self) -> None:
        self.inner.close()


def open_model(path: Path, temperature: float, top_p: float, n_slots: int = 32) -> Counted:
    """A merged model in the engine, one thread."""
    engine = {"n_slots": n_slots, "n_ctx": 320, "n_threads": 1, "reproducible": False}
    return Counted(open_backend("llama.cpp", str(path), Sampling(temperature, top_p, 64), engine))


def rewrites(
    backend: Counted, captions: Sequence[str], options: Mapping[str, Any]
) -> tuple[list[list[tuple[str, str]]], dict[str, Any]]:
    """Accepted (strategy, text) of each caption, and what it took."""
    augmenter = LLMAugmenter.from_options(backend=backend, prompt=layout(), **options)
    made, tokens = backend.completions, backend.tokens
    outcomes = {}
    with tqdm(total=len(set(captions)), unit=" captions") as bar:
        for outcome in augmenter.outcomes(dict.fromkeys(captions), 4, 0):
            outcomes[outcome.caption] = outcome
            bar.update()
    made, tokens = backend.completions - made, backend.tokens - tokens
    accepted = sum(len(o.rewrites) for o in outcomes.values())
    cost = {
        "accepted_of_completions": accepted / max(made, 1),
        "filled": accepted / (4 * len(outcomes)),
        "rejections": dict(Counter(r.reason for o in outcomes.values() for r in o.rejections).most_common()),
        "tokens_per_completion": tokens / max(made, 1),
    }
    return [[(r.source, r.text) for r in outcomes[c].rewrites] for c in captions], cost


def figures(own: Set, groups: Sequence[Sequence[str]]) -> dict[str, float]:
    """Of all texts of all captions together."""
    queries = [(i, text) for i, texts in enumerate(groups) for text in texts]
    pairs = [(own.captions[i], text) for i, text in queries]
    n = max(len(pairs), 1)
    return {
        "fidelity": metrics.recall_of([t for _, t in queries], [i for i, _ in queries], own.documents),
        "novelty": sum(metrics.novelty(a, b) for a, b in pairs) / n,
        **metrics.shares(pairs),
        "distinct": metrics.distinct(groups),
        "words": sum(len(text.split()) for _, text in pairs) / n,
    }


def evaluate(
    backend: Counted, folder: Path, options: Mapping[str, Any], part: str = "test", most: int = TEST
) -> dict[str, Any]:
    """Figures of every set, and every rewrite."""
    report: dict[str, Any] = {}
    for name, own in sets(folder, part).items():
        own = Set(own.captions[:most], own.humans[:most], own.documents)
        groups, cost = rewrites(backend, own.captions, options)
        plain = [[text for _, text in texts] for texts in groups]
        report[name] = {"rewriter": figures(own, plain) | cost, "caption": figures(own, [[c] for c in own.captions])}
        if own.humans:
            report[name]["person"] = figures(own, [[h] for h in own.humans])
        report[name]["texts"] = [{"caption": c} | dict(texts) for c, texts in zip(own.captions, groups, strict=True)]
    return report
