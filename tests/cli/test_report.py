"""``laclip-aug report``: the page as a reader's browser shows it, with captions that try to be more than text."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from laclip_aug.augmenter import Outcome, Rejection, Rewrite
from laclip_aug.cache.config import Config
from laclip_aug.cache.plots import COLOURS
from laclip_aug.cache.report import report_of
from laclip_aug.cache.writer import CacheWriter
from laclip_aug.cli import main

HOSTILE = [
    "<script>document.title = 'owned'</script> a dog",
    "a dog <img src=x onerror=\"document.title='owned'\"> on a beach",
    "</td></tr></table><h1>a dog</h1><svg onload=alert(1)>",
    "\"><a href='javascript:alert(1)'>a dog</a> {{ 7 * 7 }} {% raw %}",
    "&lt;script&gt;alert(1)&lt;/script&gt; a dog & a cat",
    "a dog $x^{2$ \\frac \u202e gnihtemos \x1b[31m red",
    "一只狗在海滩上奔跑 🐕 собака बिल्ली",
    "dog " * 800,
]
SOURCE = "_<script>$\\alpha</script>\x07"
MARK = "default-src 'none'"


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of captions like a web crawl's, texts and refusals of the same kind."""
    directory = tmp_path_factory.mktemp("report") / "<b>cache & co"
    describe = {"model": "<script>document.title='owned'</script>", "gate": {"spec": "kept>=0.3 novelty>=0.1"}}
    with CacheWriter(directory, Config("llm", "x", 0, 2, (SOURCE, "human"), describe)) as writer:
        captions = [f"{caption} {number}" for number, caption in enumerate(HOSTILE)]
        writer.new(captions)
        for number, caption in enumerate(captions):
            texts = (
                Rewrite(SOURCE, f"{caption} runs past a house"),
                Rewrite("human", f"image {number} of a dog & a tree"),
            )
            refused = Rejection("human", "novelty", caption + ".", 0.0, 2), Rejection(SOURCE, SOURCE, caption[::-1])
            writer.add(Outcome(caption, texts, refused, 7))
        writer.finish()
    return directory


class Page(HTMLParser):
    """The elements of a page, their attributes, and all text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, attribute: str) -> list[str]:
        return [str(attributes[attribute]) for _, attributes in self.elements if attribute in attributes]


def browser() -> str:
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    pytest.fail("this test looks at a page in Chromium, which is not installed; on Debian: apt-get install chromium")


def look(page: Path, profile: Path, *options: str) -> str:
    """What Chromium prints after it has shown ``page``."""
    command = [
        browser(), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
        "--no-first-run", f"--user-data-dir={profile}", *options, page.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def page(directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("page") / "report.html"
    assert main(["report", str(directory), "--out", str(out)]) == 0
    return out


def test_what_a_browser_makes_of_the_page_without_its_lock(page: Path, tmp_path: Path) -> None:
    """Escaping alone has to hold: the policy that forbids scripts is taken out before."""
    source = page.read_text(encoding="utf-8")
    assert source.count(MARK) == 1
    unlocked = tmp_path / "unlocked.html"
    unlocked.write_text(source.replace(MARK, "img-src data: 'self'"), encoding="utf-8")
    dumped = look(unlocked, tmp_path / "profile", "--dump-dom")
    shown = Page(dumped)
    tags = [tag for tag, _ in shown.elements]
    assert not {"script", "iframe", "object", "embed", "link", "form", "svg"} & set(tags)
    assert [attribute for _, own in shown.elements for attribute in own if attribute.startswith("on")] == []
    assert tags.count("h1") == 1 and tags.count("title") == 1
    assert "<title>&lt;b&gt;cache &amp; co: report</title>" in dumped  # no script has set another
    assert all(address.startswith("#") for address in shown.all("href"))
    images = shown.all("src")
    assert len(images) >= 9 and all(image.startswith("data:image/svg+xml;base64,") for image in images)
    assert set(shown.all("href")) == {f"#{name}" for name in shown.all("id")}
    for caption in (*HOSTILE[:5], HOSTILE[6]):
        assert caption in shown.text  # to the letter, entities and template marks included
    assert "⟨U+202E⟩" in shown.text and "\u202e" not in source and "\x1b" not in source and "\x07" not in source


def test_plots_are_well_formed_images_in_which_nothing_runs(page: Path) -> None:
    for address in Page(page.read_text(encoding="utf-8")).all("src"):
        root = xml.etree.ElementTree.fromstring(base64.b64decode(address.split(",")[1]))
        names = {element.tag.rpartition("}")[2] for element in root.iter()}
        assert "script" not in names and "text" in names


def test_a_screenshot_shows_the_plots(page: Path, tmp_path: Path) -> None:
    artefacts = Path(os.environ.get("LACLIP_ARTEFACTS") or tmp_path)
    artefacts.mkdir(parents=True, exist_ok=True)
    shot = artefacts / "report.png"
    look(page, tmp_path / "profile", "--window-size=1180,6000", f"--screenshot={shot}")
    with Image.open(shot) as image:
        assert image.size == (1180, 6000)
        colours = {colour: count for count, colour in image.convert("RGB").getcolors(1 << 24) or []}
    bars = tuple(bytes.fromhex(COLOURS[0][1:]))
    assert colours.get(bars, 0) > 2000  # the bars of a plot, in their colour: the images are drawn


def test_json_is_the_same_report(directory: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["report", str(directory), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == report_of(directory)
    out = tmp_path / "of today" / "all" / "r.json"  # its folders are made
    assert main(["report", str(directory), "--json", "--out", str(out)]) == 0
    assert json.loads(out.read_text()) == printed


def test_the_page_is_named_after_the_cache(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = tmp_path / "rewrites"
    shutil.copytree(directory, plain)
    monkeypatch.chdir(tmp_path)
    assert main(["report", "rewrites", "--sample", "5"]) == 0
    assert capsys.readouterr().out == "rewrites-report.html: 5 of 8 captions measured\n"
    assert (tmp_path / "rewrites-report.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_a_cache_without_texts_has_a_page(tmp_path: Path) -> None:
    with CacheWriter(tmp_path / "cache", Config("llm", "x", 0, 1, ("human",))) as writer:
        writer.new(["a dog"])
        writer.add(Outcome("a dog", ()))
        writer.finish()
    out = tmp_path / "reports" / "r.html"
    assert main(["report", str(tmp_path / "cache"), "--out", str(out)]) == 0
    assert "There is no rewrite in this cache." in out.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--sample", "0"], "--sample must be at least 1"),
        (["--gate", "trooth>=1"], "did you mean 'truth'"),
        (["--gate", "words"], "is no condition"),
    ],
)
def test_wrong_options(directory: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(directory), *options]) == 2
    assert message in capsys.readouterr().err


WRITES = [
    ["report", "absent", "--out"],
    ["report", "absent", "--json", "--out"],
    ["eval", "all", "--model=no", "--data=no", "--json"],
    ["cache", "export", "CACHE"],
    ["cache", "export", "--for", "t.csv", "--", "absent"],
]
"""What writes a file; of a cache or a model that is not there, if it would say so before it has done any work."""


@pytest.mark.parametrize("command", WRITES)
def test_a_file_that_cannot_be_written_is_told_before_the_work(
    directory: Path,
    tmp_path: Path,
    command: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    command = [str(directory) if word == "CACHE" else word for word in command]
    (tmp_path / "t.csv").write_text("filepath,caption\n0.jpg,a dog\n")
    (tmp_path / "notes").write_text("")
    (tmp_path / "of today.csv").mkdir()
    long = "a" * 250 + ".csv"  # a name may have 255 bytes, and a half file's is longer
    for given, words in (
        ("notes/today/page.csv", "cannot make the folder notes/today: Not a directory; name another place"),
        ("of today.csv", "of today.csv is a folder; name a file"),
        (long, f"cannot write {long}: File name too long; name another"),
    ):
        assert main([*command, given]) == 2
        assert words in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes", "of today.csv", "t.csv"]


def test_the_page_that_is_not_named_is_a_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "absent-report.html").mkdir()
    assert main(["report", "absent"]) == 2
    assert "absent-report.html is a folder; name a file" in capsys.readouterr().err


@pytest.mark.parametrize("library", ["matplotlib", "jinja2"])
def test_a_missing_plotting_library_is_named_before_the_work(
    library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """That the cache is not there would be told by the work."""
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.chdir(tmp_path)
    assert main(["report", "absent", "--json"]) == 2
    assert "absent is no rewrite cache" in capsys.readouterr().err
    assert main(["report", "absent"]) == 2
    assert "pip install 'laclip-aug[plot]'" in capsys.readouterr().err
