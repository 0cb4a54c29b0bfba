"""Writes a llama-architecture GGUF with random weights: a real model for llama.cpp, made in under a second.

Its vocabulary holds all 256 byte pieces, the printable ASCII characters and some words of photo captions, so that any
text survives a round trip through tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import gguf
import numpy as np

WORDS = (
    "a the of on in with and is at to two three red blue green white black small big dog cat car boat tree "
    "ball man woman child people beach street grass water sky house table sitting standing running playing "
    "photo picture near"
).split()
CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def _pieces(specials: Sequence[str], size: int) -> list[tuple[str, float, int]]:
    kind = gguf.TokenType
    pieces: dict[str, tuple[float, int]] = {
        "<unk>": (0.0, kind.UNKNOWN),
        "<s>": (0.0, kind.CONTROL),
        "</s>": (0.0, kind.CONTROL),
    }
    pieces.update(dict.fromkeys(specials, (0.0, kind.CONTROL)))
    pieces.update({f"<0x{byte:02X}>": (0.0, kind.BYTE) for byte in range(256)})
    characters = ["▁"] + [chr(code) for code in range(33, 127)]
    pieces.update(dict.fromkeys(characters, (-1000.0, kind.NORMAL)))
    rank = 0
    for word in WORDS:  # a merge builds a piece from two others, so every beginning of a word is a piece too
        for end in range(1, len(word) + 1):
            if (piece := "▁" + word[:end]) not in pieces:
                rank += 1
                pieces[piece] = (-float(rank), kind.NORMAL)
    for number in range(max(0, size - len(pieces))):
        pieces[f"▁filler{number}"] = (-2000.0 - number, kind.NORMAL)
    return [(text, score, token_type) for text, (score, token_type) in pieces.items()]


def make_gguf(
    path: Path,
    *,
    n_embd: int = 64,
    n_layer: int = 2,
    n_head: int = 4,
    n_ctx: int = 2048,
    vocab_size: int = 0,
    specials: Sequence[str] = ("<|im_start|>", "<|im_end|>", "<|rewrite|>"),
    chat_template: str | None = CHAT_TEMPLATE,
    byte_pieces: bool = True,
    logit_std: float = 4.0,
    seed: int = 0,
) -> Path:
    """Write the model to ``path``. ``vocab_size`` adds filler pieces up to that size.

    ``logit_std`` is the standard deviation of the logits. Line break and end of text get a larger one, so that some
    completions end before the limit.
    """
    pieces = _pieces(specials, vocab_size)
    if not byte_pieces:
        pieces = [piece for piece in pieces if piece[2] != gguf.TokenType.BYTE]
    n_vocab, n_ff = len(pieces), 2 * n_embd
    rng = np.random.default_rng(seed)

    def matrix(rows: int, columns: int, std: float) -> np.ndarray:
        return rng.normal(0.0, std, (rows, columns)).astype(np.float32)

    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny-random")
    writer.add_vocab_size(n_vocab)
    writer.add_context_length(n_ctx)
    writer.add_embedding_length(n_embd)
    writer.add_block_count(n_layer)
    writer.add_feed_forward_length(n_ff)
    writer.add_head_count(n_head)
    writer.add_head_count_kv(n_head)
    writer.add_rope_dimension_count(n_embd // n_head)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([text.encode() for text, _, _ in pieces])
    writer.add_token_scores([score for _, score, _ in pieces])
    writer.add_token_types([int(token_type) for _, _, token_type in pieces])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(True)
    if chat_template is not None:
        writer.add_chat_template(chat_template)

    names = [text for text, _, _ in pieces]
    output = matrix(n_vocab, n_embd, logit_std / n_embd**0.5)
    for name in ("</s>", "<0x0A>"):
        if name in names:
            output[names.index(name)] *= 1.3
    writer.add_tensor("token_embd.weight", matrix(n_vocab, n_embd, 1.0))
    writer.add_tensor("output_norm.weight", np.ones(n_embd, np.float32))
    writer.add_tensor("output.weight", output)
    std = n_embd**-0.5
    for layer in range(n_layer):
        block = f"blk.{layer}"
        writer.add_tensor(f"{block}.attn_norm.weight", np.ones(n_embd, np.float32))
        writer.add_tensor(f"{block}.ffn_norm.weight", np.ones(n_embd, np.float32))
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            writer.add_tensor(f"{block}.{name}.weight", matrix(n_embd, n_embd, std))
        writer.add_tensor(f"{block}.ffn_gate.weight", matrix(n_ff, n_embd, std))
        writer.add_tensor(f"{block}.ffn_up.weight", matrix(n_ff, n_embd, std))
        writer.add_tensor(f"{block}.ffn_down.weight", matrix(n_embd, n_ff, n_ff**-0.5))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return Path(path)


def make_adapter(
    path: Path, base: Path, *, rank: int = 4, alpha: float = 8.0, scale: float = 0.3, seed: int = 1
) -> Path:
    """Write a LoRA adapter of random weights for all matrices of the blocks of ``base``."""
    rng = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", alpha)
    for tensor in gguf.GGUFReader(base).tensors:
        if len(tensor.shape) == 2 and tensor.name.startswith("blk."):
            columns, rows = map(int, tensor.shape)
            writer.add_tensor(f"{tensor.name}.lora_a", rng.normal(0, columns**-0.5, (rank, columns)).astype(np.float32))
            writer.add_tensor(f"{tensor.name}.lora_b", rng.normal(0, scale, (rows, rank)).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def make_embedding_model(path: Path) -> Path:
    """A BERT of one layer with random weights and letters as its vocabulary, as sentence embedders are published."""
    width, inner, length = 32, 64, 512
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"▁{letter}" for letter in letters), *letters]
    writer = gguf.GGUFWriter(path, "bert")
    writer.add_context_length(length)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(inner)
    writer.add_block_count(1)
    writer.add_head_count(4)
    writer.add_layer_norm_eps(1e-12)
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.MEAN)
    writer.add_tokenizer_model("bert")
    writer.add_token_list(pieces)
    writer.add_token_types([gguf.TokenType.CONTROL] * 4 + [gguf.TokenType.NORMAL] * (len(pieces) - 4))
    writer.add_token_type_count(2)
    for number, add in enumerate(
        (writer.add_pad_token_id, writer.add_unk_token_id, writer.add_bos_token_id, writer.add_eos_token_id)
    ):
        add(number)
    shapes = {
        "token_embd.weight": (len(pieces), width),
        "position_embd.weight": (length, width),
        "token_types.weight": (2, width),
        "blk.0.ffn_up.weight": (inner, width),
        "blk.0.ffn_up.bias": (inner,),
        "blk.0.ffn_down.weight": (width, inner),
        "blk.0.ffn_down.bias": (width,),
    }
    for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
        shapes |= {f"blk.0.{name}.weight": (width, width), f"blk.0.{name}.bias": (width,)}
    for name in ("token_embd_norm", "blk.0.attn_output_norm", "blk.0.layer_output_norm"):
        shapes |= {f"{name}.weight": (width,), f"{name}.bias": (width,)}
    random = np.random.default_rng(0)
    for name, shape in shapes.items():
        writer.add_tensor(name, random.normal(size=shape).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
