"""A converted model's folder: which files it has, what its language tokens look like, and whether it is intact.

``laclip-aug translate convert`` writes such a folder: CTranslate2's ``model.bin``, ``config.json`` and vocabulary, the
SentencePiece models, and ``translator.json`` with the templates below and the sha256 of every other file. A folder made
by CTranslate2's own converter, with the SentencePiece files copied beside it, is read too; its templates are inferred.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

from laclip_aug.errors import ConfigurationError, ModelError
from laclip_aug.generation.hashing import file_sha256

SETTINGS = "translator.json"
FORMAT = 1
TEXT = "{text}"
PIECES = ("source.spm", "target.spm", "sentencepiece.model", "sentencepiece.bpe.model", "spm.model")
"""SentencePiece files, as the publishers of translation models name them."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How a text becomes a model's input.

    ``source`` is a template of pieces in which ``{text}`` stands for the text's, ``{from}`` and ``{to}`` for the
    languages: ``("{text}", "</s>")`` for OPUS-MT, ``("{from}", "{text}", "</s>")`` for NLLB, whose ``target`` template,
    the pieces that a translation is forced to begin with, is ``("{to}",)``.
    """

    source: tuple[str, ...]
    target: tuple[str, ...]
    source_pieces: str
    target_pieces: str

    def fill(self, template: Sequence[str], languages: tuple[str, str]) -> list[str]:
        """``template`` with the languages' codes in place; ``{text}`` is left as it is."""
        return [piece.replace("{from}", languages[0]).replace("{to}", languages[1]) for piece in template]


def model_files(folder: Path) -> list[str]:
    """The names of the files that decide what a folder's model says, sorted.

    Raises:
        ModelError: the folder is absent or holds no converted model.
    """
    if not (folder / "model.bin").is_file():
        raise ModelError(
            f"{folder} holds no converted translation model (no model.bin); convert one with: "
            f"laclip-aug translate convert SOURCE_DIR {quote(str(folder))}"
        )
    names = {"model.bin", "config.json", *PIECES}
    return sorted(f.name for f in folder.iterdir() if f.name in names or "vocabulary" in f.name)


def hashes(folder: Path) -> dict[str, str]:
    """The sha256 of each model file: a flipped byte in ``model.bin`` would load silently."""
    return {name: file_sha256(folder / name) for name in model_files(folder)}


def write_settings(folder: Path, settings: Settings) -> None:
    """Write ``translator.json``, with the hashes of the files that the folder has now."""
    record = {
        "format": FORMAT,
        "source": list(settings.source),
        "target": list(settings.target),
        "source_pieces": settings.source_pieces,
        "target_pieces": settings.target_pieces,
        "sha256": hashes(folder),
    }
    (folder / SETTINGS).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def read_settings(folder: Path) -> tuple[Settings, dict[str, str]]:
    """The folder's settings and the sha256 of its files, checked against the recorded ones.

    Raises:
        ModelError: the folder is no converted model, a file is missing, damaged or of another format.
    """
    found = hashes(folder)
    if not (folder / SETTINGS).is_file():
        return infer(folder), found
    try:
        record = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        if record["format"] != FORMAT:
            raise ModelError(
                f"{folder / SETTINGS} has format {record['format']}, not {FORMAT}; convert the model again"
            )
        settings = Settings(
            tuple(map(str, record["source"])),
            tuple(map(str, record["target"])),
            str(record["source_pieces"]),
            str(record["target_pieces"]),
        )
        recorded: dict[str, Any] = dict(record["sha256"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{folder / SETTINGS} cannot be read ({error!r}); convert the model again") from error
    for name in sorted(recorded.keys() | found.keys()):
        if recorded.get(name) != found.get(name):
            raise ModelError(
                f"{folder / name} is not the file that was converted (its sha256 differs); copy or convert it again"
            )
    return settings, found


def infer(folder: Path, vocabulary: Sequence[str] | None = None) -> Settings:
    """The settings of a folder without ``translator.json``, from its SentencePiece files and vocabulary.

    Raises:
        ModelError: it has no SentencePiece file.
    """
    present = [name for name in PIECES if (folder / name).is_file()]
    if not present:
        raise ModelError(
            f"{folder} has no SentencePiece model ({', '.join(PIECES)}); copy it there from the model's source"
        )
    source = present[0]
    target = "target.spm" if source == "source.spm" and "target.spm" in present else source
    pieces = set(vocabulary if vocabulary is not None else read_vocabulary(folder))
    end = () if adds_end(folder) else ("</s>",)
    if any(re.fullmatch(r">>[A-Za-z_]+<<", piece) for piece in pieces):
        return Settings((">>{to}<<", TEXT, *end), (), source, target)
    if any(re.fullmatch(r"[a-z]{3}_[A-Z][a-z]{3}", piece) for piece in pieces):
        return Settings(("{from}", TEXT, *end), ("{to}",), source, target)
    if any(re.fullmatch(r"__[a-z]{2,3}__", piece) for piece in pieces):
        return Settings(("__{from}__", TEXT, *end), ("__{to}__",), source, target)
    return Settings((TEXT, *end), (), source, target)


def adds_end(folder: Path) -> bool:
    """Whether CTranslate2 itself ends each source with ``</s>``."""
    try:
        return bool(json.loads((folder / "config.json").read_text(encoding="utf-8")).get("add_source_eos", False))
    except (OSError, ValueError, AttributeError) as error:
        raise ModelError(f"{folder / 'config.json'} cannot be read ({error}); convert the model again") from error


def read_vocabulary(folder: Path) -> list[str]:
    """The source pieces that the model knows.

    Raises:
        ModelError: no vocabulary file can be read.
    """
    for stem in ("shared_vocabulary", "source_vocabulary"):
        try:
            if (folder / f"{stem}.json").is_file():
                return [str(piece) for piece in json.loads((folder / f"{stem}.json").read_text(encoding="utf-8"))]
            if (folder / f"{stem}.txt").is_file():
                return (folder / f"{stem}.txt").read_text(encoding="utf-8").split("\n")
        except (OSError, ValueError) as error:
            raise ModelError(f"the vocabulary of {folder} cannot be read ({error}); convert the model again") from error
    raise ModelError(f"{folder} has no vocabulary file; convert the model again")


def check_languages(settings: Settings, vocabulary: Sequence[str], languages: tuple[str, str]) -> None:
    """Make sure that the model knows the tokens of ``languages``.

    Raises:
        ConfigurationError: it does not; names some that it knows.
    """
    pieces = set(vocabulary)
    template = [piece for piece in (*settings.source, *settings.target) if "{from}" in piece or "{to}" in piece]
    for piece in settings.fill(template, languages):
        if piece not in pieces:
            shape = re.compile(re.sub(r"\\{(from|to)\\}", "([A-Za-z_]+)", re.escape(template[0])))
            known = sorted(match[1] for match in map(shape.fullmatch, vocabulary) if match and len(match[1]) <= 12)
            raise ConfigurationError(
                f"the translation model has no language token {piece!r}; some that it may have: {', '.join(known[:12])}"
            )
