"""Data sets: where images are, how they are split, what their classes are called. Each is a YAML file of ten lines.

Those of the package are in ``evaluation/datasets``. A folder, tars or a library's data set can be named without one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from laclip_aug import openclip
from laclip_aug.errors import ConfigurationError, InputError, UnknownNameError
from laclip_aug.evaluation.classfolders import class_folders, numbered
from laclip_aug.evaluation.images import NO_LABEL, ImageSet, found_splits, local_images, text_lines
from laclip_aug.evaluation.libraries import is_library, library_images, library_splits
from laclip_aug.evaluation.protocols import filled, read_yaml
from laclip_aug.evaluation.splits import WHOLE, part_of_each_class, read_split, usual

FOLDER = Path(__file__).parent / "datasets"
METRICS = ("top-1", "mean-per-class")
CLIP_NAMES = "open_clip:imagenet"
"""CLIP's names of ImageNet's classes, as ``classnames``."""


@dataclass(frozen=True, kw_only=True)
class DataSpec:
    """A data set as its file describes it.

    Attributes:
        data: a folder, tars, ``torchvision:NAME`` or ``clip-benchmark:NAME``, or one of these for each split; paths
            are relative to the file.
        splits: ``train``, ``val`` and ``test``, and ``zero-shot`` if it is not ``test``.
        metric: of the linear probe, ``top-1`` or ``mean-per-class``.
        classnames: names in the order of the class numbers, or a file with one a line; where classes are folders, one
            for each folder of any split, in the order of the folders' names.
        templates: the data's own, for ``zero-shot-own``; a list, or a file.
        captions: a file of captions, for retrieval.
        negatives: files of SugarCrepe's form.
    """

    name: str
    version: int = 1
    data: Any = ""
    splits: Any = None
    metric: str = "top-1"
    classnames: Any = None
    templates: Any = None
    captions: str = ""
    negatives: Any = ()
    source: str = ""


@dataclass(frozen=True)
class Labelled:
    """Some images with their class numbers."""

    images: ImageSet
    chosen: NDArray[np.int64]
    labels: NDArray[np.int64]
    without_label: int


class DataSet:
    """A data set that can be evaluated on.

    Args:
        spec: its description.
        home: what relative paths in it are relative to.
        root: where a library keeps its data.

    Raises:
        UnknownNameError: its metric is none of ``METRICS``.
    """

    def __init__(self, spec: DataSpec, home: Path = Path(), root: Path | None = None) -> None:
        if spec.metric not in METRICS:
            raise UnknownNameError(f"metric of {spec.name}", spec.metric, METRICS)
        self.spec, self._home, self._root = spec, home, root
        self.splits = {str(k): str(v) for k, v in (spec.splits or self._usual_splits()).items()}
        self._sets: dict[str, ImageSet] = {}
        self._class_folders: set[str] = set()

    @property
    def negatives(self) -> list[Path]:
        """The files of hard negatives; each is a figure, by its name.

        Raises:
            ConfigurationError: two figures would have one name.
        """
        named = [self.spec.negatives] if isinstance(self.spec.negatives, str) else self.spec.negatives
        files = [self._home / str(file) for file in named]
        stems = ["mean", *(file.stem for file in files)]
        if twice := next((stem for stem in stems if stems.count(stem) > 1), None):
            raise ConfigurationError(
                f"{self.spec.name}: two figures of hard negatives would be called {twice!r}; rename a file"
            )
        return files

    @property
    def captions(self) -> Path | None:
        """The file of captions, if one is named."""
        return self._home / self.spec.captions if self.spec.captions else None

    def has(self, *roles: str) -> bool:
        """Whether there is a split for each of ``roles``."""
        return all(role in self.splits for role in roles)

    def images(self, role: str = "test") -> tuple[ImageSet, NDArray[np.int64]]:
        """The images that the split of ``role`` is of, and which of them it has.

        Raises:
            ConfigurationError: there is no such split, or it is not written as one.
        """
        split, low, high = self._part(role)
        images = self._set(split)
        if (low, high) == (0, 100):
            return images, np.arange(len(images.keys))
        return images, part_of_each_class(images, low / 100, high / 100)

    def labelled(self, role: str) -> Labelled:
        """The images of a split that have a class.

        Raises:
            InputError: there are no classes.
        """
        images, chosen = self.images(role)
        if images.labels is None or len(images.classes) < 2:
            raise InputError(
                f"{self.spec.name} has no classes; put its images into one folder a class, or give tars with .cls"
            )
        labels = images.labels[chosen]
        there = labels != NO_LABEL
        return Labelled(images, chosen[there], labels[there], int((~there).sum()))

    def folders(self, role: str = "test") -> list[Path]:
        """What the paths of a split's images are inside, by any name: a folder, or a tar, which stands for one."""
        data, part = self._source(self._part(role)[0])
        if is_library(data):
            return []
        found: list[Path] = []
        for place in map(Path, self._place(data).split("::")):
            found += [place / (part or "")] if place.is_dir() else [place.with_suffix(""), place.parent]
        return list(dict.fromkeys(Path(name(place)) for name in (os.path.abspath, os.path.realpath) for place in found))

    def _part(self, role: str) -> tuple[str, float, float]:
        """A split's name in the data, and from where to where it goes, in percent."""
        text = self.splits.get(role) or (self.splits.get("test") if role == "zero-shot" else None)
        if text is None:
            raise ConfigurationError(
                f"{self.spec.name} has no split {role!r}; write a YAML file with, for example, "
                f"splits: {{train: 'all[:60%]', val: 'all[60%:80%]', test: 'all[80%:]'}}"
            )
        return read_split(text, self.spec.name)

    def _set(self, split: str) -> ImageSet:
        if split not in self._sets:
            self._sets[split] = self._named(self._opened(split))
        return self._sets[split]

    def _source(self, split: str) -> tuple[str, str | None]:
        """Where a split's data are, and the folder in there."""
        data = self.spec.data
        if not isinstance(data, Mapping):
            return str(data), None if split == WHOLE else split
        if split not in data:
            raise UnknownNameError(f"split of {self.spec.name}", split, map(str, data))
        return str(data[split]), None

    def _opened(self, split: str) -> ImageSet:
        data, part = self._source(split)
        if is_library(data):
            return library_images(data, split, self._root)
        return local_images(self._place(data), part)

    def _named(self, images: ImageSet) -> ImageSet:
        """``images`` with the names that the description gives."""
        found = replace(images, name=self.spec.name)
        if names := self._lines(self.spec.classnames, "classnames"):
            if folders := class_folders(found):
                found = numbered(found, folders, self._folders_for(names, folders), names)
            most = -1 if found.labels is None else int(found.labels.max())
            if len(names) <= most or (found.classes and len(names) < len(found.classes)):
                raise ConfigurationError(
                    f"{self.spec.name}: {len(names)} class names for {max(most + 1, len(found.classes))} classes; "
                    "give one for each, in the order of the class numbers"
                )
            found = replace(found, classes=names)
        return replace(found, templates=self._lines(self.spec.templates, "templates") or found.templates)

    def _folders_for(self, names: Sequence[str], folders: Sequence[str]) -> list[str]:
        """The folders that ``names`` are of: those of all splits, as one may lack a class that another has."""
        self._class_folders.update(folders)
        if len(self._class_folders) != len(names):
            for role in self.splits:
                with suppress(InputError):  # a split that nobody asked for may be absent
                    self._class_folders.update(class_folders(self._opened(self._part(role)[0])))
        if len(self._class_folders) != len(names):
            raise ConfigurationError(
                f"{self.spec.name}: {len(names)} class names for {len(self._class_folders)} classes that have a folder "
                f"in {', '.join(self.splits)}; give one for each, in the order of the folders' names, and no others"
            )
        return sorted(self._class_folders)

    def _lines(self, value: Any, what: str) -> list[str]:
        if value is None or isinstance(value, list | tuple):
            return [str(item) for item in value or ()]
        if value == CLIP_NAMES:
            return openclip.imagenet_classes()
        if not (lines := text_lines(self._home / str(value))):
            raise ConfigurationError(f"{self.spec.name}: there is nothing in {self._home / str(value)}, its {what}")
        return lines

    def _place(self, data: str) -> str:
        home = self._root or self._home
        return "::".join(str(home / part) for part in data.split("::"))

    def _usual_splits(self) -> dict[str, str]:
        data = self.spec.data
        if isinstance(data, Mapping):
            there = {str(name): str(name) for name in data}
        elif is_library(str(data)):
            there = library_splits(str(data))
        else:
            there = found_splits(Path(self._place(str(data))))
        return usual(there)


def same_classes(parts: Sequence[Labelled]) -> list[NDArray[np.int64]]:
    """The labels of ``parts``, numbered alike: by the classes' names where their lists differ."""
    lists = [list(part.images.classes) for part in parts]
    if all(names == lists[0] for names in lists):
        return [part.labels for part in parts]
    numbers = {name: number for number, name in enumerate(sorted(set().union(*lists)))}
    return [np.array([numbers[n] for n in names])[p.labels] for p, names in zip(parts, lists, strict=True)]


def dataset_names() -> list[str]:
    """The data sets of the package."""
    return sorted(file.stem for file in FOLDER.glob("*.yaml"))


def load_dataset(given: str, root: Path | None = None, **own: Any) -> DataSet:
    """A data set: a name of the package's, a YAML file, a folder, tars, or a library's.

    Args:
        root: where a library's data, or a relative path in the package's own description, is.
        own: settings that replace those of the description; ``None`` leaves one as it is.

    Raises:
        UnknownNameError: there is neither such a name nor such a file.
    """
    settings = {key: value for key, value in own.items() if value is not None}
    home = Path()
    if given.endswith((".yaml", ".yml")) or given in dataset_names():
        path = Path(given) if given.endswith((".yaml", ".yml")) else FOLDER / f"{given}.yaml"
        content, home = read_yaml(path), path.parent
        for key in ("captions", "classnames", "templates", "negatives"):
            if key in settings:  # from the command line: relative to the working directory
                settings[key] = _absolute(settings[key])
        return DataSet(filled(DataSpec, {**content, **settings}, path), home, root)
    if not is_library(given) and not Path(given).exists() and not re.search(r"[{*?]|::", given):
        raise UnknownNameError("data set, file or folder", given, dataset_names())
    name = given if is_library(given) else Path(given.split("::")[0]).resolve().name
    return DataSet(
        DataSpec(**{"name": name, "version": 0, "data": given, **settings}), home, root if is_library(given) else None
    )


def _absolute(value: Any) -> Any:
    return [_absolute(item) for item in value] if isinstance(value, list) else str(Path(value).absolute())
