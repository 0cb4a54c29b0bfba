"""A small synonym file, and a cache directory and NLTK_DATA of the test's own."""

from pathlib import Path

import pytest

SYNONYMS = """# for the tests
n\tdog\thound|canine
n\tcar\tautomobile
n\tchild\tkid
n\tapple\tfruit
n\tnut\tacorn
n\twoman\tlady
n\ttrain\tlocomotive
v\ttrain\tteach
v\tride\tpedal|drive
v\tsit\trest
v\thurry\trush
v\thit\tstrike|cut
a\tbig\tlarge|red hot
a\tquick\trapid|one-off
n\tred\tcrimson
x\thot dog
"""


@pytest.fixture(autouse=True)
def own_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("NLTK_DATA", str(tmp_path / "nltk_data"))


@pytest.fixture
def synonyms(tmp_path: Path) -> str:
    path = tmp_path / "synonyms.tsv"
    path.write_text(SYNONYMS, encoding="utf-8")
    return str(path)
