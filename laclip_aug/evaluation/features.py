"""Features of images and texts, made once and kept on disk by (model, data).

An entry is a directory of parts, each written whole or not at all, so that a killed run goes on at the next part. A
part is an ``.npz``, whose checksums are verified when it is read; a damaged one is made again. Another model, another
file of weights or a changed image is another entry, so nothing stale is ever read.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from laclip_aug.errors import CacheError, InputError
from laclip_aug.evaluation.images import ImageSet
from laclip_aug.evaluation.model import Model
from laclip_aug.exchange.files import disk_errors, replace_file, write_new
from laclip_aug.generation.hashing import cache_folder

FORMAT = 1
PART = 1024
"""Rows of a part: what a kill can cost."""
_CLASSES = 50

Part = dict[str, NDArray[Any]]
Make = Callable[[int, int], Iterator[Part]]
"""Makes the rows from a first to before a last, in pieces."""


@dataclass(frozen=True)
class Features:
    """Features ``[N, D]``, not normalised, and why there are none where ``failed`` ``[N]`` is not empty."""

    vectors: NDArray[np.float32]
    failed: NDArray[np.str_]

    @property
    def readable(self) -> NDArray[np.bool_]:
        """``[N]`` whether there are features of an image."""
        return np.array(self.failed == "")


class FeatureStore:
    """The features in a folder.

    Args:
        batch: images at a time.
        workers: processes that decode images; 0 decodes in this one.
    """

    def __init__(self, folder: Path | None = None, batch: int = 64, workers: int | None = None) -> None:
        self.folder, self._batch = folder or cache_folder() / "features", batch
        free = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self._workers = (0 if free < 3 else min(8, free - 1)) if workers is None else workers

    def images(self, model: Model, images: ImageSet) -> Features:
        """Features of ``images``.

        Raises:
            InputError: none of them can be read.
        """
        about = {"kind": "images", "data": images.name, "fingerprint": images.fingerprint, "count": len(images.keys)}
        part = self._kept(model, about, len(images.keys), lambda start, stop: self._encoded(model, images, start, stop))
        found = Features(part["features"], part["failed"])
        if not found.readable.any():
            raise InputError(
                f"none of the {len(images.keys)} images of {images.name} can be read: {images.keys[0]}: "
                f"{found.failed[0]}; check the files"
            )
        return found

    def texts(self, model: Model, texts: Sequence[str]) -> NDArray[np.float32]:
        """Features ``[N, D]`` of ``texts``, not normalised."""
        about = {"kind": "texts", "fingerprint": _digest(texts), "count": len(texts)}

        def encoded(start: int, stop: int) -> Iterator[Part]:
            for at in range(start, stop, self._batch):
                yield {"features": model.encode_texts(texts[at : min(at + self._batch, stop)])}

        return np.asarray(self._kept(model, about, len(texts), encoded)["features"])

    def classifier(
        self, model: Model, classes: Sequence[str], templates: str | Sequence[str], version: str
    ) -> NDArray[np.float32]:
        """open_clip's zero-shot classifier ``[D, C]``; ``version`` is of what a named set of templates comes from."""
        named = [f"{templates} of {version}"] if isinstance(templates, str) else ["templates", *templates]
        about = {"kind": "classifier", "fingerprint": _digest([*named, "classes", *classes]), "count": len(classes)}

        def encoded(start: int, stop: int) -> Iterator[Part]:
            for at in range(start, stop, _CLASSES):
                yield {"features": model.classifier(classes[at : min(at + _CLASSES, stop)], templates).T}

        return np.asarray(self._kept(model, about, len(classes), encoded)["features"].T)

    def _encoded(self, model: Model, images: ImageSet, start: int, stop: int) -> Iterator[Part]:
        from torch.utils.data import DataLoader

        rows: Any = _Rows(images.read, model.loaded.preprocess, range(start, stop))
        loader: Any = DataLoader(rows, self._batch, num_workers=self._workers, collate_fn=_collate)
        for pixels, failed in loader:
            there = np.array([reason == "" for reason in failed])
            found = model.encode_images(pixels) if there.any() else np.zeros((0, 0), dtype=np.float32)
            vectors = np.zeros((len(failed), found.shape[1]), dtype=np.float32)
            vectors[there] = found
            yield {"features": vectors, "failed": np.array(failed)}

    def _kept(self, model: Model, about: dict[str, Any], count: int, make: Make) -> Part:
        """The rows of an entry; what is not kept yet is made and kept."""
        about = {"format": FORMAT, "model": model.identity, **about}
        name = hashlib.sha256(f"{FORMAT}\0{model.key}\0{about['kind']}\0{about['fingerprint']}".encode()).hexdigest()
        entry = self.folder / model.key[:16] / f"{about['kind']}-{name[:24]}"
        starts = range(0, count, PART)

        def read() -> list[Part | None]:
            return [_read(entry / _name(start), min(PART, count - start)) for start in starts]

        parts = read()
        if any(part is None for part in parts):
            with disk_errors(entry):
                entry.mkdir(parents=True, exist_ok=True)
            with _lock(entry):
                parts = read()  # another process may have made them meanwhile
                replace_file(entry / "about.json", json.dumps(about, indent=1).encode())
                missing = [start for start, part in zip(starts, parts, strict=True) if part is None]
                self._fill(entry, missing, count, make, str(about.get("data", about["kind"])))
            parts = read()
        if any(part is None for part in parts):
            raise CacheError(f"features in {entry} are damaged as soon as they are written; check the disk")
        return _joined([part for part in parts if part is not None])

    def _fill(self, entry: Path, missing: Sequence[int], count: int, make: Make, name: str) -> None:
        from tqdm import tqdm

        every = 0.2 if sys.stderr.isatty() else 30.0
        have = count - sum(min(PART, count - start) for start in missing)
        with tqdm(total=count, initial=have, desc=f"features of {name}", mininterval=every, unit="") as bar:
            for first, last in _runs(missing):
                start, waiting = first, list[Part]()
                for piece in make(first, min(last + PART, count)):
                    waiting.append(piece)
                    bar.update(len(piece["features"]))
                    while waiting and sum(len(part["features"]) for part in waiting) >= min(PART, count - start):
                        rows = _joined(waiting)
                        with write_new(entry / _name(start)) as file:
                            np.savez(file, **{key: values[:PART] for key, values in rows.items()})  # type: ignore[arg-type]
                        rest = {key: values[PART:] for key, values in rows.items()}
                        start, waiting = start + PART, [rest] if len(rest["features"]) else []


class _Rows:
    """A data set of torch: (pixels or None, why not) of some images."""

    def __init__(self, read: Callable[[int], Any], preprocess: Callable[[Any], Any], chosen: range) -> None:
        self._read, self._preprocess, self._chosen = read, preprocess, chosen

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, index: int) -> tuple[Any, str]:
        try:
            return self._preprocess(self._read(self._chosen[index])), ""
        except Exception as error:  # a damaged image makes Pillow raise anything; the reason is kept and shown
            return None, f"{type(error).__name__}: {error}"[:200]


def _collate(rows: Sequence[tuple[Any, str]]) -> tuple[Any, list[str]]:
    import torch

    there = [pixels for pixels, _ in rows if pixels is not None]
    return torch.stack(there) if there else None, [reason for _, reason in rows]


def _joined(parts: Sequence[Part]) -> Part:
    width = max(part["features"].shape[1] for part in parts)
    for part in parts:
        if part["features"].shape[1] == 0:  # a batch without a readable image
            part["features"] = np.zeros((len(part["features"]), width), dtype=np.float32)
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def _read(file: Path, rows: int) -> Part | None:
    """A part as it was written, or None: absent, damaged, or of another length."""
    try:
        with np.load(file, allow_pickle=False) as found:
            part = {key: found[key] for key in found.files}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError):
        return None
    return part if all(len(values) == rows for values in part.values()) and "features" in part else None


def _runs(starts: Sequence[int]) -> list[tuple[int, int]]:
    """First and last of each unbroken run of parts: ``[0, 1024, 4096] -> [(0, 1024), (4096, 4096)]``."""
    runs: list[tuple[int, int]] = []
    for start in starts:
        if runs and runs[-1][1] == start - PART:
            runs[-1] = (runs[-1][0], start)
        else:
            runs.append((start, start))
    return runs


def _name(start: int) -> str:
    return f"{start:09d}.npz"


def _digest(texts: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


@contextmanager
def _lock(entry: Path) -> Iterator[None]:
    """Wait until no other process fills ``entry``. A killed holder frees it."""
    with (entry / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for another process that makes the features in {entry}", file=sys.stderr)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
