"""The image that a training text belongs to, known where the text is drawn.

open_clip's loaders call the transform of an image and then, in the same process, the tokenizer of its caption. So the
transform can leave word of its image for the tokenizer: a short hash of the pixels, which joins the key of the draw.
Images that share a caption then draw for themselves, as in the paper, and still the same in any number of workers,
from CSV or tars, and after a restart.

That order is no promise of open_clip's, so :func:`order_fault` tries each loader first, on made-up samples.
"""

from __future__ import annotations

import logging
import random
import tarfile
from argparse import Namespace
from collections.abc import Callable, Sequence
from hashlib import blake2b
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from laclip_aug.errors import UnsupportedOpenClipError

Steps = Sequence[Callable[[Image.Image], Image.Image]]
"""What to do to an image, in this order."""
_SIDE = 32
_SAMPLES = 3


def image_key(image: object) -> bytes:
    """Eight bytes that are a function of a PIL image's size and pixels; none of any other object.

    1,024 pixels of a grid are read, as RGB: some 15 us, whatever the size. Images that are equal there share a key.
    """
    if not isinstance(image, Image.Image):
        return b""
    grid = image.resize((_SIDE, _SIDE), Image.Resampling.NEAREST).convert("RGB")
    return blake2b(grid.tobytes() + repr(image.size).encode(), digest_size=8).digest()


class Handover:
    """What the transform left for the tokenizer, in one process; what it holds is not carried to another."""

    def __init__(self) -> None:
        self._key = b""
        self._promise: Callable[[Steps], None] | None = None

    def leave(self, key: bytes, promise: Callable[[Steps], None] | None = None) -> None:
        """Leave the key of the image that is transformed now, and how to do so once its changes are known."""
        self._key, self._promise = key, promise

    def take(self) -> bytes:
        """The key of the image that was transformed last; nothing if it was taken already."""
        key, self._key = self._key, b""
        return key

    def change(self, steps: Steps) -> None:
        """Transform the image that was promised last, after ``steps``.

        Raises:
            UnsupportedOpenClipError: no image was promised since the last call.
        """
        promise, self._promise = self._promise, None
        if promise is None:
            raise UnsupportedOpenClipError(
                "the loader reads a caption without its image, so linked augmentation cannot work in it; leave out "
                "--text-aug-linked"
            )
        promise(steps)

    def __getstate__(self) -> dict[str, Any]:
        return {"_key": b"", "_promise": None}


class KeyedTransform:
    """Stands in for an image's ``transform``: leaves the image's key, and does and has what the transform does."""

    def __init__(self, transform: Callable[..., Any], handover: Handover) -> None:
        self._transform = transform
        self._handover = handover

    def __call__(self, image: Any, *args: Any, **kwargs: Any) -> Any:
        self._handover.leave(image_key(image))
        return self._transform(image, *args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if "_transform" not in self.__dict__:  # asked by pickle, before it has filled the copy in a worker
            raise AttributeError(name)
        return getattr(self._transform, name)


class PromisingTransform(KeyedTransform):
    """One that transforms later: gives an empty tensor, which :meth:`Handover.change` makes the transformed image."""

    def __call__(self, image: Any, *args: Any, **kwargs: Any) -> Any:
        promised = torch.empty(0)

        def keep(steps: Steps) -> None:
            changed = image
            for step in steps:
                changed = step(changed)
            promised.data = self._transform(changed, *args, **kwargs)

        self._handover.leave(image_key(image), keep)
        return promised


def transform_parameter(arguments: dict[str, Any]) -> str | None:
    """The name under which a loader's ``arguments`` have the image transform, if they do."""
    return next((name for name in arguments if name.startswith("preprocess")), None)


def pair(dataset_fn: Callable[..., Any], arguments: dict[str, Any], linked: bool) -> Handover | None:
    """Let the transform in a loader's ``arguments`` tell the tokenizer which image it has, where the loader can.

    Raises:
        UnsupportedOpenClipError: the loader cannot, and ``linked`` augmentation needs it.
    """
    if fault := order_fault(dataset_fn, arguments):
        if linked:
            raise UnsupportedOpenClipError(
                f"linked augmentation needs a loader that reads an image right before its caption; of this one: "
                f"{fault}. Use CSV or webdataset files, or leave out --text-aug-linked"
            )
        if arguments["args"].rank == 0:
            logging.info("text augmentation: images that share a caption share its texts in this loader: %s", fault)
        return None
    name, handover = str(transform_parameter(arguments)), Handover()
    arguments[name] = (PromisingTransform if linked else KeyedTransform)(arguments[name], handover)
    return handover


def order_fault(dataset_fn: Callable[..., Any], arguments: dict[str, Any]) -> str:
    """Why a loader does not give each image to the transform just before its caption to the tokenizer; or nothing.

    ``dataset_fn`` is called with its ``arguments``, but for a few made-up samples in a table or a tar in place of the
    training data, which is neither read nor waited for. No random state is changed.
    """
    recorder = _Recorder()
    args: Namespace = arguments["args"]
    python, name = random.getstate(), transform_parameter(arguments)
    if name is None:
        return "it has no parameter for the image transform"
    with TemporaryDirectory() as folder, torch.random.fork_rng(devices=[]):
        made = Namespace(**vars(args))
        vars(made).update(train_num_samples=_SAMPLES, batch_size=1, workers=0, distributed=False)
        vars(made).update(text_pad_multiple=None)  # numbers as short as the images' are comparable
        vars(made).update(csv_separator="\t", csv_img_key="filepath", csv_caption_key="title")  # of the made-up table
        if getattr(args, "train_data_upsampling_factors", None) is not None:
            made.train_data_upsampling_factors = None
        try:
            made.train_data = _made_up(Path(folder), args)
            changed = {"args": made, name: recorder.image(arguments[name]), "tokenizer": recorder.tokenizer()}
            for batch in dataset_fn(**arguments | changed).dataloader:
                image, text = (batch["image"], batch["text"]) if isinstance(batch, dict) else batch
                recorder.compare(image, text)
        except Exception as error:  # a loader of someone's own may raise anything
            return f"a trial with made-up samples failed: {type(error).__name__}: {error}"
        finally:
            random.setstate(python)
    return recorder.fault or ("" if recorder.pairs else "a trial with made-up samples gave no batch")


class _Recorder:
    """A transform and a tokenizer that give numbers, and find out whether the numbers of a pair agree.

    The transform's result is filled by the tokenizer, so a loader that copies it in between is found too.
    """

    def __init__(self) -> None:
        self.fault = ""
        self.pairs = 0
        self._waiting: Tensor | None = None
        self._level = -1

    def image(self, transform: Any) -> Callable[[Any], Tensor]:
        recorder = self

        class Transform:
            def __call__(self, image: Any) -> Tensor:
                if recorder._waiting is not None:
                    recorder.fault = "it transforms an image before the caption of the last one is read"
                recorder._level = round(image.convert("L").getpixel((0, 0)) / 50)
                recorder._waiting = torch.empty(0)
                return recorder._waiting

            def __getattr__(self, name: str) -> Any:
                return getattr(transform, name)

        return Transform()

    def tokenizer(self) -> Callable[..., Tensor]:
        recorder = self

        class Tokenizer:
            pad_token_id = -1  # asked for where texts have variable lengths

            def __call__(self, caption: Any, **kwargs: Any) -> Tensor:
                return recorder.text(caption)

        return Tokenizer()

    def text(self, caption: Any) -> Tensor:
        caption = caption if isinstance(caption, str) else caption[0]
        word = caption.rsplit(" ", 1)[-1]
        number = int(word) if word.isdecimal() else -1
        if number < 0:
            self.fault = self.fault or "its samples are its own, and not those of --train-data"
        elif self._waiting is None or self._level != number:
            self.fault = self.fault or "it reads a caption before its image is transformed"
        else:
            self._waiting.data = torch.tensor([float(number)])
        self._waiting = None
        return torch.tensor([[number]])

    def compare(self, image: Tensor, text: Tensor) -> None:
        self.pairs += 1
        if image.flatten().tolist() != text.flatten().tolist():
            self.fault = self.fault or "its batches have other images than the transform gave"


def _made_up(folder: Path, args: Namespace) -> str:
    """A few samples, image and caption number n, of the form of the training data of ``args``."""
    data, kind = str(args.train_data), str(args.dataset_type)
    images = {number: Image.new("RGB", (8, 8), (50 * number,) * 3) for number in range(_SAMPLES)}
    if kind == "csv" or (kind == "auto" and data.endswith(("csv", "tsv"))):
        rows = ["filepath\ttitle"]
        for number, image in images.items():
            image.save(folder / f"{number}.png")
            rows.append(f"{folder / f'{number}.png'}\tnumber {number}")
        (folder / "made.csv").write_text("\n".join(rows) + "\n")
        return str(folder / "made.csv")
    shards = max(1, int(args.world_size))  # webdataset deals them out to the ranks
    for shard in range(shards):
        with tarfile.open(folder / f"{shard:06}.tar", "w") as tar:
            for number, image in images.items():
                png = BytesIO()
                image.save(png, format="png")
                for name, content in ((f"{number}.png", png.getvalue()), (f"{number}.txt", b"number %d" % number)):
                    member = tarfile.TarInfo(name)
                    member.size = len(content)
                    tar.addfile(member, BytesIO(content))
    return str(folder / f"{{000000..{shards - 1:06}}}.tar")
