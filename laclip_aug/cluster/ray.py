"""Workers as Ray's actors; every name of Ray is here.

Ray schedules and tells who died. It keeps nothing: what is made is on the shared file system.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any

from laclip_aug.augmenter import CaptionAugmenter
from laclip_aug.cluster.worker import PartBuilder, Work
from laclip_aug.errors import ConfigurationError, MissingExtraError


class WorkerLost(Exception):
    """A worker, or its machine, is gone."""


class RayCluster:
    """The cluster at ``address``, or one of this machine alone; use it in a ``with`` statement.

    Args:
        address: of a running cluster, as ``ray.init`` takes it; by default ``RAY_ADDRESS``, else this machine.
        workers: how many; by default one for each group of GPUs, or without GPUs one for each machine.
        gpus: GPUs of each worker; a part of one, such as 0.5, lets workers share it.

    Raises:
        MissingExtraError: Ray is not installed.
        ConfigurationError: there is no cluster at ``address``, it has no such GPUs, or too few CPUs.
    """

    def __init__(self, address: str | None, workers: int | None, gpus: float) -> None:
        try:
            import ray
        except ImportError:
            raise MissingExtraError("ray", "ray") from None
        self._ray, self._gpus = ray, gpus
        self._joined = not ray.is_initialized()
        if self._joined:
            address = address or os.environ.get("RAY_ADDRESS")
            if address is None:  # Ray's own start here: nothing is sent to anyone, and no worker yields to others
                os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
                os.environ.setdefault("RAY_worker_niceness", "0")
            # "local", as nothing would mean a cluster that was once started here, were it gone or not
            options: dict[str, Any] = (
                {"address": address} if address else {"address": "local", "include_dashboard": False}
            )
            address = self._found() if address == "auto" else address
            try:
                _knock(address or "")
                ray.init(**options, log_to_driver=False, logging_level=logging.ERROR)
            except (OSError, ValueError, RuntimeError) as error:
                said = (str(error.__cause__ or error).strip().splitlines() or [""])[-1][:300]
                raise ConfigurationError(
                    f"no Ray cluster answers at {address or 'this machine'} ({said}); look at it with: ray status"
                ) from None
        try:
            machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
            self.workers, self._cpus = shares(machines, workers, gpus)
        except BaseException:
            self.__exit__()
            raise

    def _found(self) -> str:
        """The address that ``auto`` means to Ray, which keeps that of the last cluster here, were it gone or not.

        Where it tells nothing, ``auto`` again: then ``ray.init`` says why.
        """
        with suppress(Exception):  # no public interface of Ray's, so any version may raise anything
            return str(import_module("ray._private.services").get_ray_address_from_environment("auto", None))
        return "auto"

    def __enter__(self) -> RayCluster:
        return self

    def __exit__(self, *_: object) -> None:
        if self._joined:
            self._ray.shutdown()

    def start(self, make: Callable[[], CaptionAugmenter], work: Work) -> Any:
        """A new worker. It may take a while until the cluster has room for it; what it is asked waits for that."""
        actor = self._ray.remote(num_cpus=self._cpus, num_gpus=self._gpus, max_restarts=0, max_concurrency=2)
        return actor(PartBuilder).remote(make, work)

    def build(self, worker: Any, part: int) -> Any:
        """Have ``worker`` build a part; returns what :meth:`result` takes."""
        return worker.build.remote(part)

    def state(self, worker: Any) -> Any:
        """Ask ``worker`` how far it is; returns what :meth:`result` takes."""
        return worker.state.remote()

    def wait(self, asked: Sequence[Any], seconds: float) -> list[Any]:
        """Those of ``asked`` that are answered, once one is or ``seconds`` are over."""
        if not asked:
            return []
        self._ray.wait(list(asked), num_returns=1, timeout=seconds)
        return list(self._ray.wait(list(asked), num_returns=len(asked), timeout=0)[0])

    def result(self, asked: Any) -> Any:
        """The answer.

        Raises:
            WorkerLost: the worker died, whatever of.
            Exception: what its code raised, other than the errors that it answers with.
        """
        try:
            return self._ray.get(asked)
        except self._ray.exceptions.RayTaskError:
            raise
        except self._ray.exceptions.RayError as error:
            raise WorkerLost(" ".join(str(error).split())[:500]) from None

    def stop(self, worker: Any) -> None:
        """End a worker; one that is dead already stays so."""
        self._ray.kill(worker)


def _knock(address: str) -> None:
    """Raise :class:`OSError` if nothing answers at ``HOST:PORT``: Ray itself would try for many minutes."""
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


def shares(machines: Sequence[dict[str, float]], workers: int | None, gpus: float) -> tuple[int, int]:
    """How many workers, and how many CPUs each: so many that all of them find room on machines of any sizes.

    Args:
        machines: what each has, as ``{"CPU": 64, "GPU": 8}``.

    Raises:
        ConfigurationError: no machine has that many GPUs or a CPU for each worker.
    """
    with_gpus = [machine for machine in machines if machine.get("GPU", 0) >= gpus > 0]
    if gpus and not with_gpus:
        most = max((machine.get("GPU", 0) for machine in machines), default=0)
        raise ConfigurationError(
            f"no machine of the cluster has {gpus:g} GPUs for a worker, the most is {most:g}; give a smaller "
            "--gpus-per-worker, or leave it out to compute on CPUs"
        )
    if gpus:
        room = [int(machine["GPU"] / gpus + 1e-9) for machine in with_gpus]
        count = workers or sum(room)
        each = [machine.get("CPU", 0) // slots for machine, slots in zip(with_gpus, room, strict=True)]
    else:
        count = workers or len(machines)
        each = [machine.get("CPU", 0) // -(-count // len(machines)) for machine in machines]
    if min(each) < 1:
        raise ConfigurationError(f"the cluster has less than one CPU for each of {count} workers; ask for fewer")
    return count, int(min(each))
