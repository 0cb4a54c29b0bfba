"""Every name of open_clip that this package touches, and nothing else.

open_clip's trainer has no plug-in interface, but three of its module globals are enough to change what text it trains
on and with which loss: ``main.parse_args``, ``data.get_dataset_fn`` and ``main.create_loss``, or ``main.create_task``,
which has its place from version 4 on. Two more serve trimming and logging. Each is looked up at call time, so it can be
replaced from outside and put back. :func:`check_seams` makes sure, before anything is replaced, that the installed
version has them with the parameters that the hook relies on.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from laclip_aug.checkpoints import OWN_WEIGHTS, numbers_of_numpy
from laclip_aug.errors import ConfigurationError, UnsupportedOpenClipError

SUPPORTED = ((2, 29), (4, 3))
"""The first version that is known to work, and the first that is not. Of 4.2 a development version was tested.
A version in between is taken if every seam is there with its parameters."""
_ADDED: dict[str, Path] = {}  # the files of models that open_clip does not bring
_BOUNDS = ">={}.{},<{}.{}".format(*SUPPORTED[0], *SUPPORTED[1])


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
    return _MAIN.get()(list(arguments))


def add_model_config(path: Path) -> None:
    """Make the model that a JSON file of open_clip's form describes known under the file's name without ``.json``.

    Raises:
        ConfigurationError: the file cannot be read or is no model configuration.
    """
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path} is no model configuration ({error}); give a JSON file") from error
    keys = ("embed_dim", "vision_cfg", "text_cfg")
    if path.suffix != ".json" or not isinstance(found, dict) or any(key not in found for key in keys):
        raise ConfigurationError(f"{path} is no model configuration: a .json file with the keys {', '.join(keys)}")
    _module("open_clip").add_model_config(path)
    _ADDED[path.stem] = path


def typed_model(name: str) -> str:
    """What :func:`load_tokenizer` calls, in another process too, the model that the trainer knows as ``name``."""
    return str(_ADDED.get(name, name if ":" in name else name.replace("/", "-")))


def model_config(name: str) -> dict[str, Any]:
    """The configuration of a model that open_clip brings; empty if it brings none of that name."""
    return dict(_module("open_clip").get_model_config(name) or {})


def model_names() -> list[str]:
    """The models that open_clip knows by name."""
    return list(_module("open_clip").list_models())


def tokenizer(name: str, context_length: int | None = None) -> Any:
    """open_clip's tokenizer of a model."""
    return _module("open_clip").get_tokenizer(name, context_length=context_length)


def pretrained_config(name: str, tag: str) -> dict[str, Any]:
    """What open_clip says of a model's weights of this tag, such as their preprocessing; empty if it has none."""
    return dict(_module("open_clip").get_pretrained_cfg(name, tag))


def merges_file() -> Path:
    """CLIP's list of byte-pair merges as open_clip brings it; found without loading open_clip, which takes seconds.

    Raises:
        UnsupportedOpenClipError: open_clip or the file is not installed.
    """
    folders = getattr(find_spec("open_clip"), "submodule_search_locations", None)
    if not folders:
        raise UnsupportedOpenClipError(_missing("open_clip", "it is not installed"))
    path = Path(folders[0]) / "bpe_simple_vocab_16e6.txt.gz"
    if not path.is_file():
        raise UnsupportedOpenClipError(_advice(f"{path.name} is missing"))
    return path


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model of open_clip, in evaluation mode, with its preprocessing and tokenizer."""

    model: Any
    preprocess: Callable[..., Any]
    tokenize: Callable[..., Any]


def create_model(name: str, pretrained: str, precision: str, device: str, **options: Any) -> LoadedModel:
    """A model of open_clip by its name, with the weights of a tag or a file, if ``pretrained`` is one.

    ``hf-hub:`` and ``local-dir:`` come with weights; a file of others is read over them.
    """
    library, own = _module("open_clip"), name.startswith(OWN_WEIGHTS)
    make, length = library.create_model_and_transforms, options.get("force_context_length")
    tag = None if own else pretrained or None
    with numbers_of_numpy():
        made = make(name, pretrained=tag, precision=precision, device=device, **options)
        if own and pretrained:
            library.load_checkpoint(made[0], pretrained)
    return LoadedModel(made[0].eval(), made[2], library.get_tokenizer(name, context_length=length))


def make_clip(embed_dim: int, vision: dict[str, Any], text: dict[str, Any], **options: Any) -> LoadedModel:
    """A CLIP of open_clip from configurations of its towers, without weights; ``options`` are of its preprocessing."""
    library = _module("open_clip")
    model = library.CLIP(embed_dim=embed_dim, vision_cfg=vision, text_cfg=text, quick_gelu=True)
    preprocess = library.image_transform(vision["image_size"], is_train=False, **options)
    return LoadedModel(model.eval(), preprocess, library.SimpleTokenizer(context_length=text["context_length"]))


def prompt_templates(name: str) -> list[Callable[[str], str]]:
    """open_clip's templates: ``openai``, the 80 for ImageNet, or ``simple``, the 7 that did best of them."""
    return list(getattr(_module("open_clip"), f"{name.upper()}_IMAGENET_TEMPLATES"))


def imagenet_classes() -> list[str]:
    """CLIP's names of ImageNet's classes, in the order of the synsets."""
    return list(_module("open_clip").IMAGENET_CLASSNAMES)


def zero_shot_classifier(
    loaded: LoadedModel, classnames: Sequence[str], templates: Sequence[Callable[[str], str]], device: str
) -> Any:
    """The matrix ``[D, C]`` of open_clip's zero-shot classifier: unit vectors, each a mean over the templates."""
    build = Seam("open_clip", "build_zero_shot_classifier", ("model", "tokenizer", "classnames", "templates", "device"))
    build.check()
    return build.get()(loaded.model, loaded.tokenize, list(classnames), list(templates), device=device)


def _module(name: str) -> ModuleType:
    try:
        return import_module(name)
    except ImportError as error:
        raise UnsupportedOpenClipError(_missing(name, str(error))) from error


def _missing(name: str, why: str) -> str:
    return f"{name} cannot be imported ({why}); install it with: pip install 'open_clip_torch[training]{_BOUNDS}'"


def _advice(fault: str) -> str:
    return f"open_clip {version()}: {fault}; text augmentation works with: pip install 'open_clip_torch{_BOUNDS}'"
