"""Classes that are folders: which they are, and their numbers where a split lacks one that another has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from laclip_aug.evaluation.images import NO_LABEL, ImageSet


def class_folders(images: ImageSet) -> list[str]:
    """The folders that the class numbers stand for, in their order; none where the numbers are from elsewhere."""
    if images.labels is None:
        return []
    firsts = {int(label): key for key, label in zip(images.keys, images.labels, strict=True) if label != NO_LABEL}
    if sorted(firsts) != list(range(len(images.classes))):
        return []
    paths = [Path(firsts[number]).parts[:-1] for number in range(len(images.classes))]
    for folders in zip(*paths, strict=False):  # of one depth
        if [folder.replace("_", " ") for folder in folders] == list(images.classes) and list(folders) == sorted(
            folders
        ):
            return list(folders)
    return []


def numbered(images: ImageSet, folders: Sequence[str], every: Sequence[str], names: Sequence[str]) -> ImageSet:
    """``images`` with their classes numbered as in ``every``, and called ``names``.

    Args:
        images: labelled by place in ``folders``.
        every: folders, sorted, with ``folders`` among them.
        names: one for each of ``every``.
    """
    numbers = np.array([every.index(folder) for folder in folders])
    labels = np.array(images.labels)
    labels[labels != NO_LABEL] = numbers[labels[labels != NO_LABEL]]
    return replace(images, labels=labels, classes=names)
