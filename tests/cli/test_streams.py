"""Commands without standard streams, with full, closed or narrow ones, and file names of other encodings."""

import os
import subprocess
import sys

import pytest

from laclip_aug.cache.browse import records
from laclip_aug.cache.verify import verify_cache

CODE = "import sys; from laclip_aug.cli import main; sys.exit(main())"
ROWS = "filepath\ttitle\na.jpg\tdie Küche → 日本\nb.jpg\tzwei Hunde\n"


@pytest.fixture
def build(tmp_path):
    (tmp_path / "in.tsv").write_text(ROWS, encoding="utf-8")
    return ["build", "in.tsv", "--cache", "cache", "--augmenter", "shout"]


@pytest.fixture
def sh(tmp_path, plugin_environment):
    """A command in a shell, with what follows it in the line, such as ``2>&-``."""
    unset = ("PYTHONUNBUFFERED", "PYTHONUTF8", "PYTHONIOENCODING", "LC_ALL", "LANG")
    environment = {name: value for name, value in plugin_environment.items() if name not in unset}

    def run(words, behind, **more):
        line = f'"$@" {behind}'
        argv = ["sh", "-c", line, "sh", sys.executable, "-c", CODE, *words]
        return subprocess.run(argv, cwd=tmp_path, env=environment | more, capture_output=True)

    return run


@pytest.mark.parametrize("closed", ["2>&-", ">&-", "<&-", "<&- >&- 2>&-"])
def test_a_build_without_standard_streams(tmp_path, build, sh, closed):
    ended = sh(build, closed)
    assert ended.returncode == 0, ended.stderr
    assert {record.caption for record in records(tmp_path / "cache")} == {"die Küche → 日本", "zwei Hunde"}
    assert verify_cache(tmp_path / "cache", progress=False) == ([], [])


def test_a_report_that_nobody_reads_ends_quietly(tmp_path, build, sh):
    ended = sh(build, "| true")
    assert (ended.returncode, ended.stdout) == (0, b"")
    assert b"Traceback" not in ended.stderr
    assert b"Exception" not in ended.stderr
    assert len(list(records(tmp_path / "cache"))) == 2


@pytest.mark.parametrize("words", [["cache", "info", "cache"], ["cache", "export", "cache", "-"]])
def test_a_full_disk_under_standard_output_is_an_error_in_words(build, sh, words):
    assert sh(build, "").returncode == 0
    ended = sh(words, "> /dev/full")
    assert ended.returncode == 2
    assert b"Traceback" not in ended.stderr
    assert b"Exception" not in ended.stderr
    assert b"laclip-aug: error: " in ended.stderr
    assert b"No space left on device" in ended.stderr
    assert b"free some space" in ended.stderr


@pytest.mark.parametrize(
    "locale",
    [
        {"PYTHONIOENCODING": "latin-1"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
)
def test_captions_that_the_terminal_has_no_characters_for(build, sh, locale):
    assert sh(build, "", **locale).returncode == 0
    shown = sh(["cache", "show", "cache", "--head", "5"], "", **locale)
    assert shown.returncode == 0, shown.stderr
    assert rb"che \u2192 \u65e5\u672c" in shown.stdout
    assert b"loud: ZWEI HUNDE" in shown.stdout


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8:strict"])
def test_a_file_whose_name_is_not_of_this_encoding(tmp_path, build, sh, encoding):
    os.rename(os.fsencode(tmp_path / "in.tsv"), os.fsencode(tmp_path) + b"/caf\xe9.tsv")  # noqa: PTH104 - bytes
    build[1] = os.fsdecode(b"caf\xe9.tsv")
    assert sh(build, "", PYTHONIOENCODING=encoding).returncode == 0
    told = sh(["cache", "info", "cache"], "", PYTHONIOENCODING=encoding)
    assert told.returncode == 0, told.stderr
    assert rb"input caf\udce9.tsv: 2 rows, refused: none" in told.stdout
