"""A LoRA adapter merged into its model, once, as a file in the user's cache directory.

A merged weight is W + (alpha / r) B A, with A ``[r, in]`` and B ``[out, r]`` (Hu et al. 2021, section 4.1). A merged
model reads and writes as many tokens a second as one without an adapter; its matrices are stored in the format that the
machine computes with fastest, so it is faster than the quantised file that it was made from. Large models are left as
they are, and so are adapters of another kind: llama.cpp then applies the adapter while it computes.

The file's name is a hash of model, adapter and format, so a changed adapter is merged anew; its own hash lies beside
it and is checked when it is used, at most once a day (:mod:`laclip_aug.generation.hashing`). The few files that were
used last are kept.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from tqdm import tqdm

from laclip_aug.errors import MissingExtraError
from laclip_aug.generation.hashing import Note, cache_folder
from laclip_aug.generation.models import ModelFile

_LARGEST = 1 << 30  # bytes of a model file; beyond it the copy would take more disk than it saves time
_MERGE = 1
"""Goes up when the same files are merged to other weights than before."""
_KEPT = 3
_UNUSED = 600.0  # seconds; a file that was found in use less long ago may be about to be opened
_NAME = re.compile(r"\..+-[0-9a-f]{32}\.\d+\.(?:gguf|json)|.+-[0-9a-f]{32}\.gguf")
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
            _use(path)
            return path, kind
        path.parent.mkdir(parents=True, exist_ok=True)
        draft, note = (path.with_name(f".{path.stem}.{os.getpid()}{end}") for end in (".gguf", ".json"))
        try:
            if not merge(model.path, adapter.path, kind, draft):
                return None
            with draft.open("rb") as file:
                os.fsync(file.fileno())
            # A kill between the two replacements leaves a hash that fits no file: it is then merged again.
            Note.of(draft).save(note)
            note.replace(_note(path))
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
            note.unlink(missing_ok=True)
        _clear(path.parent)
    except (OSError, RuntimeError) as error:  # no home directory, a full disk, a read-only one
        _logger.warning("the merged model cannot be kept (%s), so the adapter is applied at each step: slower", error)
        return None
    return path, kind


def merge(model: Path, adapter: Path, kind: str, out: Path) -> bool:
    """Write ``model`` with ``adapter`` merged in and its matrices as ``kind``; False if it is no adapter to merge.

    False too if one of both is damaged: llama.cpp, which is then asked for them, says what is wrong.

    Raises:
        MissingExtraError: the package ``gguf`` is not installed.
    """
    try:
        import gguf
    except ImportError as error:
        raise MissingExtraError("llm", "gguf") from error
    try:
        base, lora = gguf.GGUFReader(model), gguf.GGUFReader(adapter)
    except (ValueError, LookupError, TypeError):  # what numpy and the reader raise of a file that ends too soon
        return False
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


def _note(path: Path) -> Path:
    return path.with_suffix(".json")


def _intact(path: Path) -> bool:
    """Whether ``path`` is what was written; read again if that was not done for a day, or if it is in another state."""
    note = Note.load(_note(path))
    if note is None or not path.is_file():
        return False
    if note.holds(path):
        return True
    now = Note.of(path)
    if now.sha256 == note.sha256:
        with suppress(OSError):  # a read-only folder
            now.save(_note(path))
    return now.sha256 == note.sha256


def _use(path: Path) -> None:
    with suppress(OSError):  # a read-only folder
        os.utime(_note(path))


def _clear(folder: Path) -> None:
    """Delete all merged models but those used last, and what killed merges left.

    A process that has one loaded keeps what it has; one that would load it again finds it gone, and merges.
    """
    with suppress(OSError):
        used = {path: _last_use(path) for path in folder.iterdir() if _NAME.fullmatch(path.name)}
        kept = sorted((path for path in used if not path.name.startswith(".")), key=used.__getitem__)[-_KEPT:]
        for path, last in used.items():
            if path not in kept and time.time() - last > _UNUSED:
                with suppress(OSError):  # another process was faster, or has it open on a system that minds
                    path.unlink()
                    _note(path).unlink()


def _last_use(path: Path) -> float:
    note = _note(path)
    return (note if note.exists() else path).stat().st_mtime
