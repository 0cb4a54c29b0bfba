"""``laclip-aug batch``: requests out, answers in, as a batch gives them back: in any order, some missing or failed."""

from __future__ import annotations

import json
import random
import re
import threading
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from laclip_aug.augmenter import Outcome
from laclip_aug.cache.browse import records
from laclip_aug.cache.format import read_manifest
from laclip_aug.cli import main
from tests.cli.test_servers import CAPTIONS, ChatServer
from tests.cli.test_servers import build as build_by_server

OPTIONS = ["--model", "m", "--prompt", "chat", "--strategies", "human,bard"]
Row = dict[str, Any]


def said(body: Row) -> str:
    """What the stub's model says: some of it wrapped, some of no use, by the request's own text and seed."""
    caption = re.findall(r"Caption: (.*)", body["messages"][0]["content"])[-1]
    if caption.startswith("students"):
        return "I'm sorry, but I can't help with that."
    words = caption.split()
    turned = " ".join([*words[3:], ":", *words[:3]]).replace(" :", ",")
    return f"Sure!\n\n**{turned} {'again' if body['seed'] % 2 else 'now'}**"


def answer(request: Row) -> Row:
    body = {"choices": [{"message": {"content": said(request["body"])}, "finish_reason": "stop"}],
            "usage": {"completion_tokens": 9}}  # fmt: skip
    return {
        "id": f"batch_req_{request['custom_id'][:4]}",
        "custom_id": request["custom_id"],
        "response": {"status_code": 200, "request_id": "r", "body": body},
        "error": None,
    }


def lines(folder: Path) -> list[Row]:
    return [json.loads(line) for file in sorted(folder.glob("*.jsonl")) for line in file.read_text().splitlines()]


def write(file: Path, rows: list[Row | str]) -> Path:
    file.parent.mkdir(exist_ok=True)
    file.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return file


def batch(action: str, folder: Path, out: str, *options: str) -> int:
    (folder / "in.txt").write_text("\n".join([*CAPTIONS, CAPTIONS[0], ""]))
    given = [str(folder / "in.txt"), "--cache", str(folder / "cache"), "--out", str(folder / out), *OPTIONS, *options]
    return main(["batch", action, *given])


def open_files() -> list[int]:
    return sorted(int(file.name) for file in Path("/dev/fd").iterdir())


def content(cache: Path) -> dict[str, Outcome]:
    return {record.caption: record for record in records(cache)}


def test_requests_are_openais_form_in_files_of_bounded_size(tmp_path: Path) -> None:
    assert batch("write", tmp_path, "out", "--most-requests", "3", "--request-field", "seed=") == 0
    files = sorted((tmp_path / "out").iterdir())
    assert [file.name for file in files] == [f"requests-0000{n}.jsonl" for n in range(3)]
    assert [len(file.read_text().splitlines()) for file in files] == [3, 3, 2]  # 4 captions, 2 strategies
    rows = lines(tmp_path / "out")
    assert len({row["custom_id"] for row in rows}) == 8
    for row in rows:
        assert row.keys() == {"custom_id", "method", "url", "body"}
        assert (row["method"], row["url"]) == ("POST", "/v1/chat/completions")
        assert row["body"]["model"] == "m" and row["body"]["temperature"] == 0.9
        assert "seed" not in row["body"]
    assert not (tmp_path / "cache").exists()
    assert batch("write", tmp_path, "out") == 2  # there are requests already
    assert batch("write", tmp_path, "small", "--most-megabytes", "0") == 2


@pytest.mark.parametrize("action", [["write"], ["read", "--answers", "absent"]])
def test_a_folder_of_requests_that_is_a_file_is_told(
    tmp_path: Path, action: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "requests").write_text("")
    assert batch(action[0], tmp_path, "requests", *action[1:]) == 2
    assert f"cannot make the folder {tmp_path}/requests: File exists; name another" in capsys.readouterr().err


def test_answers_as_windows_saves_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert batch("write", tmp_path, "requests", "--n", "1") == 0
    text = "".join(json.dumps(answer(request)) + "\r\n" for request in lines(tmp_path / "requests"))
    (tmp_path / "answers.jsonl").write_bytes(text.encode("utf-16"))
    given = ("--n", "1", "--answers", str(tmp_path / "answers.jsonl"))
    assert batch("read", tmp_path, "again", *given) == 2
    assert "convert it with: iconv -f UTF-16 -t UTF-8" in capsys.readouterr().err
    (tmp_path / "answers.jsonl").write_bytes(b"\xef\xbb\xbf" + text.encode())
    batch("read", tmp_path, "again", *given)
    assert "left out" not in capsys.readouterr().out
    assert content(tmp_path / "cache")[CAPTIONS[0]].rewrites


def test_the_round_trip_gives_what_a_server_gives(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert batch("write", tmp_path, "requests") == 0
    asked = lines(tmp_path / "requests")
    draw = random.Random(1)
    rows: list[Row | str] = [answer(request) for request in asked]
    draw.shuffle(rows)
    lost, broken, busy, empty = rows.pop(), rows[0], rows[1], rows[2]
    assert isinstance(broken, dict) and isinstance(busy, dict) and isinstance(empty, dict) and isinstance(lost, dict)
    rows[0] = {**broken, "response": None, "error": {"code": "batch_expired", "message": "too late"}}
    rows[1] = {**busy, "response": {"status_code": 429, "body": {"error": {"message": "slow down"}}}}
    rows[2] = {**empty, "response": {"status_code": 200, "body": {"choices": []}}}
    stranger = answer({**asked[0], "custom_id": "ab" * 16})
    rows += [rows[4], "{broken", '{"custom_id": "no-hex", "response": {}}', stranger, "", "[1]"]
    write(tmp_path / "answers/1.jsonl", rows)

    assert batch("read", tmp_path, "again", "--answers", str(tmp_path / "answers")) == 1
    told = capsys.readouterr().out
    assert "no answer yet" in told and "batch_expired" in told and "slow down" in told
    assert "no answer to a request of ours: 3" in told
    assert "has one already: 1" in told
    assert "answers not asked for now, of captions in the cache or other commands: 1" in told
    again = lines(tmp_path / "again")
    # of a caption none of whose first tries was accepted the next try is asked for at once
    missing = {row["custom_id"] for row in (lost, broken, busy, empty)}
    assert missing <= {row["custom_id"] for row in again}

    for number in range(2, 9):
        write(tmp_path / f"answers/{number}.jsonl", [answer(request) for request in again])
        folder = f"again{number}"
        if batch("read", tmp_path, folder, "--answers", str(tmp_path / "answers")) == 0:
            break
        again = lines(tmp_path / folder)
        assert again
    assert not list((tmp_path / folder).iterdir())

    server = ChatServer()
    bodies: list[Row] = []
    server.answer = lambda caption: (200, said(bodies[-1]))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    original = json.loads

    def remembering(text: Any, *args: Any, **named: Any) -> Any:
        found = original(text, *args, **named)
        if isinstance(found, dict) and "messages" in found:
            bodies.append(found)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.cli.test_servers.json.loads", remembering)
        (tmp_path / "served").mkdir()
        options = ("--strategies", "human,bard", "--concurrency", "1")
        assert build_by_server(server, tmp_path / "served", *options) == 0
    server.shutdown()
    server.server_close()
    mine_by_caption, theirs_by_caption = content(tmp_path / "cache"), content(tmp_path / "served" / "cache")
    assert mine_by_caption.keys() == theirs_by_caption.keys()
    for caption, record in mine_by_caption.items():  # the server tells no number of tokens
        other = theirs_by_caption[caption]
        assert (record.rewrites, record.rejections) == (other.rewrites, other.rejections)
    mine, theirs = read_manifest(tmp_path / "cache"), read_manifest(tmp_path / "served/cache")
    assert mine.config.fingerprint == theirs.config.fingerprint  # a build with --base-url can go on with it
    assert mine.runs[0]["backend"] == "batch"
    assert {r.reason for r in content(tmp_path / "cache")[CAPTIONS[3]].rejections} <= {"unrelated", "spoken"}


def test_there_may_be_more_files_of_answers_than_a_process_may_open(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    things, places = ("dog", "cow", "man", "jar", "car", "cat"), ("barn", "shop", "lake", "tower", "bridge")
    captions = [f"a {thing} {how} the {place}" for thing in things for how in ("near", "behind") for place in places]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.cli.test_batch.CAPTIONS", captions)
        assert batch("write", tmp_path, "requests", "--max-attempts", "1") == 0
        asked = lines(tmp_path / "requests")
        for number, request in enumerate(asked):
            write(tmp_path / f"answers/{number:05}.jsonl", [answer(request)])
        before = open_files()
        limit = next(most for most in count() if most - sum(file < most for file in before) == 50)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
        try:
            answers = str(tmp_path / "answers")
            assert batch("read", tmp_path, "again", "--answers", answers, "--max-attempts", "1") == 0
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert len(asked) == 120 and len(content(tmp_path / "cache")) == 60
    assert not {*open_files()} - {*before}


def test_a_prompt_that_was_refused_is_not_asked_again(tmp_path: Path) -> None:
    assert batch("write", tmp_path, "requests") == 0
    rows: list[Row | str] = []
    for request in lines(tmp_path / "requests"):
        row = answer(request)
        if "green tents" in request["body"]["messages"][0]["content"].rsplit("Caption:", 1)[1]:
            row["response"] = {"status_code": 400, "body": {"error": {"message": "flagged"}}}
        rows.append(row)
    write(tmp_path / "answers.jsonl", rows)
    batch("read", tmp_path, "again", "--answers", str(tmp_path / "answers.jsonl"), "--max-attempts", "1")
    found = content(tmp_path / "cache")[CAPTIONS[1]]
    assert [r.reason for r in found.rejections] == ["error", "error"]
    assert not list((tmp_path / "again").iterdir())


def refused(request: Row, status: int, message: str) -> Row:
    """As OpenAI's batches answer a request that their server did not take."""
    body = {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}
    return {**answer(request), "response": {"status_code": status, "request_id": "r", "body": body}}


@pytest.mark.parametrize(
    ("message", "options"),
    [
        ("Unrecognized request arguments supplied: min_p, samplers, top_k", ["top_k=", "min_p=", "samplers="]),
        (
            "'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
            ["max_tokens=", "max_completion_tokens=77"],
        ),
    ],
)
def test_a_field_that_the_server_does_not_take_is_no_fault_of_a_caption(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], message: str, options: list[str]
) -> None:
    assert batch("write", tmp_path, "requests", "--max-attempts", "1") == 0
    first, *others = lines(tmp_path / "requests")
    # one was answered all the same, by another server
    write(tmp_path / "answers.jsonl", [answer(first), *(refused(request, 400, message) for request in others)])
    given = ("--answers", str(tmp_path / "answers.jsonl"), "--max-attempts", "1")
    assert batch("read", tmp_path, "again", *given) == 1
    assert content(tmp_path / "cache") == {}
    fields = [f"--request-field {option}" for option in options]
    assert f"write and read again with {' '.join(fields)}" in capsys.readouterr().out
    typed = [word for field in fields for word in field.split()]
    assert batch("write", tmp_path, "right", *typed, "--max-attempts", "1") == 0
    asked = lines(tmp_path / "right")
    assert len(asked) == 8 and not {option[:-1] for option in options if option.endswith("=")} & asked[0]["body"].keys()
    write(tmp_path / "answers.jsonl", [answer(request) for request in asked])
    assert batch("read", tmp_path, "none", *given, *typed) == 0
    assert content(tmp_path / "cache").keys() == set(CAPTIONS)


@pytest.mark.parametrize(
    ("status", "message", "told"),
    [
        (400, "your organisation may not use this", "no request of all was answered"),
        (404, "The model `m` does not exist", "the model's name"),
        (401, "Incorrect API key provided", "the API key"),
    ],
)
def test_where_every_request_is_refused_no_caption_is_at_fault(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], status: int, message: str, told: str
) -> None:
    assert batch("write", tmp_path, "requests") == 0
    asked = lines(tmp_path / "requests")
    write(tmp_path / "answers.jsonl", [refused(request, status, message) for request in asked])
    assert batch("read", tmp_path, "again", "--answers", str(tmp_path / "answers.jsonl")) == 1
    out = capsys.readouterr().out
    assert message in out and told in out
    assert content(tmp_path / "cache") == {}
    assert lines(tmp_path / "again") == asked


def test_answers_of_another_model_or_to_other_sampling_are_not_taken(tmp_path: Path) -> None:
    assert batch("write", tmp_path, "requests") == 0
    write(tmp_path / "answers.jsonl", [answer(request) for request in lines(tmp_path / "requests")])
    for number, other in enumerate((["--model", "m2"], ["--temperature", "0.5"], ["--seed", "1"])):
        out = f"again{number}"
        assert batch("read", tmp_path, out, "--answers", str(tmp_path / "answers.jsonl"), *other) == 1
        assert len(lines(tmp_path / out)) == 8  # all are asked for
    assert content(tmp_path / "cache") == {}


def test_a_cache_of_another_model_is_refused_with_options_that_there_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert batch("write", tmp_path, "requests", "--max-attempts", "1") == 0
    write(tmp_path / "answers.jsonl", [answer(request) for request in lines(tmp_path / "requests")])
    given = ("--answers", str(tmp_path / "answers.jsonl"), "--max-attempts", "1")
    assert batch("read", tmp_path, "again", *given) == 0
    capsys.readouterr()
    (tmp_path / "more").mkdir()
    assert batch("read", tmp_path, "more", *given, "--model", "m2") == 2
    said = capsys.readouterr().err
    assert "backend.model: 'm' there, 'm2' asked for" in said
    # `batch read` has no --allow-mixed itself
    assert said.splitlines()[-1] == (
        "give the options it was built with, or another --cache directory; laclip-aug build and laclip-aug cache merge "
        "take --allow-mixed, which has both in one cache"
    )


def test_captions_of_the_cache_are_not_asked_for(tmp_path: Path) -> None:
    batch("write", tmp_path, "requests", "--max-attempts", "1")
    rows: list[Row | str] = [answer(request) for request in lines(tmp_path / "requests")]
    write(tmp_path / "answers.jsonl", rows)
    assert batch("read", tmp_path, "again", "--answers", str(tmp_path / "answers.jsonl"), "--max-attempts", "1") == 0
    CAPTIONS.append("two cyclists on a coastal road")
    try:
        assert batch("write", tmp_path, "more", "--max-attempts", "1") == 0
    finally:
        CAPTIONS.pop()
    prompts = [request["body"]["messages"][0]["content"] for request in lines(tmp_path / "more")]
    assert len(prompts) == 2 and all("two cyclists" in prompt for prompt in prompts)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda tmp: ["--answers", str(tmp / "missing.jsonl")], "cannot be read"),
        (lambda tmp: ["--answers", str(write(tmp / "x/none.jsonl", ["{}"]))], "no line of"),
        (lambda tmp: ["--answers", "x", "--augmenter", "eda"], "needs no batch"),
        (lambda tmp: ["--answers", "x", "--base-url", "http://h/v1"], "no meaning for batch"),
        (lambda tmp: ["--answers", "x", "--most-megabytes", "0"], "--most-megabytes must be at least 1, not 0"),
    ],
)
def test_mistakes_are_explained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Callable[[Path], list[str]], told: str
) -> None:
    words = ["batch", "read", "in.txt", "--cache", str(tmp_path / "c"), "--out", str(tmp_path / "o"), "--model", "m"]
    if "eda" in change(tmp_path):
        words = words[:-2]
    assert main([*words, *change(tmp_path)]) == 2
    assert told in capsys.readouterr().err
