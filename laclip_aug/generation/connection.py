"""One kept-alive HTTP/1.1 connection on asyncio's own protocol class, for small requests in large numbers.

General clients spend so much of a core on each request that a thousand a second fill it (``benchmarks/servers.py``).
This one does what a completion needs: POST, an answer with a length, in chunks or up to the end of the connection, TLS
by the standard library. No redirects, cookies or proxies; no compression is asked for, and gzip undone where a proxy
applies it all the same.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import zlib
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[^\r\n]*chunked", re.IGNORECASE)
_CLOSES = re.compile(rb"\r\nconnection:[^\r\n]*close", re.IGNORECASE)
_ENCODED = re.compile(rb"\r\ncontent-encoding:[ \t]*([^\r\n]*)", re.IGNORECASE)
_STATUS = re.compile(rb"HTTP/1\.([01]) (\d{3})")
_MOST_BYTES = 64 * 2**20
_READ_BYTES = 8192


class ConnectionBroken(OSError):
    """The other side closed the connection, or did not speak HTTP/1.1; ``unread`` if nothing was answered."""

    def __init__(self, message: str, unread: bool = False) -> None:
        super().__init__(message)
        self.unread = unread


@dataclass(frozen=True, slots=True)
class Response:
    """A server's answer. ``head`` holds the status line and the header lines."""

    status: int
    head: bytes
    body: bytes

    def header(self, name: str) -> str:
        """The value of a header; empty if there is none."""
        found = re.search(rb"\r\n" + name.encode("ascii") + rb":[ \t]*([^\r\n]*)", self.head, re.IGNORECASE)
        return found[1].decode("latin-1").strip() if found else ""


class Connection(asyncio.BufferedProtocol):
    """Requests one after another to one server; it connects when it is first asked and again after a break.

    It reads into a buffer of its own: asyncio's plain protocol maps and unmaps 256 KiB for each answer. For ``https``
    ``trusted`` says whose certificates are believed.
    """

    def __init__(self, base_url: str, trusted: ssl.SSLContext | None) -> None:
        parts = urlsplit(base_url)
        self._trusted = trusted if parts.scheme == "https" else None
        self._host, self._port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        self._path, self._name = parts.path, parts.netloc
        self._transport: asyncio.Transport | None = None
        self._read = memoryview(bytearray(_READ_BYTES))  # a view: TLS fills it in slices
        self._data = bytearray()
        self._waiting: asyncio.Future[Response] | None = None

    async def post(self, path: str, headers: str, body: bytes, timeout: float) -> Response:
        """The answer to one request. ``headers`` are whole lines.

        Raises:
            OSError, ssl.SSLError: no connection.
            ConnectionBroken: it was lost. A kept connection that broke before it answered is opened once more.
            TimeoutError: it took longer than ``timeout`` seconds.
        """
        head = (
            f"POST {self._path}{path} HTTP/1.1\r\nHost: {self._name}\r\nContent-Type: application/json\r\n"
            f"Accept: application/json\r\nAccept-Encoding: identity\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
        )
        request = head.encode("latin-1") + body
        kept = self._transport is not None and not self._transport.is_closing()
        try:
            return await self._exchange(request, timeout)
        except ConnectionBroken as error:
            if not (kept and error.unread):
                raise
        return await self._exchange(request, timeout)

    async def _exchange(self, request: bytes, timeout: float) -> Response:
        loop = asyncio.get_running_loop()
        if self._transport is None or self._transport.is_closing():
            opening = loop.create_connection(lambda: self, self._host, self._port, ssl=self._trusted)
            await asyncio.wait_for(opening, timeout)
        if self._transport is None:
            raise ConnectionBroken("the connection was closed at once")
        self._data.clear()
        answer: asyncio.Future[Response] = loop.create_future()
        self._waiting = answer
        self._transport.write(request)
        timer = loop.call_later(timeout, self._late, answer, timeout)
        try:
            return await answer
        finally:
            timer.cancel()
            if answer.cancelled():
                self.close()

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        self._transport = transport  # type: ignore[assignment]

    def get_buffer(self, sizehint: int) -> memoryview:
        """See asyncio."""
        return self._read

    def buffer_updated(self, nbytes: int) -> None:
        """See asyncio."""
        self._data += self._read[:nbytes]
        if len(self._data) > _MOST_BYTES:
            self._break("the answer is over 64 MiB")
        elif answer := self._whole(ended=False):
            self._settle(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        self._transport = None
        if answer := self._whole(ended=True):
            self._settle(answer)
        else:
            self._break(str(exc) if exc else "the server closed the connection")

    def _late(self, answer: asyncio.Future[Response], timeout: float) -> None:
        if not answer.done():
            answer.set_exception(TimeoutError(f"no answer within {timeout:g} s"))
            self.close()

    def _settle(self, answer: Response) -> None:
        if encoded := _ENCODED.search(answer.head):
            try:
                answer = Response(answer.status, answer.head, _decoded(answer.body, encoded[1].strip().lower()))
            except (ValueError, zlib.error) as error:
                self._break(f"the answer cannot be unpacked ({error}); have the server, or its proxy, not compress it")
                return
        self._data.clear()
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(answer)
        if _CLOSES.search(answer.head) or answer.head.startswith(b"HTTP/1.0"):
            self.close()

    def _break(self, why: str) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(ConnectionBroken(why, unread=not self._data))
        self.close()

    def _whole(self, ended: bool) -> Response | None:
        """The answer, once all of it is there; ``ended`` if no more will come."""
        while True:
            end = self._data.find(b"\r\n\r\n")
            if end < 0:
                return None
            head = bytes(self._data[:end])
            status = _STATUS.match(head)
            if status is None:
                self._break("the server does not speak HTTP/1.1; check the base URL")
                return None
            if status[2][:1] != b"1":
                break
            del self._data[: end + 4]  # 100 Continue
        code, start = int(status[2]), end + 4
        if length := _LENGTH.search(head):
            stop = start + int(length[1])
            return Response(code, head, bytes(self._data[start:stop])) if len(self._data) >= stop else None
        if _CHUNKED.search(head):
            try:
                body = _unchunked(self._data, start, ended)
            except ValueError:
                self._break("the answer's chunks have no sizes; have the server, or its proxy, send it whole")
                return None
            return None if body is None else Response(code, head, body)
        if code in (204, 304):
            return Response(code, head, b"")
        return Response(code, head, bytes(self._data[start:])) if ended else None


def _unchunked(data: bytearray, at: int, ended: bool) -> bytes | None:
    """The body from its chunks; None if the last, and the blank line behind it, are not there yet.

    Raises ValueError if a size is none.
    """
    body = bytearray()
    while (end := data.find(b"\r\n", at)) >= 0:
        size = int(data[at:end].split(b";")[0], 16)
        if size < 0:
            raise ValueError(f"a chunk of {size} bytes")
        if size == 0:  # the blank line must not be taken for the beginning of the next answer
            return bytes(body) if ended or data.find(b"\r\n\r\n", end) >= 0 else None
        if len(data) < end + 2 + size + 2:
            return None
        body += data[end + 2 : end + 2 + size]
        at = end + 2 + size + 2
    return None


def _decoded(body: bytes, encoding: bytes) -> bytes:
    """The body as it was before ``encoding``, at most 64 MiB of it."""
    if encoding in (b"", b"identity"):
        return body
    if encoding not in (b"gzip", b"x-gzip", b"deflate"):
        raise ValueError(f"its encoding is {encoding.decode('latin-1')}")
    unpacker = zlib.decompressobj(47 if body[:2] == b"\x1f\x8b" or body[:1] == b"\x78" else -15)
    plain = unpacker.decompress(body, _MOST_BYTES)
    if not unpacker.eof:
        raise ValueError("it is cut short, or over 64 MiB")
    return plain


def make_room(connections: int) -> None:
    """Let this process open that many files more, as far as it is allowed to."""
    with suppress(ImportError, ValueError, OSError):
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = connections + 256
        if soft != resource.RLIM_INFINITY and soft < wanted:
            most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
