"""A build on a real Ray of two workers: killed workers, a killed driver, a disk that cannot be written for a while."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from laclip_aug.augmenter import Outcome
from laclip_aug.cache.browse import records
from laclip_aug.cache.format import read_manifest
from laclip_aug.cache.verify import verify_cache
from laclip_aug.cli import main

CAPTIONS = [f"a photo of {i} {'boats' if i % 3 else 'kites'} near the shore" for i in range(160)]
COMMAND = [sys.executable, "-c", "import sys; from laclip_aug.cli import main; sys.exit(main(sys.argv[1:]))"]
RAY = ["--engine", "ray", "--workers", "2"]


def start(folder: Path, environment: dict[str, str], *words: str) -> subprocess.Popen[str]:
    """``laclip-aug build in.txt --cache out`` with the shouting augmenter and ``words``."""
    argv = [*COMMAND, "build", "in.txt", "--cache", "out", "--augmenter", "shout", *words]
    pipe = subprocess.PIPE
    return subprocess.Popen(argv, cwd=folder, env=environment, stdout=pipe, stderr=pipe, text=True)


def eight_parts(folder: Path) -> None:
    """Have the next run make eight parts of its few captions, as it would of 16,000 on two workers."""
    (folder / "out.parts").mkdir()
    (folder / "out.parts" / "plan.json").write_text('{"parts": 8}')


def said(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Its exit status, and all that it printed."""
    out, err = process.communicate(timeout=600)
    return process.returncode, out + err


def content(cache: Path) -> dict[str, Outcome]:
    return {record.caption: record for record in records(cache)}


def stored(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("out.parts/*/journal-*"))


def wait_for(what: object, seconds: float = 300) -> None:
    until = time.monotonic() + seconds
    while not what():  # type: ignore[operator]
        assert time.monotonic() < until
        time.sleep(0.02)


def workers_of(driver: int) -> list[int]:
    """The processes under ``driver`` that Ray's workers with our actor are, as they are named."""
    parents, named = {}, []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            status, name = (entry / "status").read_text(), (entry / "cmdline").read_bytes()
        except OSError:
            continue
        parents[int(entry.name)] = int(status.split("PPid:")[1].split()[0])
        if name.startswith(b"ray::PartBuilder"):
            named.append(int(entry.name))

    def under(process: int) -> bool:
        while process > 1:
            process = parents.get(process, 0)
            if process == driver:
                return True
        return False

    return [process for process in named if under(process)]


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Nothing can be written to ``folder`` meanwhile: to root neither."""

    def writable() -> bool:
        try:
            (folder / "try").touch()
        except OSError:
            return False
        (folder / "try").unlink()
        return True

    mode = folder.stat().st_mode
    ways = (
        (lambda: folder.chmod(0o555), lambda: folder.chmod(mode)),
        (lambda: call("mount", "--bind", "-o", "ro", folder, folder), lambda: call("umount", "-l", folder)),
        (lambda: call("chattr", "+i", folder), lambda: call("chattr", "-i", folder)),
    )

    def call(*words: object) -> None:
        subprocess.run([*map(str, words)], check=False, capture_output=True)

    for begin, end in ways:
        begin()
        if not writable():
            try:
                yield
            finally:
                end()
            return
        end()
    pytest.fail("no way to make a directory read-only here: neither chmod, mount nor chattr does it")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process makes of the same captions."""
    sys.path.append(str(Path(__file__).parent.parent / "plugin"))
    from shouting import ShoutAugmenter

    from laclip_aug.cache.build import build_cache

    folder = tmp_path_factory.mktemp("whole")
    (folder / "in.txt").write_text("\n".join(CAPTIONS) + "\n")
    build_cache(folder / "in.txt", folder / "out", ShoutAugmenter(), progress=False)
    return folder / "out"


def test_a_killed_worker_a_killed_driver_and_a_read_only_part(
    tmp_path: Path, plugin_environment: dict[str, str], whole: Path
) -> None:
    (tmp_path / "in.txt").write_text("\n".join(CAPTIONS) + "\n")
    eight_parts(tmp_path)
    slow = [*RAY, "--option", "delay=0.1", "--shard-rows", "4"]
    driver = start(tmp_path, plugin_environment, *slow)
    wait_for(lambda: len(workers_of(driver.pid)) == 2 and stored(tmp_path))
    first = workers_of(driver.pid)
    os.kill(first[0], signal.SIGKILL)  # one worker: another takes its place
    wait_for(lambda: len(now := workers_of(driver.pid)) == 2 and now != first)
    assert driver.poll() is None
    driver.kill()
    driver.communicate()
    assert not (tmp_path / "out").exists()

    driver = start(tmp_path, plugin_environment, *slow)
    done = next(place for place in sorted((tmp_path / "out.parts").iterdir()) if place.is_dir())
    with read_only(done):
        wait_for(lambda: workers_of(driver.pid))
        time.sleep(4)
        assert driver.poll() is None  # it waits, and makes other parts
    code, text = said(driver)
    assert code == 0, text
    assert "parts tried again: " in text
    assert content(tmp_path / "out") == content(whole)
    assert verify_cache(tmp_path / "out", progress=False) == ([], [])
    (read,) = read_manifest(tmp_path / "out").inputs.values()
    assert read["rows"] == 160

    # More captions later, on another number of workers: only what is new is made.
    (tmp_path / "in.txt").write_text("\n".join([*CAPTIONS, "something new", "x" * 5000]) + "\n")
    code, text = said(start(tmp_path, plugin_environment, "--engine", "ray", "--workers", "1"))
    assert code == 0, text
    assert "read 162 rows: 1 captions made in 8 parts on 1 workers" in text
    assert {*content(tmp_path / "out")} == {*CAPTIONS, "something new", "x" * 5000}


def test_a_lost_machine(tmp_path: Path, plugin_environment: dict[str, str], whole: Path) -> None:
    (tmp_path / "in.txt").write_text("\n".join(CAPTIONS) + "\n")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    ray = [
        sys.executable,
        "-c",
        "import sys; from ray.scripts.scripts import main; sys.exit(main())",
        "start",
        "--block",
    ]
    ray += ["--num-cpus", "1", "--disable-usage-stats"]
    head = [*ray, "--head", "--port", str(port), "--include-dashboard", "false"]
    other = [*ray, "--address", f"127.0.0.1:{port}"]
    machines = []
    try:
        for name, words in (("head", head), ("other", other)):
            with (tmp_path / name).open("w") as log:
                machines.append(
                    subprocess.Popen(words, env=plugin_environment, stdout=log, stderr=log, start_new_session=True)
                )
            wait_for(lambda log=tmp_path / name: "Ray runtime started" in log.read_text())
        slow = ["--engine", "ray", "--address", f"127.0.0.1:{port}", "--option", "delay=0.1", "--workers", "2"]
        driver = start(tmp_path, plugin_environment, *slow)
        wait_for(lambda: len(workers_of(machines[0].pid)) == len(workers_of(machines[1].pid)) == 1)
        wait_for(lambda: len([*tmp_path.glob("out.parts/0*/journal-*")]) == 2)
        os.killpg(machines[1].pid, signal.SIGKILL)
        code, text = said(driver)
        assert code == 0, text
        assert "workers that died and were replaced: 1;" in text  # there is no room for another, and none is waited for
        assert content(tmp_path / "out") == content(whole)
        assert json.loads((tmp_path / "out.parts" / "plan.json").read_text()) == {"parts": 2}  # one for each worker
    finally:
        for machine in machines:
            with suppress(ProcessLookupError):
                os.killpg(machine.pid, signal.SIGKILL)
            machine.wait()


def test_more_captions_are_more_parts(tmp_path: Path, plugin_environment: dict[str, str]) -> None:
    (tmp_path / "in.txt").write_text("".join(f"a photo of {i} boats\n" for i in range(6100)))
    code, text = said(start(tmp_path, plugin_environment, "--engine", "ray", "--workers", "1"))
    assert code == 0, text
    assert "read 6100 rows: 6100 captions made in 3 parts on 1 workers" in text
    assert len(content(tmp_path / "out")) == 6100


def test_a_caption_that_kills_its_worker_costs_its_part_alone(
    tmp_path: Path, plugin_environment: dict[str, str]
) -> None:
    (tmp_path / "in.txt").write_text("\n".join([*CAPTIONS[:40], "a deadly caption"]) + "\n")
    eight_parts(tmp_path)
    code, text = said(start(tmp_path, plugin_environment, *RAY))
    assert code == 2
    assert "1 of 8 parts were given up: part " in text
    assert "5 workers died on it in a row" in text
    made = {caption for place in tmp_path.glob("out.parts/0*") for caption in content(place)}
    assert 25 < len(made) < 41  # seven of eight parts at least
    (tmp_path / "in.txt").write_text("\n".join(CAPTIONS[:40]) + "\n")
    code, text = said(start(tmp_path, plugin_environment, *RAY))
    assert code == 0, text
    assert {*content(tmp_path / "out")} == {*CAPTIONS[:40]}


def test_a_worker_that_was_killed_is_told_of_in_the_log_and_the_report_stands_alone(
    tmp_path: Path, plugin_environment: dict[str, str]
) -> None:
    (tmp_path / "in.txt").write_text("\n".join(CAPTIONS[:60]) + "\n")
    driver = start(tmp_path, plugin_environment, *RAY, "--option", "delay=0.1")
    wait_for(lambda: len(workers_of(driver.pid)) == 2 and stored(tmp_path))
    os.kill(workers_of(driver.pid)[0], signal.SIGKILL)
    out, err = driver.communicate(timeout=600)
    assert driver.returncode == 0, err
    assert out.startswith("read 60 rows: ")  # and nothing of Ray's before
    assert "\x1b" not in out
    assert "raylet" not in out
    assert ": its worker died; another goes on from what is stored" in err
    assert "  workers that died and were replaced: 1; parts tried again: 0" in out.splitlines()
    made, before = re.findall(r"(\d+) captions made in 2 parts on 2 workers, (\d+) repeated or made before, 0 ", out)[0]
    assert int(made) + int(before) == 60  # what the dead one had stored counts as made before


def test_the_report_tells_what_a_local_one_tells(tmp_path: Path, plugin_environment: dict[str, str]) -> None:
    rows = ["a boat", "", "a hopeless boat", "x" * 5000, "a boat", "y" * 5000, "a reject", "", *CAPTIONS[:12]]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps({"caption": row or None}) + "\n" for row in rows))
    argv = [*COMMAND, "build", "in.jsonl", "--cache", "out", "--augmenter", "shout", *RAY, "--option", "delay=0.3"]
    done = subprocess.run(argv, cwd=tmp_path, env=plugin_environment, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    # 20 rows: two are missing and two too long; a boat comes twice, so 15 others are made
    assert lines[0] == "read 20 rows: 15 captions made in 2 parts on 2 workers, 1 repeated or made before, 4 refused"
    assert "  refused, missing: 2, for example in.jsonl: line 2; in.jsonl: line 8" in lines
    (long,) = (line for line in lines if line.startswith("  refused, too-long: 2, for example "))
    assert f"'{'x' * 60}'" in long
    assert f"'{'y' * 60}'" in long  # each part names its own
    # thirteen captions have two texts, one has one of two, and one none of two: 27 of 30 attempts
    assert lines[3].endswith(" tokens/s, 90.0% of attempts accepted")
    assert lines[5:9] == [
        "the cache holds 18 captions; 14 of them (77.8%) have a rewrite",
        "  rewrites, loud: 14",
        "  rewrites, calm: 13",
        "  rejections, too-loud: 3",
    ]
    assert "90% accepted" in done.stderr.splitlines()[-1]


def test_wrong_options_end_the_run_at_once(tmp_path: Path, plugin_environment: dict[str, str]) -> None:
    (tmp_path / "in.txt").write_text("\n".join(CAPTIONS[:10]) + "\n")
    code, text = said(start(tmp_path, plugin_environment, *RAY, "--option", "dealy=1"))
    assert (code, "did you mean 'delay'?" in text) == (2, True), text
    code, text = said(start(tmp_path, plugin_environment, *RAY, "--gpus-per-worker", "4"))
    assert (code, "no machine of the cluster has 4 GPUs for a worker, the most is 0" in text) == (2, True), text
    environment = plugin_environment | {"RAY_ADDRESS": "127.0.0.1:1"}
    code, text = said(start(tmp_path, environment, *RAY))
    assert (code, "no Ray cluster answers at 127.0.0.1:1" in text) == (2, True), text
    assert not (tmp_path / "out").exists()


def test_a_cluster_that_was_once_started_here_and_is_gone_is_told_at_once(
    tmp_path: Path, plugin_environment: dict[str, str]
) -> None:
    """Ray keeps the address of the last one in a file, and tried for minutes to reach it."""
    (tmp_path / "in.txt").write_text("\n".join(CAPTIONS[:10]) + "\n")
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text("127.0.0.1:1")
    environment = plugin_environment | {"RAY_TMPDIR": str(tmp_path)}
    driver = start(tmp_path, environment, *RAY, "--address", "auto")
    try:
        out, err = driver.communicate(timeout=300)
    finally:
        driver.kill()
    assert (driver.returncode, out) == (2, "")
    assert "no Ray cluster answers at 127.0.0.1:1 ([Errno 111] Connection refused)" in err


def test_the_embedded_engine_makes_the_same_on_ray(
    tmp_path: Path, plugin_environment: dict[str, str], tiny_gguf: Path
) -> None:
    (tmp_path / "in.txt").write_text("\n".join(CAPTIONS[:24]) + "\n")
    words = ["build", "in.txt", "--model", str(tiny_gguf), "--strategies", "human", "--max-attempts", "2"]
    words += ["--max-new-tokens", "8", "--n-ctx", "512", "--reproducible", "--gate", "none"]
    for name, engine in (("here", []), ("there", RAY)):
        subprocess.run([*COMMAND, *words, "--cache", name, *engine], cwd=tmp_path, env=plugin_environment, check=True)
    assert len(content(tmp_path / "here")) == 24
    assert content(tmp_path / "there") == content(tmp_path / "here")


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["--address", "auto"], "--address goes with --engine ray"),
        (["--workers", "2"], "--workers goes with --engine ray"),
        (["--gpus-per-worker", "1"], "--gpus-per-worker goes with --engine ray"),
        ([*RAY, "--shard", "0/2"], "--shard is not for --engine ray"),
        ([*RAY, "--fold", "0.98"], "--fold is not for --engine ray"),
        ([*RAY, "--dry-run"], "--dry-run is not for --engine ray"),
        (["--engine", "ray", "--workers", "0"], "--workers must be at least 1, not 0"),
        ([*RAY, "--gpus-per-worker", "-1"], "--gpus-per-worker must be 0 or more, not -1"),
    ],
)
def test_options_that_do_not_go_together(words: list[str], what: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build", "in.txt", "--cache", "out", "--augmenter", "eda", *words]) == 2
    assert what in capsys.readouterr().err
