"""How a split is written: ``train``, or ``train[:80%]``, which is this part of each class.

Parts are of an order that is a hash of the images' names, so that they do not depend on the order of the files and no
class is cut off.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from laclip_aug.errors import ConfigurationError
from laclip_aug.evaluation.images import ImageSet
from laclip_aug.seeding import derive

WHOLE = "all"
"""The split of what is not split."""

_SPLIT = re.compile(r"([^\[\]]+)(?:\[(?:([\d.]+)%)?:(?:([\d.]+)%)?\])?")


def read_split(text: str, name: str) -> tuple[str, float, float]:
    """A split's name in the data, and from where to where it goes, in percent.

    Args:
        name: the data set's, for messages.

    Raises:
        ConfigurationError: it is not written as a split is.
    """
    match = _SPLIT.fullmatch(text.strip())
    if match is None:
        raise ConfigurationError(f"{name}: the split {text!r} is not written like train or train[:80%]")
    low, high = float(match[2] or 0), float(match[3] or 100)
    if not 0 <= low < high <= 100:
        raise ConfigurationError(f"{name}: the split {text!r} must go up, from 0% to at most 100%")
    return match[1].strip(), low, high


def usual(there: Mapping[str, str]) -> dict[str, str]:
    """Splits from those that are there: a fifth of each class of ``train`` is held out where there is no ``val``."""
    found = dict(there) or {"test": WHOLE}
    if "test" not in found and "val" in found:
        found["test"] = found.pop("val")
    if "train" in found and "val" not in found:
        found |= {"train": f"{found['train']}[20%:]", "val": f"{found['train']}[:20%]"}
    return found


def part_of_each_class(images: ImageSet, low: float, high: float) -> NDArray[np.int64]:
    """Indices, ascending, of the images from the part ``low`` to the part ``high`` of each class."""
    order = np.array([derive("split", key) for key in images.keys], dtype=np.uint64)
    labels = np.zeros(len(order), dtype=np.int64) if images.labels is None else images.labels
    chosen: list[int] = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        members = members[np.argsort(order[members], kind="stable")]
        chosen += members[math.floor(low * len(members) + 1e-9) : math.floor(high * len(members) + 1e-9)].tolist()
    return np.array(sorted(chosen), dtype=np.int64)
