"""Completions from a server with an OpenAI-compatible interface, such as llama-server or vLLM."""

from __future__ import annotations

import math
import os
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from types import MappingProxyType
from typing import Any

import httpx

from laclip_aug.errors import BackendError, ConfigurationError
from laclip_aug.generation.backend import Completion, Job, Sampling, told
from laclip_aug.generation.sampling import check
from laclip_aug.seeding import generator

PAPER_SAMPLING: Mapping[str, Any] = MappingProxyType({"top_k": 0, "min_p": 0.0, "samplers": ["temperature", "top_p"]})
"""Fields beyond OpenAI's that make llama-server and vLLM draw as the paper does."""
_LONGEST_WAIT = 60.0
_OURS_TO_MEND = {
    401: "the server wants an API key: put it in the environment variable {key}",
    403: "the API key in {key} is not allowed to do this: check it and the model's name",
    404: "there is no such address or model: check the base URL (it ends before /completions) and the model's name",
    405: "this address takes no completions: check the base URL (it ends before /completions)",
}


class HTTPBackend:
    """Completes jobs by concurrent requests to ``{base_url}/completions``, for chat jobs ``/chat/completions``.

    Args:
        base_url: such as ``http://localhost:8080/v1``.
        model: the model's name on the server; None for a server that serves only one.
        sampling: how to draw. The server draws, from a seed that is a function of the job's; whether equal seeds give
            equal texts is the server's affair.
        extra: further fields of each request. The default switches top-k and min-p off and puts temperature first;
            pass ``{}`` for a server that refuses fields it does not know, as OpenAI's own does.
        concurrency: requests under way at once.
        retries: further attempts after a failure that may pass: no connection, a timeout, 408, 409, 425, 429, 5xx or
            a malformed answer. Waits double from ``backoff`` seconds with jitter; a server's Retry-After is obeyed up
            to a minute.
        timeout: seconds for one answer.
        api_key_env: the environment variable that holds the API key, if there is one. The key is sent and nothing
            else: it is never kept, logged or shown.

    Raises:
        ConfigurationError: an argument is out of range.
    """

    name = "http"

    def __init__(
        self,
        base_url: str,
        model: str | None = None,
        sampling: Sampling | None = None,
        *,
        extra: Mapping[str, Any] = PAPER_SAMPLING,
        concurrency: int = 16,
        retries: int = 6,
        backoff: float = 0.5,
        timeout: float = 120.0,
        api_key_env: str = "OPENAI_API_KEY",
    ) -> None:
        try:
            url = httpx.URL(base_url.rstrip("/"))
        except httpx.InvalidURL as error:
            raise ConfigurationError(
                f"the base URL is malformed ({error}); it looks like http://host:8080/v1"
            ) from None
        if url.scheme not in ("http", "https") or not url.host:
            raise ConfigurationError("the base URL must begin with http:// or https:// and name a host")
        if url.userinfo or url.query:
            raise ConfigurationError(f"the base URL holds a secret or a query; put an API key in {api_key_env} instead")
        if concurrency < 1 or retries < 0 or backoff < 0 or timeout <= 0:
            raise ConfigurationError("concurrency must be at least 1, retries and backoff 0, and timeout above 0")
        self.sampling = sampling or Sampling()
        check(self.sampling)
        self.base_url, self.model = str(url), model
        self._concurrency, self._retries, self._backoff = concurrency, retries, backoff
        self._key_env, self._extra, self._closed = api_key_env, dict(extra), False
        self._client = httpx.Client(timeout=timeout, limits=httpx.Limits(max_connections=concurrency))
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix="completions")

    def complete(self, jobs: Iterable[Job]) -> Iterator[Completion]:
        """One completion per job, as answers arrive; reads at most ``concurrency`` jobs ahead.

        Raises:
            BackendError: a request failed for good, or the server refuses all: key, address or model are wrong.
        """
        if self._closed:
            raise BackendError("this backend is closed; make a new one")
        source = iter(jobs)
        pending: set[Future[Completion]] = set()
        exhausted, stop = False, threading.Event()
        try:
            while True:
                while not exhausted and len(pending) < self._concurrency:
                    job = next(source, None)
                    if job is None:
                        exhausted = True
                    else:
                        pending.add(self._pool.submit(self._one, job, stop))
                if not pending:
                    return
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        finally:
            stop.set()  # those that wait for another attempt give up
            for future in pending:
                future.cancel()

    def describe(self) -> dict[str, Any]:
        """The model's name there and the fields of a request; a server does not tell which file it serves."""
        return {"model": self.model, "extra": self._extra}

    def provenance(self) -> dict[str, Any]:
        """The server's address."""
        return {"backend": self.name, "base_url": self.base_url}

    def close(self) -> None:
        """Close the connections. Closing twice is fine."""
        self._closed = True
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._client.close()

    def _one(self, job: Job, stop: threading.Event) -> Completion:
        path, body = self._request(job)
        problem = ""
        for attempt in range(self._retries + 1):
            delay = None
            try:
                response = self._client.post(f"{self.base_url}{path}", json=body, headers=self._headers())
            except httpx.TransportError as error:
                # The text of a transport error names addresses, not headers.
                problem = f"{type(error).__name__}: {error}"
            else:
                code = response.status_code
                if code == 200:
                    if completion := self._read(job, response):
                        return completion
                    problem = f"the answer is not that of an OpenAI-compatible server: {self._excerpt(response)}"
                elif code in _OURS_TO_MEND:
                    advice = _OURS_TO_MEND[code].format(key=self._key_env)
                    raise BackendError(f"{self.base_url} answered {code}: {advice}. It said: {self._excerpt(response)}")
                elif 300 <= code < 400:
                    raise BackendError(f"{self.base_url} answered {code}, a redirect; name the final address")
                elif code in (408, 409, 425, 429) or code >= 500:
                    problem = f"status {code}: {self._excerpt(response)}"
                    delay = _retry_after(response)
                else:
                    return Completion(job, f"the server refused it ({code}): {self._excerpt(response)}", "error", 0)
            if attempt < self._retries:
                jitter = 0.5 + generator("backoff", job.seed, attempt).random() / 2
                computed = min(self._backoff * 2**attempt, _LONGEST_WAIT) * jitter
                if stop.wait(computed if delay is None else max(delay, 0.0)):
                    break
        raise BackendError(
            f"{self.base_url} failed {self._retries + 1} times, the last with {problem}. Check that the server runs "
            "and copes with this many requests at once (lower the concurrency if not), then start again"
        )

    def _request(self, job: Job) -> tuple[str, dict[str, Any]]:
        text = job.body.encode("utf-8", "replace").decode("utf-8")
        prompt = job.prefix + job.lead + text + job.tail
        body: dict[str, Any] = {
            "max_tokens": self.sampling.max_new_tokens,
            "temperature": self.sampling.temperature,
            "top_p": self.sampling.top_p,
            "seed": job.seed % 2**31,
            "stream": False,
            **self._extra,
        }
        if self.model is not None:
            body["model"] = self.model
        if job.chat:
            return "/chat/completions", {**body, "messages": [{"role": "user", "content": prompt}]}
        # A blank line begins the next caption of the in-context layout: what follows would be thrown away.
        return "/completions", {**body, "prompt": prompt, "stop": ["\n\n"]}

    def _headers(self) -> dict[str, str]:
        key = os.environ.get(self._key_env, "").strip()
        return {"Authorization": f"Bearer {key}"} if key else {}

    def _read(self, job: Job, response: httpx.Response) -> Completion | None:
        """The completion in a good answer, None if the answer is not one."""
        try:
            answer = response.json()
            choice = answer["choices"][0]
            text = choice["message"]["content"] if job.chat else choice["text"]
            limited = choice.get("finish_reason") == "length"
            tokens = (answer.get("usage") or {}).get("completion_tokens", 0)
        except (ValueError, LookupError, TypeError, AttributeError):
            return None
        if text is None:  # a refusal, or an answer of thoughts only
            text = ""
        if not isinstance(text, str):
            return None
        line, ended = told(job, text)
        count = tokens if isinstance(tokens, int) else 0
        return Completion(job, line, "length" if limited and not ended else "stop", count)

    def _excerpt(self, response: httpx.Response) -> str:
        """The start of what the server said, on one line; a server may echo the key, so it is blanked out."""
        text = re.sub(r"\s+", " ", response.text)
        if key := os.environ.get(self._key_env, "").strip():
            text = text.replace(key, "***")
        return repr(text[:200])


def _retry_after(response: httpx.Response) -> float | None:
    """Seconds that the server asks to wait, at most a minute; None if it does not say, or names a date."""
    try:
        seconds = float(response.headers.get("retry-after", ""))
    except ValueError:
        return None
    return min(seconds, _LONGEST_WAIT) if math.isfinite(seconds) else None
