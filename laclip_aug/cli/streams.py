"""The standard streams of a command, as daemons, pipes, full disks and old locales leave them."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress

_JOINERS = "\u200c\u200d"  # Persian, Hindi and emoji are written with them, and they move nothing


def open_streams() -> None:
    """Put silent streams where there are none (``2>&-``), and let no character that a terminal lacks stop a print.

    A free descriptor would go to the next file that is opened, a journal for example, and libraries that print would
    write into it.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            silent = os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(silent, True)
            setattr(sys, name, os.fdopen(silent, mode, encoding="utf-8", errors="backslashreplace"))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as standard error has it


def drop_output() -> None:
    """Let go of what standard output did not take, which else fails again when the interpreter ends."""
    try:
        sys.stdout.flush()
    except OSError:
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def printable(text: str, most: int | None = None) -> str:
    """``text`` on one line of a terminal, at most so many characters of it: nothing in it can move the cursor or turn
    the direction of writing, and a lone surrogate can be written.
    """
    shown = "".join(
        c if c.isprintable() or c in _JOINERS else " " if c.isspace() else c.encode("unicode_escape").decode()
        for c in text
    )
    return shown if most is None or len(shown) <= most else shown[: most - 1] + "…"
