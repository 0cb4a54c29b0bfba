"""Work done in a forked child, as a loader's worker does it, and the memory that is the child's own."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any


def private_bytes() -> int:
    """Pages of this process alone, written to since it was forked or not backed by a file."""
    text = Path("/proc/self/smaps_rollup").read_text()
    return sum(int(size) * 1024 for size in re.findall(r"^Private_Dirty: +(\d+) kB", text, re.MULTILINE))


def in_child(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """``work`` in a forked child, as a loader's worker runs."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, json.dumps(work()).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    return dict(json.loads(answer))
