"""Whose fault it is that a server gives no text: that of some captions, or its own, which ends the run.

A refusal (finish ``"error"``) comes within milliseconds and a text within seconds, so that for a while there may be
refusals alone. They are held back until a request that was sent after them is answered: then they are their captions'
own. Where no other request is left, or many were refused in a row, the refused one is sent again with a harmless
caption. If that is refused too, the server is at fault: its model, the key, a field, examples that are too long. (A few
refused requests at the end of a run that was answered do not end it: they are left to the next one.) What was sent
before a refusal says nothing about it, for a key may be revoked in the middle of a run.

Requests without any answer (``"failed"``, as after status 500 again and again) are the server's fault, too, if many
follow each other, or nothing was ever answered, and the harmless caption gets none either. If it gets one, they are
left to the next run, which may have no other captions.
"""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from laclip_aug.errors import BackendError
from laclip_aug.generation.backend import Completion, Job
from laclip_aug.generation.request_loop import Answer

_MOST_IN_A_ROW = 32
"""Requests that give no text one after another before the server is suspected."""
_HARMLESS = "a dog"
_PROBE = object()
"""The tag of jobs that nobody asked for."""


class Blame:
    """Holds completions back until it is known whose fault they are. ``base_url`` is the server's, for messages.

    ``answered`` tells whether any request was answered yet, in an earlier run too; ``probing`` whether a harmless
    request is under way.
    """

    def __init__(self, base_url: str, answered: bool) -> None:
        self.answered, self.probing = answered, False
        self._base_url = base_url
        self._refused: list[Answer] = []
        self._silent: list[Answer] = []  # since the last answer

    @property
    def refusing(self) -> bool:
        """Whether refusals are held back."""
        return bool(self._refused)

    @property
    def waiting(self) -> bool:
        """Whether a harmless request has to be sent before the run may end."""
        return self.refusing or (bool(self._silent) and not self.answered)

    def probe(self, idle: bool) -> list[Job]:
        """The jobs of a harmless request, if one must be sent; ``idle`` tells that no other is under way or will be."""
        if self._refused and (idle or len(self._refused) >= _MOST_IN_A_ROW):
            suspected = self._refused
        elif (idle and self.waiting) or len(self._silent) >= _MOST_IN_A_ROW:
            suspected = self._silent
        else:
            return []
        if self.probing:
            return []
        self.probing = True
        return [replace(c.job, body=_HARMLESS, tag=_PROBE) for c in suspected[-1].completions]

    def settle(self, answer: Answer) -> list[Completion]:
        """What can be handed out now that ``answer`` is there.

        Raises:
            BackendError: the server is at fault.
        """
        finishes = {completion.finish for completion in answer.completions}
        answered = not finishes <= {"error", "failed"}
        if is_probe(answer):
            self.probing = False
            if not answered:
                self._give_up_or_leave(answer.completions[-1].text)
            answer = replace(answer, completions=[])
        elif not answered:
            (self._refused if "error" in finishes else self._silent).append(answer)
        if not answered:
            return []
        self.answered = True
        free = [*self._silent, *(refused for refused in self._refused if refused.ended < answer.began), answer]
        self._silent = []
        self._refused = [refused for refused in self._refused if refused.ended > answer.began]
        return [completion for one in free for completion in one.completions]

    def _give_up_or_leave(self, words: str) -> None:
        """Give up if the harmless caption gets no text, too, of a server that answered nothing or leaves out much.

        Else nobody knows whose fault it is, and what was refused is left to a later run.
        """
        held = [*self._silent, *self._refused]
        if held and (not self.answered or len(held) >= _MOST_IN_A_ROW):
            raise BackendError(
                f"{self._base_url} answered none of {len(held)} prompts, nor one with a harmless caption; of the last: "
                f"{words}. Check that the server runs, knows this model and copes with this many requests at once "
                "(lower --concurrency if not), that it has room for the prompt, and that it takes the request's fields "
                "(--request-field KEY= leaves one out); then start again" + _unused_proxy(self._base_url)
            )
        for one in self._refused:
            self._silent.append(replace(one, completions=[replace(c, finish="failed") for c in one.completions]))
        self._refused = []

    def rest(self) -> list[Completion]:
        """What is left at the end of a run."""
        return [completion for one in self._silent for completion in one.completions]


def is_probe(answer: Answer) -> bool:
    """Whether ``answer`` is that to a request that nobody asked for but :meth:`Blame.probe`."""
    return answer.completions[0].job.tag is _PROBE


def _unused_proxy(url: str) -> str:
    """Says that a proxy of the environment is not used; its address may hold a password and is not shown."""
    parts = urlsplit(url)
    if parts.scheme not in getproxies() or proxy_bypass(parts.hostname or ""):
        return ""
    return f". The proxy in {parts.scheme.upper()}_PROXY is not used: reach the server directly or by a tunnel (ssh -L)"
