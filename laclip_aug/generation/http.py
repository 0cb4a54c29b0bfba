"""Completions from servers with an OpenAI-compatible interface, such as llama-server, vLLM or SGLang.

Requests run in an event loop in a thread of its own, thousands at a time; jobs are read and completions handed out in
the caller's thread, many at once, so that the two threads seldom wait for each other.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

from laclip_aug.errors import BackendError, ConfigurationError
from laclip_aug.generation.backend import Completion, Job, Sampling
from laclip_aug.generation.blame import Blame, is_probe
from laclip_aug.generation.request_loop import RequestLoop
from laclip_aug.generation.requests import PAPER_SAMPLING, Requests, request_fields
from laclip_aug.generation.sampling import check

_MOST_CHOICES = 16
_logger = logging.getLogger(__name__)


class HTTPBackend:
    """Completes jobs by concurrent requests to ``{base_url}/completions``, for chat jobs ``/chat/completions``.

    ``https`` is checked against the system's certificates, or those in ``SSL_CERT_FILE``; proxies are not used.

    Jobs that follow each other and share a prompt become one request with ``n``, as far as the server knows it.

    A prompt that the server refuses is an ``"error"``, as soon as it is known that the server does not refuse all
    (:mod:`laclip_aug.generation.blame`).

    Args:
        base_url: such as ``http://localhost:8080/v1``; several share the requests, each gets what it has room for.
        model: the model's name on the server; None for a server that serves only one.
        sampling: how to draw. The server draws, from a seed that is a function of the job's; whether equal seeds give
            equal texts is the server's affair.
        request_fields: further fields of each request, or ``KEY=JSON`` items; None (``KEY=``) leaves a field out. By
            default top-k and min-p are off and temperature comes first, as in the paper. A server that refuses one of
            these, ``max_tokens``, ``seed`` or ``stop`` by name does not get it again.
        concurrency: requests under way at once.
        retries: further attempts after a failure that may pass: no connection, a timeout, 408, 409, 425, 429, 5xx or
            an answer without a whole text. Waits double from ``backoff`` seconds with jitter; a server that asks for
            more in Retry-After gets up to a minute. After the last the completion is ``"failed"``.
        timeout: seconds for one answer.
        api_key_env: the environment variable that holds the API key, if there is one. The key is sent and nothing
            else: it is never kept, logged or shown.

    Raises:
        ConfigurationError: an argument is out of range.
    """

    name = "http"

    def __init__(
        self,
        base_url: str | Sequence[str],
        model: str | None = None,
        sampling: Sampling | None = None,
        *,
        request_fields: Mapping[str, Any] | Sequence[str] = (),
        concurrency: int = 256,
        retries: int = 6,
        backoff: float = 0.5,
        timeout: float = 120.0,
        api_key_env: str = "OPENAI_API_KEY",
    ) -> None:
        urls = [base_url] if isinstance(base_url, str) else list(base_url)
        self.base_urls = tuple(dict.fromkeys(_checked(url, api_key_env) for url in urls))
        if not self.base_urls:
            raise ConfigurationError("no base URL is given; it looks like http://host:8080/v1")
        if concurrency < 1 or retries < 0 or backoff < 0 or timeout <= 0:
            raise ConfigurationError("concurrency must be at least 1, retries and backoff 0, and timeout above 0")
        self.sampling = sampling or Sampling()
        check(self.sampling)
        self.model = model
        self._fields = {**PAPER_SAMPLING, **_fields(request_fields)}
        self._requests = Requests(model, self.sampling, self._fields, set(), {})
        self._concurrency, self._key_env, self._closed = concurrency, api_key_env, False
        self._retries, self._backoff, self._timeout = retries, backoff, timeout
        self._answered = False

    def complete(self, jobs: Iterable[Job]) -> Iterator[Completion]:
        """One completion per job, as answers arrive; reads ``concurrency`` jobs ahead and a quarter more.

        Raises:
            BackendError: the server refuses all (key, address, model or a field is wrong), or answers no more.
        """
        if self._closed:
            raise BackendError("this backend is closed; make a new one")
        loop = RequestLoop(
            self.base_urls,
            self._requests,
            self._key_env,
            concurrency=self._concurrency,
            retries=self._retries,
            backoff=self._backoff,
            timeout=self._timeout,
        )
        thread = threading.Thread(target=loop.run, name="completions", daemon=True)
        thread.start()
        try:
            yield from self._handed_out(loop, iter(jobs))
        finally:
            loop.stop()
            thread.join()

    def _handed_out(self, loop: RequestLoop, jobs: Iterator[Job]) -> Iterator[Completion]:
        under_way, exhausted = 0, False
        ahead = self._concurrency + self._concurrency // 4  # no connection waits for this thread
        blame = Blame(self.base_urls[0], self._answered)
        while True:
            if probe := blame.probe(idle=exhausted and not under_way):
                # what gets no answer was tried often enough before: once more at each server tells whether all are dead
                loop.submit([probe], None if blame.refusing else len(self.base_urls))
            if not exhausted and under_way < ahead:
                taken = list(islice(jobs, ahead - under_way))
                exhausted = len(taken) < ahead - under_way
                under_way += len(taken)
                loop.submit(self._grouped(taken))
            if not under_way and not blame.probing:
                if blame.waiting:
                    continue
                break
            for result in loop.results():
                if isinstance(result, BackendError):
                    raise result
                under_way -= 0 if is_probe(result) else len(result.completions)
                settled = blame.settle(result)
                self._answered = blame.answered
                yield from settled
        yield from blame.rest()

    def _grouped(self, jobs: Sequence[Job]) -> list[list[Job]]:
        """Jobs that follow each other and share a prompt, together, if the server may know ``n``."""
        groups: list[list[Job]] = []
        for job in jobs:
            if groups and len(groups[-1]) < _MOST_CHOICES and "n" not in self._requests.dropped:
                first = groups[-1][0]
                if (job.body, job.prefix, job.tail, job.chat) == (first.body, first.prefix, first.tail, first.chat):
                    groups[-1].append(job)
                    continue
            groups.append([job])
        return groups

    def describe(self) -> dict[str, Any]:
        """The model's name there and the fields of a request; a server does not tell which file it serves."""
        return {"model": self.model, "extra": self._fields}

    def provenance(self) -> dict[str, Any]:
        """The servers' addresses."""
        return {"backend": self.name, "base_url": ", ".join(self.base_urls)}

    def close(self) -> None:
        """Take no more jobs. Closing twice is fine."""
        self._closed = True


def _fields(given: Mapping[str, Any] | Sequence[str]) -> dict[str, Any]:
    return request_fields([given] if isinstance(given, str) else given)


def _checked(url: str, key_env: str) -> str:
    try:
        parts = urlsplit(url.rstrip("/"))
        _ = parts.port  # parsed when asked for
        (parts.hostname or "").encode("idna")
    except ValueError as error:
        raise ConfigurationError(f"the base URL is malformed ({error}); it looks like http://host:8080/v1") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError("the base URL must begin with http:// or https:// and name a host")
    if parts.username or parts.password or parts.query:
        raise ConfigurationError(f"the base URL holds a secret or a query; put an API key in {key_env} instead")
    if not re.fullmatch("[!-~]+", parts.geturl()):
        raise ConfigurationError(
            f"the base URL {url!r} has a space or a character beyond ASCII; leave it out, or write a name as xn--..., "
            "and in a path %.. for each byte"
        )
    return parts.geturl()
