"""``LLMAugmenter``: caption rewrites by an LLM, one strategy after another (LaCLIP, Fan et al. 2023, section 3)."""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from laclip_aug.augmenter import CaptionAugmenter, Outcome, texts_of
from laclip_aug.errors import ConfigurationError, ModelError
from laclip_aug.generation.backend import Backend, Sampling
from laclip_aug.generation.opening import open_backend
from laclip_aug.quality.wording import identity, score
from laclip_aug.rewrite.choosing import choose_prompt, listed
from laclip_aug.rewrite.examples import Pair
from laclip_aug.rewrite.prompt import Prompt
from laclip_aug.rewrite.reply import Acceptance
from laclip_aug.rewrite.rounds import Plan
from laclip_aug.rewrite.stream import CaptionStream
from laclip_aug.version import __version__

if TYPE_CHECKING:
    from laclip_aug.rewrite.embedded import EmbeddedModel


class LLMAugmenter(CaptionAugmenter):
    """Rewrites captions with an LLM by in-context learning.

    A rewrite is a function of (seed, strategy, caption) and the configuration, as far as the engine's arithmetic does
    not depend on what it runs side by side; see its reproducible mode.

    Args:
        model: a GGUF file's path, or ``hf:REPO/FILE[@REVISION]``; for the http backend, the model's name there. None is
            the embedded rewriter.
        strategies: the manners of rewriting, in the order in which ``augment`` cycles through them.
        backend: ``"llama.cpp"`` (default), ``"llama.cpp-plain"``, ``"http"`` (default with ``base_url``), or an object
            with the methods of :class:`~laclip_aug.generation.backend.Backend`.
        temperature, top_p, max_new_tokens: how to draw; by default 0.9, 0.95 and 77 as in the paper.
        prompt: ``"in-context"`` (the paper's), ``"chat"`` for instruct models, or a
            :class:`~laclip_aug.rewrite.prompt.Prompt`.
        variants: fixed prompts per strategy.
        examples: own meta-input-output pairs: files (see ``pairs_from_file``), each a path or ``STRATEGY=PATH``, or a
            mapping from strategies to pairs.
        max_attempts: rounds that a place may take until a rewrite is accepted (3, embedded rewriter: 5).
        candidates: completions per round and place; of those accepted the one with the best ``score`` is kept.
        least_faithfulness: refuse as ``drifted`` what scores below this, at most 1; no bound by default, and 0.3 for
            the embedded rewriter. Meant for small models: a good LLM's free rewrites of a caption may score 0.
        good_score: go on drawing for a place until its best text has this ``score`` or no attempt is left; by default
            the first accepted text ends it, and for the embedded rewriter 1.95 does.
        allow: rejection reasons to let pass.
        window: captions taken up at a time, by default what takes about five seconds. More share a prompt prefix, but
            their outcomes come later.
        n_gpu_layers, n_threads, n_slots, n_ctx, reproducible: see ``LocalBackend``.
        base_url, concurrency: see ``HTTPBackend``.

    Raises:
        UnknownNameError: a strategy, backend, prompt or reason is not known; suggests the nearest.
        ConfigurationError: options that are wrong or do not go together, or no embedded rewriter is at hand.
        InputError: an examples file cannot be read.
        ModelError, MissingExtraError: the model cannot be used.
    """

    name = "llm"

    def __init__(
        self,
        model: str | Path | None = None,
        strategies: Sequence[str] | str | None = None,
        *,
        backend: Backend | str | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        max_new_tokens: int | None = None,
        prompt: Prompt | str | None = None,
        variants: int | None = None,
        examples: Mapping[str, Sequence[Pair]] | Sequence[str] | str | None = None,
        max_attempts: int | None = None,
        candidates: int | None = None,
        least_faithfulness: float | None = None,
        good_score: float | None = None,
        allow: Collection[str] | str = (),
        window: int | None = None,
        n_gpu_layers: int | None = None,
        n_threads: int | None = None,
        n_slots: int | None = None,
        n_ctx: int | None = None,
        reproducible: bool | None = None,
        base_url: str | None = None,
        concurrency: int | None = None,
    ) -> None:
        for option, value in (("max_attempts", max_attempts), ("candidates", candidates), ("window", window)):
            if value is not None and value < 1:
                raise ConfigurationError(f"{option} is {value}; use at least 1")
        self._window = window
        chosen = None if strategies is None else listed(strategies)
        if chosen is not None and (not chosen or len(set(chosen)) < len(chosen)):
            raise ConfigurationError(f"strategies are {', '.join(chosen) or 'none'}; name one or more, each once")
        sampling: dict[str, Any] = {"temperature": temperature, "top_p": top_p, "max_new_tokens": max_new_tokens}
        engine = {
            "n_gpu_layers": n_gpu_layers, "n_threads": n_threads, "n_slots": n_slots, "n_ctx": n_ctx,
            "reproducible": reproducible, "base_url": base_url, "concurrency": concurrency,
        }  # fmt: skip
        if backend is None:
            backend = "http" if base_url is not None else "llama.cpp"
        if isinstance(backend, str) and backend != "http" and model is None:
            embedded = _find_embedded()
            model = embedded.path
            defaults = embedded.defaults
            sampling = {key: defaults.get(key) if value is None else value for key, value in sampling.items()}
            engine = {key: defaults.get(key) if value is None else value for key, value in engine.items()}
            candidates = defaults.get("candidates") if candidates is None else candidates
            if least_faithfulness is None:
                least_faithfulness = defaults.get("least_faithfulness")
            good_score = defaults.get("good_score") if good_score is None else good_score
            max_attempts = defaults.get("max_attempts") if max_attempts is None else max_attempts
            prompt = embedded.layout if prompt is None else prompt
        self._acceptance = Acceptance(listed(allow), least_faithfulness)
        self._candidates, self._max_attempts = candidates or 1, max_attempts or 3
        self._good_score = good_score
        self._prompt = choose_prompt(prompt, chosen, variants, examples)
        self.sources = self._prompt.strategies
        if isinstance(backend, str):
            given = {key: value for key, value in sampling.items() if value is not None}
            self._sampling: Sampling | None = Sampling(**given)
            if self._candidates > 1 and self._sampling.temperature == 0:
                raise ConfigurationError("candidates drawn at temperature 0 are all alike; raise it, or ask for one")
            self._backend = open_backend(backend, None if model is None else str(model), self._sampling, engine)
        else:
            for option, setting in ({"model": model} | sampling | engine).items():
                if setting is not None:
                    raise ConfigurationError(
                        f"{option} belongs to the backend, which is given as an object; set it there"
                    )
            self._sampling = getattr(backend, "sampling", None)
            self._backend = backend

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
            self._prompt, self._acceptance, score, n, seed, self._max_attempts, self._candidates, self._good_score
        )
        yield from CaptionStream(captions, plan, self._backend, self._window)

    def describe(self) -> dict[str, Any]:
        """Backend and model hash, prompt hash, sampling, acceptance and versions; JSON types, no machine path."""
        sampling = self._sampling
        scored = self._candidates > 1 or self._good_score is not None or self._acceptance.least_faithfulness is not None
        return {
            "augmenter": self.name,
            "sources": list(self.sources),
            "backend": self._backend.describe(),
            "sampling": None
            if sampling is None
            else {
                "temperature": sampling.temperature,
                "top_p": sampling.top_p,
                "max_new_tokens": sampling.max_new_tokens,
            },
            "prompt": self._prompt.describe(),
            "acceptance": self._acceptance.describe(),
            "max_attempts": self._max_attempts,
            "candidates": self._candidates,
            "good_score": self._good_score,
            "score": identity() if scored else None,
            "laclip_aug": __version__,
        }

    def fingerprint(self) -> str:
        """SHA-256 of :meth:`describe`."""
        return hashlib.sha256(json.dumps(self.describe(), sort_keys=True).encode()).hexdigest()

    def close(self) -> None:
        """Free the model."""
        self._backend.close()

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """The command-line options; each ``dest`` is a parameter of the constructor."""
        from laclip_aug.rewrite.arguments import add_llm_arguments

        add_llm_arguments(parser)


def _find_embedded() -> EmbeddedModel:
    """The rewriter that ships with the package."""
    from laclip_aug.rewrite.embedded import find

    try:
        return find()
    except ModelError as error:
        raise ModelError(f"no model is named, and {error}: pass --model PATH or --model hf:REPO/FILE") from error
