"""The child process of an engine: started, spoken to, ended, and what it last said when it ended by itself."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import weakref
from collections import deque
from contextlib import suppress
from typing import Any

from laclip_aug.errors import ModelError
from laclip_aug.generation.wire import Receiver, send, unpack_error

_GRACE = 5.0  # seconds to end in when asked
_FROM_OUTSIDE = ("SIGKILL", "SIGTERM", "SIGINT", "SIGHUP", "SIGXCPU")
_KEPT = 4  # last lines of its standard error, for messages
_START = "import sys; sys.path[:] = {}; from laclip_aug.generation.child_loop import main; main()"


class Died(Exception):
    """The child has ended without being asked to; the text says how. ``from_outside``: what it was asked may be well.

    A library that fails ends its process with another signal than those that the system or a user sends.
    """

    def __init__(self, text: str, from_outside: bool = False) -> None:
        super().__init__(text)
        self.from_outside = from_outside


class EngineProcess:
    """A child that has loaded ``target`` (``module:name``) with ``arguments``.

    ``description``, ``provenance`` and ``settings`` are the engine's; ``ended`` once it has gone. What the child writes
    to its standard error appears in ours.

    Raises:
        what the engine's constructor raised; ModelError if the child ended first.
    """

    def __init__(self, target: str, arguments: dict[str, Any]) -> None:
        self.ended = False
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START.format(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={"GGML_NO_BACKTRACE": "1", **os.environ},  # a debugger would be started for it, and print pages
            start_new_session=True,  # Ctrl-C is for the parent, which then ends the child
        )
        assert self._process.stdin and self._process.stdout and self._process.stderr
        self.pid = self._process.pid
        self._inbox, self._outbox = Receiver(self._process.stdout.fileno()), self._process.stdin.fileno()
        self._last: deque[str] = deque(maxlen=_KEPT)
        self._listener = threading.Thread(target=_listen, args=(self._process.stderr.fileno(), self._last), daemon=True)
        self._listener.start()
        self._finalizer = weakref.finalize(self, _end, self._process, self._listener)
        try:
            self.send("open", target, arguments, logging.getLogger("laclip_aug").getEffectiveLevel())
            kind, *message = self.receive()
            if kind == "error":
                raise unpack_error(message[1])
            self.description, self.provenance, self.settings = message
        except Died as died:
            self.close()
            raise ModelError(
                f"the engine's process ended while it loaded the model ({died}); the file may be damaged or larger "
                "than the memory that is free"
            ) from died
        except BaseException:
            self.close()
            raise

    def send(self, *message: Any) -> None:
        """Send a message; without effect once the child has ended, which :meth:`receive` tells."""
        if not self.ended:  # afterwards the descriptor may be another file's
            with suppress(BrokenPipeError):
                send(self._outbox, message)

    def receive(self) -> Any:
        """The next message that is no log record; those go to our loggers.

        Raises:
            Died: the child has ended, and all that it said was read.
        """
        while not self.ended and (message := self._inbox.next()) is not None:
            if message[0] != "log":
                return message
            logging.getLogger(message[1]).log(message[2], "%s", message[3])
        self.ended = True
        code = self._process.wait()
        self._listener.join(_GRACE)
        name = _name(code)
        how = f"{name}, as by the system when memory runs out" if name == "SIGKILL" else name
        raise Died("; ".join([how, *self._last]), name in _FROM_OUTSIDE)

    def close(self) -> None:
        """End the child, at once."""
        self.ended = True
        self._finalizer()


def _name(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def _listen(descriptor: int, last: deque[str]) -> None:
    """Pass standard error on as it comes, progress bars included, and keep its last lines."""
    line = b""
    while block := os.read(descriptor, 1 << 16):
        sys.stderr.write(block.decode("utf-8", "replace"))
        sys.stderr.flush()
        *lines, line = (line + block).split(b"\n")
        last.extend(text for one in lines if (text := one.decode("utf-8", "replace").strip()))
    if text := line.decode("utf-8", "replace").strip():
        last.append(text)


def _end(process: subprocess.Popen[bytes], listener: threading.Thread) -> None:
    """Close the pipe, which ends the child, and make sure of it."""
    assert process.stdin and process.stdout and process.stderr
    with suppress(BrokenPipeError):
        process.stdin.close()
    try:
        process.wait(_GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    listener.join(_GRACE)
    process.stdout.close()
    process.stderr.close()
