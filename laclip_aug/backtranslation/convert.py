"""A Hugging Face or Marian folder into the folder that back-translation reads: ``laclip-aug translate convert``."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from laclip_aug.backtranslation.ctranslate import load
from laclip_aug.backtranslation.folder import PIECES, infer, write_settings
from laclip_aug.backtranslation.marian import marian_spec
from laclip_aug.errors import ConfigurationError, LaclipError, MissingExtraError, ModelError

QUANTIZATIONS = ("int8", "int8_float32", "int8_float16", "int8_bfloat16", "int16", "float16", "bfloat16", "float32")


def convert(source: str | Path, out: str | Path, quantization: str = "int8") -> Path:
    """Convert the model in the folder ``source`` into the new folder ``out``, and return it.

    ``source`` is one of: a Hugging Face Marian folder (OPUS-MT: ``config.json``, ``vocab.json``, ``source.spm``,
    ``target.spm`` and the weights); a Marian folder as OPUS-MT publishes it (``decoder.yml``, the ``.npz`` weights, the
    vocabularies, the SentencePiece models); a Hugging Face folder of another translation architecture that CTranslate2
    knows, such as NLLB or M2M-100, for which the transformers library must be installed. ``out`` appears whole or not
    at all.

    Raises:
        ConfigurationError: ``out`` exists, or the quantization is unknown.
        MissingExtraError: a library is not installed.
        ModelError: ``source`` is none of these, or not complete.
    """
    source, out = Path(source), Path(out)
    if quantization not in QUANTIZATIONS:
        raise ConfigurationError(f"unknown quantization {quantization!r}; choose one of {', '.join(QUANTIZATIONS)}")
    if out.exists():
        raise ConfigurationError(f"{out} exists; name another folder, or remove it first")
    if not source.is_dir():
        raise ModelError(f"{source} is no folder; name the folder of a downloaded translation model")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as scratch:
        made = Path(scratch) / "model"
        try:
            _convert(source, made, quantization)
        except LaclipError:
            raise
        except Exception as error:  # CTranslate2's converters raise whatever their readers raise
            raise ModelError(
                f"{source} cannot be converted ({error!r}); check that its download is complete"
            ) from error
        for name in PIECES:
            if (source / name).is_file() and not _same(source / name, made / "source.spm"):
                shutil.copyfile(source / name, made / name)
        write_settings(made, infer(made))
        made.rename(out)
    return out


def _convert(source: Path, made: Path, quantization: str) -> None:
    if (source / "decoder.yml").is_file():
        load("ctranslate2.converters").OpusMTConverter(str(source)).convert(str(made), quantization=quantization)
        return
    config = _config(source)
    if config.get("model_type") == "marian" and config.get("share_encoder_decoder_embeddings", True):
        spec = marian_spec(source, config)
        spec.validate()
        spec.optimize(quantization=quantization)
        made.mkdir()
        spec.save(str(made))
        return
    try:
        import transformers  # type: ignore[import-not-found,unused-ignore]  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("convert", "transformers") from error
    load("ctranslate2.converters").TransformersConverter(str(source)).convert(str(made), quantization=quantization)


def _same(file: Path, copied: Path) -> bool:
    """One vocabulary for both sides is kept once."""
    return copied.is_file() and file.read_bytes() == copied.read_bytes()


def _config(source: Path) -> dict[str, Any]:
    try:
        config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(
            f"{source} has neither config.json nor decoder.yml; name a Hugging Face or Marian folder"
        ) from error
    except (OSError, ValueError) as error:
        raise ModelError(f"{source / 'config.json'} cannot be read ({error}); download it again") from error
    if not isinstance(config, dict):
        raise ModelError(f"{source / 'config.json'} is no JSON object; download it again")
    return config
