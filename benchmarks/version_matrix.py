"""Which versions of open_clip the package works with: all of its training tests, in an environment per version.

Why it matters: open_clip's trainer has no interface for plug-ins, so a release may move what the hook and the patches
hold on to. The table says for which versions that was tried, and with which result.

For each version, a fresh virtual environment with ``open_clip_torch[training]``, this checkout and pytest is made under
``--environments`` (several gigabytes and minutes each, since each brings its torch). With ``--share`` the running
environment's packages are used, and only open_clip itself is installed apart and put first on the path: seconds, and
the same torch for all. ``--source`` adds the ``src`` directory of a source checkout, for what is not released; it
always shares. Run it where the package is installed with its ``dev`` extra. The last line is one JSON document.
Versions that an earlier run of the same tests left in it stay.

The table also has how many token positions the text tower of one short training run was given, trimmed: the same number
where trimming does the same (``test_positions``).

    python benchmarks/version_matrix.py --environments matrix --share --source ../open_clip/src
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from tqdm import tqdm

ROOT = Path(__file__).parents[1]
VERSIONS = ("2.29.0", "3.0.0", "3.2.0", "3.3.0")
TESTS = tuple(sorted(path.stem for path in (ROOT / "tests" / "training").glob("test_*.py")))
FACTS = """
import json, open_clip, platform, torch
print(json.dumps([open_clip.__version__, torch.__version__, platform.python_version()]))
"""


@dataclass(frozen=True)
class Environment:
    """A Python and what to put first on its path."""

    python: str
    path: str

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run Python with ``words``."""
        path = os.pathsep.join(part for part in (self.path, os.environ.get("PYTHONPATH", "")) if part)
        environment = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", **os.environ, "PYTHONPATH": path}
        return subprocess.run([self.python, *words], env=environment, cwd=ROOT, capture_output=True, text=True)


@dataclass(frozen=True)
class Result:
    """One version's tests: counts per file, and the names of those that failed."""

    open_clip: str
    kind: str
    torch: str
    python: str
    seconds: float
    files: dict[str, dict[str, int]]
    failed: list[str]
    positions: dict[str, int]


def environments(
    versions: list[str], sources: list[Path], directory: Path, share: bool
) -> Iterator[tuple[str, Environment]]:
    """Make one environment after the other, where it is not there yet; yields what kind it is, too."""
    for version in versions:
        target = directory / f"{'shared' if share else 'venv'}-{version}"
        wanted = f"open_clip_torch{'' if share else '[training]'}=={version}"
        if share:
            if not target.exists():
                pip(sys.executable, "--no-deps", "--target", str(target), wanted)
            yield "release, other packages shared", Environment(sys.executable, str(target))
            continue
        python = str(target / ("Scripts" if os.name == "nt" else "bin") / "python")
        if not target.exists():
            subprocess.run([sys.executable, "-m", "venv", str(target)], check=True)
            pip(python, wanted, "--editable", str(ROOT), "pytest", "hypothesis")
        yield "release, environment of its own", Environment(python, "")
    for source in sources:
        yield "source checkout, other packages shared", Environment(sys.executable, str(source.resolve()))


def pip(python: str, *words: str) -> None:
    """Install, quietly."""
    subprocess.run([python, "-m", "pip", "install", "--quiet", *words], check=True)


def measure(kind: str, environment: Environment, tests: list[str], report: Path) -> Result:
    """Run the tests in ``environment`` and read pytest's report of them."""
    facts = environment.run("-c", FACTS)
    if facts.returncode:
        raise SystemExit(f"open_clip cannot be imported in {environment}:\n{facts.stderr[-2000:]}")
    open_clip, torch, python = json.loads(facts.stdout.splitlines()[-1])
    files = [f"tests/training/{name}.py" for name in tests]
    start = time.monotonic()
    done = environment.run("-m", "pytest", *files, "-p", "no:cacheprovider", f"--junitxml={report}")
    seconds = time.monotonic() - start
    if done.returncode not in (0, 1):  # 1: some tests failed
        raise SystemExit(f"pytest did not run under open_clip {open_clip}:\n{done.stdout[-3000:]}{done.stderr[-1000:]}")
    counts: dict[str, Counter[str]] = {name: Counter() for name in tests}
    failed, positions = [], {}
    for case in ElementTree.parse(report).iter("testcase"):
        name = case.attrib["classname"].rsplit(".", 1)[-1]
        outcomes = {child.tag for child in case} & {"failure", "error", "skipped"}
        counts[name][min(outcomes, default="passed")] += 1
        for note in case.iter("property"):
            if note.attrib["name"] == "text positions":
                positions[case.attrib["name"]] = int(note.attrib["value"])
        if outcomes - {"skipped"}:
            failed.append(f"{name}::{case.attrib['name']}")
    return Result(
        open_clip, kind, torch, python, round(seconds, 1), {k: dict(v) for k, v in counts.items()}, failed, positions
    )


def table(results: list[Result], tests: list[str]) -> str:
    """The results for people, as Markdown."""
    names = [result.open_clip for result in results]
    lines = [f"| tests | {' | '.join(names)} |", f"|---|{'---|' * len(results)}"]
    for test in tests:
        counts = [result.files[test] for result in results]
        cells = [f"{count.get('passed', 0)} of {sum(count.values())}" for count in counts]
        lines.append(f"| {test} | {' | '.join(cells)} |")
    for run in dict.fromkeys(name for result in results for name in result.positions):
        cells = [f"{result.positions[run]:,}" if run in result.positions else "" for result in results]
        lines.append(f"| text positions, {run} | {' | '.join(cells)} |")
    about = [f"- {r.open_clip}: {r.kind}; failed: {', '.join(r.failed) or 'none'}" for r in results]
    return "\n".join([*lines, "", *about])


def earlier(path: Path, tests: list[str]) -> list[Result]:
    """The results of an earlier run of the same tests."""
    if not path.is_file():
        return []
    document = json.loads(path.read_text())
    return [Result(**result) for result in document["results"]] if document["tests"] == tests else []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--versions", nargs="*", default=list(VERSIONS))
    parser.add_argument("--source", type=Path, action="append", default=[], help="src directory of a source checkout")
    parser.add_argument("--environments", type=Path, required=True, help="where to make the environments")
    parser.add_argument("--share", action="store_true", help="use the running environment's packages, torch above all")
    parser.add_argument("--tests", nargs="+", default=list(TESTS), help="files of tests/training, without .py")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results")
    args = parser.parse_args()
    directory = args.environments.resolve()
    directory.mkdir(parents=True, exist_ok=True)
    before, results = earlier(args.results / "version_matrix.json", args.tests), list[Result]()
    made = environments(args.versions, args.source, directory, args.share)
    for number, (kind, environment) in enumerate(
        tqdm(made, total=len(args.versions) + len(args.source), unit="version", file=sys.stderr)
    ):
        found = measure(kind, environment, args.tests, directory / f"report-{number}.xml")
        before = [result for result in before if result.open_clip != found.open_clip]
        results = before = sorted([*before, found], key=lambda result: result.open_clip)
        document = {"tests": args.tests, "results": [asdict(result) for result in results]}
        text = table(results, args.tests)
        (args.results / "version_matrix.json").write_text(json.dumps(document, indent=1) + "\n")
        torch = ", ".join(sorted({f"torch {result.torch}, Python {result.python}" for result in results}))
        (args.results / "version_matrix.md").write_text(
            f"# Versions of open_clip\n\n`python benchmarks/version_matrix.py`: tests that passed, by file of "
            f"`tests/training`; {torch}.\n\n{text}\n"
        )
    print(text)
    print(json.dumps(document))
    raise SystemExit(any(result.failed for result in results))


if __name__ == "__main__":
    main()
