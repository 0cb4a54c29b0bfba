"""A server of completions on this machine that misbehaves on demand, and what is asked of it."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from laclip_aug.generation.backend import Job
from laclip_aug.generation.http import HTTPBackend

KEY = "sk-very-secret-key"
Reply = tuple[int, dict[str, str], bytes]
"""Status, headers, and what is said."""


class Server(ThreadingHTTPServer):
    """Answers each request with the next entry of ``script``, then with good completions."""

    daemon_threads = True
    request_queue_size = 128  # connections that are opened at once

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script: list[Reply] = []
        self.seen: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.lock = threading.Lock()
        self.busy = self.most_busy = 0
        self.delay = 0.0
        self.judge: Callable[[str], tuple[float, int]] = lambda prompt: (0.0, 200)  # seconds and status, unscripted
        self.refusal_headers: dict[str, str] = {}
        self.url = f"http://127.0.0.1:{self.server_port}/v1"

    def reply(self, prompt: str, body: dict[str, Any]) -> Reply:
        """What is said to a request that nothing is scripted for."""
        seconds, status = self.judge(prompt)
        time.sleep(seconds)
        if status != 200:
            refusal = b'{"error": {"code": "content_filter", "message": "flagged by our policy"}}'
            return status, self.refusal_headers, refusal
        text = f" rewritten {len(prompt)} \nand more"
        choice = {"message": {"content": text}} if "messages" in body else {"text": text}
        answer = {"choices": [{**choice, "finish_reason": "length"}], "usage": {"completion_tokens": 7}}
        return 200, {}, json.dumps(answer).encode()

    @contextmanager
    def serving(self) -> Iterator[None]:
        """It answers meanwhile."""
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield
        self.shutdown()
        self.server_close()


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
        prompt = body["messages"][0]["content"] if "messages" in body else body["prompt"]
        code, headers, data = scripted or self.server.reply(prompt, body)
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


def backend(server: Server, **options: Any) -> HTTPBackend:
    return HTTPBackend(server.url, "some-model", **{"backoff": 0.01, "concurrency": 4, "retries": 3, **options})


def job(caption: str = "a dog", seed: int = 5, **options: Any) -> Job:
    return Job("prefix", "\n\n", caption, " =>", seed, tag=caption, **options)


def chat_answer(content: Any, finish: str = "stop", **message: Any) -> bytes:
    return json.dumps({"choices": [{"message": {"content": content, **message}, "finish_reason": finish}]}).encode()


def refused(message: str, **more: Any) -> bytes:
    return json.dumps({"error": {"message": message, **more}}).encode()


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
