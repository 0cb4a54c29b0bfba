"""Images to evaluate on: folders, one a class, and webdataset tars, CLIP_benchmark's layout included.

An image is a place (a file, or bytes of a tar), so any of them can be read at any time, by any worker.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from laclip_aug.encoding import decoded
from laclip_aug.errors import InputError
from laclip_aug.evaluation.samples import ENDINGS, tar_images
from laclip_aug.exchange.addresses import is_address, shortened
from laclip_aug.exchange.archives import refuse_compressed, unpacked_name
from laclip_aug.exchange.images import ImagePlace
from laclip_aug.exchange.places import expand, kind_of

SPLITS = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test",)}
"""The names under which folders of the usual splits are found."""
CLASSNAMES, TEMPLATES = "classnames.txt", "zeroshot_classification_templates.txt"
NO_LABEL = -1


@dataclass(frozen=True)
class ImageSet:
    """Images in a fixed order, with what is known of them.

    Attributes:
        name: what results call it.
        keys: ``[N]`` path of each image inside its folder or tar.
        read: the image of an index, as a Pillow image; raises whatever Pillow does. Spawned workers get it by pickle,
            so it is no function inside another.
        fingerprint: changes when an image does: of names, sizes and times for files.
        labels: ``[N]`` class numbers, ``NO_LABEL`` where there is none; or None.
        classes: their names.
        captions: ``[N]`` texts of each image; or None.
        templates: the data's own prompt templates, with ``{c}`` for the class.
        absent: how many captions came with the images and are of none of them.
    """

    name: str
    keys: Sequence[str]
    read: Callable[[int], Any]
    fingerprint: str
    labels: NDArray[np.int64] | None = None
    classes: Sequence[str] = ()
    captions: Sequence[Sequence[str]] | None = None
    templates: Sequence[str] = field(default=())
    absent: int = 0

    def only(self, indices: Sequence[int]) -> ImageSet:
        """The images of ``indices``, in that order."""
        if list(indices) == list(range(len(self.keys))):
            return self
        chosen = np.asarray(indices, dtype=np.int64)
        digest = hashlib.sha256(self.fingerprint.encode() + chosen.astype("<i8").tobytes()).hexdigest()
        return replace(
            self,
            keys=[self.keys[i] for i in chosen],
            read=_Chosen(self.read, chosen),
            fingerprint=digest,
            labels=None if self.labels is None else self.labels[chosen],
            captions=None if self.captions is None else [self.captions[i] for i in chosen],
        )


@dataclass(frozen=True)
class _Chosen:
    read: Callable[[int], Any]
    chosen: NDArray[np.int64]

    def __call__(self, index: int) -> Any:
        return self.read(int(self.chosen[index]))


@dataclass(frozen=True)
class _OfFolder:
    folder: Path
    files: Sequence[str]

    def __call__(self, index: int) -> Any:
        return decode(ImagePlace(str(self.folder / self.files[index])).read())


@dataclass(frozen=True)
class _OfPlaces:
    places: Sequence[ImagePlace]

    def __call__(self, index: int) -> Any:
        return decode(self.places[index].read())


def decode(data: bytes) -> Any:
    """An encoded image as Pillow's, in RGB before anything else is done to it, as torchvision's loaders do."""
    from PIL import Image

    return Image.open(io.BytesIO(data)).convert("RGB")


def local_images(address: str, split: str | None = None) -> ImageSet:
    """The images of a folder, of a CLIP_benchmark folder's tars, or of tars (brace patterns, several with ``::``).

    Hidden files and folders (``.ipynb_checkpoints``) are none of them.

    Args:
        split: a folder in ``address``; None takes ``address`` as it is.

    Raises:
        InputError: there is no such place, no such split, or no image in it.
    """
    path = Path(address)
    if is_address(address):
        raise InputError(f"images are read from local files only; fetch {shortened(address)} first")
    if not path.is_dir():
        files = expand([address])
        _refuse_tables(files)
        return _of_tars(files, shortened(Path(address.split("::")[0]).name), Path(address).parent)
    folder = path if split is None else path / split
    if not folder.is_dir():
        there = sorted(child.name for child in path.iterdir() if child.is_dir())
        raise InputError(f"{path} has no folder {split!r}; its folders are: {', '.join(there[:12]) or 'none'}")
    name = path.resolve().name
    if tars := sorted(folder.glob("*.tar"), key=lambda tar: (len(tar.name), tar.name)):
        _refuse_packed(folder)
        return _of_tars([str(tar) for tar in tars], name, path)
    return _of_folder(folder, name)


def _refuse_tables(files: Sequence[str]) -> None:
    """Captions are no images; a file whose name tells nothing may be a tar."""
    for file in files:
        with suppress(InputError):
            if (kind := kind_of(file)) != "webdataset":
                break
    else:
        return
    raise InputError(
        f"images are in a folder or in tars, and {shortened(file)} is neither ({kind}); name these with --data, and a "
        "table of their captions, or COCO's own JSON, with --captions"
    )


def _refuse_packed(folder: Path) -> None:
    """Raise if ``folder`` has a compressed tar that is not there unpacked, too: its images would be missing."""
    for file in sorted(folder.iterdir()):
        target = unpacked_name(file) if file.is_file() and file.name[0] != "." else None
        if target and not target.exists():
            refuse_compressed(file)


def found_splits(folder: Path) -> dict[str, str]:
    """Which of the usual splits have a folder in ``folder``, and its name."""
    return {split: name for split, names in SPLITS.items() for name in reversed(names) if (folder / name).is_dir()}


def text_lines(file: Path) -> list[str]:
    """The lines of a small text file that are not empty; none if it is absent."""
    try:
        lines = decoded(str(file), file.read_bytes()).splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error}); check it") from None
    return [line.strip() for line in lines if line.strip()]


def _of_folder(folder: Path, name: str) -> ImageSet:
    files: list[str] = []
    for at, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(inner for inner in folders if inner[0] != "." and not _is_around(Path(at, inner), at))
        inside = Path(at).relative_to(folder)
        files += [str(inside / file) for file in names if Path(file).suffix.lower() in ENDINGS and file[0] != "."]
    if not files:
        _refuse_packed(folder)
        raise InputError(f"{folder} holds no image ({', '.join(sorted(ENDINGS))}) and no .tar; give another folder")
    files.sort()
    lines = [f"{file}\0{_state(folder / file)}" for file in files]
    return _labelled_by_folder(ImageSet(name, files, _OfFolder(folder, files), _digest(lines)))


def _state(file: Path) -> str:
    """What changes when the image in ``file`` does; nothing of a link that leads nowhere, which is read as no image."""
    try:
        state = file.stat()
    except OSError:
        return ""
    return f"{state.st_size}\0{state.st_mtime_ns}"


def _is_around(link: Path, folder: str) -> bool:
    """Whether ``link`` leads to ``folder`` or to one that it is in, so that following it would never end."""
    return Path(folder).resolve().is_relative_to(link.resolve())


def _labelled_by_folder(images: ImageSet) -> ImageSet:
    """Classes are the folders that the images are in, as torchvision's ``ImageFolder`` has it."""
    parts = [Path(key).parts for key in images.keys]
    while len({part[0] for part in parts}) == 1 and all(len(part) > 2 for part in parts):
        parts = [part[1:] for part in parts]  # one folder around all classes
    folders = sorted({part[0] for part in parts if len(part) > 1})
    if not folders:
        return images
    numbers = {name: number for number, name in enumerate(folders)}
    labels = [numbers[part[0]] if len(part) > 1 else NO_LABEL for part in parts]
    return replace(images, labels=np.array(labels, dtype=np.int64), classes=[f.replace("_", " ") for f in folders])


def _of_tars(tars: Sequence[str], name: str, home: Path) -> ImageSet:
    """Samples of an image and, where they are, ``.cls`` (a class number) and ``.txt`` (captions, one a line)."""
    absent = 0
    keys: list[str] = []
    places: list[ImagePlace] = []
    labels: list[int] = []
    captions: list[list[str]] = []
    lines: list[str] = []
    for tar in tars:
        state = Path(tar).stat()
        lines.append(f"{Path(tar).name}\0{state.st_size}\0{state.st_mtime_ns}")
        images, without = tar_images(tar)
        absent += without
        for key, place, sample in images:
            keys.append(key)
            places.append(place)
            labels.append(_class_number(sample.texts.get("cls"), f"{tar}: {key}"))
            captions.append(sample.captions)
    if not keys:
        raise InputError(f"no image was found in {shortened(tars[0])}; its members must end in .jpg, .png, .webp, ...")
    found = ImageSet(name, keys, _OfPlaces(places), _digest(lines), absent=absent)
    if any(captions):
        found = replace(found, captions=captions)
    if all(label == NO_LABEL for label in labels):
        return _labelled_by_folder(found)
    classes = text_lines(home / CLASSNAMES) or [str(number) for number in range(max(labels) + 1)]
    if max(labels) >= len(classes):
        raise InputError(f"{name} has the class number {max(labels)}, but {home / CLASSNAMES} names {len(classes)}")
    own = text_lines(home / TEMPLATES)
    return replace(found, labels=np.array(labels, dtype=np.int64), classes=classes, templates=own)


def _class_number(text: str | None, place: str) -> int:
    if text is None:
        return NO_LABEL
    if not text.strip().isdecimal():
        raise InputError(f"{place}: the .cls member is {text.strip()[:40]!r}, not a class number from 0 on")
    return int(text)


def _digest(lines: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()
