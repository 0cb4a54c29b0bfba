"""One writer, always: in two processes, in one, after a fork, after a kill."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from shouting import ShoutAugmenter

from laclip_aug.cache.build import build_cache
from laclip_aug.cache.lock import writer_lock
from laclip_aug.errors import CacheError

HOLD = (
    "import sys; from pathlib import Path; from laclip_aug.cache.lock import writer_lock\n"
    "with writer_lock(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
)
TRY = (
    "import sys; from pathlib import Path; from laclip_aug.cache.lock import writer_lock\n"
    "from laclip_aug.errors import CacheError\n"
    "try:\n with writer_lock(Path(sys.argv[1])): print('got it')\n"
    "except CacheError: print('refused')"
)
FORK = (
    "import os, sys, time; from pathlib import Path; from laclip_aug.cache.lock import writer_lock\n"
    "with writer_lock(Path(sys.argv[1])):\n"
    " child = os.fork()\n"
    " if child == 0: time.sleep(60); os._exit(0)\n"
    " print(child, flush=True); sys.stdin.read()"
)


def holder(code, directory):
    return subprocess.Popen([sys.executable, "-c", code, directory], stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def tried(directory):
    return subprocess.run([sys.executable, "-c", TRY, directory], capture_output=True, text=True).stdout.strip()


def test_two_builders_in_two_processes(tmp_path):
    source = tmp_path / "in.txt"
    source.write_text("a dog")
    other = holder(HOLD, tmp_path / "cache")
    try:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(CacheError, match=f"process {other.pid}.*wait for it"):
            build_cache(source, tmp_path / "cache", ShoutAugmenter())
    finally:
        other.kill()
        other.communicate()
    assert build_cache(source, tmp_path / "cache", ShoutAugmenter()).made == 1  # the kill freed the lock


@pytest.mark.parametrize("below", ["", "cache", "deep/cache"])
def test_a_link_to_a_disk_that_is_not_mounted(tmp_path, below):
    (tmp_path / "link").symlink_to("/mnt/scratch-that-is-not-there/me")
    gone = "is a link to /mnt/scratch-that-is-not-there/me, which is not there"
    with pytest.raises(CacheError, match=gone), writer_lock(tmp_path / "link" / below):
        pass


def test_a_second_try_in_the_same_process_frees_nothing(tmp_path):
    cache = tmp_path / "cache"
    with writer_lock(cache):
        for _ in range(2):
            with pytest.raises(CacheError, match=f"process {os.getpid()}"), writer_lock(cache):
                pytest.fail("two writers")
        (tmp_path / "alias").symlink_to(cache)
        with pytest.raises(CacheError), writer_lock(tmp_path / "alias"):
            pytest.fail("two writers")
        refused = []

        def other() -> None:
            try:
                with writer_lock(cache):
                    pass
            except CacheError:
                refused.append(True)

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        assert refused
        (cache / "lock").read_bytes()  # opens and closes the file as any tool might
        assert tried(cache) == "refused"
    assert tried(cache) == "got it"


def test_a_forked_child_that_outlives_its_killed_parent_holds_nothing(tmp_path):
    parent = holder(FORK, tmp_path / "cache")
    child = int(parent.stdout.readline())
    try:
        assert tried(tmp_path / "cache") == "refused"
        parent.kill()
        parent.wait()  # not communicate: the child keeps the pipe open
        os.kill(child, 0)  # it lives
        assert tried(tmp_path / "cache") == "got it"
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_forked_child_that_ends_leaves_the_lock_to_its_parent(tmp_path):
    with writer_lock(tmp_path / "cache"):
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
        assert tried(tmp_path / "cache") == "refused"


def test_a_directory_removed_under_a_waiting_writer(tmp_path):
    # the loser of the race between removing an unused directory and locking it makes it anew
    stop = time.monotonic() + 2
    writers = 0

    def write() -> None:
        nonlocal writers
        while time.monotonic() < stop:
            try:
                with writer_lock(tmp_path / "cache"):
                    writers += 1
                    assert writers == 1
                    writers -= 1
            except CacheError as error:
                assert "another build" in str(error)

    threads = [threading.Thread(target=write) for _ in range(4)]
    errors = []
    threading.excepthook, before = lambda arguments: errors.append(arguments.exc_value), threading.excepthook
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        threading.excepthook = before
    assert errors == []
    assert {path.name for path in tmp_path.glob("cache/*")} <= {"lock"}


def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch):
    def lustre(handle, operation):
        """As where it is mounted without the option flock."""
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    (tmp_path / "in.txt").write_text("a dog")
    monkeypatch.setattr(fcntl, "flock", lustre)
    with pytest.raises(CacheError, match=r"has no locks \(Function not implemented\).*another disk") as refused:
        build_cache(tmp_path / "in.txt", tmp_path / "cache", ShoutAugmenter())
    assert "free some space" not in str(refused.value)
    monkeypatch.undo()
    assert build_cache(tmp_path / "in.txt", tmp_path / "cache", ShoutAugmenter()).made == 1
