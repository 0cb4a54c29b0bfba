"""The English-German model that ships with the package, and the command that shows it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from laclip_aug.backtranslation.folder import read_settings
from laclip_aug.backtranslation.pivots import EMBEDDED
from laclip_aug.cli import main


def test_it_is_small_whole_and_documented() -> None:
    folder = EMBEDDED["de"]
    assert sum(file.stat().st_size for file in folder.iterdir()) <= 25_000_000
    settings, found = read_settings(folder)
    assert settings.source == (">>{to}<<", "{text}", "</s>")
    assert found == json.loads((folder / "translator.json").read_text())["sha256"]
    card = (folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    for word in ("Multi30k", "BLEU", "test_2016_flickr", "research"):
        assert word in card


def test_the_command_shows_texts_and_reasons(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["translate", "text", "A man in a blue shirt is standing on a ladder.", "", "--n", "1", "--retries", "2"])
        == 0
    )
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "A man in a blue shirt is standing on a ladder."
    assert any(line.startswith("  bt-de: ") and "blue" in line for line in lines[1:-2])
    assert lines[-1].startswith("  bt-de: rejected (source-empty)")


def test_the_command_prints_nothing_that_moves_the_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["translate", "text", "a dog\x1b[2J on grass", "--n", "1", "--retries", "0"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("a dog\\x1b[2J on grass\n") and "\x1b" not in shown


def test_the_command_refuses_what_does_not_exist(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["translate", "text", "a dog", "--pivot", f"fr={tmp_path}"]) == 2
    assert "laclip-aug translate convert" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["translate"])
