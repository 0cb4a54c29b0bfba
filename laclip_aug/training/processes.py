"""Several processes of a trainer on the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn


@contextmanager
def cpu_data_parallel() -> Iterator[None]:
    """Let open_clip's trainer run in several processes on the CPU.

    It passes ``device_ids=[device]`` to ``DistributedDataParallel`` whatever the device, which torch refuses for a
    module on the CPU; there the argument carries no information, so it is left out.
    """
    original = nn.parallel.DistributedDataParallel

    class DistributedDataParallel(original):  # type: ignore[misc, valid-type]
        def __init__(self, module: nn.Module, device_ids: Any = None, *args: Any, **kwargs: Any) -> None:
            if all(parameter.device.type == "cpu" for parameter in module.parameters()):
                device_ids = None
            super().__init__(module, device_ids, *args, **kwargs)

    nn.parallel.DistributedDataParallel = DistributedDataParallel  # type: ignore[misc]
    try:
        yield
    finally:
        nn.parallel.DistributedDataParallel = original  # type: ignore[misc]
