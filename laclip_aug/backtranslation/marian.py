"""The Marian network of a Hugging Face folder, weight by weight into CTranslate2's.

CTranslate2 converts such a folder through the transformers library. For the one architecture that OPUS-MT uses this is
not needed: the weights are in a safetensors or PyTorch file, and each has one place to go.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from laclip_aug.backtranslation.ctranslate import load
from laclip_aug.errors import ModelError

_ACTIVATIONS = {"relu": "RELU", "swish": "SWISH", "silu": "SWISH", "gelu": "GELU", "gelu_new": "GELUTanh"}
_FIXED = {"normalize_before": False, "normalize_embedding": False}
_TABLES = ("model.shared.weight", "model.encoder.embed_tokens.weight", "lm_head.weight")  # one table, any of its names


def read_weights(folder: Path) -> dict[str, Any]:
    """The tensors of ``model.safetensors`` or ``pytorch_model.bin`` as float32 arrays, by name.

    A PyTorch file is read as tensors only, never as objects.

    Raises:
        ModelError: neither file is there, or it cannot be read.
    """
    try:
        if (folder / "model.safetensors").is_file():
            from safetensors.torch import load_file

            tensors = load_file(str(folder / "model.safetensors"))
        elif (folder / "pytorch_model.bin").is_file():
            import torch

            tensors = torch.load(folder / "pytorch_model.bin", map_location="cpu", weights_only=True)
        else:
            raise ModelError(f"{folder} has neither model.safetensors nor pytorch_model.bin; download one of them")
    except ModelError:
        raise
    except Exception as error:  # the two readers raise a dozen kinds, from struct errors to unpickling ones
        raise ModelError(f"the weights in {folder} cannot be read ({error}); download them again") from error
    return {name: tensor.float().numpy() for name, tensor in tensors.items()}


def marian_spec(folder: Path, config: dict[str, Any]) -> Any:
    """A CTranslate2 ``TransformerSpec`` with the weights and the vocabulary of ``folder``.

    Raises:
        ModelError: a weight is missing, or the configuration asks for what OPUS-MT models do not have.
    """
    specs = load("ctranslate2.specs")
    for name, value in _FIXED.items():
        if config.get(name, value) != value:
            raise ModelError(f"{folder / 'config.json'} has {name}={config[name]}, which is not supported")
    activation = _ACTIVATIONS.get(str(config.get("activation_function", "gelu")))
    if activation is None:
        raise ModelError(f"{folder / 'config.json'} has activation {config['activation_function']!r}, not supported")
    try:
        heads = (int(config["encoder_attention_heads"]), int(config["decoder_attention_heads"]))
        layers = (int(config["encoder_layers"]), int(config["decoder_layers"]))
        width, pad = int(config["d_model"]), int(config["pad_token_id"])
        vocabulary: dict[str, int] = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
        weights = read_weights(folder)
        if heads[0] != heads[1]:
            raise ModelError(
                f"{folder} has {heads[0]} heads in its encoder and {heads[1]} in its decoder; not supported"
            )
        kinds = load("ctranslate2.specs.common_spec").Activation
        spec = specs.TransformerSpec.from_config(layers, heads[0], pre_norm=False, activation=kinds[activation])
        table = weights[next(filter(weights.__contains__, _TABLES), _TABLES[0])]
        real = table.shape[0] - 1 if pad == table.shape[0] - 1 else table.shape[0]
        table = table[:real]  # the padding row only starts the decoder, from zeros, which CTranslate2 does itself
        positions = _sinusoids(int(config.get("max_position_embeddings", 512)), width)
        for side, name in ((spec.encoder, "encoder"), (spec.decoder, "decoder")):
            embeddings = side.embeddings[0] if name == "encoder" else side.embeddings
            embeddings.weight = table
            side.scale_embeddings = bool(config.get("scale_embedding", False))
            side.position_encodings.encodings = positions
            for i, layer in enumerate(side.layer):
                _set_layer(layer, weights, f"model.{name}.layers.{i}", cross=name == "decoder")
        spec.decoder.start_from_zero_embedding = True
        spec.decoder.projection.weight = table
        spec.decoder.projection.bias = weights["final_logits_bias"].reshape(-1)[:real]
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise ModelError(
            f"{folder} is no complete Marian model ({type(error).__name__}: {error}); download it again"
        ) from error
    pieces = [piece for piece, _ in sorted(vocabulary.items(), key=lambda item: item[1])][:real]
    spec.register_source_vocabulary(pieces)
    spec.register_target_vocabulary(pieces)
    spec.config.decoder_start_token = spec.config.eos_token
    spec.config.add_source_eos = False
    return spec


def _sinusoids(count: int, width: int) -> Any:
    """Position embeddings ``[count, width]``: all sines, then all cosines."""
    import numpy as np

    angles = np.arange(count)[:, None] / 10000 ** (2 * np.arange(width // 2) / width)
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)


def _set_layer(layer: Any, weights: dict[str, Any], name: str, cross: bool) -> None:
    _set_attention(layer.self_attention, weights, f"{name}.self_attn", fused=True)
    if cross:
        _set_attention(layer.attention, weights, f"{name}.encoder_attn", fused=False)
    _set_norm(layer.ffn.layer_norm, weights, f"{name}.final_layer_norm")
    _set_linear(layer.ffn.linear_0, weights, [f"{name}.fc1"])
    _set_linear(layer.ffn.linear_1, weights, [f"{name}.fc2"])


def _set_attention(attention: Any, weights: dict[str, Any], name: str, fused: bool) -> None:
    """Self-attention has one product for queries, keys and values, cross-attention one for the queries."""
    q, k, v = (f"{name}.{part}_proj" for part in "qkv")
    for linear, parts in zip(attention.linear, ([q, k, v],) if fused else ([q], [k, v]), strict=False):
        _set_linear(linear, weights, parts)
    _set_linear(attention.linear[-1], weights, [f"{name}.out_proj"])
    _set_norm(attention.layer_norm, weights, f"{name}_layer_norm")


def _set_linear(linear: Any, weights: dict[str, Any], names: list[str]) -> None:
    import numpy as np

    linear.weight = np.concatenate([weights[f"{name}.weight"] for name in names])
    linear.bias = np.concatenate([weights[f"{name}.bias"] for name in names])


def _set_norm(norm: Any, weights: dict[str, Any], name: str) -> None:
    norm.gamma, norm.beta = weights[f"{name}.weight"], weights[f"{name}.bias"]
