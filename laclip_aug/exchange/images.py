"""Where the image of a caption is: in a file that a table names beside the caption, or in a tar beside its text."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from laclip_aug.errors import InputError
from laclip_aug.exchange.addresses import exists, is_address, shortened
from laclip_aug.exchange.archives import local_tar
from laclip_aug.exchange.log import InputLog
from laclip_aug.exchange.places import expand, kind_of
from laclip_aug.exchange.readers import CAPTION_KEYS, InputOptions, table_rows
from laclip_aug.exchange.tars import sample_of

IMAGE_KEYS = ("filepath", "image", "image_path", "path")
"""Where image paths are looked for if no key is given: open_clip's default first."""

_IMAGES = {"jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff"}


@dataclass(frozen=True, slots=True)
class ImagePlace:
    """An encoded image: a file, or ``size`` bytes of it from ``offset`` on."""

    file: str
    offset: int = 0
    size: int = -1

    def read(self) -> bytes:
        """The encoded image; nothing if the file is gone or cannot be read, or no file can have its name."""
        try:
            with Path(self.file).open("rb") as file:
                file.seek(self.offset)
                return file.read(self.size)
        except (OSError, ValueError):
            return b""


def image_places(
    inputs: Sequence[str], options: InputOptions | None = None, image_key: str | None = None
) -> Iterator[tuple[str, ImagePlace]]:
    """(caption, place of its image) of each row or sample that has both; several captions of an image each have it.

    Args:
        inputs: tables whose paths are relative to the working directory or to the table, and local tars.

    Raises:
        InputError: an input cannot be read, has no column of images, or is a kind that names no images.
    """
    options, log = options or InputOptions(), InputLog()
    for file in expand(inputs):
        kind = options.format or kind_of(file)
        if kind == "webdataset":
            yield from _of_tar(file, options)
        else:
            columns = [options.caption_key] if options.caption_key else list(CAPTION_KEYS)
            choose = _chooser(file, columns, [image_key] if image_key else list(IMAGE_KEYS))
            for _, (caption, path) in table_rows(file, kind, choose, log, options):
                if isinstance(path, str):
                    place = ImagePlace(_there(path, Path(file).parent))
                    for text in caption if isinstance(caption, list) else [caption]:
                        if isinstance(text, str):
                            yield text, place


def _there(path: str, folder: Path) -> str:
    r"""What ``path`` names here, from the working directory or ``folder``; a path of Windows' is read with ``/``."""
    for written in dict.fromkeys((path, path.replace("\\", "/"))):
        for place in (written, str(folder / written)):
            if exists(place):
                return place
    return path


def _chooser(file: str, captions: list[str], images: list[str]) -> Callable[[Sequence[str]], Sequence[str]]:
    def choose(columns: Sequence[str]) -> Sequence[str]:
        caption = next((key for key in captions if key in columns), None)
        image = next((key for key in images if key in columns), None)
        if caption is None or image is None:
            lacking, option = (captions, "--csv-caption-key") if caption is None else (images, "--csv-img-key")
            raise InputError(
                f"{shortened(file)} has no column {' or '.join(map(repr, lacking))}; its columns are: "
                f"{', '.join(columns) or 'none'}. Name the right one with {option}"
            )
        return [caption, image]

    return choose


def _of_tar(file: str, options: InputOptions) -> Iterator[tuple[str, ImagePlace]]:
    if is_address(file):
        raise InputError(f"images are read from local tars only; fetch {shortened(file)} first")
    try:
        with local_tar(file) as tar:
            key, endings, texts, place = "", set[str](), dict[str, bytes](), None
            for member in tar:
                split = sample_of(member)
                if split is None:
                    continue
                ending = split[1]
                if split[0] != key or ending in endings:
                    yield from _sample(texts, place, options)
                    key, endings, texts, place = split[0], set(), {}, None
                endings.add(ending)
                if ending in _IMAGES:
                    place = ImagePlace(file, member.offset_data, member.size)
                elif ending in options.text_keys.endings and (content := tar.extractfile(member)):
                    texts[ending] = content.read()
            yield from _sample(texts, place, options)
    except (tarfile.TarError, OSError) as error:
        raise InputError(f"{shortened(file)} cannot be read as an unpacked tar ({error}); fetch it again") from error


def _sample(
    texts: dict[str, bytes], place: ImagePlace | None, options: InputOptions
) -> Iterator[tuple[str, ImagePlace]]:
    if place is not None:
        for caption in options.text_keys.captions(texts)[0]:
            yield caption, place
