"""What a cache holds and how good it is, as numbers of JSON types; :mod:`laclip_aug.cache.page` makes a page of them.

Totals are exact. All else is measured on a random sample of the captions, with all their texts.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from laclip_aug.augmenter import Outcome
from laclip_aug.cache.browse import sample, snapshot
from laclip_aug.cache.config import Config, as_json
from laclip_aug.cache.folding import leader_of
from laclip_aug.cache.sampled import Text, accepted_texts, examples_of, refused_texts, samples_of, shown
from laclip_aug.exchange.addresses import local_directory
from laclip_aug.quality.cliptokens import clip_token_count
from laclip_aug.quality.context import CLIP, recorded
from laclip_aug.quality.gate import Gate, measured
from laclip_aug.quality.signals import Signal, create_signal, meaning_of, split_reference
from laclip_aug.quality.stems import FUNCTION_WORDS, stem, stems_of, words_of

SAMPLE = 5000
ALWAYS = ("words", "novelty", "kept", "tfidf", "truth")
"""Signals that are cheap, and measured whether the gate has them or not."""
TOLD = {"likelihood": {"likelihood"}, "verdict": {"verdict"}, "sound": {"likelihood", "verdict"}}
"""Signals of what its writer told of a text → what is to be known of accepted texts for them to be measured."""
_BINS, _WIDTH = 40, 4
_GRID = 30
_WORDS = 20


def report_of(directory: str | Path, spec: str | None = None, count: int = SAMPLE, seed: int = 0) -> dict[str, Any]:
    """The report of the cache in ``directory``, whose build need not have finished.

    Args:
        spec: the gate whose lines are drawn; by default the one that the cache was made with.
        count: captions of the sample.
        seed: of the sample.

    Raises:
        CacheFormatError, CacheCorruptError: the cache cannot be read.
        ConfigurationError: the gate is wrong, or ``count`` is below 1.
        MissingExtraError: a signal of the gate needs an optional dependency.
    """
    directory = local_directory(directory)
    now = snapshot(directory)
    gate = Gate(gate_spec(now.manifest.configs) if spec is None else spec)
    chosen = sample(directory, count, seed)
    accepted = accepted_texts(chosen)
    refused = refused_texts(chosen, {condition.name for condition in gate.conditions})
    signals, left_out = _signals(gate, accepted)
    rejections = _rejections(chosen)
    examples = examples_of(chosen, rejections)
    for reference, signal in signals.items():
        together = [*accepted, *refused, *(text for own in examples.values() for text in own)]
        for text, value in zip(together, measured(signal, [text.pair for text in together]), strict=True):
            text.values[reference] = value
    return {
        "report": 1,
        "cache": {
            "configs": [as_json(asdict(config)) for config in now.manifest.configs],
            "unfinished": now.manifest.unfinished,
            "journal": now.journal.size,
        },
        "counts": {**asdict(now.counts), "acceptance": now.counts.acceptance},
        "sample": {
            "captions": len(chosen),
            "of": now.counts.captions,
            "seed": seed,
            "texts": len(accepted),
            "folded": sum(leader_of(record) is not None for record in chosen),
        },
        "gate": str(gate) or "none",
        "left_out": left_out,
        "lengths": _lengths([record.caption for record in chosen], accepted, now.manifest.configs),
        "signals": {name: _distribution(name, gate, accepted, refused) for name in signals},
        "plane": _plane(accepted),
        "sources": _sources(accepted),
        "rejections": rejections,
        "words": _words(accepted),
        "samples": samples_of(accepted, seed),
        "refused": {reason: [shown(text) for text in own] for reason, own in examples.items()},
    }


def gate_spec(configs: Iterable[Config]) -> str:
    """The gate that texts of the first of ``configs`` went through last; ``none`` if that is not recorded."""
    for config in configs:
        for name in ("filter", "gate"):
            noted = config.describe.get(name)
            spec = noted.get("spec") if isinstance(noted, dict) else noted
            if spec:
                return str(spec)
        break
    return "none"


def _signals(gate: Gate, accepted: Sequence[Text]) -> tuple[dict[str, Signal], dict[str, str]]:
    told = [text.told._asdict() for text in accepted if text.told is not None]
    known = {name for one in told for name, value in one.items() if value is not None}
    names = [*ALWAYS, *(name for name, needed in TOLD.items() if needed <= known)]
    signals = {reference: create_signal(reference) for reference in names} | gate.signals
    left_out = {name: f"needs {signal.needs}" for name, signal in signals.items() if signal.needs}
    return {name: signal for name, signal in signals.items() if name not in left_out}, left_out


def _lengths(captions: Sequence[str], accepted: Sequence[Text], configs: Sequence[Config]) -> dict[str, Any]:
    """CLIP tokens, start and end included, against the longest of CLIP's contexts that the texts were held to.

    The last bin holds all that is longer.
    """
    noted = [held for config in configs if (held := recorded(config.describe)) and held.tokenizer == CLIP.tokenizer]
    context = max((held.tokens for held in noted), default=CLIP.tokens)
    edges = list(range(0, context + 1 + _WIDTH, _WIDTH))
    groups: dict[str, list[int]] = {"captions": [clip_token_count(caption) for caption in captions]}
    by_source: dict[str, list[int]] = defaultdict(list)
    for text in accepted:
        by_source[text.source].append(clip_token_count(text.text))
    return {
        "edges": edges,
        "context": context,
        "captions": _length(groups["captions"], edges, context),
        "texts": {source: _length(lengths, edges, context) for source, lengths in sorted(by_source.items())},
    }


def _length(lengths: Sequence[int], edges: Sequence[int], context: int) -> dict[str, Any]:
    counts = np.histogram(np.minimum(lengths, edges[-1] - 1), edges)[0] if lengths else np.zeros(len(edges) - 1)
    return {
        "counts": [int(number) for number in counts],
        "median": round(float(np.median(lengths))) if lengths else None,
        "over": sum(length > context for length in lengths) / max(1, len(lengths)),
    }


def _distribution(name: str, gate: Gate, accepted: Sequence[Text], refused: Sequence[Text]) -> dict[str, Any]:
    kept, gone = _known(name, accepted), _known(name, refused)
    bounds = [condition for condition in gate.conditions if condition.reference == name]
    together = [*kept, *gone]
    low, high = (min(together), max(together)) if together else (0.0, 1.0)
    edges = np.linspace(low, high if high > low else low + 1, _BINS + 1)
    return {
        "meaning": meaning_of(split_reference(name)[0]),
        "bounds": [{"at_least": bound.at_least, "bound": bound.bound} for bound in bounds],
        "edges": _rounded(edges),
        "accepted": np.histogram(kept, edges)[0].tolist(),
        "refused": np.histogram(gone, edges)[0].tolist(),
        "unknown": len(accepted) - len(kept),
        "quantiles": dict(zip(("5%", "25%", "50%", "75%", "95%"), _quantiles(kept), strict=False)),
        "held": [sum(map(bound.holds, kept)) / len(kept) for bound in bounds] if kept else [],
    }


def _known(name: str, texts: Iterable[Text]) -> list[float]:
    return [text.values[name] for text in texts if not math.isnan(text.values[name])]


def _quantiles(values: Sequence[float]) -> list[float]:
    return _rounded(np.quantile(values, [0.05, 0.25, 0.5, 0.75, 0.95])) if values else []


def _plane(accepted: Sequence[Text]) -> dict[str, Any]:
    """How many texts have which novelty (first axis) and which faithfulness, ``words`` (second)."""
    novelty = np.linspace(0, 1, _GRID + 1)
    words = np.linspace(-1, 1, _GRID + 1)
    found = np.array([(text.values["novelty"], max(-1.0, text.values["words"])) for text in accepted]).reshape(-1, 2)
    counts = np.histogram2d(found[:, 0], found[:, 1], (novelty, words))[0]
    return {"novelty": _rounded(novelty), "words": _rounded(words), "counts": counts.astype(int).tolist()}


def _sources(accepted: Sequence[Text]) -> dict[str, dict[str, float]]:
    """Texts and medians of each source."""
    by_source: dict[str, list[Text]] = defaultdict(list)
    for text in accepted:
        by_source[text.source].append(text)
    return {
        source: {"texts": len(own), **{name: round(float(np.median(_known(name, own))), 3) for name in ALWAYS}}
        for source, own in sorted(by_source.items())
    }


def _rejections(records: Sequence[Outcome]) -> dict[str, dict[str, int]]:
    """Reason → source → refused attempts; those of captions as such are of the source ``input``."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for record in records:
        for rejection in record.rejections:
            found[rejection.reason][rejection.source] += 1
    return {
        reason: dict(found[reason]) for reason in sorted(found, key=lambda reason: (-found[reason].total(), reason))
    }


def _words(accepted: Sequence[Text]) -> dict[str, list[list[Any]]]:
    """The content words that most texts have and their captions lack, and the other way round, with the numbers."""
    gained: Counter[str] = Counter()
    lost: Counter[str] = Counter()
    for text in accepted:
        gained.update(_new_words(text.text, text.caption))
        lost.update(_new_words(text.caption, text.text))
    return {
        name: [
            [word[:30], number] for word, number in sorted(found.items(), key=lambda item: (-item[1], item[0]))[:_WORDS]
        ]
        for name, found in (("gained", gained), ("lost", lost))
    }


def _new_words(text: str, other: str) -> set[str]:
    known = set(stems_of(other))
    found = (word for word in words_of(text) if word not in FUNCTION_WORDS and stem(word) not in known)
    return {word for word in found if len(word) > 1 or not word.isascii() or word.isdecimal()}  # no "s" of "man's"


def _rounded(values: Any) -> list[float]:
    return [round(float(value), 4) for value in values]
