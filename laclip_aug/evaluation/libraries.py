"""Data sets that a library reads: ``torchvision:CIFAR10``, ``clip-benchmark:wds/vtab/cifar10``.

Nothing is downloaded: a data set that is not there is an error that says how to fetch it. Some of clip-benchmark's
builders do so whatever they are told, so they may neither start a program nor use ``requests``.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from laclip_aug.errors import ConfigurationError, InputError, MissingExtraError, UnknownNameError
from laclip_aug.evaluation.images import ImageSet, local_images

_TORCHVISION, _CLIP_BENCHMARK = "torchvision:", "clip-benchmark:"
_LOOKS = 16
"""Images that are hashed, at equal distances: a library does not say which files it reads."""


def is_library(address: str) -> bool:
    """Whether ``address`` names a data set of a library."""
    return address.startswith((_TORCHVISION, _CLIP_BENCHMARK))


def library_splits(address: str) -> dict[str, str]:
    """The splits that a data set is supposed to have if none are written down."""
    if address.startswith(_CLIP_BENCHMARK):
        return {"train": "train", "test": "test"}
    parameters = inspect.signature(_class(address)).parameters
    return {"train": "train", "test": "test"} if {"split", "train"} & set(parameters) else {}


def library_images(address: str, split: str, root: Path | None) -> ImageSet:
    """The images of one split of a library's data set.

    Args:
        split: as the library calls it; with torchvision's ``train=True``, ``train`` or another name.
        root: the folder that the library is told.

    Raises:
        ConfigurationError: no folder is given.
        InputError: the data are not there, or a class is told only beside an image that cannot be read.
    """
    if root is None:
        raise ConfigurationError(f"{address}: name the folder that its data are in with --root")
    if not root.is_dir():
        raise InputError(f"{address}: there is no folder {root}; name the one that its data are in with --root")
    if address.startswith(f"{_CLIP_BENCHMARK}wds/"):
        return local_images(str(root), split)  # its class reads tars from their start to their end only
    data = (
        _of_clip_benchmark(address, split, root) if address.startswith(_CLIP_BENCHMARK) else _made(address, split, root)
    )
    count = len(data)
    if not count:
        raise InputError(f"{address} has no image in {root} for {split!r}")
    labels = _labels(data, count)
    digest = hashlib.sha256(f"{address}\0{split}\0{count}".encode() + labels.astype("<i8").tobytes())
    for index in sorted({round(place) for place in np.linspace(0, count - 1, _LOOKS)}):
        digest.update(_looked_at(data, index))
    return ImageSet(
        address,
        [f"{split}/{index:09d}" for index in range(count)],
        _OfLibrary(data),
        digest.hexdigest(),
        labels,
        _classes(data, labels),
        None,
        [str(template) for template in getattr(data, "templates", None) or ()],
    )


def _looked_at(data: Any, index: int) -> bytes:
    """Size and pixels of an image; nothing of one that cannot be read, which is named where its features are made."""
    try:
        image = data[index][0].convert("RGB")
    except Exception:  # whatever Pillow raises on a damaged one
        return b""
    return f"{image.size}".encode() + bytes(image.tobytes())


@dataclass(frozen=True)
class _OfLibrary:
    data: Any

    def __call__(self, index: int) -> Any:
        return self.data[index][0].convert("RGB")


def _class(address: str) -> Any:
    try:
        import torchvision.datasets as library
    except ImportError as error:
        raise ConfigurationError(
            f"torchvision cannot be imported ({error}); install it: pip install torchvision"
        ) from None
    name = address.removeprefix(_TORCHVISION)
    if name not in library.__all__ or not inspect.isclass(found := getattr(library, name)):
        raise UnknownNameError("data set of torchvision", name, library.__all__)
    return found


def _made(address: str, split: str, root: Path) -> Any:
    kind = _class(address)
    parameters = inspect.signature(kind).parameters
    options: dict[str, Any] = {}
    if "train" in parameters:
        options["train"] = split == "train"
    elif "split" in parameters:
        options["split"] = split
    try:
        return kind(str(root), **options)
    except (RuntimeError, OSError, ValueError) as error:
        name = address.removeprefix(_TORCHVISION)
        raise InputError(
            f"{address} cannot be read from {root} ({' '.join(str(error).split())}); to fetch it, if it can be: "
            f'python -c "import torchvision.datasets as d; d.{name}({str(root)!r}, download=True)"'
        ) from error


def _of_clip_benchmark(address: str, split: str, root: Path) -> Any:
    try:
        from clip_benchmark.datasets.builder import build_dataset
    except ImportError:
        raise MissingExtraError("eval", "clip_benchmark") from None
    name = address.removeprefix(_CLIP_BENCHMARK)
    try:
        with _no_download():
            return build_dataset(name, root=str(root), transform=None, split=split, download=False)
    except (Exception, SystemExit) as error:  # its builders assert, exit, and raise whatever their sources do
        raise InputError(
            f"{address} cannot be read from {root} ({error!r}); to fetch it: "
            f'python -c "from clip_benchmark.datasets.builder import build_dataset as b; '
            f'b({name!r}, root={str(root)!r}, download=True)"'
        ) from error


@contextmanager
def _no_download() -> Iterator[None]:
    """Nothing can be fetched meanwhile by a program or by ``requests``."""

    def refuse(*what: Any, **_: Any) -> None:
        raise FileNotFoundError(f"it is not there, and would be fetched by {' '.join(map(str, what))[:200]}")

    with ExitStack() as stack:
        for name, place in (("Popen", subprocess), ("system", os), ("get", sys.modules.get("requests"))):
            if place is not None:
                stack.enter_context(patch.object(place, name, refuse))
        yield


def _labels(data: Any, count: int) -> NDArray[np.int64]:
    for name in ("targets", "_labels", "labels", "y"):
        found = getattr(data, name, None)
        if isinstance(found, Sequence | np.ndarray) and len(found) == count and np.ndim(found) == 1:
            return np.asarray(found, dtype=np.int64)
    for name in ("samples", "_samples"):
        pairs = getattr(data, name, None)
        if isinstance(pairs, list) and len(pairs) == count:
            return np.asarray([pair[1] for pair in pairs], dtype=np.int64)
    found = []
    for index in range(count):
        try:
            found.append(data[index][1])  # decodes the image
        except Exception as error:  # whatever Pillow raises on a damaged one
            raise InputError(
                f"image {index} of {type(data).__name__}, beside which alone its class is told, cannot be read "
                f"({error}); fetch or repair it"
            ) from error
    if not all(isinstance(label, int | np.integer) for label in found):
        raise InputError(f"{type(data).__name__} has no class numbers; it cannot be classified")
    return np.asarray(found, dtype=np.int64)


def _classes(data: Any, labels: NDArray[np.int64]) -> list[str]:
    names = getattr(data, "classes", None) or getattr(data, "categories", None)
    if names is None:
        return [str(number) for number in range(int(labels.max()) + 1)]
    return [(name if isinstance(name, str) else name[0]).replace("_", " ").replace("/", " ") for name in names]
