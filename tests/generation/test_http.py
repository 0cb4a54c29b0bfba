"""The HTTP backend against a real server on this machine that misbehaves on demand."""

from __future__ import annotations

import gzip
import json
import logging
import socket
import ssl
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme

from laclip_aug.errors import BackendError, ConfigurationError
from laclip_aug.generation.backend import Job, Sampling
from laclip_aug.generation.http import HTTPBackend
from laclip_aug.generation.request_loop import retry_after

KEY = "sk-very-secret-key"


class Server(ThreadingHTTPServer):
    """Answers each request with the next entry of ``script``, then with good completions."""

    daemon_threads = True
    request_queue_size = 128  # connections that are opened at once

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script: list[tuple[int, dict[str, str], bytes]] = []
        self.seen: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.lock = threading.Lock()
        self.busy = self.most_busy = 0
        self.delay = 0.0
        self.judge: Callable[[str], tuple[float, int]] = lambda prompt: (0.0, 200)  # seconds and status, unscripted
        self.refusal_headers: dict[str, str] = {}
        self.url = f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.seen.append((self.path, dict(self.headers), body))
            self.server.busy += 1
            self.server.most_busy = max(self.server.most_busy, self.server.busy)
            scripted = self.server.script.pop(0) if self.server.script else None
        time.sleep(self.server.delay)
        chat = self.path.endswith("/chat/completions")
        prompt = body["messages"][0]["content"] if chat else body["prompt"]
        seconds, status = self.server.judge(prompt)
        if scripted is None:
            time.sleep(seconds)
        if scripted is None and status != 200:
            scripted = (
                status,
                self.server.refusal_headers,
                b'{"error": {"code": "content_filter", "message": "flagged by our policy"}}',
            )
        if scripted is None:
            text = f" rewritten {len(prompt)} \nand more"
            choice = {"message": {"content": text}} if chat else {"text": text}
            answer = {"choices": [{**choice, "finish_reason": "length"}], "usage": {"completion_tokens": 7}}
            scripted = 200, {}, json.dumps(answer).encode()
        code, headers, data = scripted
        with self.server.lock:
            self.server.busy -= 1
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def backend(server: Server, **options: Any) -> HTTPBackend:
    return HTTPBackend(server.url, "some-model", **{"backoff": 0.01, "concurrency": 4, "retries": 3, **options})


def job(caption: str = "a dog", seed: int = 5, **options: Any) -> Job:
    return Job("prefix", "\n\n", caption, " =>", seed, tag=caption, **options)


def test_completions_and_chat(server: Server) -> None:
    http = backend(server)
    (plain,) = http.complete([job(seed=2**40 + 9)])
    assert (plain.text, plain.finish, plain.tokens) == ("rewritten 16", "stop", 7)
    (chat,) = http.complete([job(chat=True)])
    assert chat.text == "rewritten 16 \nand more"
    (path, _, body), (chat_path, _, chat_body) = server.seen
    assert path == "/v1/completions"
    assert body == {
        "model": "some-model",
        "prompt": "prefix\n\na dog =>",
        "max_tokens": 77,
        "temperature": 0.9,
        "top_p": 0.95,
        "top_k": 0,
        "min_p": 0.0,
        "samplers": ["temperature", "top_p"],
        "seed": (2**40 + 9) % 2**31,
        "stop": ["\n\n"],
        "stream": False,
    }
    assert chat_path == "/v1/chat/completions"
    assert chat_body["messages"] == [{"role": "user", "content": "prefix\n\na dog =>"}]
    assert chat_body["seed"] == 5
    http.close()


def test_hostile_captions_reach_the_server_as_valid_text(server: Server) -> None:
    http = backend(server)
    captions = ["", "\ud800 lone", "a\0b", "日本 => \n\n x", "</s>", "x" * 10_000]
    assert {c.job.body for c in http.complete(job(caption) for caption in captions)} == set(captions)
    prompts = {body["prompt"] for _, _, body in server.seen}
    assert "prefix\n\n? lone =>" in prompts
    assert "prefix\n\na\0b =>" in prompts
    http.close()


def test_failures_that_pass_are_retried(server: Server) -> None:
    server.script = [
        (429, {"Retry-After": "0.05"}, b"slow down"),
        (500, {}, b"oops"),
        (200, {}, b"<html>no json"),
    ]
    http = backend(server)
    (done,) = http.complete([job()])
    assert (done.text, len(server.seen)) == ("rewritten 16", 4)
    server.script = [(200, {}, b'{"choices": []}'), (200, {}, b"[1]"), (503, {"Retry-After": "Wed, 1 Jan"}, b"")]
    (done,) = http.complete([job()])
    assert done.finish == "stop"
    http.close()


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("3", 3.0), ("0.5", 0.5), ("86400", 60.0), ("Wed, 21 Oct 2026 07:28:00 GMT", None), ("nan", None), ("", None)],
)
def test_retry_after_is_read(header: str, seconds: float | None) -> None:
    assert retry_after(header) == seconds


def test_a_lasting_failure_ends_the_run_and_says_what_to_do(server: Server) -> None:
    server.script = [(500, {}, b"out of memory")] * 20
    http = backend(server, concurrency=1)
    with pytest.raises(BackendError, match=r"failed 2 times.*out of memory.*Check that the server runs"):
        list(http.complete([job("a cat")]))
    assert ["a dog" in body["prompt"] for _, _, body in server.seen] == [False] * 4 + [True] * 2
    server.script = []
    assert len(list(http.complete([job()]))) == 1
    http.close()


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


@pytest.mark.parametrize(("code", "advice"), [(401, "SOME_KEY"), (402, "pay"), (404, "base URL"), (302, "redirect")])
def test_refusals_of_everything_end_the_run_at_once(server: Server, code: int, advice: str) -> None:
    server.script = [(code, {"Location": "http://127.0.0.1:9/"}, b"no")] * 4
    http = backend(server, api_key_env="SOME_KEY", concurrency=1)
    with pytest.raises(BackendError, match=advice):
        list(http.complete([job()]))
    assert len(server.seen) == 1
    http.close()


def test_a_prompt_too_long_is_an_error_of_its_own_job(server: Server) -> None:
    server.script = [(400, {}, b'{"error": "prompt is too long"}')]
    http = backend(server, concurrency=1)
    first, second = http.complete([job("long"), job("short")])
    assert (first.job.tag, first.finish, first.tokens) == ("long", "error", 0)
    assert "prompt is too long" in first.text
    assert (second.job.tag, second.finish) == ("short", "stop")
    http.close()


def test_requests_run_side_by_side_and_jobs_are_read_lazily(server: Server) -> None:
    server.delay = 0.05
    http = backend(server)
    read = 0

    def stream() -> Iterator[Job]:
        nonlocal read
        for n in range(30):
            read += 1
            yield job(str(n))

    done = 0
    for _ in http.complete(stream()):
        done += 1
        assert read <= done + 5
    assert done == 30
    assert 2 <= server.most_busy <= 4
    http.close()


def test_the_key_is_sent_and_nowhere_shown(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    http = backend(server, concurrency=1, retries=1)
    with caplog.at_level(logging.DEBUG):
        list(http.complete([job()]))
        assert server.seen[0][1]["Authorization"] == f"Bearer {KEY}"
        echo = f"bad key {KEY}".encode()
        server.script = [(401, {}, echo)]
        with pytest.raises(BackendError) as refused:
            list(http.complete([job()]))
        server.script = [(500, {}, echo)] * 2
        (failed,) = http.complete([job()])
        server.script = [(422, {}, echo)]
        (completion,) = http.complete([job()])
    shown = [
        str(refused.value),
        failed.text,
        completion.text,
        str([http.describe(), http.provenance()]),
        repr(vars(http)),
        caplog.text,
    ]
    assert not [text for text in shown if KEY in text]
    assert "***" in completion.text and "***" in failed.text
    monkeypatch.delenv("OPENAI_API_KEY")
    list(http.complete([job()]))
    assert "Authorization" not in server.seen[-1][1]
    http.close()


def test_description_and_closing(server: Server) -> None:
    http = backend(server, sampling=Sampling(temperature=0))
    assert http.describe() == {
        "model": "some-model",
        "extra": {"top_k": 0, "min_p": 0.0, "samplers": ["temperature", "top_p"]},
    }
    assert http.provenance() == {"backend": "http", "base_url": server.url}
    http.close()
    http.close()
    with pytest.raises(BackendError, match="closed"):
        list(http.complete([job()]))


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("localhost:8080", {}),
        ("ftp://host/v1", {}),
        ("http://user:secret@host/v1", {}),
        ("http://host/v1?key=secret", {}),
        ("http://my..host:8000/v1", {}),
        ("http://host/v1/模型", {}),
        ("http://münchen.example/v1", {}),
        ("http://host:8000/v1 ", {}),
        ("http://host/v1", {"concurrency": 0}),
        ("http://host/v1", {"retries": -1}),
        ("http://host/v1", {"timeout": 0}),
        ("http://host/v1", {"sampling": Sampling(top_p=0)}),
    ],
)
def test_impossible_settings_are_refused(url: str, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as refused:
        HTTPBackend(url, "m", **options)
    assert "secret@" not in str(refused.value)
    assert "=secret" not in str(refused.value)


FORBIDDEN = b'{"detail": [{"type": "extra_forbidden", "loc": ["body", "top_k"], "msg": "Extra inputs not permitted"}]}'
OPENAI = (
    b'{"error": {"message": "Unsupported parameter: \'max_tokens\' is not supported with this model. Use '
    b"'max_completion_tokens' instead.\"}}"
)


def test_fields_that_a_server_refuses_by_name_are_left_out_and_named_once(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    server.script = [
        (400, {}, FORBIDDEN),
        (400, {}, OPENAI),
        (422, {}, b"unknown field samplers"),
        (400, {}, b"no: min_p"),
    ]
    http = backend(server, concurrency=1)
    first, *others = http.complete([job(str(n), chat=True) for n in range(5)])
    assert (first.finish, "no: min_p" in first.text) == ("error", True)  # a value that is wrong is no unknown field
    assert [c.finish for c in others] == ["length"] * 4
    body = server.seen[-1][2]
    assert not {"top_k", "max_tokens", "samplers"} & body.keys()
    assert body["max_completion_tokens"] == 77
    assert body["min_p"] == 0.0
    assert [r.message for r in caplog.records] == [
        f"the server does not take {name}; the requests go on without" for name in ("top_k", "max_tokens", "samplers")
    ]
    http.close()


def test_request_fields_are_added_changed_and_left_out(server: Server) -> None:
    fields = ["top_k=20", "min_p=", "seed=", 'chat_template_kwargs={"enable_thinking": false}', "reasoning_effort=low"]
    http = backend(server, request_fields=fields)
    list(http.complete([job(chat=True)]))
    body = server.seen[0][2]
    assert body["top_k"] == 20
    assert not {"min_p", "seed"} & body.keys()
    assert body["chat_template_kwargs"] == {"enable_thinking": False}
    assert body["reasoning_effort"] == "low"
    for wrong in ("top_k", "=3", "x={", "messages=[]", "n=3"):
        with pytest.raises(ConfigurationError):
            backend(server, request_fields=[wrong])
    http.close()


def chat_answer(content: Any, finish: str = "stop", **message: Any) -> bytes:
    return json.dumps({"choices": [{"message": {"content": content, **message}, "finish_reason": finish}]}).encode()


def test_answers_in_other_forms(server: Server) -> None:
    parts = [
        {"type": "thinking", "thinking": "hm"},
        {"type": "text", "text": "a dog "},
        {"type": "text", "text": "runs"},
    ]
    server.script = [(200, {}, chat_answer(parts)), (200, {}, chat_answer(None, refusal="I cannot"))]
    http = backend(server, concurrency=1)
    told = [c.text for c in http.complete([job("a", chat=True), job("b", chat=True)])]
    assert told == ["a dog runs", "I cannot"]
    http.close()


def test_thoughts_that_use_up_all_tokens_name_the_cure(server: Server) -> None:
    server.script = [(200, {}, chat_answer("", "length", reasoning_content="hm " * 70))] * 2  # of "a dog" as well
    http = backend(server, concurrency=1)
    with pytest.raises(
        BackendError, match=r"all of its 77 tokens for thoughts: raise --max-new-tokens.*enable_thinking"
    ):
        list(http.complete([job(chat=True)]))
    http.close()


@pytest.mark.parametrize(
    "cut",
    [
        "<think>\nThe caption shows a dog, so I",
        "[THINK]a dog, < 3 of them",
        "<|begin_of_thought|>\nOkay",
        "<seed:think>hm",
        "<|channel|>analysis<|message|>We need to rewrite",
    ],
)
def test_thoughts_that_the_limit_cuts_within_the_text_name_the_cure(server: Server, cut: str) -> None:
    server.script = [(200, {}, chat_answer(cut, "length")), (200, {}, chat_answer(f"{cut}</think>\na dog", "length"))]
    http = backend(server, concurrency=1)
    found = list(http.complete([job("a", chat=True), job("b", chat=True)]))
    assert [c.finish for c in found] == ["failed", "length"]
    assert "raise --max-new-tokens" in found[0].text
    http.close()


def test_a_text_that_the_limit_cuts_is_no_thought(server: Server) -> None:
    texts = ["a dog thinks <", "<caption>a dog", "[a dog"]
    server.script = [(200, {}, chat_answer(text, "length")) for text in texts]
    server.script += [(200, {}, chat_answer("<think>hm", "stop"))]
    http = backend(server, concurrency=1)
    found = list(http.complete([job(str(n), chat=True) for n in range(4)]))
    assert [(c.finish, c.text) for c in found] == [*(("length", text) for text in texts), ("stop", "<think>hm")]
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


@pytest.mark.parametrize("code", [400, 404, 500])
def test_a_server_for_chat_alone_is_told_apart(server: Server, code: int) -> None:
    words = b'{"error": {"message": "This is a chat model and not supported in the v1/completions endpoint."}}'
    server.script = [(code, {}, words)] * 9
    http = backend(server, retries=0)
    with pytest.raises(BackendError, match=r"--prompt chat|v1/completions endpoint"):
        list(http.complete([job()]))
    http.close()


def test_a_server_that_refuses_every_prompt_ends_the_run(server: Server) -> None:
    server.script = [(400, {}, b"model some-model is not loaded")] * 100
    http = backend(server)
    with pytest.raises(BackendError, match=r"none of 8 prompts.*some-model is not loaded.*--request-field"):
        list(http.complete([job(str(n)) for n in range(8)]))
    http.close()


def test_a_prompt_that_fails_again_and_again_is_failed_and_the_others_go_on(server: Server) -> None:
    http = backend(server, concurrency=1, retries=1)
    assert [c.finish for c in http.complete([job("first")])] == ["stop"]
    server.script = [(500, {}, b"assert")] * 2 + [(200, {}, b'{"choices": []}')] * 2
    found = {c.job.tag: c for c in http.complete([job(name) for name in ("bad", "none", "good")])}
    assert {tag: c.finish for tag, c in found.items()} == {"bad": "failed", "none": "failed", "good": "stop"}
    assert "assert" in found["bad"].text
    server.script = [(500, {}, b"out of memory")] * 200
    with pytest.raises(BackendError, match="none of 32 prompts"):
        list(http.complete([job(str(n)) for n in range(60)]))
    http.close()


@pytest.mark.parametrize("number", [1, 40])
def test_captions_that_always_fail_are_failed_also_where_no_others_are_left(server: Server, number: int) -> None:
    """As the next run meets them, whose others are done: what tells a bad caption from a dead server is "a dog"."""
    server.judge = lambda prompt: (0.0, 500 if "crash" in prompt else 200)
    http = backend(server, retries=1)
    names = [f"crash {n}" for n in range(number)]
    found = list(http.complete([job(name) for name in names]))
    assert sorted((c.job.tag, c.finish) for c in found) == sorted((name, "failed") for name in names)
    assert all("status 500" in c.text for c in found)
    assert [body["prompt"] for _, _, body in server.seen if "crash" not in body["prompt"]]
    http.close()


def test_a_server_that_dies_in_the_middle_ends_the_run_and_blames_no_caption(server: Server) -> None:
    http = backend(server, concurrency=8, retries=0)
    server.judge = lambda prompt: (0.0, 200 if "early" in prompt else 503)
    found = []
    with pytest.raises(BackendError, match=r"none of \d+ prompts, nor one with a harmless caption.*status 503"):
        for completion in http.complete([*(job(f"early {n}") for n in range(50)), *(job(str(n)) for n in range(2000))]):
            found.append(completion)
    late = [c.finish for c in found if "early" not in str(c.job.tag)]
    assert [c.finish for c in found if "early" in str(c.job.tag)] == ["stop"] * 50
    assert set(late) <= {"failed"} and len(late) < 8  # those before the last answer
    assert len(server.seen) < 200
    http.close()


def test_jobs_that_share_a_prompt_are_one_request_where_n_is_known(server: Server) -> None:
    answer = {"choices": [{"text": f"a dog {n}", "finish_reason": "stop"} for n in range(3)]}
    server.script = [(200, {}, json.dumps(answer).encode())]
    http = backend(server, concurrency=8)
    jobs = [Job("p", "", "a dog", " =>", seed, tag=seed) for seed in range(3)]
    assert {c.job.tag: c.text for c in http.complete(jobs)} == {0: "a dog 0", 1: "a dog 1", 2: "a dog 2"}
    assert [body["n"] for _, _, body in server.seen] == [3]
    assert len(list(http.complete(jobs))) == 3  # the server gives one choice of three: it is asked for the others
    assert [body.get("n") for _, _, body in server.seen[1:]] == [3, None, None]
    list(http.complete(jobs))
    assert [body.get("n") for _, _, body in server.seen[4:]] == [None] * 3
    http.close()


def test_several_servers_share_the_requests(server: Server) -> None:
    second = Server()
    threading.Thread(target=second.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    http = HTTPBackend([server.url, second.url, dead], "m", concurrency=6, backoff=0.01)
    assert [c.finish for c in http.complete([job(str(n)) for n in range(60)])] == ["stop"] * 60
    assert len(server.seen) >= 10 and len(second.seen) >= 10
    http.close()
    second.shutdown()
    second.server_close()


def replying(*connections: list[list[bytes]]) -> tuple[socket.socket, list[bytes]]:
    """A listener and what it was asked. Each connection gets its answers, one to a request, piece by piece."""
    listener, asked = socket.create_server(("127.0.0.1", 0)), list[bytes]()

    def serve() -> None:
        for answers in connections:
            connection, _ = listener.accept()
            with connection:
                for pieces in answers:
                    asked.append(connection.recv(65536))
                    for piece in pieces:
                        connection.sendall(piece)
                        time.sleep(0.05)
                connection.recv(65536)  # until it is hung up

    threading.Thread(target=serve, daemon=True).start()
    return listener, asked


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


@pytest.mark.parametrize("finish", ["abort", "cancelled", "error", "insufficient_system_resource"])
def test_a_text_that_its_server_broke_off_is_asked_for_again(server: Server, finish: str) -> None:
    server.script = [(200, {}, chat_answer("a dog that ru", finish))]
    http = backend(server, concurrency=1)
    (done,) = http.complete([job(chat=True)])
    assert (done.text, done.finish, len(server.seen)) == ("rewritten 16 \nand more", "length", 2)
    server.script = [(200, {}, chat_answer("a dog that ru", finish))] * 4
    (given_up,) = http.complete([job(chat=True)])
    assert given_up.finish == "failed"
    assert f'"finish_reason": "{finish}"' in given_up.text
    http.close()


@pytest.mark.parametrize("finish", ["length", "max_tokens", "model_length", "content_filter"])
def test_a_text_that_was_cut_is_no_whole_one_in_any_servers_words(server: Server, finish: str) -> None:
    server.script = [(200, {}, chat_answer("a dog that ru", finish))]
    http = backend(server, concurrency=1)
    (cut,) = http.complete([job(chat=True)])
    assert (cut.text, cut.finish, len(server.seen)) == ("a dog that ru", "length", 1)
    http.close()


def test_a_text_that_a_filter_keeps_back_is_an_empty_one(server: Server) -> None:
    server.script = [(200, {}, chat_answer(None, "content_filter"))]
    http = backend(server, concurrency=1)
    (empty,) = http.complete([job(chat=True)])
    assert (empty.text, empty.finish) == ("", "length")
    http.close()


@pytest.mark.parametrize("used", [2**64 - 1, -1, "7", None, True])
def test_tokens_that_no_answer_has_are_not_counted(server: Server, used: object) -> None:
    answer = {"choices": [{"text": "a dog", "finish_reason": "stop"}], "usage": {"completion_tokens": used}}
    server.script = [(200, {}, json.dumps(answer).encode())]
    http = backend(server, concurrency=1)
    (done,) = http.complete([job()])
    assert (done.text, done.tokens) == ("a dog", 0)
    http.close()


def test_a_server_that_asks_for_less_patience_than_usual_gets_the_usual(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """A full server that says "Retry-After: 0", or 1, would else be asked seven times within moments, and given up."""
    free = time.monotonic() + 0.5

    def full(prompt: str) -> tuple[float, int]:
        return 0.0, 200 if time.monotonic() > free else 429

    server.judge, server.refusal_headers = full, {"Retry-After": "0"}
    http = backend(server, retries=6, backoff=0.05)
    assert [c.finish for c in http.complete([job(str(n)) for n in range(8)])] == ["stop"] * 8
    # said once: attempts at a server that does not answer at all may take minutes
    assert [r.message.partition(": ")[0] for r in caplog.records] == [server.url]
    assert "status 429" in caplog.text and "it is asked again, 6 times at most" in caplog.text
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


def refused(message: str, **more: Any) -> bytes:
    return json.dumps({"error": {"message": message, **more}}).encode()


@pytest.mark.parametrize(
    ("words", "left_out"),
    [
        # serde's words (text-generation-inference, mistral.rs): what it does not know, then all that it knows
        (b"unknown field `min_p`, expected one of `model`, `max_tokens`, `top_k`, `seed`, `stop`, `n`", "min_p"),
        (refused("Unrecognized request argument supplied: samplers. Supported fields are: top_k, n"), "samplers"),
        (refused("Unsupported parameter", param="seed", supported=["top_k", "min_p", "stop"]), "seed"),
        (b'{"detail":[{"type":"extra_forbidden","loc":["body","samplers"],"msg":"Extra inputs are not permitted"}]}',
         "samplers"),
        (refused("Invalid JSON payload received. Unknown name \"topK\": Cannot find field."), "top_k"),
        (refused("property 'minP' is unsupported"), "min_p"),
        # refused by value: vLLM before 0.8 had -1 for no top-k; others begin at 1
        (refused("top_k must be -1 (disable), or at least 1, got 0."), "top_k"),
        (refused("`top_k` has to be a strictly positive integer"), "top_k"),
        (refused("min_p should be greater than 0, it is out of range"), "min_p"),
    ],
)  # fmt: skip
def test_a_refusal_costs_the_field_that_it_is_about_and_no_other(server: Server, words: bytes, left_out: str) -> None:
    server.script = [(400, {}, words)]
    http = backend(server, concurrency=1)
    assert [c.finish for c in http.complete([job()])] == ["stop"]
    assert server.seen[0][2].keys() - server.seen[1][2].keys() == {left_out}
    http.close()


def test_a_limit_that_is_too_high_for_the_server_is_not_dropped(server: Server) -> None:
    server.script = [(400, {}, refused("max_tokens must be at most 64"))] * 9
    http = backend(server, concurrency=1)
    with pytest.raises(BackendError, match="must be at most 64"):
        list(http.complete([job(), job()]))
    assert all("max_tokens" in body for _, _, body in server.seen)
    http.close()


def test_a_caption_that_a_filter_forbids_is_an_error_of_its_own(server: Server) -> None:
    server.script = [(200, {}, chat_answer("a dog")), (403, {}, refused("Your request was flagged by moderation"))]
    http = backend(server, concurrency=1)
    found = [(c.job.tag, c.finish) for c in http.complete([job(name, chat=True) for name in ("a", "flagged", "b")])]
    assert found == [("a", "stop"), ("flagged", "error"), ("b", "length")]
    server.script = [(403, {}, refused("key revoked"))] * 100
    with pytest.raises(BackendError, match=r"none of 32 prompts.*key revoked.*OPENAI_API_KEY"):
        list(http.complete([job(str(n)) for n in range(60)]))
    http.close()


@pytest.mark.parametrize(
    ("code", "words", "ends"),
    [
        (429, "You exceeded your current quota, please check your plan and billing details.", True),
        (429, "You exceeded your current quota, check your plan and billing. Please retry in 2.1s.", False),
        (429, "Rate limit reached for gpt-4o in organization org-x on requests per min (RPM): Limit 3", False),
        (400, "Your credit balance is too low to access the API. Please go to Plans & Billing.", True),
    ],
)  # fmt: skip
def test_a_quota_that_money_fills_ends_the_run_and_one_that_time_fills_does_not(
    server: Server, code: int, words: str, ends: bool
) -> None:
    server.script = [(code, {}, refused(words))]
    http = backend(server, concurrency=1)
    if ends:
        with pytest.raises(BackendError, match="top it up"):
            list(http.complete([job()]))
    else:
        assert [c.finish for c in http.complete([job()])] == ["stop"]
    http.close()


def test_a_message_without_content_is_an_empty_text(server: Server) -> None:
    message = {"role": "assistant", "reasoning_content": "The dog. A beach."}
    for finish, found in (("stop", ("stop", "")), ("length", ("failed", None))):
        server.script = [(200, {}, json.dumps({"choices": [{"message": message, "finish_reason": finish}]}).encode())]
        http = backend(server, concurrency=1)
        first, _ = http.complete([job("a", chat=True), job("b", chat=True)])
        assert first.finish == found[0]
        assert found[1] is None or first.text == found[1]
        http.close()


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


def test_refusals_that_come_before_any_text_are_their_captions_own(server: Server) -> None:
    """A refusal takes milliseconds and a text longer, so that at first there are refusals only."""
    refused, many = [], threading.Event()

    def judge(prompt: str) -> tuple[float, int]:
        if "flagged" in prompt:
            refused.append(prompt)
            if len(refused) == 40:
                many.set()
            return 0.0, 400
        many.wait(10)
        return 0.1, 200

    server.judge = judge
    http = backend(server, concurrency=64)
    names = ["a dog here", "a cat"] + [f"flagged {n}" for n in range(40)]
    found = {c.job.tag: c for c in http.complete([job(name) for name in names])}
    assert [c.finish for c in found.values()].count("error") == 40
    assert "content_filter" in found["flagged 7"].text
    assert (found["a dog here"].finish, found["a cat"].finish) == ("stop", "stop")
    http.close()


def test_a_run_that_holds_nothing_but_a_refused_caption_is_no_failure_of_the_server(server: Server) -> None:
    server.judge = lambda prompt: (0.0, 400 if "flagged" in prompt else 200)
    for shared in (1, 16):  # prompts of their own, and one request for all
        http = backend(server)
        jobs = [Job(f"prefix {n // shared}", "\n\n", "flagged", " =>", n, tag=n) for n in range(32)]
        assert {(c.job.tag, c.finish) for c in http.complete(jobs)} == {(n, "error") for n in range(32)}
        http.close()


def test_requests_without_an_answer_are_counted_and_not_their_texts(server: Server) -> None:
    server.judge = lambda prompt: (0.0, 500) if "crash" in prompt else (0.1, 200)
    http = backend(server, concurrency=8, retries=0)
    jobs = [*(Job("p", "", "crash", "", n, tag=n) for n in range(48)), job("a dog"), job("a cat")]
    assert [c.finish for c in http.complete(jobs)].count("failed") == 48  # of three requests
    http.close()


@pytest.mark.parametrize("first", ["0", "flagged"])
def test_a_server_that_refuses_even_a_harmless_caption_ends_the_run(server: Server, first: str) -> None:
    server.judge = lambda prompt: (0.0, 400)
    http = backend(server, concurrency=8)
    with pytest.raises(BackendError, match=r"none of \d+ prompts, nor one with a harmless caption.*content_filter"):
        list(http.complete([job(first), *(job(str(n)) for n in range(5000))]))
    assert len(server.seen) < 100
    http.close()


def test_examples_that_are_too_long_for_the_server_are_not_the_captions_fault(server: Server) -> None:
    """What takes 'a dog' alone refuses the prompt with its examples, whatever the caption."""
    server.judge = lambda prompt: (0.0, 400 if len(prompt) > 200 else 200)
    http = backend(server)
    too_long = [Job("examples " * 40, "", str(n), "", n) for n in range(4)]
    with pytest.raises(BackendError, match="none of 4 prompts"):
        list(http.complete(too_long))
    assert [c.finish for c in http.complete([job()])] == ["stop"]
    assert [c.finish for c in http.complete(too_long)] == ["failed"] * 4  # the rest of the run is not lost
    http.close()


def test_texts_asked_for_before_a_refusal_do_not_vouch_for_the_server(server: Server) -> None:
    """A key that is revoked: what was under way is still answered, and all else refused within milliseconds."""
    http = backend(server, concurrency=16)
    server.judge = lambda prompt: (0.01, 200) if "early" in prompt else (0.0, 403)
    first = [job(f"early {n}") for n in range(200)]
    found = []
    with pytest.raises(BackendError, match=r"OPENAI_API_KEY"):
        for completion in http.complete([*first, *(job(str(n)) for n in range(2000))]):
            found.append(completion)
    assert [c.finish for c in found] == ["stop"] * 200
    http.close()


def test_a_refusal_of_which_nobody_knows_whose_fault_it_is_is_left_to_a_later_run(server: Server) -> None:
    server.judge = lambda prompt: (0.0, 400 if "flagged" in prompt else 500)
    http = backend(server, retries=0)
    with pytest.raises(BackendError, match=r"none of 1 prompts"):
        list(http.complete([job("flagged")]))
    server.script = [(200, {}, b'{"choices": [{"text": "a cat"}]}')]
    assert [c.finish for c in http.complete([job("a cat")])] == ["stop"]
    (left,) = http.complete([job("flagged")])
    assert (left.finish, "content_filter" in left.text) == ("failed", True)
    http.close()
