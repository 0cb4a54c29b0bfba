"""The augmenter registered as ``"back-translation"``: captions through pivot languages and back."""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from laclip_aug.augmenter import CaptionAugmenter, Outcome, Rejection, Rewrite, texts_of
from laclip_aug.backtranslation.choice import ranked
from laclip_aug.backtranslation.ctranslate import Decoding
from laclip_aug.backtranslation.pivots import Pivot, load_pivots
from laclip_aug.errors import ConfigurationError
from laclip_aug.quality.checks import TEXT_REASONS, Candidate, folded, reason_against
from laclip_aug.quality.cleaning import as_clip_reads
from laclip_aug.quality.content import share_kept
from laclip_aug.quality.context import CLIP, context_for

_VERSION = 1  # of the procedure below; part of the fingerprint
_CHUNK = 2048  # captions translated in one go: enough of each length for full batches, few enough to show progress

REASONS: dict[str, str] = {
    "source-empty": "the caption itself has no letter or digit, so nothing was translated",
    "untranslated": "the translator gave nothing back",
    **TEXT_REASONS,
    "unrelated": "too few of the caption's content words came back",
}
"""Every reason for a rejection, with its meaning."""


@dataclass
class _Trip:
    """A caption on its way through one pivot, and what has come of it. ``others`` are its texts from other pivots."""

    caption: str
    others: Sequence[str]
    texts: list[str] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)
    tried: set[str] = field(default_factory=set)  # pivot texts that have been translated back
    tokens: int = 0


class BackTranslationAugmenter(CaptionAugmenter):
    """Back-translation through one or more pivot languages.

    Text ``j`` comes from pivot ``j % len(pivots)``. A pivot that is asked for several texts of a caption searches for
    as many pivot sentences, or for ``n_best`` if that is more, and translates as many back as are wanted: the
    likeliest at ``temperature`` 0, else a draw among them by a key of (seed, caption), so that the texts depend on
    nothing else. Round trips that are rejected (unchanged, a colour lost, ...) are made good from further pivot
    sentences, ``retries`` times, with twice as many to choose from each time.

    Args:
        pivots: pivot languages and their models, see :mod:`laclip_aug.backtranslation.pivots`; ``Pivot`` objects for
            translators of one's own. The default is the embedded English-German model.
        n_best: pivot sentences to choose from.
        temperature: of the draw among them; 0 takes the best.
        retries: how often rejected round trips are tried again.
        min_kept: share of the caption's content words that must come back, see
            :mod:`laclip_aug.quality.content`; 0 asks for none.
        beam_size: beams of the search, 1 for greedy; raised to the number of sentences asked for.
        max_tokens: longer captions are cut before a word, in the model's pieces.
        batch_tokens: tokens in a batch.
        threads: processor threads of the engine.
        device: ``cpu``, ``cuda`` or ``auto``.
        compute_type: CTranslate2's, such as ``int8``; ``default`` keeps what the model was converted to.
        english: the code of English in multilingual models.
        for_model: the model that is to read the texts to their end (:func:`~laclip_aug.quality.context.context_for`);
            by default CLIP with its 77 tokens.

    Raises:
        MissingExtraError: ctranslate2 or sentencepiece is not installed.
        ConfigurationError: an option is out of its range, or a pivot cannot be read.
        ModelError: a model is missing or damaged.
    """

    name = "back-translation"

    def __init__(
        self,
        pivots: str | Sequence[str | Pivot] = ("de",),
        n_best: int = 1,
        temperature: float = 0.0,
        retries: int = 1,
        min_kept: float = 0.25,
        beam_size: int = 1,
        max_tokens: int = 128,
        batch_tokens: int = 4096,
        threads: int = 1,
        device: str = "cpu",
        compute_type: str = "default",
        english: str = "eng_Latn",
        for_model: str | None = None,
    ) -> None:
        if n_best < 1 or retries < 0:
            raise ConfigurationError(f"n_best is {n_best} and retries {retries}; give at least 1 and at least 0")
        if not 0 <= temperature < float("inf"):
            raise ConfigurationError(
                f"temperature is {temperature}; give 0 for the best sentences, or a positive number"
            )
        if temperature and n_best == 1:
            raise ConfigurationError("a temperature needs sentences to draw from; give n_best 2 or more")
        if not 0 <= min_kept <= 1:
            raise ConfigurationError(f"min_kept is {min_kept}; give a share of the content words between 0 and 1")
        decoding = Decoding(beam_size, max_tokens, batch_tokens, device, compute_type, threads)
        self.pivots = load_pivots(pivots, english, decoding)
        self.sources = tuple(f"bt-{pivot.name}" for pivot in self.pivots)
        self.n_best, self.temperature, self.retries = n_best, float(temperature), retries
        self.min_kept = float(min_kept)
        self.context = context_for(for_model)

    def augment(self, captions: Sequence[str], n: int, seed: int) -> list[list[str]]:
        """``n`` texts for each caption; see :meth:`CaptionAugmenter.augment`."""
        return texts_of(self.outcomes(dict.fromkeys(captions), n, seed), captions, n, self.sources)

    def outcomes(self, captions: Iterable[str], n: int, seed: int) -> Iterator[Outcome]:
        """One outcome per caption, in order; see :data:`REASONS` for the names of the rejections."""
        source = iter(captions)
        while chunk := list(islice(source, _CHUNK)):
            made = {outcome.caption: outcome for outcome in self._round_trips(list(dict.fromkeys(chunk)), n, seed)}
            yield from (made[caption] for caption in chunk)

    def _round_trips(self, captions: list[str], n: int, seed: int) -> list[Outcome]:
        rewrites: list[list[Rewrite]] = [[] for _ in captions]
        rejections: list[list[Rejection]] = [[] for _ in captions]
        tokens = [0] * len(captions)
        read = [as_clip_reads(caption) for caption in captions]  # &amp; is no word to translate
        empty = [not folded(text) for text in read]
        for place, pivot in enumerate(self.pivots):
            wanted = len(range(place, n, len(self.pivots)))
            others = [[rewrite.text for rewrite in made] for made in rewrites]
            trips = [_Trip(text, other) for text, other in zip(read, others, strict=True)]
            for attempt in range(self.retries + 1):
                needy = [t for t, nothing in zip(trips, empty, strict=True) if not nothing and len(t.texts) < wanted]
                self._attempt(pivot, needy, wanted, attempt, seed)
            for i, trip in enumerate(trips):
                rewrites[i] += [Rewrite(self.sources[place], text) for text in trip.texts]
                rejections[i] += trip.rejections
                tokens[i] += trip.tokens
                if empty[i] and wanted:
                    rejections[i].append(Rejection(self.sources[place], "source-empty"))
        return [
            Outcome(caption, tuple(made), tuple(refused), count)
            for caption, made, refused, count in zip(captions, rewrites, rejections, tokens, strict=True)
        ]

    def _attempt(self, pivot: Pivot, trips: Sequence[_Trip], wanted: int, attempt: int, seed: int) -> None:
        """Translate ``trips`` there and back once and judge what returns, until each has ``wanted`` texts."""
        source = f"bt-{pivot.name}"
        there = pivot.forward.translate([trip.caption for trip in trips], max(self.n_best, wanted) * 2**attempt)
        back_jobs: list[tuple[_Trip, str]] = []
        for trip, candidates in zip(trips, there, strict=True):
            trip.tokens += sum(candidate.tokens for candidate in candidates)
            order = ranked(candidates, self.temperature, seed, attempt, pivot.name, trip.caption)
            fresh = [text for text in dict.fromkeys(c.text for c in order) if text and text not in trip.tried]
            if not fresh and attempt == 0:
                trip.rejections.append(Rejection(source, "untranslated"))
            # the first time as many as are wanted; later all that is left, for one may do
            chosen = fresh[:wanted] if attempt == 0 else fresh
            trip.tried.update(chosen)
            back_jobs += [(trip, text) for text in chosen]
        back = pivot.backward.translate([text for _, text in back_jobs])
        for (trip, _), results in zip(back_jobs, back, strict=True):
            trip.tokens += sum(result.tokens for result in results)
            if len(trip.texts) < wanted:
                text = results[0].text if results else ""
                reason = self._reason(trip, text) if results else "untranslated"
                if reason is None:
                    trip.texts.append(text)
                else:
                    trip.rejections.append(Rejection(source, reason, text))

    def _reason(self, trip: _Trip, text: str) -> str | None:
        """Why ``text`` is rejected, or None."""
        reason = reason_against(Candidate(trip.caption, text, others=(*trip.others, *trip.texts), context=self.context))
        if reason is None and share_kept(trip.caption, text) < self.min_kept:
            return "unrelated"
        return reason

    def describe(self) -> dict[str, Any]:
        """Pivots with their models' hashes, and the parameters."""
        return {
            **super().describe(),
            "version": _VERSION,
            "pivots": [pivot.describe() for pivot in self.pivots],
            "n_best": self.n_best,
            "temperature": self.temperature,
            "min_kept": self.min_kept,
            "checks": list(TEXT_REASONS),
            "context": self.context.describe(),
        }

    def provenance(self) -> dict[str, Any]:
        """The engines' versions and devices, and the number of retries."""
        return {"pivots": [pivot.provenance() for pivot in self.pivots], "retries": self.retries}

    def fingerprint(self) -> str:
        """A hash of all that :meth:`describe` tells, model files included; of the context what is not CLIP's."""
        told = {name: part for name, part in self.describe().items() if name != "context"}
        if self.context != CLIP:
            told["context"] = [self.context.tokens, self.context.tokenizer]
        canonical = json.dumps(told, sort_keys=True, ensure_ascii=True)
        return f"back-translation-{_VERSION}-{hashlib.sha256(canonical.encode()).hexdigest()[:32]}"

    def close(self) -> None:
        """Free the translation models."""
        for pivot in self.pivots:
            pivot.close()

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """``--pivot`` (repeated for more than one) and the options of search, draw and engine."""
        group = parser.add_argument_group("back-translation")
        group.add_argument(
            "--pivot",
            dest="pivots",
            action="append",
            metavar="NAME[=MODEL]",
            help="a pivot language: de (embedded), fr=EN_FR_DIR,FR_EN_DIR, fra_Latn=NLLB_DIR or "
            "es=apertium:eng-spa,spa-eng; give it again for more (de)",
        )
        group.add_argument("--n-best", type=int, default=1, help="pivot sentences to choose from (1)")
        group.add_argument(
            "--temperature", type=float, default=0.0, help="of the draw among them; 0 takes the best (0)"
        )
        group.add_argument("--retries", type=int, default=1, help="new attempts for rejected round trips (1)")
        group.add_argument(
            "--min-kept", type=float, default=0.25, help="share of content words that must return (0.25)"
        )
        group.add_argument("--beam-size", type=int, default=1, help="beams of the search, 1 for greedy (1)")
        group.add_argument("--max-tokens", type=int, default=128, help="longer captions are cut (128 pieces)")
        group.add_argument("--batch-tokens", type=int, default=4096, help="tokens in a batch (4096)")
        group.add_argument("--threads", type=int, default=1, help="processor threads of the engine (1)")
        group.add_argument("--device", default="cpu", help="cpu, cuda or auto (cpu)")
        group.add_argument(
            "--compute-type", default="default", help="such as int8; default keeps the model's (default)"
        )
        group.add_argument("--english", default="eng_Latn", help="code of English in multilingual models (eng_Latn)")
