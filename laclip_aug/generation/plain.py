"""The plain loop over llama.cpp's own ``Llama``, which the batched engine is measured against."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from laclip_aug.generation.backend import Completion, Job
from laclip_aug.generation.growing import GrowingText
from laclip_aug.generation.llamacpp import EMBEDDER, NativeModel, library
from laclip_aug.generation.local import LocalBackend, Wanted, refuse_unusable
from laclip_aug.generation.scheduler import EMPTY_PROMPT


class PlainLlamaBackend(LocalBackend):
    """One completion after another through ``llama_cpp.Llama``, which keeps what a prompt shares with the one before.
    For arguments and errors see :class:`LocalBackend`; slots, prefixes and cells do not apply.
    """

    name = "llama.cpp-plain"

    def _load(self, wanted: Wanted) -> NativeModel:
        *_, n_ctx, threads, verbose = wanted

        def load(path: str, layers: int) -> Any:
            options = {"n_ctx": n_ctx, "n_gpu_layers": layers, "n_threads": threads, "n_threads_batch": threads}
            try:
                self._llama = library().Llama(path, verbose=verbose, **options)
            except ValueError:  # llama.cpp has said why
                return None
            return self._llama.model

        self._native = NativeModel(wanted, load)
        return self._native

    def _open(self) -> None:
        refuse_unusable(self._native.file.name, {EMBEDDER: not library().llama_get_memory(self._llama.ctx)})
        self._native.apply(self._llama.ctx)

    def _run(self, jobs: Iterator[Job]) -> Iterator[Completion]:
        for job in jobs:
            prompt = self.prompt(job)
            draft = GrowingText(job, self.sampling, self.model)
            if not prompt.suffix:
                yield draft.refused(EMPTY_PROMPT)
                continue

            def choose(_: Any, scores: npt.NDArray[np.float32], draft: GrowingText = draft) -> npt.NDArray[np.float32]:
                only = np.full_like(scores, -np.inf)
                only[draft.choose(scores) or 0] = 0
                return only

            # Llama applies temperature last, so that draws are made by ours; greedy ones too, for what they tell.
            processors = library().LogitsProcessorList([choose])
            tokens = self._llama.generate([*prompt.prefix, *prompt.suffix], temp=0.0, logits_processor=processors)
            yield next(done for token in tokens if (done := draft.add(token)))

    def _release(self) -> None:
        self._llama.close()
