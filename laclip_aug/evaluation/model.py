"""The model to evaluate: any of open_clip by name and weights, or one of the paper's own by its checkpoint.

What identifies it (names, and the weights' hash) is known without loading it: where all features are kept already, it
never is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from laclip_aug import openclip
from laclip_aug.checkpoints import OWN_WEIGHTS, as_words
from laclip_aug.errors import ConfigurationError, ModelError
from laclip_aug.evaluation.paper import PAPER, load_paper_model
from laclip_aug.models import load_model, refuse_file, told_options

PRECISIONS = ("fp32", "amp", "amp_bf16")


@dataclass
class Model:
    """A model by name and weights; loaded when it is first needed.

    Args:
        name: as open_clip knows it, ``hf-hub:REPO``, ``local-dir:DIR``, or ``laclip`` for the paper's checkpoints.
        pretrained: a tag or a file of weights; of a model that has weights of its own, a file that takes their place.
        config: a JSON file of open_clip's form that describes ``name``.
        precision: one of ``PRECISIONS``.
        device: as torch names it; the first GPU, or the CPU, if empty.

    Raises:
        ConfigurationError: no weights are named, a file is absent, or one of both would be passed over; or the name is
            a file's.
    """

    name: str
    pretrained: str = ""
    config: Path | None = None
    precision: str = "fp32"
    device: str = ""

    def __post_init__(self) -> None:
        refuse_file(self.name)
        has_weights = self.name.startswith(OWN_WEIGHTS)
        if not self.pretrained and not has_weights:
            raise ConfigurationError(
                f"no weights for {self.name!r}; name a file, or a tag of open_clip's: --pretrained"
            )
        if (self.pretrained.endswith((".pt", ".pth", ".ckpt", ".bin", ".safetensors")) or "/" in self.pretrained) and (
            not Path(self.pretrained).is_file()
        ):
            raise ConfigurationError(f"--pretrained {self.pretrained}: there is no such file; check the path")
        if self.config is not None and not self.config.is_file():
            raise ConfigurationError(f"--model-config {self.config}: there is no such file; check the path")
        if has_weights and self.pretrained and not Path(self.pretrained).is_file():
            raise ConfigurationError(
                f"{self.name} has weights of its own, and {self.pretrained!r} is no file that could take their place; "
                "name a file of weights, or leave --pretrained out"
            )
        if self.config is not None and self.config.stem != self.name.replace("/", "-"):
            raise ConfigurationError(
                f"{self.config} describes the model {self.config.stem!r}, not {self.name!r}; give --model "
                f"{self.config.stem}, or leave --model-config out"
            )

    @cached_property
    def identity(self) -> dict[str, str]:
        """What the features depend on: names, precision, hashes of the files, and options of the model's training."""
        found = {"model": self.name, "pretrained": self.pretrained, "precision": self.precision}
        if Path(self.pretrained).is_file():
            found |= {
                "pretrained": Path(self.pretrained).name,
                "weights": f"sha256:{_hash_of([Path(self.pretrained)])}",
            }
        if self.name.startswith("local-dir:"):
            folder = Path(self.name.removeprefix("local-dir:"))
            files = sorted(file for file in folder.glob("*") if file.is_file())
            found["folder" if "weights" in found else "weights"] = f"sha256:{_hash_of(files)}"
        if self.options:
            found["options"] = as_words(self.options)
        if self.config is not None:
            found["config"] = f"sha256:{_hash_of([self.config])}"
        return found

    @cached_property
    def options(self) -> dict[str, Any]:
        """Those of its training, as far as they are known; standard error says which, or that nobody knows."""
        return {} if self.name == PAPER else told_options(self.name, self.pretrained)

    @cached_property
    def key(self) -> str:
        """A hash of what the features depend on, the files' names aside."""
        parts = {**self.identity, **({"pretrained": ""} if "weights" in self.identity else {})}
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    @cached_property
    def loaded(self) -> openclip.LoadedModel:
        """The model itself, on its device.

        Raises:
            ConfigurationError: open_clip has no such model, its weights cannot be loaded, or there is no such device.
        """
        if self.name == PAPER:
            found = load_paper_model(Path(self.pretrained))
            found.model.to(self._device)
            return found
        if self.config is not None:
            openclip.add_model_config(self.config)
        return load_model(self.name, self.pretrained, self.precision, self._device, self.options)

    @cached_property
    def _device(self) -> str:
        import torch

        if not self.device:
            return "cuda" if torch.cuda.is_available() else "cpu"
        try:
            torch.empty(1, device=self.device)
        except Exception as error:  # whatever each of torch's devices raises
            why = (str(error).splitlines() or [repr(error)])[0]
            raise ConfigurationError(
                f"--device {self.device} cannot be used ({why}); leave it out, or name one such as cpu or cuda:0"
            ) from error
        return self.device

    def encode_images(self, pixels: Any) -> NDArray[np.float32]:
        """Features ``[B, D]`` of preprocessed images ``[B, 3, H, W]``, not normalised."""
        return self._encode(self.loaded.model.encode_image, pixels)

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Features ``[B, D]`` of ``texts``, not normalised; what is over the model's context is cut."""
        printable = [text.encode("utf-8", "replace").decode() for text in texts]  # lone surrogates
        return self._encode(self.loaded.model.encode_text, self.loaded.tokenize(printable))

    def _encode(self, encode: Callable[..., Any], batch: Any) -> NDArray[np.float32]:
        import torch

        with torch.inference_mode(), self._autocast():
            features = encode(batch.to(self._device)).float().cpu().numpy()
        if not np.isfinite(features).all():
            raise ModelError(
                f"{self.name} ({self.pretrained}) gives features that are no numbers; its training may have diverged, "
                "or use --precision fp32"
            )
        return features  # type: ignore[no-any-return]

    def _autocast(self) -> Any:
        import torch

        if self.precision == "fp32":
            return nullcontext()
        kind = torch.bfloat16 if self.precision == "amp_bf16" else torch.float16
        return torch.autocast(torch.device(self._device).type, dtype=kind)

    def classifier(self, classes: Sequence[str], templates: str | Sequence[str]) -> NDArray[np.float32]:
        """open_clip's zero-shot classifier ``[D, C]``: unit vectors.

        Args:
            templates: ``openai`` or ``simple``, or templates with ``{c}`` or ``{}`` for the class.
        """
        if isinstance(templates, str):
            made = openclip.prompt_templates(templates)
        else:
            made = [_filling(template) for template in templates]
        with self._autocast():
            weights = openclip.zero_shot_classifier(self.loaded, classes, made, self._device)
        return weights.float().cpu().numpy()  # type: ignore[no-any-return]


def _filling(template: str) -> Callable[[str], str]:
    """Puts a class into ``template``. Not ``str.format``, which would evaluate what else is in the braces."""
    place = "{c}" if "{c}" in template else "{}"
    if place not in template:
        raise ConfigurationError(f"the template {template!r} has no {{c}} for the class; write: a photo of a {{c}}.")
    return lambda name: template.replace(place, name)


def _hash_of(files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            while block := file.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()
