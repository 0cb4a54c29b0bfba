"""What the HTTP backend makes of a server's answers: texts in many forms, cut ones, thoughts."""

from __future__ import annotations

import json

import pytest

from laclip_aug.errors import BackendError
from tests.generation.completion_server import Server, backend, chat_answer, job


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


def test_a_message_without_content_is_an_empty_text(server: Server) -> None:
    message = {"role": "assistant", "reasoning_content": "The dog. A beach."}
    for finish, found in (("stop", ("stop", "")), ("length", ("failed", None))):
        server.script = [(200, {}, json.dumps({"choices": [{"message": message, "finish_reason": finish}]}).encode())]
        http = backend(server, concurrency=1)
        first, _ = http.complete([job("a", chat=True), job("b", chat=True)])
        assert first.finish == found[0]
        assert found[1] is None or first.text == found[1]
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
