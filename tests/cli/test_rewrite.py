"""``laclip-aug rewrite``, and how a command line names an augmenter."""

import argparse
import json
import subprocess
import sysconfig
from pathlib import Path

import pytest

from laclip_aug.augmenter import Outcome, Rejection, Rewrite
from laclip_aug.cli import main
from laclip_aug.cli.augmenters import add_augmenter_arguments, augmenter_from
from laclip_aug.cli.rewrite import _as_text
from laclip_aug.errors import ConfigurationError, UnknownNameError
from laclip_aug.generation import opening
from laclip_aug.rewrite import rewriter

COMMAND = Path(sysconfig.get_path("scripts")) / "laclip-aug"
FAST = ["--n-threads", "1", "--n-slots", "4", "--max-new-tokens", "8", "--max-attempts", "1", "--variants", "1"]


def test_rewrites_and_rejections_are_printed(tiny_gguf, capsys) -> None:
    caption = "a dog runs on the beach"
    assert main(["rewrite", caption, "--n", "4", "--model", str(tiny_gguf), *FAST]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == caption
    assert sum(line.split()[0] in ("chatgpt", "bard", "mscoco", "human") for line in lines[1:]) == 4
    assert any(" of 4 rewrites; " in line for line in lines)


def test_an_engine_for_few_captions_is_small_and_says_what_a_large_one_says(tiny_gguf, capsys, monkeypatch) -> None:
    made = []
    child = opening.open_backend
    monkeypatch.setattr(rewriter, "open_backend", lambda *options: made.append(child(*options)) or made[-1])
    argv = ["rewrite", "a cat", "a dog on grass", "--n", "3", "--json", "--model", str(tiny_gguf), "--n-ctx", "512"]
    said = []
    for options in ([], ["--n-slots", "16"], ["--option", "n_slots=9"], ["--option", "n_prefixes=2"]):
        assert main([*argv, "--n-threads", "1", "--max-new-tokens", "8", *options]) == 0
        said.append(capsys.readouterr().out)

    assert [(b.settings.n_slots, b.settings.n_prefixes) for b in made] == [(6, 6), (16, 32), (9, 32), (16, 2)]
    assert len(set(said)) == 1


@pytest.mark.parametrize("command", [["rewrite", "a cat", "--augmenter", "eda"], ["translate", "text", "a cat"]])
@pytest.mark.parametrize("n", ["0", "-1"])
def test_no_text_at_all_is_not_asked_for(command, n, capsys) -> None:
    assert main([*command, "--n", n]) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err == f"laclip-aug: error: --n must be at least 1, not {n}\n"


def test_a_score_that_no_text_can_reach_is_refused(capsys) -> None:
    assert main(["rewrite", "a cat", "--good-score", "nan"]) == 2
    assert "good_score is nan; give a number" in capsys.readouterr().err


def test_json_has_one_object_per_caption_in_order(tiny_gguf, capsys) -> None:
    captions = ["a cat", "a\ndog", "", "a cat"]
    argv = ["rewrite", *captions, "--json", "--n", "1", "--model", str(tiny_gguf), "--strategies", "human", *FAST]
    assert main(argv) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["caption"] for row in rows] == captions
    assert all(len(row["rewrites"]) + len(row["rejections"]) == 1 for row in rows)
    assert rows[2]["rejections"] == [{"source": "human", "reason": "source-empty", "text": ""}]
    assert rows[0] == rows[3]


def test_the_texts_are_those_that_a_build_makes_whatever_the_white_space(tmp_path, capsys) -> None:
    (tmp_path / "in.jsonl").write_text(json.dumps({"title": " a  dog\ton cafe\u0301 grass"}) + "\n")
    built = [str(tmp_path / "in.jsonl"), "--cache", str(tmp_path / "cache"), "--augmenter", "eda", "--n", "3"]
    assert main(["build", *built]) == 0
    assert main(["cache", "export", str(tmp_path / "cache"), str(tmp_path / "out.jsonl")]) == 0
    capsys.readouterr()
    stored = json.loads((tmp_path / "out.jsonl").read_text())
    given = [" a  dog\ton cafe\u0301 grass", "a dog on caf\u00e9 grass"]
    assert main(["rewrite", *given, "--augmenter", "eda", "--n", "3", "--json"]) == 0
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["caption"] for one in shown] == given
    for one in shown:
        assert [text["text"] for text in one["rewrites"]] == [text["text"] for text in stored["rewrites"]] != []


def test_the_table_is_readable_and_cannot_move_the_cursor() -> None:
    outcome = Outcome(
        "a dog\x1b[2J",
        (Rewrite("human", "the dog"), Rewrite("mscoco", "a dog stands")),
        (Rejection("human", "echo", "a dog"), Rejection("bard", "empty"), Rejection("human", "echo", "A\nDOG \ud800")),
    )
    assert _as_text(outcome, 4).splitlines() == [
        "a dog\\x1b[2J",
        "  human   the dog",
        "  mscoco  a dog stands",
        "2 of 4 rewrites; 3 rejected: echo 2, empty 1",
        "  human   echo: a dog",
        "  bard    empty",
        "  human   echo: A DOG \\ud800",
    ]


def test_of_many_rejections_the_first_are_printed() -> None:
    outcome = Outcome("a dog", (), tuple(Rejection("human", "echo", f"dog {i}") for i in range(20)))
    lines = _as_text(outcome, 1).splitlines()
    assert lines[2:] == [
        *(f"  human  echo: dog {i}" for i in range(8)),
        "  … and 12 more rejections; --json prints them all",
    ]


def test_the_installed_command_runs_another_augmenter() -> None:
    argv = ["rewrite", "a dog runs on the beach", "--augmenter", "eda", "--n", "2", "--json"]
    done = subprocess.run([COMMAND, *argv], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    row = json.loads(done.stdout)
    assert len(row["rewrites"]) + len(row["rejections"]) == 2


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--augmenter", "lmm"], "unknown augmenter 'lmm'; did you mean 'llm'"),
        (["--model", "no/such.gguf"], "no/such.gguf"),
        (["--model", "m.gguf", "--strategies", "chatgtp"], "did you mean 'chatgpt'"),
        (["--model", "m.gguf", "--examples", "none.tsv"], "cannot read none.tsv"),
        (["--model", "m.gguf", "--option", "windw=3"], "did you mean 'window'"),
        (["--model", "m.gguf", "--option", "window"], "no key=value"),
        (["--base-url", "http://127.0.0.1:1/v1"], "pass --model NAME"),
    ],
)
def test_errors_say_what_to_do(argv, message, capsys) -> None:
    assert main(["rewrite", "a dog", *argv]) == 2
    error = capsys.readouterr().err
    assert error.startswith("laclip-aug: error: ") and message in error


@pytest.mark.parametrize(
    ("argv", "advised"),
    [
        (["rewrite", "a dog", "--augmenter", "eda", "--top-p", "1"], "laclip-aug rewrite --augmenter eda --help"),
        (["cache", "info", "rewrites", "--top-p", "1"], "laclip-aug cache info --help"),
        (["recipe", "cc12m", "--top-p", "1"], "laclip-aug recipe --help"),
    ],
)
def test_an_option_that_a_command_lacks_says_where_its_options_are(argv, advised, capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        main(argv)
    assert ended.value.code == 2
    assert capsys.readouterr().err.endswith(
        f"error: unrecognized arguments: --top-p 1; to see what there is: {advised}\n"
    )


def test_every_llm_option_reaches_the_augmenter(tiny_gguf) -> None:
    argv = [
        "--model",
        str(tiny_gguf),
        "--strategies",
        "human",
        "--option",
        "window=7",
        "--temperature",
        "0",
        "--no-reproducible",
    ]
    parser = argparse.ArgumentParser()
    add_augmenter_arguments(parser, argv)
    augmenter = augmenter_from(parser.parse_args([*argv, *FAST]))
    described, provenance = augmenter.describe(), augmenter.provenance()
    augmenter.close()
    assert augmenter.sources == ("human",) and described["sampling"]["temperature"] == 0
    assert provenance["mode"] == "fast" and described["prompt"]["variants"] == 1


def test_options_given_twice_and_unknown_ones() -> None:
    def parsed(*argv: str) -> argparse.Namespace:
        parser = argparse.ArgumentParser()
        add_augmenter_arguments(parser, argv)
        return parser.parse_args(argv)

    with pytest.raises(ConfigurationError, match="'window' is given twice"):
        augmenter_from(parsed("--window", "3", "--option", "window=4"))
    with pytest.raises(ConfigurationError, match="'max_attempts' is given twice"):
        augmenter_from(parsed("--option", "max-attempts=3", "--option", "max_attempts=4"))
    with pytest.raises(UnknownNameError, match="unknown augmenter"):
        parsed("--augmenter=nothing")
