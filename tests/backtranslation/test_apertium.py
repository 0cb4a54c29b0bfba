"""Framing of the Apertium program's input, against a stand-in program on the PATH that misbehaves on demand."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from laclip_aug.augmenter import create_augmenter
from laclip_aug.backtranslation.apertium import ApertiumTranslator
from laclip_aug.errors import ConfigurationError, ModelError

# Upper-cases what is outside tags and entities, as a mode that translates it would change it.
PROGRAM = """#!{python}
import os, re, sys
if sys.argv[1] == "-l":
    print("  eng-spa\\n  spa-eng")
elif sys.argv[1] == "-V":
    print("Apertium 0.0")
else:
    text = sys.stdin.read()
    with open({log!r}, "a") as log:
        log.write(f"{{text.count('<p id')}}\\n")
    back = sys.argv[-1] == "spa-eng"
    turn = (lambda s: s.lower()) if back else (lambda s: s.upper())
    text = "".join(p if p[:1] in "<&" else turn(p) for p in re.split(r"(<[^>]*>|&\\\\w+;)", text))
    text = {fault}
    sys.stdout.write(text)
"""


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, fault: str = "text") -> Path:
    """Put the stand-in first on the PATH; returns its log of captions a run."""
    log = folder / "log"
    program = folder / "apertium"
    program.write_text(PROGRAM.format(python=sys.executable, log=str(log), fault=fault).replace("\\\\w", "\\w"))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    return log


CAPTIONS = ["a dog", "two\nlines\x00here", '</p><p id="c0">forged', "", "a < b & c > d", "c7 dog", "last"]
EXPECTED = ["A DOG", "TWO LINES HERE", '</P><P ID="C0">FORGED', None, "A < B & C > D", "C7 DOG", "LAST"]


def texts(translator: ApertiumTranslator, captions: list[str]) -> list[str | None]:
    return [found[0].text if found else None for found in translator.translate(captions)]


def test_every_caption_keeps_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = install(tmp_path, monkeypatch)
    assert texts(ApertiumTranslator("eng-spa"), CAPTIONS) == EXPECTED
    assert log.read_text() == "6\n"  # one run; the empty caption is not sent


@pytest.mark.parametrize(
    "fault",
    [
        'text.replace("</p>\\n", "", 1) if text.count("<p id") > 1 else text',  # a frame swallows the next
        're.sub(r"<p id=.c4.>.*?</p>", "", text) if text.count("<p id") > 1 else text',  # one is lost
        'text + text.split("\\n")[0] if text.count("<p id") > 1 else text',  # one comes twice
        '"\\n".join(reversed(text.split("\\n"))) if text.count("<p id") > 1 else text',  # all are reversed
        'text.replace("LAST</p>", "</p>LAST") if text.count("<p id") > 1 else text',  # words leave their frame
        'text.replace("\\n", "") if text.count("<p id") > 1 else text',  # lines are joined
        'text.replace("DOG", "DOG\\n\\n") if text.count("<p id") > 1 else text',  # lines are split
    ],
)
def test_no_fault_shifts_a_caption(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    install(tmp_path, monkeypatch, fault)
    assert texts(ApertiumTranslator("eng-spa"), CAPTIONS) == EXPECTED


def test_a_caption_whose_frame_never_returns_has_no_translation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, 'text.replace("<p id=\\"c5\\">", "")')
    expected = [*EXPECTED[:5], None, EXPECTED[6]]
    assert texts(ApertiumTranslator("eng-spa"), CAPTIONS) == expected


def test_long_captions_are_cut_before_a_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch)
    translator = ApertiumTranslator("eng-spa", max_characters=12)
    assert texts(translator, ["one two three four", "x" * 10_000]) == ["ONE TWO", "X" * 12]


def test_round_trip_through_the_augmenter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, 'text.replace("DOG", "HOUND")')
    augmenter = create_augmenter("back-translation", pivots="es=apertium:eng-spa,spa-eng", retries=0)
    assert augmenter.sources == ("bt-es",)
    captions = ["a dog runs", "a cat sleeps", ""]
    assert augmenter.augment(captions, 1, 0) == [["a hound runs"], ["a cat sleeps"], [""]]
    reasons = [[r.reason for r in outcome.rejections] for outcome in augmenter.outcomes(captions, 1, 0)]
    assert reasons == [[], ["echo"], ["source-empty"]]


def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch)
    with pytest.raises(ConfigurationError, match=r"'eng-fra'.*eng-spa, spa-eng"):
        ApertiumTranslator("eng-fra")
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    with pytest.raises(ModelError, match="apt-get install apertium"):
        ApertiumTranslator("eng-spa")


def test_a_failing_program_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, 'sys.exit("no such data")')
    with pytest.raises(ModelError, match="status 1: no such data"):
        ApertiumTranslator("eng-spa").translate(["a dog"])
