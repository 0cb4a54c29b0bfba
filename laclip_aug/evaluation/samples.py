"""Samples of a webdataset tar: an image, its class number, its captions.

As in open_clip's loader, a sample is what stands in a row with one key, which ends at the first dot of the name: in
``0.jpg``, ``0.seg.png``, ``0.txt`` the text is of ``0.jpg``. What that loader passes over is read, too: images with
dots in their names, which one key may bring together, and texts that stand apart from their images.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from laclip_aug.errors import InputError
from laclip_aug.exchange.addresses import shortened
from laclip_aug.exchange.archives import local_tar
from laclip_aug.exchange.images import ImagePlace

ENDINGS = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm"}
"""The endings of images."""
_TEXTS = (".cls", ".txt")


@dataclass
class Sample:
    """Members of one sample that are called alike but for their last ending.

    Attributes:
        name: what they are called.
        images: name and place of each image.
        texts: ``"cls"`` and ``"txt"``, where they are there, and what they say.
    """

    name: str
    images: list[tuple[str, ImagePlace]] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)

    @property
    def captions(self) -> list[str]:
        """The lines of ``.txt`` that are not empty."""
        return [line.strip() for line in self.texts.get("txt", "").splitlines() if line.strip()]


def tar_images(file: str) -> tuple[list[tuple[str, ImagePlace, Sample]], int]:
    """(name, place, sample) of each image of an unpacked tar, in its order, and the number of captions of no image.

    Hidden files are passed over. Texts that stand apart are of the only sample that is called as they are and has an
    image.

    Raises:
        InputError: the tar cannot be read.
    """
    try:
        samples = list(_in_a_row(file))
    except (tarfile.TarError, OSError) as error:
        raise InputError(f"{shortened(file)} cannot be read as an unpacked tar ({error}); fetch it again") from error
    found: dict[str, list[Sample]] = {}
    for sample in samples:
        if sample.images:
            found.setdefault(sample.name, []).append(sample)
    absent = 0
    for apart in samples:
        if apart.images:
            continue
        owners = found.get(apart.name, [])
        if len(owners) == 1 and not owners[0].texts.keys() & apart.texts.keys():
            owners[0].texts.update(apart.texts)
        else:
            absent += len(apart.captions)
    images = [(name, place, sample) for sample in samples for name, place in sample.images]
    return sorted(images, key=lambda image: image[1].offset), absent


def _in_a_row(file: str) -> Iterator[Sample]:
    key, endings, samples = "", set[str](), dict[str, Sample]()
    with local_tar(file) as tar:
        for member in tar:
            path = Path(member.name)
            if not member.isfile() or any(part[0] == "." and part != ".." for part in path.parts):
                continue
            start, _, ending = path.name.partition(".")
            own = str(path.with_name(start))
            if own != key or ending.lower() in endings:  # an ending that comes again is another sample's
                yield from samples.values()
                key, endings, samples = own, set(), {}
            endings.add(ending.lower())
            last, name = path.suffix.lower(), str(path.with_suffix(""))
            if last in ENDINGS:
                image = ImagePlace(file, member.offset_data, member.size)
                samples.setdefault(name, Sample(name)).images.append((member.name, image))
            elif last in _TEXTS and (content := tar.extractfile(member)):
                texts = samples.setdefault(name, Sample(name)).texts
                texts[last[1:]] = content.read().decode("utf-8-sig", "replace")
    yield from samples.values()
