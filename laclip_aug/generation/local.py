"""What backends in this process have in common: settings, prompts, and what a manifest says about them."""

from __future__ import annotations

import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from laclip_aug.errors import ConfigurationError, ModelError
from laclip_aug.generation.backend import Completion, Job, Sampling
from laclip_aug.generation.growing import Speller
from laclip_aug.generation.models import ModelFile
from laclip_aug.generation.sampling import check
from laclip_aug.generation.threads import named_threads, usable_cpus
from laclip_aug.generation.tokens import Prompter, PromptTokens, Vocabulary

USUAL_CONTEXT = 512
"""Tokens of one completion, prompt included, where nobody says and the model was not trained for less."""
_MOST_SEQUENCES = 256
_MOST_THREADS = 512  # of ggml, GGML_MAX_N_THREADS
_MOST_PREFIXES, _FEW_PREFIXES = 32, 4
_CUDA_BUILD = (
    'CMAKE_ARGS="-DGGML_CUDA=on" pip install --force-reinstall --no-cache-dir --no-binary llama-cpp-python '
    '"llama-cpp-python>=0.3.36,<0.4"'
)
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Settings:
    """An engine's settings with every default filled in; see :class:`LocalBackend` for their meaning."""

    n_slots: int
    n_ctx: int
    n_threads: int
    n_prefixes: int
    kv_cells: int
    reproducible: bool


class Wanted(NamedTuple):
    """What to load. ``n_gpu_layers`` None leaves the choice to what the build supports."""

    reference: str | Path
    adapter: str | Path | None
    n_gpu_layers: int | None
    n_ctx: int
    n_threads: int
    verbose: bool


class LoadedModel(Vocabulary, Speller, Protocol):
    """A model in memory."""

    file: ModelFile
    adapter: ModelFile | None
    path: Path
    """What was loaded: the file, or one that it was merged to."""
    weights: str
    """How its matrices are stored, where that was chosen here; empty where they are as the file has them."""
    n_ctx_train: int
    n_gpu_layers: int
    cell_bytes: int
    """What one token of one sequence takes in the cache of keys and values."""

    def chat(self) -> Callable[[str], str] | None:
        """What wraps a user message in the model's chat template; None if it has none."""

    def close(self) -> None:
        """Free it."""


class LocalBackend(ABC):
    """A model that is loaded into this process.

    Args:
        model: a GGUF file's path, ``hf:REPO/FILE[@REVISION]``, ``package:DISTRIBUTION[/FILE]`` or ``smollm2``.
        sampling: how to draw.
        adapter: a LoRA adapter for it, a GGUF file named in the same ways.
        n_slots: completions that advance together; default 16, with GPU layers 64. At most 256 with ``n_prefixes``.
        n_ctx: tokens of one completion, prompt included; default 512, or what the model was trained for if less.
        n_gpu_layers: layers on the GPU, -1 for all; default all if llama-cpp-python was built with GPU support, else 0.
        n_threads: CPU threads, at most 512; default ``OMP_NUM_THREADS``, else all CPUs that this process may use, or
            one if a model of less than 500 million parameters is not faster with all of them (tried for a moment when
            it is loaded).
        reproducible: whether a text may depend on (model, prompt, seed) alone; default true without GPU layers.
        n_prefixes: shared prefixes that stay evaluated; default 32 (four strategies, eight prompts each), or as many
            as an eighth of the memory holds.
        kv_cells: tokens that the cache of the fast mode holds, all slots together; default ``n_ctx * (n_slots + 1)``.
        verbose: show the engine's own messages.

    Raises:
        MissingExtraError: llama-cpp-python is not installed.
        ConfigurationError: an argument is out of range.
        ModelError: the model cannot be found, loaded or used, or GPU layers are asked for and not supported.
    """

    name: str

    def __init__(
        self,
        model: str | Path,
        sampling: Sampling | None = None,
        *,
        adapter: str | Path | None = None,
        n_slots: int | None = None,
        n_ctx: int | None = None,
        n_gpu_layers: int | None = None,
        n_threads: int | None = None,
        reproducible: bool | None = None,
        n_prefixes: int | None = None,
        kv_cells: int | None = None,
        verbose: bool = False,
    ) -> None:
        self.sampling = sampling or Sampling()
        check(self.sampling)
        given = n_threads if n_threads is not None else named_threads()
        threads = min(usable_cpus(), _MOST_THREADS) if given is None else given
        for option, value in (
            ("n_slots", n_slots),
            ("n_ctx", n_ctx),
            ("n_threads", threads),
            ("n_prefixes", n_prefixes),
        ):
            if value is not None and value < 1:
                raise ConfigurationError(f"{option} is {value}; use at least 1")
        if threads > _MOST_THREADS:
            raise ConfigurationError(
                f"{threads} threads are asked for, and llama.cpp computes with at most {_MOST_THREADS}; lower "
                "n_threads, or OMP_NUM_THREADS where that is not given"
            )
        if (sequences := (n_slots or 0) + (n_prefixes or 1)) > _MOST_SEQUENCES:
            raise ConfigurationError(f"n_slots + n_prefixes is {sequences}; at most {_MOST_SEQUENCES} are possible")
        self._closed = False
        self.model = self._load(Wanted(model, adapter, n_gpu_layers, n_ctx or USUAL_CONTEXT, threads, verbose))
        try:
            self.settings = self._settings(n_slots, n_ctx, threads, reproducible, n_prefixes, kv_cells)
            self._prompter = Prompter(self.model, self.settings.n_ctx, self.sampling.max_new_tokens, self.model.chat())
            self._open()
            if given is None and threads > 1:
                self.settings = replace(self.settings, n_threads=self._try_threads(threads))
        except BaseException:
            self.model.close()
            raise
        self.cut = 0
        """Captions that were shortened so far, to fit ``n_ctx``."""

    def _settings(
        self,
        n_slots: int | None,
        n_ctx: int | None,
        threads: int,
        reproducible: bool | None,
        prefixes: int | None,
        cells: int | None,
    ) -> Settings:
        trained = self.model.n_ctx_train
        if n_ctx is not None and n_ctx > trained:
            raise ConfigurationError(
                f"n_ctx is {n_ctx}, but {self.model.file.name} was trained for {trained}; lower it"
            )
        n_ctx = n_ctx or min(USUAL_CONTEXT, trained)
        gpu = self.model.n_gpu_layers != 0
        reproducible = not gpu if reproducible is None else reproducible
        n_slots = n_slots or (64 if gpu else 16)
        if cells is not None and cells < n_ctx:
            raise ConfigurationError(
                f"kv_cells is {cells}, too few for one completion of n_ctx = {n_ctx} tokens; raise it"
            )
        return Settings(
            # A step of one row would go through other kernels than a step of several, hence a second slot.
            n_slots=max(2, n_slots) if reproducible else n_slots,
            n_ctx=n_ctx,
            n_threads=threads,
            n_prefixes=prefixes or self._room_for_prefixes(n_ctx, reproducible, _MOST_SEQUENCES - max(2, n_slots)),
            kv_cells=cells or n_ctx * (n_slots + 1),
            reproducible=reproducible,
        )

    def _room_for_prefixes(self, n_ctx: int, reproducible: bool, sequences: int) -> int:
        """How many to keep: in the reproducible mode each has ``n_ctx`` cells of its own."""
        most = min(_MOST_PREFIXES, sequences)
        if not reproducible:
            return most
        if self.model.n_gpu_layers or not hasattr(os, "sysconf"):
            return min(_FEW_PREFIXES, sequences)  # how much memory there is is not known
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return min(most, max(_FEW_PREFIXES, memory // 8 // (n_ctx * self.model.cell_bytes)))

    @abstractmethod
    def _load(self, wanted: Wanted) -> LoadedModel: ...

    @abstractmethod
    def _open(self) -> None:
        """Make what runs the model, once ``settings`` are known."""

    def _try_threads(self, most: int) -> int:
        """The number of threads to go on with, at most ``most``, which were taken so far."""
        return most

    @abstractmethod
    def _run(self, jobs: Iterator[Job]) -> Iterator[Completion]: ...

    @abstractmethod
    def _release(self) -> None:
        """Free what ``_open`` made."""

    def complete(self, jobs: Iterable[Job]) -> Iterator[Completion]:
        """One completion per job, in any order; reads at most ``n_slots`` jobs ahead.

        Raises:
            ConfigurationError: a job's prompt does not fit even without its body.
            ModelError: the backend is closed or busy, or a chat job meets a model without a usable chat template.
        """
        if self._closed:
            raise ModelError("this backend is closed; make a new one")
        return self._run(iter(jobs))

    def prompt(self, job: Job) -> PromptTokens:
        """The tokens of ``job``; counts shortened bodies in ``cut``."""
        prompt = self._prompter.prompt(job)
        if prompt.cut:
            if not self.cut:
                _logger.warning(
                    "a caption was shortened to fit n_ctx = %d; later ones are counted", self.settings.n_ctx
                )
            self.cut += 1
        return prompt

    def describe(self) -> dict[str, Any]:
        """The files' hashes, and ``n_ctx``, to which captions are cut: else only roundings depend on what is here."""
        files = {"model_sha256": self.model.file, "adapter_sha256": self.model.adapter}
        hashes = {name: file.sha256 for name, file in files.items() if file is not None}
        return {**hashes, "n_ctx": self.settings.n_ctx}

    def provenance(self) -> dict[str, Any]:
        """The files' names, the engine with its version, and the settings that can change a rounding."""
        adapter = self.model.adapter
        return {
            **({"adapter": adapter.name, "weights": self.model.weights or "as in the file"} if adapter else {}),
            "backend": self.name,
            "model": self.model.file.name,
            "model_revision": self.model.file.revision,
            "llama_cpp_python": version("llama-cpp-python"),
            "mode": "reproducible" if self.settings.reproducible else "fast",
            "n_gpu_layers": self.model.n_gpu_layers,
        }

    def close(self) -> None:
        """Free the model. Completions under way end with an error; closing twice is fine."""
        if not self._closed:
            self._closed = True
            self._release()
            self.model.close()


def choose_gpu_layers(asked: int | None, supported: bool) -> int:
    """The number of layers to put on a GPU, -1 for all; None asks for all if the build supports it.

    Raises:
        ModelError: layers are asked for and the build supports none.
    """
    if asked and not supported:
        raise ModelError(
            f"n_gpu_layers is {asked}, but the installed llama-cpp-python was built without GPU support; rebuild it: "
            f"{_CUDA_BUILD}"
        )
    return (-1 if supported else 0) if asked is None else asked


def refuse_unusable(model: str, properties: Mapping[str, bool]) -> None:
    """Raise a ModelError if ``model`` has any of the named properties, which the engine cannot work with."""
    for what, present in properties.items():
        if present:
            raise ModelError(
                f"{model} has {what}, which this engine cannot use; take a decoder-only transformer, or serve the "
                "model with llama-server and use the HTTP backend"
            )
