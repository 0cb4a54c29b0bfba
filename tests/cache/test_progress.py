"""What a build says of itself: rate and time left, against runs whose end is known."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import struct
import termios
from collections.abc import Callable

import pytest

from laclip_aug.cache.progress import Progress


def lines_of(done: Callable[[float], float], total: int, until: float) -> dict[int, str]:
    """The lines of a log, by the second; ``done`` tells how many rows are done with after so many seconds."""
    now, out = 0.0, io.StringIO()
    progress = Progress(None, clock=lambda: now, stream=out)
    lines: dict[int, str] = {}
    while now < until:
        now += 0.25
        rows = int(done(now))
        progress.show(rows, total, rows, 20 * rows, 0.5)
        if written := out.getvalue():
            lines[int(now)] = written
            out.truncate(0)
            out.seek(0)
    return lines


def left(line: str) -> int:
    found = re.search(r"([\d:]+) left", line)
    assert found, line
    seconds = 0
    for part in found[1].split(":"):
        seconds = 60 * seconds + int(part)
    return seconds


def test_lines_come_within_seconds_and_then_once_a_minute() -> None:
    lines = lines_of(lambda t: 10 * t, 10_000, 400)
    assert list(lines) == [2, 5, 10, 20, 30, 60, 120, 180, 240, 300, 360]
    assert lines[10].startswith("build: 100 rows of about 10000 (1%), 10.0 captions/s, 16:30 left, 200 tokens/s, 50%")


@pytest.mark.parametrize(
    "done",
    [lambda t: int(t >= 9.5), lambda t: 41 + int(t >= 9.5), lambda t: 300 * int(t / 9.5)],
    ids=["the first", "the first after 41 that are known", "a first burst"],
)
def test_the_time_left_is_not_reckoned_from_the_first_caption(done: Callable[[float], float]) -> None:
    lines = lines_of(done, 3_000_000, 11)
    assert list(lines) == [2, 5, 10]
    assert not any("left" in line for line in lines.values())


def test_acceptance_is_told_once_something_was_tried() -> None:
    now, out = 0.0, io.StringIO()
    progress = Progress(None, clock=lambda: now, stream=out)
    for accepted in (None, 0.0):
        now += 3.0
        progress.show(1000, 2000, 0, 0, accepted)
    first, second = out.getvalue().splitlines()
    assert "accepted" not in first and second.endswith(", 0% accepted")


@pytest.mark.parametrize(
    ("done", "total", "rate"),
    [
        (lambda t: 10 * t, 10_000, 10),
        (lambda t: 5 * max(0, t - 20), 10_000, 5),  # twenty seconds pass before the first caption
        (lambda t: min(t, 4) * 500_000 + 2 * max(0, t - 4), 2_100_000, 2),  # most was made by an earlier run
        (lambda t: 300 * int(t / 12), 100_000, 25),  # in bursts
    ],
    ids=["steady", "slow start", "resumed", "bursts"],
)
def test_the_time_left_is_right_within_a_factor_of_two_after_a_minute(
    done: Callable[[float], float], total: int, rate: float
) -> None:
    lines = lines_of(done, total, 130)
    for second in (60, 120):
        true = (total - done(second)) / rate
        assert true / 2 <= left(lines[second]) <= 2 * true
        stated = float(lines[second].split(", ")[1].split()[0])
        assert rate / 2 <= stated <= 2 * rate


def test_nothing_is_shown_where_nothing_is_wanted() -> None:
    out = io.StringIO()
    progress = Progress(False, stream=out)
    progress.show(1, 2, 1, 0, 1.0, force=True)
    progress.close()
    assert out.getvalue() == ""


@pytest.mark.parametrize(("columns", "longest"), [(0, 100), (80, 80), (150, 150)])
def test_the_bar_moves_on_a_terminal_also_on_one_that_does_not_tell_its_width(columns: int, longest: int) -> None:
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24 if columns else 0, columns, 0, 0))
    now, shown = 0.0, b""
    with os.fdopen(its, "w") as terminal:
        progress = Progress(None, clock=lambda: now, stream=terminal)
        for rows in (1, 8):
            now += 1.0
            progress.show(rows, 8, rows, 20 * rows, 0.5, force=True)
        progress.close()
        terminal.flush()
        while not shown.endswith(b"\n"):
            shown += os.read(ours, 1 << 16)
    os.close(ours)

    drawn = [line for line in re.split("[\r\n]+", shown.decode()) if line.strip()]
    assert any("1/8 rows" in line for line in drawn) and "8/8 rows" in drawn[-1]
    assert "captions/s" in drawn[-1] and "left" in drawn[-1]
    assert max(map(len, drawn)) <= longest
