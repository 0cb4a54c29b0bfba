"""``laclip-aug build`` against a real server on this machine: replies, refusals, failures, and the next run."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from laclip_aug.cache.browse import records
from laclip_aug.cache.lookup import CaptionCache
from laclip_aug.cli import main
from tests.generation.completion_server import Reply, Server
from tests.rewrite.test_reading import WRAPPERS

CAPTIONS = [
    "a baker carries bread past a church",
    "green tents below a snowy mountain",
    "an old train crosses a stone bridge",
    "students read in a bright library",
]
Answer = Callable[[str], tuple[int, Any]]


class ChatServer(Server):
    """Answers the caption at the end of a chat prompt with ``answer(caption)``: a status and what it says."""

    answer: Answer

    def reply(self, prompt: str, body: dict[str, Any]) -> Reply:
        code, said = self.answer(re.findall(r"Caption: (.*)", prompt)[-1])
        if code == 200 and isinstance(said, str):
            said = {"choices": [{"message": {"content": said}, "finish_reason": "stop"}] * body.get("n", 1)}
        return code, {}, json.dumps(said).encode()


@pytest.fixture
def server() -> Iterator[ChatServer]:
    server = ChatServer()
    with server.serving():
        yield server


def build(server: ChatServer, folder: Path, *options: str) -> int:
    (folder / "in.txt").write_text("\n".join(CAPTIONS), encoding="utf-8")
    given = ["--model", "m", "--base-url", server.url, "--prompt", "chat", "--strategies", "human", *options]
    return main(["build", str(folder / "in.txt"), "--cache", str(folder / "cache"), "--augmenter", "llm", *given])


def texts(folder: Path) -> dict[str, list[str] | None]:
    cache = CaptionCache(folder / "cache")
    found = {caption: cache.get(caption) for caption in CAPTIONS}
    return {caption: None if made is None else [r.text for r in made] for caption, made in found.items()}


def test_replies_reach_the_cache_without_their_wrappers(server: ChatServer, tmp_path: Path) -> None:
    said = {
        CAPTIONS[0]: ('<think>\nShort.\n</think>\n\n**Rewrite:** "Past a church, a baker carries bread."<|im_end|>'),
        CAPTIONS[1]: ('```json\n{"new": "Below a snowy mountain stand green tents"}\n```'),
        CAPTIONS[2]: "Sure! Here it is:\n\n1. A stone bridge is crossed by an old train\n2. A train\n\nAnything else?",
        CAPTIONS[3]: "I'm sorry, but I can't help with that.",
    }
    server.answer = lambda caption: (200, said[caption])
    assert build(server, tmp_path) == 0
    assert texts(tmp_path) == {
        CAPTIONS[0]: ["Past a church, a baker carries bread."],
        CAPTIONS[1]: ["Below a snowy mountain stand green tents"],
        CAPTIONS[2]: ["A stone bridge is crossed by an old train"],
        CAPTIONS[3]: [],
    }


@pytest.mark.parametrize(
    ("code", "words", "advice"),
    [(400, "model m is not loaded", "--request-field"), (402, "balance is 0", "top it up"), (401, "who?", "API_KEY")],
)
def test_a_server_that_refuses_everything_is_a_failed_run(
    server: ChatServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], code: int, words: str, advice: str
) -> None:
    server.answer = lambda caption: (code, {"error": words})
    assert build(server, tmp_path) == 2
    told = capsys.readouterr().err
    assert words in told and advice in told


def test_a_caption_that_failed_is_asked_again_by_the_next_run(
    server: ChatServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from laclip_aug.generation import http

    monkeypatch.setitem(http.HTTPBackend.__init__.__kwdefaults__, "backoff", 0.01)
    bad = {CAPTIONS[1]: (500, {"error": "assertion failed"}), CAPTIONS[2]: (200, {"choices": []})}

    def good(caption: str) -> tuple[int, Any]:
        return 200, f"Seen here: {caption.removeprefix('a ')} again"

    server.answer = lambda caption: bad[caption] if caption in bad else good(caption)
    assert build(server, tmp_path) == 1
    assert "assertion failed" in capsys.readouterr().out
    found = texts(tmp_path)
    assert found[CAPTIONS[0]] and found[CAPTIONS[3]]
    assert found[CAPTIONS[1]] is None and found[CAPTIONS[2]] is None
    server.answer = good
    assert build(server, tmp_path) == 0
    assert all(texts(tmp_path).values())


def test_a_build_with_nothing_left_but_a_caption_that_always_fails_says_what_the_run_before_said(
    server: ChatServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from laclip_aug.generation import http

    monkeypatch.setitem(http.HTTPBackend.__init__.__kwdefaults__, "backoff", 0.01)
    server.answer = lambda caption: (500, {"error": "boom"}) if caption == CAPTIONS[1] else (200, f"Seen: {caption}")
    for made in (3, 0):
        assert build(server, tmp_path) == 1
        told = capsys.readouterr()
        assert "status 500" in told.out and f"1 captions, for example '{CAPTIONS[1]}'" in told.out
        assert f"{made} captions made" in told.out and "the cache holds 3 captions" in told.out
        assert "harmless" not in told.err
    server.answer = lambda caption: (500, {"error": "boom"})
    assert build(server, tmp_path) == 2  # a dead server is no fault of the caption
    assert "boom" in capsys.readouterr().err


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_look_at_a_caption_that_failed_says_so(
    server: ChatServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, form: list[str]
) -> None:
    from laclip_aug.generation import http

    monkeypatch.setitem(http.HTTPBackend.__init__.__kwdefaults__, "backoff", 0.01)
    server.answer = lambda caption: (500, {"error": "boom"}) if "cat" in caption else (200, "On a lake, a red boat")
    given = ["--model", "m", "--base-url", server.url, "--prompt", "chat", "--strategies", "human", "--n", "1", *form]
    assert main(["rewrite", "a red boat on a lake", "a cat on a mat", *given]) == 1
    out, err = capsys.readouterr()
    assert "'a cat on a mat' failed" in err and "status 500" in err and "boom" in err
    assert "run the same command again" in err and "boat" not in err
    if form:
        boat, cat = (json.loads(line) for line in out.splitlines())
        assert boat["failed"] is None and boat["rewrites"]
        assert "boom" in cat["failed"] and cat["rewrites"] == cat["rejections"] == []
    else:
        assert out.splitlines()[-2:] == ["a cat on a mat", "0 of 1 rewrites; it failed"]


def test_a_caption_that_the_server_refuses_is_recorded_and_the_build_comes_to_its_end(
    server: ChatServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []

    def answer(caption: str) -> tuple[int, Any]:
        asked.append(caption)
        if caption == CAPTIONS[2]:
            return 400, {"error": {"code": "content_filter", "message": "flagged by our policy"}}
        time.sleep(0.2)
        return 200, f"Seen here: {caption.removeprefix('a ')} again"

    server.answer = answer
    options = ("--candidates", "8", "--n", "4", "--max-attempts", "3")
    assert build(server, tmp_path, *options) == 0
    assert "rejections, error: 32" in capsys.readouterr().out  # 4 texts of 8 candidates each
    assert asked.count(CAPTIONS[2]) <= 4  # once for each prompt, and not again
    found = {record.caption: record for record in records(tmp_path / "cache")}
    assert {r.reason for r in found[CAPTIONS[2]].rejections} == {"error"}
    assert "content_filter" in found[CAPTIONS[2]].rejections[0].text
    assert all(found[caption].rewrites for caption in CAPTIONS if caption != CAPTIONS[2])


def test_a_build_with_nothing_left_but_a_refused_caption_comes_to_its_end(
    server: ChatServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answer = lambda caption: (
        (400, {"error": "too long"}) if caption == CAPTIONS[1] else (200, "Seen: " + caption)
    )
    captions = list(CAPTIONS)
    monkeypatch.setattr("tests.cli.test_servers.CAPTIONS", [captions[0], *captions[2:]])
    assert build(server, tmp_path) == 0
    monkeypatch.setattr("tests.cli.test_servers.CAPTIONS", captions)
    assert build(server, tmp_path) == 0
    assert texts(tmp_path)[CAPTIONS[1]] == []


def test_sixty_ways_to_reply_reach_the_cache_as_the_rewrite(
    server: ChatServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each caption is answered in a way of its own; all come through the backend, the builder and the look-up."""
    animals = "owl heron lamb badger otter goat falcon beetle".split()
    places = "barn ladder tower harbor meadow chapel orchard tunnel".split()
    captions = [f"a young {animal} rests beside the {place}" for animal in animals for place in places]
    step = len(WRAPPERS) // len(captions)
    wrappers = dict(zip(captions, WRAPPERS[::step], strict=False))
    wanted = {c: f"Beside the {c.split()[-1]}, a young {c.split()[2]} is at rest" for c in captions}
    server.answer = lambda caption: (200, wrappers[caption].format(wanted[caption], caption=caption))
    monkeypatch.setattr("tests.cli.test_servers.CAPTIONS", captions)
    assert build(server, tmp_path) == 0
    assert {c: [t.rstrip(".") for t in found or []] for c, found in texts(tmp_path).items()} == {
        caption: [text] for caption, text in wanted.items()
    }
