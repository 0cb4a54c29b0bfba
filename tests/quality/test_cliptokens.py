"""Our count of CLIP's tokens against open_clip's own tokenizer."""

from __future__ import annotations

import gzip
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laclip_aug import openclip
from laclip_aug.errors import UnsupportedOpenClipError
from laclip_aug.quality.cliptokens import clip_token_count

MARKS = (
    "<start_of_text> <end_of_text> <END_of_Text> &amp;amp;lt; &#x27;s 'S 'ſ <ſtart_of_text> ﬁ İ ǅ Ⅷ ½ ª "
    "\u2028 \x00 \xad"
)
SCRIPTS = (
    "naïve ☃ 日本語 العربية עברית हिन्दी ไทย 한국어 🏳️‍🌈 👩🏽‍🚀 Ünïcödé ﷽ "
    "ℌ𝔢𝔩𝔩𝔬 â€™ Ã© ‘quoted’ n't I'LL 1234 $5.00 <3 <PERSON> ..."
)


@lru_cache(maxsize=1)
def _theirs() -> object:
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer()


def their_count(text: str) -> int:
    printable = text.encode("utf-8", "replace").decode()
    return len(_theirs().encode(printable)) + 2  # type: ignore[attr-defined]


def test_token_counts_include_start_and_end_and_are_not_cut() -> None:
    assert clip_token_count("") == 2
    assert clip_token_count("a dog") == 4
    assert clip_token_count("a dog " * 100) == 202
    assert clip_token_count("a \ud800 dog") > 4  # a lone surrogate has no UTF-8 form, yet is counted


@pytest.mark.parametrize(
    "text", [*MARKS.split(" "), *SCRIPTS.split(" "), MARKS, SCRIPTS, "x" * 500, "ab" * 300, "é" * 99]
)
def test_marks_scripts_and_long_words_count_as_in_open_clip(text: str) -> None:
    assert clip_token_count(text) == their_count(text)


_PIECES = st.one_of(
    st.text(max_size=12),
    st.text(st.characters(max_codepoint=0x17F), max_size=12),
    st.text("abcdefghijklmnopqrstuvwxyz'", max_size=25),
    st.sampled_from([*MARKS.split(" "), *SCRIPTS.split(" "), " ", "\n", "\ud800"]),
)


@settings(max_examples=500, deadline=None)
@given(st.lists(_PIECES, max_size=12))
def test_any_text_counts_as_in_open_clip(pieces: list[str]) -> None:
    text = "".join(pieces)
    assert clip_token_count(text) == their_count(text)


def test_the_whole_list_of_merges_counts() -> None:
    """The last words of the vocabulary, whose merges are the last that CLIP reads, and the first that it leaves out."""
    with gzip.open(openclip.merges_file(), "rt", encoding="utf-8") as lines:
        merges = [line.split() for line in lines][1:]
    last = 49152 - 256 - 2
    words = ["".join(pair).removesuffix("</w>") for pair in merges[last - 400 : last + 100] if pair[1].endswith("</w>")]
    counts = {word: clip_token_count(word) for word in words if word.isascii()}
    assert counts == {word: their_count(word) for word in counts}
    assert set(counts.values()) == {3, 4}


def test_counting_loads_neither_torch_nor_open_clip() -> None:
    code = (
        "import sys; from laclip_aug.quality.cliptokens import clip_token_count\n"
        "print(clip_token_count('a dog'), {'torch', 'open_clip', 'numpy', 'pandas'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "4 set()\n"


def test_a_missing_list_of_merges_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openclip, "find_spec", lambda name: None)
    with pytest.raises(UnsupportedOpenClipError, match="pip install"):
        openclip.merges_file()
    (tmp_path / "open_clip").mkdir()
    (tmp_path / "open_clip" / "__init__.py").write_text("__version__ = '3.3.0'")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from laclip_aug.errors import UnsupportedOpenClipError\n"
        "from laclip_aug.openclip import merges_file\n"
        "try: merges_file()\n"
        "except UnsupportedOpenClipError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "bpe_simple_vocab_16e6.txt.gz is missing" in done.stdout
    assert "pip install" in done.stdout
