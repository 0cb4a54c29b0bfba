"""The HTTP backend against a real server on this machine: requests, fields, settings, the key."""

from __future__ import annotations

import json
import logging
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from laclip_aug.errors import BackendError, ConfigurationError
from laclip_aug.generation.backend import Job, Sampling
from laclip_aug.generation.http import HTTPBackend
from tests.generation.completion_server import KEY, Server, backend, job


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
