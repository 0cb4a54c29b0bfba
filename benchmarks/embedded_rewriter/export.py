"""Write a checkpoint as GGUF, so that llama.cpp runs it: ``llama`` architecture, SPM vocabulary, F16 or Q8_0."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import gguf
import numpy as np
import torch
from sentencepiece import SentencePieceProcessor

from benchmarks.embedded_rewriter.generate import load
from benchmarks.embedded_rewriter.vocabulary import BOS, EOS, UNK

LICENCE = (
    "Weights for research use only: trained in part on Multi30k and Flickr30k captions (research use), beside MS-COCO "
    "captions (CC BY 4.0), Conceptual Captions (free use) and CapsFusion (see the model card)"
)
_TYPES = {
    "f16": gguf.GGMLQuantizationType.F16,
    "q8_0": gguf.GGMLQuantizationType.Q8_0,
    "f32": gguf.GGMLQuantizationType.F32,
}
_FILE_TYPES = {
    "f16": gguf.LlamaFileType.MOSTLY_F16,
    "q8_0": gguf.LlamaFileType.MOSTLY_Q8_0,
    "f32": gguf.LlamaFileType.ALL_F32,
}
_NAMES = {
    "norm_attention": "attn_norm", "norm_mlp": "ffn_norm", "q": "attn_q", "k": "attn_k", "v": "attn_v",
    "o": "attn_output", "gate": "ffn_gate", "up": "ffn_up", "down": "ffn_down",
}  # fmt: skip


def tensor_name(name: str) -> str:
    """``blocks.3.gate.weight`` is ``blk.3.ffn_gate.weight`` in GGUF."""
    if name.startswith("blocks."):
        _, layer, part, _ = name.split(".")
        return f"blk.{layer}.{_NAMES[part]}.weight"
    return {"embedding.weight": "token_embd.weight", "norm.weight": "output_norm.weight"}[name]


def export(
    checkpoint: Path,
    vocabulary: Path,
    out: Path,
    kind: Literal["f16", "q8_0", "f32"] = "f16",
    description: Mapping[str, str] | None = None,
) -> str:
    """Write ``out``; returns its SHA-256. ``description`` adds ``general.*`` strings. Norms stay in F32."""
    model = load(checkpoint)
    shape = model.shape
    writer = gguf.GGUFWriter(str(out), "llama")
    writer.add_name("laclip-rewriter")
    writer.add_license(LICENCE)
    writer.add_description("Rewrites image captions; prompt: <s> caption <|chatgpt|> (or bard, mscoco, human)")
    for key, value in (description or {}).items():
        writer.add_string(f"general.{key}", value)
    writer.add_vocab_size(shape.vocabulary)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.hidden)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.heads)
    writer.add_rope_dimension_count(shape.width // shape.heads)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_layer_norm_rms_eps(shape.eps)
    writer.add_file_type(_FILE_TYPES[kind])
    _write_vocabulary(writer, vocabulary)
    for name, parameter in model.state_dict().items():
        data = parameter.to(torch.float32).numpy()
        type_ = _TYPES[kind] if data.ndim == 2 else gguf.GGMLQuantizationType.F32
        if type_ is gguf.GGMLQuantizationType.F32:
            writer.add_tensor(tensor_name(name), data)
        elif type_ is gguf.GGMLQuantizationType.F16:
            writer.add_tensor(tensor_name(name), data.astype(np.float16))
        else:
            writer.add_tensor(tensor_name(name), gguf.quants.quantize(data, type_), raw_dtype=type_)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return hashlib.sha256(out.read_bytes()).hexdigest()


def _write_vocabulary(writer: gguf.GGUFWriter, path: Path) -> None:
    pieces = SentencePieceProcessor(model_file=str(path))
    ids = range(pieces.vocab_size())
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([pieces.id_to_piece(i).encode("utf-8") for i in ids])
    writer.add_token_scores([pieces.get_score(i) for i in ids])
    writer.add_token_types([_kind(pieces, i) for i in ids])
    writer.add_bos_token_id(BOS)
    writer.add_eos_token_id(EOS)
    writer.add_unk_token_id(UNK)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(False)


def _kind(pieces: SentencePieceProcessor, token: int) -> gguf.TokenType:
    if pieces.is_unknown(token):
        return gguf.TokenType.UNKNOWN
    if pieces.is_control(token):
        return gguf.TokenType.CONTROL
    return gguf.TokenType.BYTE if pieces.is_byte(token) else gguf.TokenType.NORMAL
