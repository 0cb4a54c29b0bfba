"""How many requests a second one core makes of an OpenAI-compatible server.

A served model answers thousands of captions a second only if somebody asks that fast. The stub is a bare asyncio
protocol in a process of its own that reads the request's JSON and answers at once; the alternative, which tells what
the stub can take, is a bare asyncio client that writes one prepared request again and again and reads nothing of the
answers. The two take turns. With ``--slots`` the stub makes so many answers at a time, each in ``--delay`` seconds, as
a real server does: it can take ``slots / delay`` requests a second.

    python benchmarks/servers.py --requests 20000 --concurrency 500 --core 1 --stub-core 0 --slots 110

A process gets a fraction of a busy core, and the rates then are those of the fraction: the first line says which. On
Linux a session of its own with ``echo -20 > /proc/self/autogroup`` gets most of a core for a short run; ``nice`` does
not help against programs of other sessions.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import re
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, ClassVar

from laclip_aug.generation.backend import Job
from laclip_aug.generation.http import HTTPBackend

LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
PREFIX = "Rewrite the last caption of an image.\n\n" + "Caption: a cat\nRewrite: one cat\n\n" * 12


class Stub(asyncio.Protocol):
    """Reads each request's JSON and answers with the caption, ``slots`` at a time, each after ``delay`` seconds."""

    slots, delay = 0, 0.0
    busy = 0
    queued: ClassVar[deque[tuple[Any, bytes]]] = deque()

    @classmethod
    def answer(cls, transport: Any, reply: bytes) -> None:
        if not cls.slots:
            transport.write(reply)
        elif cls.busy < cls.slots:
            cls.busy += 1
            asyncio.get_running_loop().call_later(cls.delay, cls.finish, transport, reply)
        else:
            cls.queued.append((transport, reply))

    @classmethod
    def finish(cls, transport: Any, reply: bytes) -> None:
        cls.busy -= 1
        transport.write(reply)
        if cls.queued:
            cls.answer(*cls.queued.popleft())

    def connection_made(self, transport: Any) -> None:
        self.transport, self.data = transport, b""

    def data_received(self, data: bytes) -> None:
        self.data += data
        while (head := self.data.find(b"\r\n\r\n")) >= 0:
            end = head + 4 + int(LENGTH.search(self.data[:head])[1])  # type: ignore[index]
            if len(self.data) < end:
                return
            asked, self.data = json.loads(self.data[head + 4 : end]), self.data[end:]
            text = asked["messages"][0]["content"][-80:]
            choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
            answer = {"id": "1", "model": "stub", "choices": [choice], "usage": {"completion_tokens": 11}}
            body = json.dumps(answer).encode()
            head_of_reply = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
            self.answer(self.transport, head_of_reply % len(body) + body)


def serve(port: Any, core: int | None, slots: int, delay: float) -> None:
    if core is not None:
        os.sched_setaffinity(0, {core})
    Stub.slots, Stub.delay = slots, delay

    async def forever() -> None:
        server = await asyncio.get_running_loop().create_server(Stub, "127.0.0.1", 0, backlog=4096)
        port.put(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(forever())


class Bare(asyncio.Protocol):
    """Writes the request again whenever an answer is there; looks for nothing but its end."""

    left = 0

    def __init__(self, request: bytes, done: asyncio.Event) -> None:
        self.request, self.done = request, done

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.ask()

    def ask(self) -> None:
        if Bare.left > 0:
            Bare.left -= 1
            self.transport.write(self.request)
        else:
            self.done.set()
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        if data.endswith(b"}"):
            self.ask()


def free_share(seconds: float = 0.5) -> float:
    """The share of a core that this process gets when it wants all of it."""
    started, used = time.perf_counter(), time.process_time()
    while time.perf_counter() < started + seconds:
        pass
    return (time.process_time() - used) / (time.perf_counter() - started)


async def bare(port: int, requests: int, concurrency: int) -> None:
    message = {"role": "user", "content": PREFIX + "Caption: a dog 12345\nRewrite:"}
    body = json.dumps({"model": "stub", "messages": [message], "max_tokens": 77, "seed": 12345}).encode()
    request = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    Bare.left, done = requests, [asyncio.Event() for _ in range(concurrency)]
    for event in done:
        await asyncio.get_running_loop().create_connection(partial(Bare, request, event), "127.0.0.1", port)
    await asyncio.gather(*(event.wait() for event in done))


def ours(port: int, requests: int, concurrency: int, work: float) -> None:
    def jobs() -> Iterator[Job]:
        for number in range(requests):
            yield Job(PREFIX, "Caption: ", f"a dog {number}", "\nRewrite:", number, chat=True)

    backend = HTTPBackend(f"http://127.0.0.1:{port}/v1", "stub", concurrency=concurrency)
    answered = 0
    for completion in backend.complete(jobs()):
        answered += completion.finish == "stop"
        until = time.perf_counter() + work
        while work and time.perf_counter() < until:
            pass
    backend.close()
    if answered != requests:
        raise SystemExit(f"{answered} of {requests} were answered; the figures would mean nothing")


def timed(run: Callable[[], None], requests: int) -> tuple[float, float]:
    """Requests a second, and microseconds of this process's CPU time a request."""
    started, used = time.perf_counter(), time.process_time()
    run()
    return requests / (time.perf_counter() - started), 1e6 * (time.process_time() - used) / requests


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--concurrency", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--slots", type=int, default=0, help="answers that the stub makes at a time (0: no limit)")
    parser.add_argument("--delay", type=float, default=0.05, help="seconds that an answer then takes")
    parser.add_argument("--work", type=float, default=0, help="microseconds that the caller works on a completion")
    parser.add_argument("--core", type=int, default=None, help="the client's core")
    parser.add_argument("--stub-core", type=int, default=None, help="the stub's core")
    args = parser.parse_args()
    port: Any = multiprocessing.Queue()
    stub = multiprocessing.Process(target=serve, args=(port, args.stub_core, args.slots, args.delay), daemon=True)
    stub.start()
    if args.core is not None:
        os.sched_setaffinity(0, {args.core})
    address = port.get()
    print(f"this process gets {free_share():.0%} of its core")
    runs: dict[str, list[tuple[float, float]]] = {"bare asyncio client": [], "HTTPBackend": []}
    given = address, args.requests, args.concurrency
    for _ in range(args.runs):
        runs["bare asyncio client"].append(timed(lambda: asyncio.run(bare(*given)), args.requests))
        runs["HTTPBackend"].append(timed(lambda: ours(*given, args.work / 1e6), args.requests))
    stub.terminate()
    ratios = [mine[0] / plain[0] for plain, mine in zip(*runs.values(), strict=True)]
    for name, found in runs.items():
        rate, cost = (statistics.median(column) for column in zip(*found, strict=True))
        print(f"{name:22} {rate:8.0f} requests/s   {cost:4.0f} us of CPU a request")
    print(f"ratio {statistics.median(ratios):.2f} (median of {args.runs}; {min(ratios):.2f} to {max(ratios):.2f})")
    print(json.dumps({"options": vars(args), "requests_per_second_and_cpu_us": runs}))


if __name__ == "__main__":
    main()
