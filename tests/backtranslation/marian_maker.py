"""Tiny Marian translation models, made on the spot: random weights, real files."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import sentencepiece as spm
from safetensors.numpy import save_file

WIDTH, FORWARD, HEADS, ENCODER, DECODER = 32, 64, 4, 2, 1

_NOUNS = "dog cat man woman child boat car tree ball house horse bird train street beach table".split()
_VERBS = "runs sits stands jumps waits rests moves plays".split()
_COLOURS = "red blue green white black brown yellow".split()
SENTENCES = [
    f"a {colour} {noun} {verb} near the {other}"
    for colour in _COLOURS
    for noun in _NOUNS
    for verb, other in zip(_VERBS, _NOUNS, strict=False)
]


def pieces_model(control: list[str]) -> bytes:
    """A small SentencePiece model in Marian's order (``</s>``, ``<unk>``, ...) with ``control`` tokens."""
    model = io.BytesIO()
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES),
        model_writer=model,
        vocab_size=400,
        byte_fallback=True,
        hard_vocab_limit=False,
        eos_id=0,
        unk_id=1,
        bos_id=-1,
        pad_id=-1,
        control_symbols=control,
        num_threads=1,
        minloglevel=2,
    )
    return model.getvalue()


def random_weights(pieces: int, seed: int) -> dict[str, np.ndarray]:
    """Weights under the names of Hugging Face's Marian model, large enough for lively outputs."""
    rng = np.random.default_rng(seed)
    weights = {"model.shared.weight": rng.normal(0, 0.4, (pieces + 1, WIDTH))}
    weights["final_logits_bias"] = rng.normal(0, 0.2, (1, pieces + 1))
    for side, layers in (("encoder", ENCODER), ("decoder", DECODER)):
        for i in range(layers):
            name = f"model.{side}.layers.{i}"
            for attention in ("self_attn", *(["encoder_attn"] if side == "decoder" else [])):
                for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
                    weights[f"{name}.{attention}.{part}.weight"] = rng.normal(0, 0.3, (WIDTH, WIDTH))
                    weights[f"{name}.{attention}.{part}.bias"] = rng.normal(0, 0.1, WIDTH)
                _norm(weights, f"{name}.{attention}_layer_norm", rng)
            weights[f"{name}.fc1.weight"] = rng.normal(0, 0.3, (FORWARD, WIDTH))
            weights[f"{name}.fc1.bias"] = rng.normal(0, 0.1, FORWARD)
            weights[f"{name}.fc2.weight"] = rng.normal(0, 0.3, (WIDTH, FORWARD))
            weights[f"{name}.fc2.bias"] = rng.normal(0, 0.1, WIDTH)
            _norm(weights, f"{name}.final_layer_norm", rng)
    weights["model.shared.weight"][pieces] = 0
    return {name: array.astype(np.float32) for name, array in weights.items()}


def _norm(weights: dict[str, np.ndarray], name: str, rng: np.random.Generator) -> None:
    weights[f"{name}.weight"] = rng.normal(1, 0.1, WIDTH)
    weights[f"{name}.bias"] = rng.normal(0, 0.1, WIDTH)


def make_folder(folder: Path, control: tuple[str, ...] = (), seed: int = 0, file: str = "model.safetensors") -> Path:
    """A Hugging Face Marian folder; ``file`` names the format of its weights."""
    folder.mkdir(parents=True)
    model = pieces_model(list(control))
    (folder / "source.spm").write_bytes(model)
    (folder / "target.spm").write_bytes(model)
    processor = spm.SentencePieceProcessor(model_proto=model)
    pieces = [processor.id_to_piece(i) for i in range(len(processor))]
    (folder / "vocab.json").write_text(json.dumps({p: i for i, p in enumerate([*pieces, "<pad>"])}), encoding="utf-8")
    config = {
        "model_type": "marian",
        "d_model": WIDTH,
        "encoder_layers": ENCODER,
        "decoder_layers": DECODER,
        "encoder_attention_heads": HEADS,
        "decoder_attention_heads": HEADS,
        "pad_token_id": len(pieces),
        "max_position_embeddings": 256,
        "activation_function": "relu",
        "scale_embedding": True,
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    weights = random_weights(len(pieces), seed)
    for i, piece in enumerate(pieces):
        if piece.startswith("<0x") or piece in control:
            weights["final_logits_bias"][0, i] = -30  # words, not stray bytes
    weights["final_logits_bias"][0, 0] = 6  # and an end, sooner or later
    if file == "model.safetensors":
        save_file(weights, folder / file)
    else:
        import torch

        torch.save({name: torch.from_numpy(array) for name, array in weights.items()}, folder / file)
    return folder


def make_native(folder: Path, like: Path) -> Path:
    """The model of the Hugging Face folder ``like`` as Marian itself writes it: npz weights and YAML vocabularies."""
    from safetensors.numpy import load_file

    folder.mkdir(parents=True)
    weights = load_file(like / "model.safetensors")
    vocabulary = json.loads((like / "vocab.json").read_text(encoding="utf-8"))
    count = len(vocabulary) - 1
    arrays = {
        "Wemb": weights["model.shared.weight"][:count],
        "decoder_ff_logit_out_b": weights["final_logits_bias"][:, :count],
    }
    letters = {"q_proj": "q", "k_proj": "k", "v_proj": "v", "out_proj": "o"}
    for side, layers in (("encoder", ENCODER), ("decoder", DECODER)):
        for i in range(layers):
            source, target = f"model.{side}.layers.{i}", f"{side}_l{i + 1}"
            for attention, short in (("self_attn", "self"), ("encoder_attn", "context")):
                if f"{source}.{attention}.q_proj.weight" not in weights:
                    continue
                for part, letter in letters.items():
                    arrays[f"{target}_{short}_W{letter}"] = weights[f"{source}.{attention}.{part}.weight"].T
                    arrays[f"{target}_{short}_b{letter}"] = weights[f"{source}.{attention}.{part}.bias"][None]
                arrays[f"{target}_{short}_Wo_ln_scale"] = weights[f"{source}.{attention}_layer_norm.weight"][None]
                arrays[f"{target}_{short}_Wo_ln_bias"] = weights[f"{source}.{attention}_layer_norm.bias"][None]
            for number in ("1", "2"):
                arrays[f"{target}_ffn_W{number}"] = weights[f"{source}.fc{number}.weight"].T
                arrays[f"{target}_ffn_b{number}"] = weights[f"{source}.fc{number}.bias"][None]
            arrays[f"{target}_ffn_ffn_ln_scale"] = weights[f"{source}.final_layer_norm.weight"][None]
            arrays[f"{target}_ffn_ffn_ln_bias"] = weights[f"{source}.final_layer_norm.bias"][None]
    settings = {
        "type": "transformer",
        "enc-depth": ENCODER,
        "dec-depth": DECODER,
        "transformer-heads": HEADS,
        "transformer-decoder-autoreg": "self-attention",
        "transformer-no-projection": False,
        "transformer-ffn-activation": "relu",
        "transformer-preprocess": "",
        "transformer-postprocess": "dan",
        "transformer-postprocess-emb": "d",
        "transformer-guided-alignment-layer": "last",
    }
    arrays["special:model.yml"] = np.frombuffer(json.dumps(settings).encode() + b"\0", dtype=np.int8)
    np.savez(folder / "model.npz", **arrays)
    lines = [f"{json.dumps(piece, ensure_ascii=False)}: {i}" for piece, i in vocabulary.items() if i < count]
    (folder / "vocab.yml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "decoder.yml").write_text(json.dumps({"models": ["model.npz"], "vocabs": ["vocab.yml", "vocab.yml"]}))
    for name in ("source.spm", "target.spm"):
        (folder / name).write_bytes((like / name).read_bytes())
    return folder
