"""How many CPU threads an engine computes with, where nobody says.

A large model takes all CPUs. With a small one each step is short, and threads that wait for each other may cost more
than they bring, many times more where other programs keep the CPUs busy. So it is tried.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from math import inf

LARGE = 500_000_000
"""Parameters above which all CPUs are taken untried."""
_FLOP = 1e9  # of a step that is tried
_WIN = 1.1  # times faster than one thread
_SECONDS, _ROUNDS = 0.1, 5
_LEAST = 0.02  # seconds that a step may take in any case


def named_threads() -> int | None:
    """What ``OMP_NUM_THREADS`` says, if it is a number above 0, or a list of them, one for each level of nesting."""
    named = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return int(named) if named.isdecimal() and int(named) else None


def usable_cpus() -> int:
    """The CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def rows_to_try(parameters: int, slots: int) -> int:
    """How many tokens, one a slot, make a step worth timing; none for a large model.

    A parameter takes two operations for each token.
    """
    return 0 if parameters > LARGE else min(slots, max(2, int(_FLOP / (2 * max(1, parameters)))))


def faster(step: Callable[[int, float], bool], most: int, clock: Callable[[], float] = time.perf_counter) -> int:
    """1, or ``most`` if that many threads are at least a tenth faster: the sum of a few steps of both.

    ``step`` takes the number of threads, which stays set, and seconds after which it may give up and return False. On a
    busy machine a step takes a hundred times as long with several threads, for each waits for the slowest.
    """
    step(1, inf)  # the first reads the weights
    one = several = 0.0
    for _ in range(_ROUNDS):
        before = clock()
        step(1, inf)
        between = clock()
        one += between - before
        in_time = step(most, max(_LEAST, one))
        several += clock() - between
        if not in_time or one + several >= _SECONDS:
            break
    if in_time and several * _WIN <= one:
        return most
    step(1, 0.0)
    return 1
