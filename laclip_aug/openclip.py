"""Every name of open_clip that this package touches, and nothing else.

open_clip's trainer has no plug-in interface, but three of its module globals are enough to change what text it trains
on and with which loss: ``main.parse_args``, ``data.get_dataset_fn`` and ``main.create_loss``, or ``main.create_task``,
which has its place from version 4 on. Two more serve trimming and logging. Each is looked up at call time, so it can be
replaced from outside and put back.
:func:`check_seams` makes sure, before anything is replaced, that the installed version has them with the parameters
that the hook relies on.
"""

from __future__ import annotations

import inspect
import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from laclip_aug.errors import ConfigurationError, UnsupportedOpenClipError

SUPPORTED = ((2, 29), (4, 3))
"""The first version that is known to work, and the first that is not. Of 4.2 a development version was tested.
A version in between is taken if every seam is there with its parameters."""


@dataclass(frozen=True, slots=True)
class Seam:
    """A global of an open_clip module: ``module.name``, a callable with at least ``parameters``."""

    module: str
    name: str
    parameters: tuple[str, ...]

    def get(self) -> Callable[..., Any]:
        """What the name stands for now.

        Raises:
            UnsupportedOpenClipError: the module or the name is missing.
        """
        found = getattr(_module(self.module), self.name, None)
        if not callable(found):
            raise UnsupportedOpenClipError(_advice(f"{self.module}.{self.name} is missing"))
        return found  # type: ignore[no-any-return]

    def set(self, value: Callable[..., Any]) -> None:
        """Let the name stand for ``value``."""
        setattr(_module(self.module), self.name, value)

    def check(self) -> None:
        """Raise :class:`UnsupportedOpenClipError` unless the callable takes ``parameters``."""
        accepted = inspect.signature(self.get()).parameters
        missing = [name for name in self.parameters if name not in accepted]
        if missing:
            raise UnsupportedOpenClipError(
                _advice(f"{self.module}.{self.name}({', '.join(accepted)}) has no parameter {', '.join(missing)}")
            )


PARSE_ARGS = Seam("open_clip_train.main", "parse_args", ("args",))
CREATE_LOSS = Seam("open_clip_train.main", "create_loss", ("args",))
CREATE_TASK = Seam("open_clip_train.main", "create_task", ("args", "model"))
CREATE_MODEL = Seam("open_clip_train.main", "create_model_and_transforms", ("model_name",))
TRAIN_ONE_EPOCH = Seam("open_clip_train.main", "train_one_epoch", ("args", "tb_writer"))
_GET_DATA = Seam("open_clip_train.main", "get_data", ("args", "epoch", "tokenizer"))
_MAIN = Seam("open_clip_train.main", "main", ("args",))


def version() -> str:
    """The version that open_clip says it is."""
    return str(_module("open_clip").__version__)


def installed_version() -> str:
    """The version that pip installed, read without loading open_clip, which takes seconds."""
    try:
        return metadata.version("open_clip_torch")
    except metadata.PackageNotFoundError:  # a source checkout on the path
        return version()


def has_tasks() -> bool:
    """Whether the trainer makes a task of model and loss, as from version 4 on, and not a loss alone."""
    return hasattr(_module(CREATE_TASK.module), CREATE_TASK.name)


def checkpoints_reentrantly() -> bool:
    """Whether ``--grad-checkpointing`` is PyTorch's reentrant kind, as before version 3: DDP then takes no module that
    is called twice in a forward pass.
    """
    return "use_reentrant=False" not in inspect.getsource(_module("open_clip.transformer").Transformer)


def loss_seam() -> Seam:
    """Where the trainer makes its loss: ``create_task``, whose answer has a ``loss``, or ``create_loss``."""
    return CREATE_TASK if has_tasks() else CREATE_LOSS


def dataset_seam() -> Seam:
    """What chooses the loader of a data set: a global of the module that the trainer's ``get_data`` is from."""
    module = getattr(_GET_DATA.get(), "__module__", "open_clip_train.data")
    return Seam(module, "get_dataset_fn", ("data_path", "dataset_type"))


def log_scalars(values: dict[str, float], step: int, writer: Any, args: Any) -> None:
    """Log ``values`` where the trainer logs its own: to its TensorBoard ``writer``, if any, and to its W&B backend."""
    for name, value in values.items():
        if writer is not None:
            writer.add_scalar(name, value, step)
    train = _module("open_clip_train.train")
    choose = getattr(train, "get_wandb_backend", None)  # from open_clip 4 on
    backend = choose(args) if choose else (train.wandb if getattr(args, "wandb", False) else None)
    if backend is not None:
        backend.log({**values, "step": step}, step=step)


def check_seams() -> None:
    """Make sure that the installed open_clip has every seam with the parameters that the hook relies on.

    Raises:
        UnsupportedOpenClipError: the version is outside ``SUPPORTED``, or a name or a parameter is missing.
    """
    match = re.match(r"(\d+)\.(\d+)", version())
    if match is None or not SUPPORTED[0] <= (int(match[1]), int(match[2])) < SUPPORTED[1]:
        raise UnsupportedOpenClipError(_advice("this version is not known to work"))
    for seam in (PARSE_ARGS, _GET_DATA, dataset_seam(), loss_seam(), CREATE_MODEL, TRAIN_ONE_EPOCH, _MAIN):
        seam.check()


def run_trainer(arguments: Sequence[str]) -> Any:
    """open_clip's own training entry point with ``arguments``, its command line without the program's name."""
    with _cpu_data_parallel():
        return _MAIN.get()(list(arguments))


def parser_help() -> str:
    """The text of ``--help`` of open_clip's trainer."""
    text = io.StringIO()
    with redirect_stdout(text), suppress(SystemExit):
        PARSE_ARGS.get()(["--help"])
    return text.getvalue()


def add_model_config(path: Path) -> None:
    """Make the model that a JSON file of open_clip's form describes known under the file's name without ``.json``.

    Raises:
        ConfigurationError: the file cannot be read or is no model configuration.
    """
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"{path} cannot be read as a model configuration ({error}); give a JSON file"
        ) from error
    keys = ("embed_dim", "vision_cfg", "text_cfg")
    if path.suffix != ".json" or not isinstance(found, dict) or any(key not in found for key in keys):
        raise ConfigurationError(f"{path} is no model configuration: a .json file with the keys {', '.join(keys)}")
    _module("open_clip").add_model_config(path)


def is_generative(model_name: str) -> bool:
    """Whether the model has a caption decoder (CoCa), by its name, as the trainer decides, or by its configuration."""
    configuration = _module("open_clip").get_model_config(model_name) or {}
    return "coca" in model_name.lower() or "multimodal_cfg" in configuration


def merges_file() -> Path:
    """CLIP's list of byte-pair merges as open_clip brings it; found without loading open_clip, which takes seconds.

    Raises:
        UnsupportedOpenClipError: open_clip or the file is not installed.
    """
    found = find_spec("open_clip")
    folders = found.submodule_search_locations if found else None
    if not folders:
        raise UnsupportedOpenClipError(_missing("open_clip", "it is not installed"))
    path = Path(folders[0]) / "bpe_simple_vocab_16e6.txt.gz"
    if not path.is_file():
        raise UnsupportedOpenClipError(_advice(f"{path.name} is missing"))
    return path


class ImageTextModel:
    """A model of open_clip with its preprocessing and tokenizer; vectors ``[D]`` have unit length."""

    def __init__(self, name: str, pretrained: str) -> None:
        make = _module("open_clip").create_model_and_transforms
        model, _, self._preprocess = make(name, pretrained=pretrained or None)
        self._model, self._tokenize = model.eval(), _module("open_clip").get_tokenizer(name)

    def encode_images(self, files: Sequence[bytes | None]) -> list[Any]:
        """The vector of each encoded image file; None where there is none, or it cannot be decoded."""
        pixels = [None if file is None else self._decoded(file) for file in files]
        return self._vectors(self._model.encode_image, pixels)

    def encode_texts(self, texts: Sequence[str]) -> list[Any]:
        """The vector of each text; what is over the model's context is cut."""
        printable = [text.encode("utf-8", "replace").decode() for text in texts]
        return self._vectors(self._model.encode_text, list(self._tokenize(printable)) if printable else [])

    def _decoded(self, file: bytes) -> Any:
        from PIL import Image

        try:
            return self._preprocess(Image.open(io.BytesIO(file)).convert("RGB"))
        except (OSError, ValueError, SyntaxError):  # what Pillow raises on a file that is no image, or damaged
            return None

    def _vectors(self, encode: Callable[..., Any], rows: Sequence[Any]) -> list[Any]:
        import torch

        there = [row for row in rows if row is not None]
        if not there:
            return [None] * len(rows)
        with torch.inference_mode():
            found = iter(encode(torch.stack(there), normalize=True).float())
        return [None if row is None else next(found) for row in rows]


def image_text_model(reference: str) -> ImageTextModel:
    """The model ``NAME:PRETRAINED`` (a tag or a file of weights), ``NAME``, ``hf-hub:REPO`` or ``local-dir:DIR``.

    Raises:
        ConfigurationError: open_clip has no such model, or its weights cannot be loaded.
    """
    own = reference.startswith(("hf-hub:", "local-dir:"))
    name, _, pretrained = (reference, "", "") if own else reference.partition(":")
    try:
        return ImageTextModel(name, pretrained)
    except (RuntimeError, OSError, ValueError, KeyError, AssertionError) as error:
        raise ConfigurationError(
            f"open_clip cannot make {reference!r} ({error}); write NAME:PRETRAINED as open_clip.list_pretrained() "
            "lists them, NAME:FILE, or hf-hub:REPO"
        ) from error


@contextmanager
def _cpu_data_parallel() -> Iterator[None]:
    """Let the trainer run on several CPU processes.

    It passes ``device_ids=[device]`` to ``DistributedDataParallel`` whatever the device, which torch refuses for a
    module on the CPU; there the argument carries no information, so it is left out.
    """
    from torch import nn

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


def _module(name: str) -> ModuleType:
    try:
        return import_module(name)
    except ImportError as error:
        raise UnsupportedOpenClipError(_missing(name, str(error))) from error


def _missing(name: str, why: str) -> str:
    return f"{name} cannot be imported ({why}); install it with: pip install 'open_clip_torch[training]{_bounds()}'"


def _bounds() -> str:
    low, high = (".".join(map(str, bound)) for bound in SUPPORTED)
    return f">={low},<{high}"


def _advice(fault: str) -> str:
    return f"open_clip {version()}: {fault}; text augmentation works with: pip install 'open_clip_torch{_bounds()}'"
