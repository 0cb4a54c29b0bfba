"""What runs in the child process of :mod:`laclip_aug.generation.child`: an engine that answers over pipes.

The first message names the engine. Then each run is ``run N``, its jobs, and ``end`` or ``stop``. A thread reads what
arrives, so the parent never waits to be read from, and ends the process when the parent is gone, even in the middle of
a step. Standard output is turned into standard error: a native library may print there.
"""

from __future__ import annotations

import logging
import os
import select
import sys
import threading
import traceback
from collections.abc import Iterator
from dataclasses import asdict
from importlib import import_module
from queue import SimpleQueue
from typing import Any

from laclip_aug.errors import LaclipError
from laclip_aug.generation.backend import Job, Sampling
from laclip_aug.generation.wire import Receiver, pack_completion, pack_error, send, unpack_job

_LOOK_FOR_PARENT = 5.0  # seconds; a process forked from the parent may keep its end of the pipe open


class _Loop:
    def __init__(self, source: int, target: int) -> None:
        self._target = target
        self._inbox: SimpleQueue[list[Any]] = SimpleQueue()
        self._stopped = 0
        self._lock = threading.Lock()
        threading.Thread(target=self._read, args=(source, os.getppid()), daemon=True).start()

    def _read(self, source: int, parent: int) -> None:
        receiver = Receiver(source)
        while True:
            while (
                os.name == "posix"
                and not receiver.has_data()
                and not select.select([source], [], [], _LOOK_FOR_PARENT)[0]
            ):
                if os.getppid() != parent:
                    os._exit(0)
            message = receiver.next()
            if message is None:
                os._exit(0)
            if message[0] == "stop":
                self._stopped = message[1]
            self._inbox.put(message)

    def say(self, *message: Any) -> None:
        with self._lock:
            send(self._target, message)

    def run(self) -> None:
        _, target, arguments, level = self._inbox.get()
        logger = logging.getLogger("laclip_aug")
        logger.setLevel(level)
        logger.addHandler(_Forward(self))
        logger.propagate = False
        try:
            module, _, name = target.partition(":")
            sampling = Sampling(**arguments.pop("sampling"))
            backend = getattr(import_module(module), name)(arguments.pop("model"), sampling, **arguments)
        except Exception as error:
            self._say_error(0, error)
            return
        self.say("ready", backend.describe(), backend.provenance(), asdict(backend.settings))
        while True:
            message = self._inbox.get()
            if message[0] == "run":  # all else belongs to a run that has ended before its time
                self._serve(backend, message[1])

    def _serve(self, backend: Any, number: int) -> None:
        completions = backend.complete(self._jobs(number))
        try:
            for completion in completions:
                self.say("done", completion.job.tag, pack_completion(completion), backend.cut)
                if self._stopped >= number:
                    break
        except Exception as error:
            self._say_error(number, error)
        finally:
            completions.close()

    def _jobs(self, number: int) -> Iterator[Job]:
        while True:
            message = self._inbox.get()
            if message[0] == "job" and message[1] == number:
                yield unpack_job(message[3], message[2])
            elif message[1] == number:  # end or stop
                return

    def _say_error(self, number: int, error: Exception) -> None:
        if not isinstance(error, LaclipError):
            traceback.print_exc()
        self.say("error", number, pack_error(error))


class _Forward(logging.Handler):
    """Log records go to the parent, whose handlers and levels count."""

    def __init__(self, loop: _Loop) -> None:
        super().__init__()
        self._loop = loop

    def emit(self, record: logging.LogRecord) -> None:
        self._loop.say("log", record.name, record.levelno, record.getMessage())


def main() -> None:
    """Serve until the parent closes its end."""
    source, target = os.dup(0), os.dup(1)
    os.dup2(2, 1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    _Loop(source, target).run()
    sys.stderr.flush()
