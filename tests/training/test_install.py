"""Which open_clip an installation of the package takes: one truth in the code and in its metadata."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from laclip_aug import openclip

PROJECT = Path(__file__).parents[2] / "pyproject.toml"


def requirement() -> str:
    """What the package's metadata says of open_clip."""
    (found,) = re.findall(r'"(open_clip_torch[^"]*)"', PROJECT.read_text(encoding="utf-8"))
    return str(found)


def test_the_metadata_says_what_the_code_says() -> None:
    low, high = (".".join(map(str, bound)) for bound in openclip.SUPPORTED)
    assert set(requirement().removeprefix("open_clip_torch").split(",")) == {f">={low}", f"<{high}"}


@pytest.mark.parametrize(
    ("version", "stays"),
    [
        ("2.29.0", True),
        ("3.3.0", True),
        ("4.2.0.dev0", True),
        ("4.2.0", True),
        ("4.3.0.dev0", False),
        ("2.28.0", False),
    ],
)
def test_an_installed_open_clip_stays_where_it_is_known_to_work(tmp_path: Path, version: str, stays: bool) -> None:
    """By pip's own resolver, without network: what does not satisfy the requirement could not be replaced."""
    about = tmp_path / f"open_clip_torch-{version}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: open_clip_torch\nVersion: {version}\n")
    (about / "INSTALLER").write_text("pip\n")
    (about / "RECORD").write_text("")
    start = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from pip._internal.cli.main import main; sys.exit(main())"
    )
    words = ["install", "--dry-run", "--no-index", "--no-deps", "--disable-pip-version-check", requirement()]
    done = subprocess.run([sys.executable, "-c", start, *words], capture_output=True, text=True)

    assert (done.returncode == 0) is stays, done.stdout + done.stderr
    assert ("already satisfied: open_clip_torch" in done.stdout) is stays
