"""Completions by way of files: requests are written, somebody else runs them, and the answers are read.

The form is that of OpenAI's batches, which ``vllm run-batch`` takes too: one JSON object a line, with ``custom_id``,
``method``, ``url`` and ``body``; an answer has the ``custom_id`` and a ``response`` with ``status_code`` and ``body``,
or an ``error``. Answers come in any order, some never.

A job's id is a hash of its request and seed. So an answer can be nobody else's, the same command asks for the same ids
again, and what a file says of itself is not believed beyond that.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from laclip_aug.encoding import HEAD, conversion, wide_encoding
from laclip_aug.errors import ConfigurationError, InputError
from laclip_aug.generation.backend import Completion, Job, Sampling
from laclip_aug.generation.requests import OPTIONAL, PAPER_SAMPLING, Requests, request_fields
from laclip_aug.generation.sampling import check

MOST_REQUESTS, MOST_BYTES = 50_000, 200 * 10**6
"""OpenAI's limits on one file."""
UNANSWERED = "no answer yet"
_ID_BYTES = 16
_PASSING = (408, 409, 425, 429)
_OF_ALL = {
    401: "check the API key that the batch ran with",
    402: "the account has nothing left to pay with",
    404: "check the model's name, and that the server takes requests to this url",
}
"""What to do about statuses that say nothing of a caption."""
_MOST_OPEN = 16
_FILE_BITS = 24
"""Of the number that is an answer's place: the file's. The others are the byte at which it begins there."""


def id_of(path: str, body: bytes, seed: int) -> str:
    """32 hexadecimal digits that no other request (prompt, model, sampling) and seed has."""
    parts = (path.encode(), body, str(seed).encode())
    framed = b"".join(len(part).to_bytes(4, "little") + part for part in parts)
    return hashlib.blake2b(framed, digest_size=_ID_BYTES).hexdigest()


class RequestFiles:
    """Writes requests to ``folder`` as ``requests-00000.jsonl`` and so on, none larger than it may be.

    A file has its name once it is whole.

    Raises:
        ConfigurationError: ``folder`` holds requests already, or a limit is below one request.
    """

    def __init__(self, folder: Path, most_requests: int = MOST_REQUESTS, most_bytes: int = MOST_BYTES) -> None:
        if most_requests < 1 or most_bytes < 1024:
            raise ConfigurationError("a file must have room for a request and for 1,024 bytes at least")
        folder.mkdir(parents=True, exist_ok=True)
        if there := sorted(folder.glob("requests-*.jsonl")):
            raise ConfigurationError(f"{folder} holds requests already ({there[0].name}); name an empty folder")
        self.folder, self.files, self.written = folder, list[Path](), 0
        self._most = (most_requests, most_bytes)
        self._file: BinaryIO | None = None
        self._lines = self._bytes = 0

    def add(self, request_id: str, path: str, body: bytes) -> None:
        """Write a request. ``path`` is below ``/v1``."""
        head = {"custom_id": request_id, "method": "POST", "url": f"/v1{path}"}
        line = json.dumps(head).encode("ascii")[:-1] + b', "body": ' + body + b"}\n"
        if len(line) > self._most[1]:
            raise ConfigurationError(f"a request of {len(line)} bytes is larger than a file may be; allow larger files")
        if self._file is not None and (self._lines == self._most[0] or self._bytes + len(line) > self._most[1]):
            self.close()
        if self._file is None:
            self._file = self._next().open("wb")
            self._lines = self._bytes = 0
        self._file.write(line)
        self._lines, self._bytes, self.written = self._lines + 1, self._bytes + len(line), self.written + 1

    def close(self) -> None:
        """Give the last file its name."""
        if self._file is not None:
            self._file.close()
            self._file = None
            whole = self.folder / f"requests-{len(self.files):05d}.jsonl"
            self._next().replace(whole)
            self.files.append(whole)

    def _next(self) -> Path:
        return self.folder / f"requests-{len(self.files):05d}.jsonl.part"


class Answers:
    """The answers in ``files``, found by id. Of several good answers the first counts.

    They stay in the files; a place in one takes 24 bytes of memory for each answer, and up to 60 while all are sorted.
    ``unread`` counts by reason the lines that are no answer, ``repeated`` those of an id that came before; ``any_good``
    tells whether any holds a text, and not a refusal.

    Raises:
        InputError: a file cannot be read, or no line of any is an answer.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = list(files)
        self._open: dict[int, BinaryIO] = {}  # few: a process may not open thousands
        self.unread: Counter[str] = Counter()
        self.any_good = False
        ids, places = bytearray(), array("q")
        for number, file in enumerate(self._files):
            at = 0
            for line in _lines(file):
                if found := self._id(line):
                    ids += found
                    places.append(at << _FILE_BITS | number)
                at += len(line)
        if not ids:
            names = ", ".join(str(file) for file in files)
            raise InputError(f"no line of {names} is an answer to a batch; name the files that the batch gave back")
        every = np.frombuffer(ids, dtype=f"S{_ID_BYTES}")
        order = np.argsort(every, kind="stable")
        self._ids: npt.NDArray[np.bytes_] = every[order]
        self._places = np.frombuffer(places, dtype=np.int64)[order]
        self.repeated = int(np.count_nonzero(self._ids[1:] == self._ids[:-1]))
        self._distinct = len(self._ids) - self.repeated
        self.used = 0

    def of(self, job_id: str) -> list[dict[str, Any]]:
        """The answers with this id, in the order of the files."""
        wanted = np.array([bytes.fromhex(job_id)], dtype=f"S{_ID_BYTES}")[0]
        start = int(np.searchsorted(self._ids, wanted, "left"))
        end = int(np.searchsorted(self._ids, wanted, "right"))
        self.used += end > start
        return [self._at(int(place)) for place in self._places[start:end]]

    @property
    def unknown(self) -> int:
        """Ids that nobody has asked for, once all was asked for."""
        return self._distinct - self.used

    def close(self) -> None:
        """Close the files that are open; they are opened again if need be."""
        while self._open:
            self._open.popitem()[1].close()

    def _at(self, place: int) -> dict[str, Any]:
        number = place & (1 << _FILE_BITS) - 1
        file = self._open.pop(number, None) or _opened(self._files[number])
        if len(self._open) == _MOST_OPEN:
            self._open.pop(next(iter(self._open))).close()  # the one that was read longest ago
        self._open[number] = file
        file.seek(place >> _FILE_BITS)
        return dict(json.loads(file.readline()))

    def _id(self, line: bytes) -> bytes | None:
        if not line.strip():
            return None
        try:
            answer = json.loads(line)
            found = bytes.fromhex(answer["custom_id"])
            fits = len(found) == _ID_BYTES and ("response" in answer or "error" in answer)
        except (ValueError, LookupError, TypeError, RecursionError):
            fits = False
        if not fits:
            self.unread["no answer to a request of ours"] += 1
            return None
        self.any_good = self.any_good or _status(answer) == 200
        return found


@dataclass
class BatchBackend:
    """Completes jobs from ``answers``, and writes the requests of the others to ``requests``; each may be None.

    A job without an answer is ``"failed"``: a later run asks again. So is a refused one, where that is no fault of its
    caption: the server does not take a field, knows no such model or key, or has answered no request at all. Fields are
    those of :class:`laclip_aug.generation.http.HTTPBackend`, as are :meth:`describe` and so the fingerprint of a cache.
    """

    model: str | None
    sampling: Sampling = field(default_factory=Sampling)
    request_fields: Mapping[str, Any] | Sequence[str] = ()
    answers: Answers | None = None
    requests: RequestFiles | None = None
    name = "batch"

    def __post_init__(self) -> None:
        check(self.sampling)
        given = [self.request_fields] if isinstance(self.request_fields, str) else self.request_fields
        self._fields = {**PAPER_SAMPLING, **request_fields(given)}
        self._form = Requests(self.model, self.sampling, self._fields, set(), {})

    def complete(self, jobs: Iterable[Job]) -> Iterator[Completion]:
        """One completion per job, in their order."""
        for job in jobs:
            path, body = self._form.body([job])
            request_id = id_of(path, body, job.seed)
            completion = self._answered(job, request_id, body)
            if completion.finish == "failed" and self.requests is not None:
                self.requests.add(request_id, path, body)
            yield completion

    def _answered(self, job: Job, request_id: str, sent: bytes) -> Completion:
        found = Completion(job, UNANSWERED, "failed", 0)
        for answer in [] if self.answers is None else self.answers.of(request_id):
            found = self._read(job, answer, sent)
            if found.finish != "failed":
                break
        return found

    def _read(self, job: Job, answer: dict[str, Any], sent: bytes) -> Completion:
        response, code = answer.get("response"), _status(answer)
        body = response.get("body") if isinstance(response, dict) else None
        if code == 200 and not answer.get("error"):
            read = self._form.read([job], json.dumps(body).encode())
            return read[0] if read else Completion(job, "the answer holds no completion", "failed", 0)
        why = f"answered with status {code}: {str(answer.get('error') or body)[:300]}"
        if not (isinstance(code, int) and 400 <= code < 500) or code in _PASSING:
            return Completion(job, why, "failed", 0)
        advice = self._if_of_all(code, json.dumps(answer.get("error") or body), sent)
        return Completion(job, f"{why}; {advice}", "failed", 0) if advice else Completion(job, why, "error", 0)

    def _if_of_all(self, code: int, words: str, sent: bytes) -> str:
        """What to do about a refusal of which the caption is not at fault; empty if it may be."""
        form = Requests(self.model, self.sampling, self._fields, set(), {})  # ours must not change: ids are of its form
        if form.without(sent, words):
            fields = [f"{name}=" for name in OPTIONAL if name in form.dropped]
            fields += [f"{name}={value}" for name, value in form.added.items()]
            return f"write and read again with {' '.join(f'--request-field {one}' for one in fields)}"
        if code in _OF_ALL:
            return _OF_ALL[code]
        if self.answers is not None and not self.answers.any_good:
            return "no request of all was answered: check the model's name, the key and the requests' fields"
        return ""

    def describe(self) -> dict[str, Any]:
        """The model's name and the fields of a request."""
        return {"model": self.model, "extra": self._fields}

    def provenance(self) -> dict[str, Any]:
        """That answers came by file."""
        return {"backend": self.name}

    def close(self) -> None:
        """Give the last file of requests its name, and close those of answers."""
        if self.answers is not None:
            self.answers.close()
        if self.requests is not None:
            self.requests.close()


def _status(answer: dict[str, Any]) -> Any:
    """The status of an answer; None if it has none."""
    response = answer.get("response")
    return response.get("status_code") if isinstance(response, dict) else None


def _opened(file: Path) -> BinaryIO:
    try:
        return file.open("rb")
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error.strerror}); name a file that the batch gave back") from None


def _lines(file: Path) -> Iterator[bytes]:
    with _opened(file) as opened:
        if wide := wide_encoding(opened.read(HEAD)):
            raise InputError(f"{file} is not UTF-8; {conversion(str(file), wide)}")
        opened.seek(0)
        yield from opened
