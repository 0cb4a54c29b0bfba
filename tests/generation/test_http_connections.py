"""The connections of the HTTP backend: TLS, raw bytes of other servers, breaks and silence."""

from __future__ import annotations

import gzip
import json
import socket
import ssl
import struct
import threading
import time
import zlib
from pathlib import Path

import pytest
import trustme

from laclip_aug.errors import BackendError
from laclip_aug.generation.http import HTTPBackend
from tests.generation.completion_server import KEY, Server, backend, chat_answer, job, replying


def test_refused_connection() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    http = HTTPBackend(f"http://127.0.0.1:{port}/v1", "m", retries=1, backoff=0.01)
    with pytest.raises(BackendError, match=r"failed 2 times.*(refused|Connect)"):
        list(http.complete([job()]))
    http.close()


def test_timeout(server: Server) -> None:
    server.delay = 0.5
    http = backend(server, timeout=0.05, retries=0)
    with pytest.raises(BackendError, match="no answer within"):
        list(http.complete([job()]))
    http.close()


def test_https_with_a_certificate_of_ones_own(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    signer = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    signer.issue_cert("localhost").configure_cert(context)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    http = HTTPBackend(f"https://localhost:{server.server_port}/v1", "m", concurrency=4, backoff=0.01)
    with pytest.raises(BackendError, match=r"certificate verify failed.*SSL_CERT_FILE"):
        list(http.complete([job()]))
    assert not server.seen  # nothing is sent to a server that is not known
    signer.cert_pem.write_to_path(str(tmp_path / "signer.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "signer.pem"))
    long = "word " * 40_000
    assert {c.text for c in http.complete([job(), job(long), job("a cat")])} == {"rewritten 16", "rewritten 200011"}
    assert server.seen[0][1]["Authorization"] == f"Bearer {KEY}"
    server.script = [(200, {}, chat_answer(long))]
    assert [c.text for c in http.complete([job(chat=True)])] == [long.strip()]
    http.close()
    http = HTTPBackend(f"https://127.0.0.1:{server.server_port}/v1", "m", backoff=0.01)
    with pytest.raises(BackendError, match=r"not valid for '127.0.0.1'.*Check the address"):
        list(http.complete([job()]))
    http.close()


def test_a_proxy_that_is_not_used_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://user:pass@proxy.example:3128")
    monkeypatch.setenv("no_proxy", "localhost")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for host, named in [("127.0.0.1", True), ("localhost", False)]:
        http = HTTPBackend(f"http://{host}:{port}/v1", "m", backoff=0.0)
        with pytest.raises(BackendError) as caught:
            list(http.complete([job()]))
        assert ("HTTP_PROXY is not used" in str(caught.value)) == named
        assert "pass" not in str(caught.value)
        http.close()


def test_chunked_answers_and_closed_connections_are_read() -> None:
    """Raw bytes of other servers: chunks in pieces, no length, a connection that is dropped between requests."""
    body = json.dumps({"choices": [{"text": "a dog runs", "finish_reason": "stop"}]}).encode()
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"".join(
        b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:9], body[9:])
    )
    replies = [
        [b"HTTP/1.1 100 Continue\r\n\r\n", chunked[:70], chunked[70:], b"0\r\n\r\n"],
        [b"HTTP/1.0 200 OK\r\n\r\n", body],
        [b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body), body],
    ]
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        for pieces in replies:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                for piece in pieces:
                    connection.sendall(piece)
                    time.sleep(0.01)

    threading.Thread(target=serve, daemon=True).start()
    http = HTTPBackend(f"http://127.0.0.1:{listener.getsockname()[1]}/v1", "m", concurrency=1, backoff=0.01)
    assert [c.text for c in http.complete([job(str(n)) for n in range(3)])] == ["a dog runs"] * 3
    http.close()
    listener.close()


@pytest.mark.parametrize("end", [[b"0\r\n", b"\r\n"], [b"0\r\nX-Sum: 1\r\n\r\n"], [b"0\r\n", b"X-Sum: 1\r\n\r\n"]])
def test_the_end_of_a_chunked_answer_is_no_beginning_of_the_next(
    end: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    body = json.dumps({"choices": [{"text": "a dog runs", "finish_reason": "stop"}]}).encode()
    chunks = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(body), body)
    listener, asked = replying([[chunks, *end]] * 3)
    http = HTTPBackend(f"http://127.0.0.1:{listener.getsockname()[1]}/v1", "m", concurrency=1, retries=0, timeout=10)
    assert [c.text for c in http.complete([job(str(n)) for n in range(3)])] == ["a dog runs"] * 3
    assert len(asked) == 3
    assert not caplog.records
    http.close()
    listener.close()


@pytest.mark.parametrize("size", [b"zz", b"-6"])
def test_chunks_without_a_size_are_asked_for_again_at_once(size: bytes, caplog: pytest.LogCaptureFixture) -> None:
    head, body = b"HTTP/1.1 200 OK\r\n", b'{"choices": [{"text": "a dog runs"}]}'
    broken = head + b"Transfer-Encoding: chunked\r\n\r\n" + size + b"\r\n{}"
    listener, _ = replying([[broken]], [[head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)]])
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    http = HTTPBackend(url, "m", concurrency=1, retries=1, backoff=0.01, timeout=10)
    assert [c.text for c in http.complete([job()])] == ["a dog runs"]
    assert "chunks have no sizes" in caplog.text  # and not that there was no answer within 10 s
    http.close()
    listener.close()


def test_answers_that_a_proxy_compresses_are_unpacked(server: Server) -> None:
    body = chat_answer("a dog runs")
    raw = zlib.compressobj(wbits=-15)
    server.script = [
        (200, {"Content-Encoding": "gzip"}, gzip.compress(body)),
        (200, {"Content-Encoding": "deflate"}, zlib.compress(body)),
        (200, {"Content-Encoding": "deflate"}, raw.compress(body) + raw.flush()),
        (200, {"Content-Encoding": "gzip"}, gzip.compress(body)[:-9]),  # cut short: asked again
        (200, {"Content-Encoding": "br"}, b"\x1b"),  # unknown: asked again
        (200, {}, body),
    ]
    http = backend(server, concurrency=1)
    assert [c.text for c in http.complete([job(str(n), chat=True) for n in range(4)])] == ["a dog runs"] * 4
    assert server.seen[0][1]["Accept-Encoding"] == "identity"
    http.close()


def test_a_connection_reset_in_the_middle_of_an_answer_is_asked_again() -> None:
    body = chat_answer("a dog runs")
    whole = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        for piece in (whole[:40], whole[:-7], b"", whole):
            connection, _ = listener.accept()
            connection.recv(65536)
            connection.sendall(piece)
            time.sleep(0.02)
            if piece != whole:  # close with a reset, as a killed server does
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()

    threading.Thread(target=serve, daemon=True).start()
    http = HTTPBackend(f"http://127.0.0.1:{listener.getsockname()[1]}/v1", "m", concurrency=1, backoff=0.01)
    assert [c.text for c in http.complete([job(chat=True)])] == ["a dog runs"]
    http.close()
    listener.close()
