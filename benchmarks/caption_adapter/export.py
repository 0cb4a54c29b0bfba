"""Write a trained adapter as the GGUF that llama.cpp applies, or merged with its base into one model file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt
import torch

Array = npt.NDArray[np.float32]
_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_KEY = re.compile(r"layers\.(\d+)\.([\w.]+)\.lora_([AB])\.weight$")


def tensors(adapter: Mapping[str, torch.Tensor], heads: int, kv_heads: int) -> dict[str, tuple[Array, Array]]:
    """GGUF's name of a weight ``[out, in]`` -> its A ``[r, in]`` and B ``[out, r]``.

    A GGUF of the llama architecture holds the rows of q and k in another order: halves of a head interleaved.
    """
    found: dict[str, dict[str, Array]] = {}
    for key, value in adapter.items():
        if not (match := _KEY.search(key)):
            raise ValueError(f"{key} is no LoRA weight of a llama layer")
        layer, module, side = match.groups()
        array = value.float().numpy()
        if side == "B" and module.endswith(("q_proj", "k_proj")):
            n = heads if module.endswith("q_proj") else kv_heads
            array = array.reshape(n, 2, len(array) // n // 2, -1).swapaxes(1, 2).reshape(array.shape)
        found.setdefault(f"blk.{layer}.{_NAMES[module]}.weight", {})[side] = np.ascontiguousarray(array)
    return {name: (own["A"], own["B"]) for name, own in found.items()}


def read_adapter(path: Path, heads: int, kv_heads: int) -> dict[str, torch.Tensor]:
    """The weights of an adapter file by peft's names, to train them on."""
    modules = {own: module for module, own in _NAMES.items()}
    state = {}
    for tensor in gguf.GGUFReader(path).tensors:
        _, layer, own, _, side = tensor.name.split(".")
        array = gguf.dequantize(tensor.data, tensor.tensor_type)
        if side == "lora_b" and own in ("attn_q", "attn_k"):
            n = heads if own == "attn_q" else kv_heads
            array = array.reshape(n, len(array) // n // 2, 2, -1).swapaxes(1, 2).reshape(array.shape)
        key = f"base_model.model.model.layers.{layer}.{modules[own]}.lora_{side[-1].upper()}.weight"
        state[key] = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
    return state


def mean(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The mean of two adapters by peft's names, of one rank r and alpha.

    The mean of the changes B A ``[out, in]`` to each weight, that is, cut to rank r by its singular values: the mean of
    the Bs times that of the As would be another.
    """
    found, both = {}, [{key: value.float().cpu() for key, value in own.items()} for own in (one, other)]
    for key in (key for key in one if ".lora_A." in key):
        up = key.replace(".lora_A.", ".lora_B.")
        whole = torch.cat([own[up] for own in both], 1) @ torch.cat([own[key] for own in both]) / 2
        left, values, right = torch.linalg.svd(whole, full_matrices=False)
        root = values[: len(one[key])].sqrt()
        found[up], found[key] = left[:, : len(root)] * root, root[:, None] * right[: len(root)]
    return found


def write_adapter(found: Mapping[str, tuple[Array, Array]], alpha: float, name: str, out: Path) -> None:
    """The adapter alone, F16."""
    writer = gguf.GGUFWriter(out, "llama")
    writer.add_type("adapter")
    writer.add_name(name)
    writer.add_license("apache-2.0")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", alpha)
    for weight, (a, b) in found.items():
        writer.add_tensor(f"{weight}.lora_a", a.astype(np.float16))
        writer.add_tensor(f"{weight}.lora_b", b.astype(np.float16))
    _close(writer)


def write_merged(base: Path, found: Mapping[str, tuple[Array, Array]], alpha: float, out: Path) -> None:
    """Base plus adapter as one model, matrices in BF16: for evaluation and for the next round's candidates."""
    reader = gguf.GGUFReader(base)
    writer = gguf.GGUFWriter(out, "llama")
    for key, field in reader.fields.items():
        if key.startswith("GGUF.") or key == "general.architecture":
            continue
        value = int(gguf.LlamaFileType.MOSTLY_BF16) if key == "general.file_type" else field.contents()
        sub_type = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(key, value, field.types[0], sub_type)
    for tensor in reader.tensors:
        weight = gguf.dequantize(tensor.data, tensor.tensor_type)
        if tensor.name in found:
            a, b = found[tensor.name]
            weight = weight + alpha / len(a) * (b @ a)
        kind = gguf.GGMLQuantizationType.BF16 if weight.ndim > 1 else gguf.GGMLQuantizationType.F32
        writer.add_tensor(tensor.name, gguf.quantize(weight.astype(np.float32), kind), raw_dtype=kind)
    _close(writer)


def _close(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
