"""Messages between two processes over a pipe: JSON behind its length, so that nothing read can run code."""

from __future__ import annotations

import json
import os
import struct
from typing import Any

from laclip_aug import errors
from laclip_aug.generation.backend import Completion, Draws, Job

_LENGTH = struct.Struct("<I")
_BLOCK = 1 << 16


def send(descriptor: int, message: Any) -> None:
    """Write one message, whole. JSON escapes keep lone surrogates as they are.

    Raises:
        BrokenPipeError: nobody reads any more.
    """
    body = json.dumps(message).encode("ascii")
    data = memoryview(_LENGTH.pack(len(body)) + body)
    while data:
        data = data[os.write(descriptor, data) :]


class Receiver:
    """Reads messages from a pipe."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._data = bytearray()

    def next(self) -> Any:
        """The next message; None once the writer has gone, even in the middle of a message."""
        head = self._take(_LENGTH.size)
        body = None if head is None else self._take(_LENGTH.unpack(head)[0])
        return None if body is None else json.loads(body)

    def has_data(self) -> bool:
        """Whether something of the next message is here already."""
        return bool(self._data)

    def _take(self, size: int) -> bytes | None:
        while len(self._data) < size:
            block = os.read(self._descriptor, _BLOCK)
            if not block:
                return None
            self._data += block
        taken = bytes(self._data[:size])
        del self._data[:size]
        return taken


def pack_job(job: Job) -> list[Any]:
    """A job without its tag, which stays with who asked."""
    return [
        job.prefix,
        job.lead,
        job.body,
        job.tail,
        job.seed,
        job.chat,
        job.special,
        job.shares_body,
        job.verdict_words,
        job.known,
    ]


def unpack_job(fields: list[Any], tag: int) -> Job:
    """The job, with ``tag`` to know it by."""
    prefix, lead, body, tail, seed, chat, special, shares_body, words, known = fields
    verdict_words = None if words is None else (words[0], words[1])
    draws = tuple(map(_draws, known))
    return Job(prefix, lead, body, tail, seed, tag, chat, special, shares_body, verdict_words, draws)


def pack_completion(completion: Completion) -> list[Any]:
    """A completion without its job."""
    return [
        completion.text,
        completion.finish,
        completion.tokens,
        completion.log_likelihood,
        completion.verdict,
        completion.drawn,
    ]


def unpack_completion(fields: list[Any], job: Job) -> Completion:
    """The completion of ``job``."""
    text, finish, tokens, log_likelihood, verdict, drawn = fields
    return Completion(job, text, finish, tokens, log_likelihood, verdict, _draws(drawn))


def _draws(fields: list[Any]) -> Draws:
    return tuple((int(token), float(probability)) for token, probability in fields)


def pack_error(error: BaseException) -> list[Any]:
    """An exception: the name of its class, its message, and what else of it is text."""
    more = {key: value for key, value in vars(error).items() if isinstance(value, str)}
    return [type(error).__name__, str(error), more]


def unpack_error(fields: list[Any]) -> errors.LaclipError:
    """The exception, of its own class if that is one of this package, else a ModelError that names the class."""
    name, message, more = fields
    kind = getattr(errors, name, None)
    if not (isinstance(kind, type) and issubclass(kind, errors.LaclipError)):
        return errors.ModelError(f"the engine failed ({name}: {message}); please report it with the caption")
    error = kind.__new__(kind)
    error.args = (message,)
    vars(error).update(more)
    return error
