"""A backend that answers from a script instead of a model: for tests of your own pipeline, and for trying prompts out.

>>> from laclip_aug import create_augmenter
>>> backend = ScriptedBackend(lambda job: f"someone took a picture of {job.body}")
>>> create_augmenter("llm", backend=backend, strategies=["human"]).augment(["a red boat"], n=1, seed=0)
[['someone took a picture of a red boat']]
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from laclip_aug.generation.backend import Completion, Job, Sampling, told


class ScriptedBackend:
    """Answers each job with ``answer(job)``: the text, or a whole :class:`Completion` to play a cut or a failure.

    Like any engine it returns the first line that is not blank, or for a chat job the whole answer. ``seen`` keeps the
    jobs in the order in which they were asked; the number of tokens is that of the answer's words.
    """

    def __init__(self, answer: Callable[[Job], str | Completion], name: str = "scripted") -> None:
        self._answer = answer
        self._name = name
        self.sampling = Sampling()
        self.seen: list[Job] = []

    def complete(self, jobs: Iterable[Job]) -> Iterator[Completion]:
        """One completion per job, in order."""
        for job in jobs:
            self.seen.append(job)
            answer = self._answer(job)
            if isinstance(answer, Completion):
                yield answer
            else:
                yield Completion(job, told(job, answer)[0], "stop", len(answer.split()))

    def describe(self) -> dict[str, Any]:
        """The name of the script; give scripts that answer differently different names."""
        return {"backend": self._name}

    def provenance(self) -> dict[str, Any]:
        """Nothing more."""
        return {}

    def close(self) -> None:
        """Nothing to free."""
