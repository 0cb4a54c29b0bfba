"""A LoRA adapter merged into its model, once, as a file in the user's cache directory.

A merged weight is W + (alpha / r) B A, with A ``[r, in]`` and B ``[out, r]`` (Hu et al. 2021, section 4.1). A merged
model reads and writes as many tokens a second as one without an adapter; its matrices are stored in the format that the
machine computes with fastest, so it is faster than the quantised file that it was made from. Large models are left as
they are, and so are adapters of another kind: llama.cpp then applies the adapter while it computes.

The file's name is a hash of model, adapter and format, so a changed adapter is merged anew; its own hash lies beside
it and is checked at each start.
"""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path
from typing import Any

from tqdm import tqdm

from laclip_aug.errors import MissingExtraError
from laclip_aug.generation.models import ModelFile, file_sha256

_LARGEST = 1 << 30  # bytes of a model file; beyond it the copy would take more disk than it saves time
_MERGE = 1
"""Goes up when the same files are merged to other weights than before."""
_logger = logging.getLogger(__name__)


def merged(model: ModelFile, adapter: ModelFile, kind: str) -> tuple[Path, str] | None:
    """The file of ``model`` with ``adapter`` merged in, made if it is not there, and ``kind``, its matrices' format.

    ``kind`` is a name of GGUF's, such as ``"BF16"``. None if the adapter cannot be merged, or the file not be kept.

    Raises:
        MissingExtraError: the package ``gguf`` is not installed.
    """
    if model.path.stat().st_size > _LARGEST:
        return None
    key = hashlib.sha256(f"{_MERGE} {model.sha256} {adapter.sha256} {kind}".encode()).hexdigest()[:32]
    try:
        path = cache_folder() / f"{model.path.stem}-{key}.gguf"
        if _intact(path):
            return path, kind
        path.parent.mkdir(parents=True, exist_ok=True)
        draft, sealed = (path.with_name(f".{path.stem}.{os.getpid()}{end}") for end in (".gguf", ".sha256"))
        try:
            if not merge(model.path, adapter.path, kind, draft):
                return None
            with draft.open("rb") as file:
                os.fsync(file.fileno())
            # A kill between the two replacements leaves a hash that fits no file: it is then merged again.
            sealed.write_text(file_sha256(draft), encoding="ascii")
            sealed.replace(_seal(path))
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
            sealed.unlink(missing_ok=True)
    except (OSError, RuntimeError) as error:  # no home directory, a full disk, a read-only one
        _logger.warning("the merged model cannot be kept (%s), so the adapter is applied at each step: slower", error)
        return None
    return path, kind


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/laclip-aug``, or ``~/.cache/laclip-aug``."""
    named = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(named) if named else Path.home() / ".cache") / "laclip-aug"


def merge(model: Path, adapter: Path, kind: str, out: Path) -> bool:
    """Write ``model`` with ``adapter`` merged in and its matrices as ``kind``; False if it is no adapter to merge.

    Raises:
        MissingExtraError: the package ``gguf`` is not installed.
    """
    try:
        import gguf
    except ImportError as error:
        raise MissingExtraError("llm", "gguf") from error
    base, lora = gguf.GGUFReader(model), gguf.GGUFReader(adapter)
    weights = {tensor.name: tensor for tensor in base.tensors}
    pairs = _pairs(gguf, lora, weights)
    if pairs is None:
        return False
    alpha = float(lora.fields["adapter.lora.alpha"].contents()) if "adapter.lora.alpha" in lora.fields else 0.0
    writer = gguf.GGUFWriter(out, str(base.fields["general.architecture"].contents()))
    for key, field in base.fields.items():
        if not key.startswith("GGUF.") and key != "general.architecture":
            value = field.contents()
            if key == "general.file_type":
                value = int(gguf.LlamaFileType[f"MOSTLY_{kind}"])
            inner = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(key, value, field.types[0], inner)
    for name, tensor in tqdm(weights.items(), desc="merging the adapter, once", unit="weight", leave=False):
        if len(tensor.shape) != 2:
            writer.add_tensor(name, tensor.data, raw_dtype=tensor.tensor_type)
            continue
        weight = gguf.dequantize(tensor.data, tensor.tensor_type)
        if name in pairs:
            a, b = pairs[name]
            weight = weight + (alpha / len(a) if alpha else 1.0) * (b @ a)
        wanted = gguf.GGMLQuantizationType[kind if weight.shape[1] % 32 == 0 else "F16"]  # a block is 32 numbers
        writer.add_tensor(name, gguf.quantize(weight, wanted), raw_dtype=wanted)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return True


def _pairs(gguf: Any, lora: Any, weights: dict[str, Any]) -> dict[str, tuple[Any, Any]] | None:
    """Weight's name → its A and B; None if one of them is no plain LoRA of a matrix of the model."""
    sides: dict[str, dict[str, Any]] = {}
    for tensor in lora.tensors:
        name, _, side = tensor.name.rpartition(".lora_")
        sides.setdefault(name, {})[side] = gguf.dequantize(tensor.data, tensor.tensor_type)
    for name, own in sides.items():
        shape = tuple(reversed(weights[name].shape)) if name in weights else ()
        fits = set(own) == {"a", "b"} and shape == (len(own["b"]), own["a"].shape[-1])
        if not fits or name.startswith("token_embd") or len(own["a"]) != own["b"].shape[-1]:
            return None
    if not sides or any(key.startswith("adapter.alora") for key in lora.fields):
        return None
    return {name: (own["a"], own["b"]) for name, own in sides.items()}


def _seal(path: Path) -> Path:
    return path.with_suffix(".sha256")


def _intact(path: Path) -> bool:
    return path.is_file() and _seal(path).is_file() and _seal(path).read_text(encoding="ascii") == file_sha256(path)
