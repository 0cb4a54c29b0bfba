"""``LLMAugmenter``: caption rewrites by an LLM, one strategy after another (LaCLIP, Fan et al. 2023, section 3)."""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from laclip_aug.augmenter import CaptionAugmenter, Outcome, texts_of
from laclip_aug.errors import ConfigurationError
from laclip_aug.generation.backend import Sampling
from laclip_aug.generation.local import USUAL_CONTEXT
from laclip_aug.generation.opening import open_backend
from laclip_aug.quality.context import CLIP, context_for
from laclip_aug.quality.gate import RELATED, Gate
from laclip_aug.quality.repeats import without_repeats
from laclip_aug.quality.wording import identity, score
from laclip_aug.rewrite.choosing import choose_prompt, listed
from laclip_aug.rewrite.embedded import GATE_WITHOUT_VERDICT, MODEL, find
from laclip_aug.rewrite.reply import Acceptance
from laclip_aug.rewrite.rounds import Plan
from laclip_aug.rewrite.settings import (
    AcceptOptions,
    DrawOptions,
    EngineOptions,
    PromptOptions,
    grouped,
    with_defaults,
)
from laclip_aug.rewrite.stream import CaptionStream

_DRAWS = 3
"""Goes up when the same seed, caption and prompt lead to other draws than before, or to other likelihoods of them."""


class LLMAugmenter(CaptionAugmenter):
    """Rewrites captions with an LLM by in-context learning.

    A rewrite is a function of (seed, strategy, caption) and the configuration, as far as the engine's arithmetic does
    not depend on what it runs side by side; see its reproducible mode.

    ``create_augmenter("llm", model="model.gguf", temperature=0.7)`` takes the options of all groups by their names.

    Args:
        engine: what completes the prompts; by default the embedded rewriter.
        prompt: what the model reads.
        draw: how texts are drawn, and how often.
        accept: which texts are good enough.

    Raises:
        UnknownNameError: a strategy, backend, prompt or reason is not known; suggests the nearest.
        ConfigurationError: options that are wrong or do not go together, or do not belong to the backend.
        InputError: an examples file cannot be read.
        ModelError, MissingExtraError: the model cannot be used.
    """

    name = "llm"

    def __init__(
        self,
        engine: EngineOptions = EngineOptions(),
        prompt: PromptOptions = PromptOptions(),
        draw: DrawOptions = DrawOptions(),
        accept: AcceptOptions = AcceptOptions(),
    ) -> None:
        chosen = None if prompt.strategies is None else listed(prompt.strategies)
        if chosen is not None and (not chosen or len(set(chosen)) < len(chosen)):
            raise ConfigurationError(f"strategies are {', '.join(chosen) or 'none'}; name one or more, each once")
        backend = engine.backend or ("http" if engine.base_url is not None else "llama.cpp")
        local = isinstance(backend, str) and backend != "http"
        if local and engine.model is None:
            engine = replace(engine, model=MODEL)
        self._usual_n_ctx = USUAL_CONTEXT
        if local and engine.model == MODEL and engine.adapter != "none":
            embedded = find()
            self._usual_n_ctx = embedded.defaults["n_ctx"]
            defaults = {**embedded.defaults, "adapter": embedded.adapter, "prompt": embedded.layout}
            ours = engine.adapter is None or Path(engine.adapter).resolve() == embedded.adapter.resolve()
            if prompt.prompt is not None or not ours:
                defaults["gate"] = GATE_WITHOUT_VERDICT
            engine, prompt = with_defaults(engine, defaults), with_defaults(prompt, defaults)
            draw, accept = with_defaults(draw, defaults), with_defaults(accept, defaults)
        if engine.adapter == "none":
            engine = replace(engine, adapter=None)
        self._context = context_for(accept.for_model)
        self._acceptance = Acceptance(listed(accept.allow), self._context)
        self._gate = Gate(RELATED if accept.gate is None else accept.gate).without_corpus()
        self._good_score, self._window = accept.good_score, draw.window
        self._candidates, self._max_attempts = draw.candidates or 1, draw.max_attempts or 3
        self._prompt = choose_prompt(prompt.prompt, chosen, prompt.variants, prompt.examples)
        self.sources = self._prompt.strategies
        sampling = {name: getattr(draw, name) for name in ("temperature", "top_p", "max_new_tokens")}
        settings = {field.name: getattr(engine, field.name) for field in fields(engine) if field.name != "backend"}
        if isinstance(backend, str):
            self._sampling: Sampling | None = Sampling(**{k: v for k, v in sampling.items() if v is not None})
            if self._candidates > 1 and self._sampling.temperature == 0:
                raise ConfigurationError("candidates drawn at temperature 0 are all alike; raise it, or ask for one")
            model = settings.pop("model")
            if settings["adapter"] is not None:
                settings["adapter"] = str(settings["adapter"])
            self._backend = open_backend(backend, None if model is None else str(model), self._sampling, settings)
        else:
            for option, setting in (settings | sampling).items():
                if setting is not None:
                    raise ConfigurationError(
                        f"{option} belongs to the backend, which is given as an object; set it there"
                    )
            self._sampling = getattr(backend, "sampling", None)
            self._backend = backend

    @classmethod
    def from_options(cls, **options: Any) -> LLMAugmenter:
        """An augmenter made from the options of all groups, by their own names.

        Raises:
            UnknownNameError: an option is not known; suggests the nearest. Besides these, what the constructor raises.
        """
        return cls(**grouped(options))

    def augment(self, captions: Sequence[str], n: int, seed: int) -> list[list[str]]:
        """See :meth:`CaptionAugmenter.augment`."""
        return texts_of(self.outcomes(dict.fromkeys(captions), n, seed), captions, n, self.sources)

    def outcomes(self, captions: Iterable[str], n: int, seed: int) -> Iterator[Outcome]:
        """One :class:`Outcome` per caption, as soon as it is settled; equal captions under way share one.

        Raises:
            ConfigurationError: ``n`` is negative.
            InputError: a caption is no text.
            ModelError: the backend gave up, or did not answer what it was asked.
        """
        if n < 0:
            raise ConfigurationError(f"n is {n}; ask for 0 or more texts per caption")
        plan = Plan(
            self._prompt,
            self._acceptance,
            self._gate,
            score,
            n,
            seed,
            self._max_attempts,
            self._candidates,
            self._good_score,
        )
        stream = CaptionStream(captions, plan, self._backend, self._window)
        yield from stream if self._acceptance.allows("repeated") else without_repeats(stream)

    def describe(self) -> dict[str, Any]:
        """What can change what a text says: model, prompts, sampling, draws, checks; JSON types, no machine path."""
        scored = self._candidates > 1 or self._good_score is not None
        return {
            "augmenter": self.name,
            "sources": list(self.sources),
            "backend": self._backend.describe(),
            "sampling": None if self._sampling is None else asdict(self._sampling),
            "prompt": self._prompt.describe(),
            "acceptance": self._acceptance.describe(),
            "context": self._context.describe(),
            "gate": self._gate.describe(),
            "candidates": self._candidates,
            "good_score": self._good_score,
            "score": identity() if scored else None,
            "draws": _DRAWS,
        }

    def provenance(self) -> dict[str, Any]:
        """The engine, its version and mode or a server's address, and the number of attempts."""
        return {**self._backend.provenance(), "max_attempts": self._max_attempts}

    def fingerprint(self) -> str:
        """SHA-256 of :meth:`describe`; of the context what is not CLIP's, and not whose it is.

        The engine's ``n_ctx`` is left out where it is the model's usual one, as in the first caches, which lack it.
        """
        told = {name: part for name, part in self.describe().items() if name != "context"}
        if told["backend"].get("n_ctx") == self._usual_n_ctx:
            told["backend"] = {name: part for name, part in told["backend"].items() if name != "n_ctx"}
        if self._context != CLIP:
            told["context"] = [self._context.tokens, self._context.tokenizer]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()

    def close(self) -> None:
        """Free the model."""
        self._backend.close()

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """The command-line options; each ``dest`` is an option of one of the groups."""
        from laclip_aug.rewrite.arguments import add_llm_arguments

        add_llm_arguments(parser)
