"""The event loop that holds requests under way: attempts, waits, and what a server's status means for a run."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import queue
import re
import ssl
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count

from laclip_aug.errors import BackendError
from laclip_aug.generation.backend import Completion, Job
from laclip_aug.generation.connection import Connection, make_room
from laclip_aug.generation.requests import Requests
from laclip_aug.seeding import generator

_LONGEST_WAIT = 60.0
_HAND_OVER = 0.002
"""Seconds in which completions are gathered, so that the threads change over seldom."""
_PASSING = (408, 409, 425, 429)
_LASTING = {
    401: "the server wants an API key: put it in the environment variable {key}",
    402: "the account has nothing left to pay with: top it up, or use another server",
    404: "there is no such address or model: check the base URL (it ends before /completions) and the model's name; "
    "a server for chat models alone needs --prompt chat",
    405: "this address takes no completions: check the base URL (it ends before /completions); a server for chat "
    "models alone needs --prompt chat",
    410: "this address or model is gone: check both",
    501: "the server cannot do this: check the address; one for chat models alone needs --prompt chat",
}
_FORBIDDEN = "if it says so of every caption, check the API key in {key} and the model's name"
"""Of status 403, which a filter of contents gives for one prompt and a wrong key for all."""
_UNTRUSTED = (
    "Check the address; a file named by the environment variable SSL_CERT_FILE says whose certificates are trusted"
)
_QUOTA = re.compile(
    r"insufficient[_ ](?:quota|balance|funds|credits?)|billing|payment required|credit balance|out of credits",
    re.IGNORECASE,
)
_SOON = re.compile(r"(?:retry|try again) (?:in|after) \d|per (?:minute|second|hour)|rpm|tpm", re.IGNORECASE)
"""A quota that fills up again by itself."""
_CHAT_ONLY = re.compile(r"chat[ _-]?(?:model|completion|endpoint|only)|chat/completions", re.IGNORECASE)
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Answer:
    """The completions of one request. ``began`` and ``ended`` are moments of one clock, no two the same."""

    completions: list[Completion]
    began: int
    ended: int


Result = Answer | BackendError
"""What came of a request, or what ends the run."""


class RequestLoop:
    """Requests in one event loop; :meth:`run` is its thread, the other methods are for the thread that asks."""

    def __init__(
        self,
        base_urls: Sequence[str],
        requests: Requests,
        key_env: str,
        *,
        concurrency: int,
        retries: int,
        backoff: float,
        timeout: float,
    ) -> None:
        self._urls, self._requests, self._key_env = base_urls, requests, key_env
        self._concurrency, self._retries, self._backoff, self._timeout = concurrency, retries, backoff, timeout
        secure = any(url.startswith("https:") for url in base_urls)
        self._trusted = ssl.create_default_context() if secure else None
        self._loop = asyncio.new_event_loop()
        self._inbox: queue.SimpleQueue[list[Result]] = queue.SimpleQueue()
        self._arrived: list[Result] = []
        self._wanted: deque[tuple[list[Job], int]] = deque()
        self._idle: deque[asyncio.Future[None]] = deque()
        self._workers: set[asyncio.Task[None]] = set()
        self._opened, self._told = 0, False
        self._clock = count()
        self._stopping = asyncio.Event()

    def run(self) -> None:
        """Serve until :meth:`stop`."""
        make_room(self._concurrency)
        try:
            self._loop.run_until_complete(self._serve())
        except BaseException as error:  # the asking thread waits for an answer
            self._inbox.put([BackendError(f"the requests broke down ({error!r}); start again")])
        finally:
            self._loop.close()

    def submit(self, groups: Sequence[list[Job]], retries: int | None = None) -> None:
        """Ask for the jobs of each group, which share a prompt; with ``retries`` other than the usual."""
        if groups:
            tries = self._retries if retries is None else min(retries, self._retries)
            with suppress(RuntimeError):  # the loop has broken down, and said so
                self._loop.call_soon_threadsafe(self._start, [(group, tries) for group in groups])

    def results(self) -> list[Result]:
        """What has arrived; waits until something has."""
        return self._inbox.get()

    def stop(self) -> None:
        """Give up what is under way."""
        with suppress(RuntimeError):  # the loop has ended by itself
            self._loop.call_soon_threadsafe(self._stopping.set)

    async def _serve(self) -> None:
        await self._stopping.wait()
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)

    def _start(self, groups: Sequence[tuple[list[Job], int]]) -> None:
        self._wanted.extend(groups)
        for _ in range(len(groups)):
            while self._idle and (sleeper := self._idle.popleft()):
                if not sleeper.done():
                    sleeper.set_result(None)
                    break
            else:
                if self._opened < self._concurrency:
                    url = self._urls[self._opened % len(self._urls)]
                    self._opened += 1
                    self._workers.add(self._loop.create_task(self._work(url)))

    async def _work(self, url: str) -> None:
        """A connection's life: one request after another; it sleeps while there is none."""
        connections = {url: Connection(url, self._trusted)}
        try:
            while True:
                while not self._wanted:
                    sleeper = self._loop.create_future()
                    self._idle.append(sleeper)
                    await sleeper
                jobs, retries = self._wanted.popleft()
                while jobs:
                    began = next(self._clock)
                    found = await self._one(jobs, retries, url, connections)
                    self._hand_over(Answer(found, began, next(self._clock)))
                    jobs = jobs[len(found) :]
                    if jobs and "n" not in self._requests.dropped:
                        self._requests.dropped.add("n")  # it gave fewer choices than were asked for
                        _say("n")
        except BackendError as error:
            self._hand_over(error)
        except Exception as error:
            self._hand_over(BackendError(f"a request broke down ({error!r}); start again"))
        finally:
            for connection in connections.values():
                connection.close()

    def _hand_over(self, result: Result) -> None:
        if not self._arrived:
            self._loop.call_later(_HAND_OVER, self._flush)
        self._arrived.append(result)

    def _flush(self) -> None:
        self._inbox.put(self._arrived)
        self._arrived = []

    async def _one(
        self, jobs: list[Job], retries: int, home: str, connections: dict[str, Connection]
    ) -> list[Completion]:
        """The completions of one request: at least one, at most those of ``jobs``."""
        if "n" in self._requests.dropped:
            jobs = jobs[:1]
        problem, attempt = "", 0
        while True:
            path, body = self._requests.body(jobs)
            delay = None
            base = self._urls[(self._urls.index(home) + attempt) % len(self._urls)]  # another, if one fails
            if base not in connections:
                connections[base] = Connection(base, self._trusted)
            try:
                answer = await connections[base].post(path, self._headers(), body, self._timeout)
                code, data = answer.status, answer.body
            except ssl.SSLCertVerificationError as error:
                raise BackendError(f"{base}: {error}. {_UNTRUSTED}") from error
            except (OSError, asyncio.TimeoutError) as error:
                # The text of a transport error names addresses, not headers.
                problem = f"{type(error).__name__}: {error}"
            else:
                if code == 200:
                    if found := self._requests.read(jobs, data):
                        return found
                    problem = (
                        f"the answer has no whole text, as an OpenAI-compatible server gives: {self._excerpt(data)}"
                    )
                elif code in _PASSING or (code >= 500 and code not in _LASTING):
                    problem, delay = f"status {code}: {self._excerpt(data)}", retry_after(answer.header("retry-after"))
                    if code == 429:
                        self._check_balance(base, code, data, delay)
                elif refused := self._refused(base, path, body, code, data):
                    return [Completion(job, refused, "error", 0) for job in jobs]
                else:
                    if "n" in self._requests.dropped:
                        jobs = jobs[:1]
                    continue  # without what it refused
            if attempt == retries:
                return [
                    Completion(job, f"failed {attempt + 1} times, the last with {problem}", "failed", 0) for job in jobs
                ]
            self._say_once(base, problem, retries)
            jitter = 0.5 + generator("backoff", jobs[0].seed, attempt).random() / 2
            computed = min(self._backoff * 2**attempt, _LONGEST_WAIT) * jitter
            attempt += 1
            await asyncio.sleep(max(computed, delay or 0.0))

    def _say_once(self, base: str, problem: str, retries: int) -> None:
        """Of the first attempt that fails: attempts at a server that does not answer may take minutes."""
        if not self._told:
            self._told = True
            _logger.warning("%s: %s; it is asked again, %d times at most", base, problem, retries)

    def _headers(self) -> str:
        key = os.environ.get(self._key_env, "").strip()
        return f"Authorization: Bearer {key}\r\n" if key and key.isascii() and key.isprintable() else ""

    def _refused(self, base: str, path: str, body: bytes, code: int, data: bytes) -> str:
        """Why the server will never take this prompt; empty if it may without a field that it refused.

        Raises:
            BackendError: it will never take any.
        """
        words = self._excerpt(data)
        if path == "/completions" and _CHAT_ONLY.search(words):
            raise BackendError(
                f"{base} answered {code}: the model is for chat alone; pass --prompt chat. It said: {words}"
            )
        if code in (400, 403):
            self._check_balance(base, code, data, None)
        if code in _LASTING:
            raise BackendError(f"{base} answered {code}: {_LASTING[code].format(key=self._key_env)}. It said: {words}")
        if 300 <= code < 400:
            raise BackendError(f"{base} answered {code}, a redirect; name the final address")
        before = set(self._requests.dropped)
        if named := self._requests.without(body, data.decode("utf-8", "replace")):
            if self._requests.dropped != before:
                _say(named)
            return ""
        hint = f" ({_FORBIDDEN.format(key=self._key_env)})" if code == 403 else ""
        return f"the server refused it ({code}): {words}{hint}"

    def _check_balance(self, base: str, code: int, data: bytes, delay: float | None) -> None:
        """Raise BackendError if the server wants money first, and names no time after which it does not."""
        words = data.decode("utf-8", "replace")
        if _QUOTA.search(words) and delay is None and not _SOON.search(words):
            raise BackendError(f"{base} answered {code}: {_LASTING[402]}. It said: {self._excerpt(data)}")

    def _excerpt(self, data: bytes) -> str:
        """The start of what the server said, on one line; a server may echo the key, so it is blanked out."""
        text = re.sub(r"\s+", " ", data.decode("utf-8", "replace"))
        if key := os.environ.get(self._key_env, "").strip():
            text = text.replace(key, "***")
        return repr(text[:300])


def _say(fields: str) -> None:
    _logger.warning("the server does not take %s; the requests go on without", fields)


def retry_after(header: str) -> float | None:
    """Seconds that the server asks to wait, at most a minute; None if it does not say, or names a date."""
    try:
        seconds = float(header)
    except ValueError:
        return None
    return min(seconds, _LONGEST_WAIT) if math.isfinite(seconds) else None
