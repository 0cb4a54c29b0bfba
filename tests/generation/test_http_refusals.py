"""What the HTTP backend tries again, what it leaves out, and what ends a run at once."""

from __future__ import annotations

import time

import pytest

from laclip_aug.errors import BackendError
from laclip_aug.generation.request_loop import retry_after
from tests.generation.completion_server import Server, backend, job, refused


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


@pytest.mark.parametrize(("code", "advice"), [(401, "SOME_KEY"), (402, "pay"), (404, "base URL"), (302, "redirect")])
def test_refusals_of_everything_end_the_run_at_once(server: Server, code: int, advice: str) -> None:
    server.script = [(code, {"Location": "http://127.0.0.1:9/"}, b"no")] * 4
    http = backend(server, api_key_env="SOME_KEY", concurrency=1)
    with pytest.raises(BackendError, match=advice):
        list(http.complete([job()]))
    assert len(server.seen) == 1
    http.close()


@pytest.mark.parametrize("code", [400, 404, 500])
def test_a_server_for_chat_alone_is_told_apart(server: Server, code: int) -> None:
    words = b'{"error": {"message": "This is a chat model and not supported in the v1/completions endpoint."}}'
    server.script = [(code, {}, words)] * 9
    http = backend(server, retries=0)
    with pytest.raises(BackendError, match=r"--prompt chat|v1/completions endpoint"):
        list(http.complete([job()]))
    http.close()


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
