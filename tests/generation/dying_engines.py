"""Engines that end their process as a native library does; a child is told to run them by ``module:name``."""

from __future__ import annotations

import ctypes
import os
import signal
from typing import Any

from laclip_aug.generation.backend import Job
from laclip_aug.generation.batch import TokenBatch, filled
from laclip_aug.generation.llamacpp import LlamaCppBackend
from laclip_aug.generation.tokens import PromptTokens

DEATHS = {
    "say abort": os.abort,
    "say segfault": lambda: ctypes.string_at(0),
    "say killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
}


class Dying(LlamaCppBackend):
    """Ends at the captions of ``DEATHS``, while its other slots are at work."""

    def prompt(self, job: Job) -> PromptTokens:
        for word, die in DEATHS.items():
            if word in job.body:
                os.write(2, b"a last word\n")
                os.write(1, b"to standard output")
                die()
        return super().prompt(job)


class Hopeless(LlamaCppBackend):
    """Ends at any caption."""

    def prompt(self, job: Job) -> PromptTokens:
        os.abort()


class Stillborn(LlamaCppBackend):
    """Ends while it loads."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        os.abort()


class Faulty(LlamaCppBackend):
    """Raises what no engine should."""

    def prompt(self, job: Job) -> PromptTokens:
        raise KeyError("a fault of ours")


class Oversized(LlamaCppBackend):
    """Feeds llama.cpp steps longer than its context takes, which a real assertion in it ends."""

    def _open(self) -> None:
        super()._open()
        decoder, self._decoder.most_tokens = self._decoder, 512
        decoder._arrays = TokenBatch(512, decoder.n_slots + decoder.n_holders)
        filled(decoder._batch, **decoder._arrays.pointers())
