"""Whose fault it is that a server gives no text: a caption's, or its own."""

from __future__ import annotations

import threading

import pytest

from laclip_aug.errors import BackendError
from laclip_aug.generation.backend import Job
from tests.generation.completion_server import Server, backend, chat_answer, job, refused


def test_a_lasting_failure_ends_the_run_and_says_what_to_do(server: Server) -> None:
    server.script = [(500, {}, b"out of memory")] * 20
    http = backend(server, concurrency=1)
    with pytest.raises(BackendError, match=r"failed 2 times.*out of memory.*Check that the server runs"):
        list(http.complete([job("a cat")]))
    assert ["a dog" in body["prompt"] for _, _, body in server.seen] == [False] * 4 + [True] * 2
    server.script = []
    assert len(list(http.complete([job()]))) == 1
    http.close()


def test_a_prompt_too_long_is_an_error_of_its_own_job(server: Server) -> None:
    server.script = [(400, {}, b'{"error": "prompt is too long"}')]
    http = backend(server, concurrency=1)
    first, second = http.complete([job("long"), job("short")])
    assert (first.job.tag, first.finish, first.tokens) == ("long", "error", 0)
    assert "prompt is too long" in first.text
    assert (second.job.tag, second.finish) == ("short", "stop")
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


def test_a_caption_that_a_filter_forbids_is_an_error_of_its_own(server: Server) -> None:
    server.script = [(200, {}, chat_answer("a dog")), (403, {}, refused("Your request was flagged by moderation"))]
    http = backend(server, concurrency=1)
    found = [(c.job.tag, c.finish) for c in http.complete([job(name, chat=True) for name in ("a", "flagged", "b")])]
    assert found == [("a", "stop"), ("flagged", "error"), ("b", "length")]
    server.script = [(403, {}, refused("key revoked"))] * 100
    with pytest.raises(BackendError, match=r"none of 32 prompts.*key revoked.*OPENAI_API_KEY"):
        list(http.complete([job(str(n)) for n in range(60)]))
    http.close()


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
