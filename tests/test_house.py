"""The plan of the house: which room may import which, and which file alone may name a library."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import laclip_aug

ROOT = Path(laclip_aug.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))
DOTTED = re.compile(r"(open_clip_train|open_clip\.|llama_cpp\.)[\w.]*")

_GROUND = {"errors", "seeding", "version"}
_FIRST = _GROUND | {"augmenter", "checkpoints", "encoding", "openclip", "models"}
_SECOND = _FIRST | {"quality", "generation"}
_THIRD = _SECOND | {"exchange", "rewrite", "eda", "backtranslation", "sentences"}
MAY_IMPORT = {
    **{room: set[str]() for room in _GROUND},
    **dict.fromkeys(("augmenter", "encoding"), _GROUND),
    "checkpoints": _GROUND | {"encoding"},
    "openclip": _GROUND | {"checkpoints"},
    "models": _GROUND | {"checkpoints", "openclip"},
    **dict.fromkeys(("quality", "generation"), _FIRST),
    **dict.fromkeys(("exchange", "rewrite", "eda", "backtranslation", "sentences"), _SECOND),
    # the store takes any augmenter, and knows no kind of one
    "cache": _SECOND | {"exchange"},
    **dict.fromkeys(("training", "evaluation", "cluster"), _THIRD | {"cache"}),
}


def room(module: Path) -> str:
    return module.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(tree: ast.AST) -> set[str]:
    """Full names of the modules a file imports, at any depth, also under TYPE_CHECKING or as a string."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Constant) and DOTTED.fullmatch(str(node.value)):
            names.add(str(node.value))
    return names


def wrong_arrows(source: str, home: str) -> list[str]:
    """The imports in ``source`` that a module of the room ``home`` may not have."""
    allowed = MAY_IMPORT[home] | {home}
    rooms = {name: name.split(".")[1] for name in imported(ast.parse(source)) if name.startswith("laclip_aug.")}
    return sorted(name for name, target in rooms.items() if target not in allowed)


@pytest.mark.parametrize("module", MODULES, ids=lambda m: str(m.relative_to(ROOT)))
def test_arrows_point_one_way(module: Path) -> None:
    if room(module) in ("__init__", "cli"):
        return  # the entrance and the roof see every room
    assert wrong_arrows(module.read_text(encoding="utf-8"), room(module)) == []


def test_a_wrong_arrow_is_found() -> None:
    assert wrong_arrows("def f():\n    from laclip_aug.rewrite import prompt", "cache") == ["laclip_aug.rewrite.prompt"]


@pytest.mark.parametrize(
    ("libraries", "home"),
    [({"open_clip", "open_clip_train"}, "openclip.py"), ({"llama_cpp"}, "generation/llamacpp.py")],
)
def test_one_file_alone_names_a_library(libraries: set[str], home: str) -> None:
    users = {
        str(module.relative_to(ROOT))
        for module in MODULES
        if any(name.split(".")[0] in libraries for name in imported(ast.parse(module.read_text(encoding="utf-8"))))
    }
    assert users == {home}


def test_modules_are_small() -> None:
    lengths = {str(m.relative_to(ROOT)): len(m.read_text(encoding="utf-8").splitlines()) for m in MODULES}
    assert {name: lines for name, lines in lengths.items() if lines > 300} == {}


def test_no_unsafe_loading() -> None:
    unsafe = {"pickle", "dill", "shelve", "marshal"}
    for module in MODULES:
        tree = ast.parse(module.read_text(encoding="utf-8"))
        calls = {n.func.id for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}
        assert not calls & {"eval", "exec"}, module
        assert not {name.split(".")[0] for name in imported(tree)} & unsafe, module


def test_what_benchmarks_import_of_the_package_is_there() -> None:
    """They are run by hand, and rarely: a name that moved would be noticed by whoever wants a figure made again."""
    missing = []
    for file in sorted((ROOT.parent / "benchmarks").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "laclip_aug":
                module = importlib.import_module(str(node.module))
                rooms = {found.name for found in pkgutil.iter_modules(getattr(module, "__path__", []))}
                names = [alias.name for alias in node.names if alias.name not in rooms]
                missing += [f"{file.name}: {node.module}.{name}" for name in names if not hasattr(module, name)]
    assert missing == []


def test_the_page_on_quality_loses_nothing_when_it_is_made_again() -> None:
    benchmarks = ROOT.parent / "benchmarks"
    findings = (benchmarks / "quality/findings.md").read_text("utf-8")
    assert (benchmarks / "results/quality.md").read_text("utf-8").endswith(findings)
