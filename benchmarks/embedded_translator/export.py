"""From trained weights to a Hugging Face Marian folder, which ``laclip-aug translate convert`` makes the package's.

    python export.py OUT_DIR/weights.pt HF_DIR
    laclip-aug translate convert HF_DIR laclip_aug/backtranslation/embedded/en-de --quantization int8

``HF_DIR`` loads in transformers too (``MarianMTModel``), which is how the benchmark compares the two engines.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import sentencepiece as spm
import torch
from corpus import END
from model import Size
from safetensors.torch import save_file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    vocabulary = args.weights.parent / "sentencepiece.model"
    for name in ("source.spm", "target.spm"):
        shutil.copyfile(vocabulary, args.out / name)
    processor = spm.SentencePieceProcessor(model_file=str(vocabulary))
    pieces = [processor.id_to_piece(i) for i in range(len(processor))]
    (args.out / "vocab.json").write_text(
        json.dumps({piece: i for i, piece in enumerate([*pieces, "<pad>"])}, ensure_ascii=False), encoding="utf-8"
    )
    size = Size(**json.loads((args.weights.parent / "training.json").read_text())["size"])
    config = {
        "architectures": ["MarianMTModel"],
        "model_type": "marian",
        "vocab_size": len(pieces) + 1,
        "decoder_vocab_size": len(pieces) + 1,
        "pad_token_id": len(pieces),
        "decoder_start_token_id": len(pieces),
        "eos_token_id": END,
        "forced_eos_token_id": END,
        "bad_words_ids": [[len(pieces)]],
        "d_model": size.width,
        "encoder_layers": size.encoder_layers,
        "decoder_layers": size.decoder_layers,
        "encoder_attention_heads": size.heads,
        "decoder_attention_heads": size.heads,
        "encoder_ffn_dim": size.feed_forward,
        "decoder_ffn_dim": size.feed_forward,
        "max_position_embeddings": size.positions,
        "activation_function": "relu",
        "scale_embedding": True,
        "static_position_embeddings": True,
        "normalize_before": False,
        "normalize_embedding": False,
        "share_encoder_decoder_embeddings": True,
        "tie_word_embeddings": True,
        "max_length": 128,
        "num_beams": 1,
    }
    (args.out / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    weights = {f"model.{name}": tensor for name, tensor in torch.load(args.weights, weights_only=True).items()}
    weights["final_logits_bias"] = torch.zeros(1, len(pieces) + 1)
    save_file(weights, args.out / "model.safetensors", metadata={"format": "pt"})
    print(f"{args.out}: {sum(t.numel() for t in weights.values()) / 1e6:.2f}M weights")


if __name__ == "__main__":
    main()
