"""Every command that a message advises works when it is typed: collected from the sources, checked, and run.

A message puts a command after a colon (``with: laclip-aug build INPUT --cache DIR``). Placeholders in it have to be
quoted for the shell. Words in capitals and placeholders are filled in with what a small example has.
"""

from __future__ import annotations

import argparse
import ast
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path

import pytest
import tomllib
from packaging.requirements import Requirement

import laclip_aug
from laclip_aug.cli import SUBCOMMANDS, main

ROOT = Path(laclip_aug.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))
_MARK = "\x01{}\x02"
_START = re.compile(r"(?::\s+)(laclip-aug [a-z]|(?:[A-Z_]+=\S+ )?(?:python -m )?pip install )")
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*[a-z0-9]")
_OTHERS = {
    *("--force-reinstall", "--no-cache-dir", "--no-binary", "--no-deps"),  # pip's
    *("--nproc-per-node", "--nnodes", "--no-python", "--version", "--model-config"),  # torchrun's, of cli.open_clip
    *("--porcelain", "--untracked-files"),  # git's
}


@dataclass(frozen=True)
class Text:
    """A text of the sources; what an f-string fills in is a mark, with its expression in ``filled``."""

    where: str
    text: str
    filled: tuple[str, ...]

    def commands(self) -> Iterator[str]:
        """The commands that stand after a colon, to the end of their clause."""
        for start in _START.finditer(self.text):
            yield _clause(self.text[start.start(1) :])


def _clause(text: str) -> str:
    """``text`` to the first mark that ends a command, outside quotes."""
    quoted = ""
    for place, character in enumerate(text):
        if quoted:
            quoted = "" if character == quoted else quoted
        elif character in "'\"":
            quoted = character
        elif character in ";\n" or text[place : place + 2] in (", ", " (", "``", ". ", " #"):
            return text[:place]
    return text


def texts(module: Path, source: str) -> Iterator[Text]:
    tree = ast.parse(source)
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
    docs = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        where = f"{module.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.JoinedStr):
            parts, filled = [], []
            for part in node.values:
                if isinstance(part, ast.Constant):
                    parts.append(str(part.value))
                elif isinstance(part, ast.FormattedValue):
                    parts.append(_MARK.format(len(filled)))
                    filled.append(ast.unparse(part.value))
            yield Text(where, "".join(parts), tuple(filled))
        elif isinstance(node, ast.BinOp) and isinstance(node.left, ast.Constant) and isinstance(node.left.value, str):
            yield Text(where, node.left.value + _MARK.format(0), (ast.unparse(node.right),))
            inside.add(id(node.left))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside | docs:
            yield Text(where, node.value, ())


MESSAGES = [text for module in MODULES for text in texts(module, module.read_text(encoding="utf-8"))]
COMMANDS = [(text, command) for text in MESSAGES for command in text.commands()]
OURS = [(text, command) for text, command in COMMANDS if command.startswith("laclip-aug ")]
PIP = [(text, command) for text, command in COMMANDS if "pip install " in command]
EXAMPLES = [
    line.strip()
    for name in SUBCOMMANDS
    for line in (import_module(f"laclip_aug.cli.{name}").__doc__ or "").splitlines()
    if line.startswith("  laclip-aug ")
]


def known_options() -> set[str]:
    """Every option that one of our parsers or open_clip's has."""
    from open_clip_train import params

    from laclip_aug.augmenter import augmenter_class, augmenter_names
    from laclip_aug.training.parser import add_arguments

    parsers = [argparse.ArgumentParser() for _ in range(2 + len(SUBCOMMANDS))]
    add_arguments(parsers[0])
    for name in augmenter_names():
        own = argparse.ArgumentParser(conflict_handler="resolve")
        augmenter_class(name).add_arguments(own)
        parsers.append(own)
    for name, parser in zip(SUBCOMMANDS, parsers[1:], strict=False):
        import_module(f"laclip_aug.cli.{name}").add_arguments(parser, [])
    for parser in list(parsers):
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                parsers += list(action.choices.values())
    found = {option for parser in parsers for action in parser._actions for option in action.option_strings}
    return found | set(re.findall(r'"(--[a-z0-9-]+)"', Path(params.__file__).read_text(encoding="utf-8")))


def broken(source: str) -> list[str]:
    """What is wrong with the advice in a module's ``source``."""
    known, wrong = known_options() | _OTHERS, []
    for text in texts(ROOT / "test.py", source):
        for option in set(_OPTION.findall(text.text)) - known:
            if not any(name.startswith(option + "-") for name in known):  # "--text-aug-" and what follows is filled in
                wrong.append(f"{text.where}: no parser has {option}")
        for command in text.commands():
            if command.startswith("laclip-aug ") and command.split()[1] not in SUBCOMMANDS:
                wrong.append(f"{text.where}: {command.split()[1]} is no subcommand")
            for number in re.findall(_MARK.format(r"(\d+)"), command):
                if not re.match(r"quote\(|captions\.typed$|_BOUNDS|extra|module$", text.filled[int(number)]):
                    wrong.append(f"{text.where}: {text.filled[int(number)]} is not quoted for the shell")
    return wrong


_UNQUOTED = "is not quoted for the shell"


@pytest.mark.parametrize("module", MODULES, ids=lambda m: str(m.relative_to(ROOT)))
def test_options_and_subcommands_in_messages_exist(module: Path) -> None:
    assert broken(module.read_text(encoding="utf-8")) == []


def test_wrong_advice_is_found() -> None:
    assert broken('f"try: laclip-aug build {quote(x)} --cahce DIR"') == ["test.py:1: no parser has --cahce"]
    assert broken('f"try: laclip-aug biuld {quote(x)}"') == ["test.py:1: biuld is no subcommand"]
    assert broken('f"run: laclip-aug cache show {directory} --head 5"') == [f"test.py:1: directory {_UNQUOTED}"]
    assert broken('f"run: laclip-aug cache show {quote(directory)} --head 5"') == []
    assert len(OURS) >= 5 and len(PIP) >= 3  # the collection finds what there is


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with captions and a finished cache of them, in a place whose name needs quoting."""
    root = tmp_path_factory.mktemp("it's an example")
    (root / "captions.txt").write_text("a dog runs on the beach\n")
    argv = ["build", str(root / "captions.txt"), "--cache", str(root / "cache"), "--augmenter", "eda", "--n", "1"]
    assert main(argv) == 0
    return root


def typed(command: str, root: Path, new: str) -> list[str]:
    """The words of ``command`` after ``laclip-aug``, as a shell makes them, with places filled in.

    Of a pipe the part that is ours: what takes its output is not installed here.
    """
    words = shlex.split(re.sub(r"(?<=\x02)\x01\d+\x02", "", command))[1:]
    words = words[: words.index("|")] if "|" in words else words
    cache, captions = str(root / "cache"), str(root / "captions.txt")
    made = words[0] in ("build", "rewrite") or words[:2] == ["cache", "import"]
    filled = []
    for place, word in enumerate(words):
        open_place = "\x01" in word or word.isupper()
        if not open_place:
            filled.append(word)
        elif words[place - 1] == "--cache" or (words[0] == "cache" and not made):
            filled.append(new if made else cache)
        elif words[0] == "build" and place == 1:
            filled.append(captions)
        elif words[:2] == ["translate", "convert"]:
            filled.append(str(root / ("marian" if place == 2 else "converted")))
        else:
            pytest.fail(f"teach this test what {word!r} is in: {command}")
    return filled


@pytest.mark.parametrize("command", sorted({command for _, command in OURS}))
def test_advised_commands_run(command: str, example: Path, tmp_path: Path) -> None:
    if "translate convert" in command:
        from tests.backtranslation.marian_maker import make_folder

        if not (example / "marian").exists():
            make_folder(example / "marian")
    try:
        status = main(typed(command, example, str(tmp_path / "new cache")))
    except SystemExit as ended:  # as argparse does after --help
        status = ended.code
    assert not status


@pytest.mark.parametrize("line", EXAMPLES)
def test_examples_of_the_help_are_understood(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    words = shlex.split(line.partition(" > ")[0])[1:]  # what a shell sends elsewhere is not ours
    monkeypatch.setattr(import_module(f"laclip_aug.cli.{words[0]}"), "run", lambda args: 0)
    assert main(words) == 0


def test_what_pip_is_asked_for_exists() -> None:
    project = tomllib.loads((ROOT.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = set(project["optional-dependencies"])
    calls = [
        node
        for module in MODULES
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "MissingExtraError"
    ]
    asked = {call.args[0].value for call in calls if isinstance(call.args[0], ast.Constant)}
    assert asked and asked <= extras
    for text, command in PIP:
        words = shlex.split(re.sub(r"\[\x01\d+\x02\]", "[llm]", command))
        for word in words[words.index("install") + 1 :]:
            if word.startswith("--") or "\x01" in word.split("[")[0]:
                continue  # an option of pip; the package that fsspec's registry names
            wanted = Requirement(re.sub(r"\x01\d+\x02", ">=1", word))
            known = extras if wanted.name == "laclip-aug" else set(_extras_of(wanted.name))
            assert wanted.extras <= known, f"{text.where}: {word}"


def _extras_of(distribution: str) -> list[str]:
    try:
        return metadata.metadata(distribution).get_all("Provides-Extra") or []
    except metadata.PackageNotFoundError:
        return []
