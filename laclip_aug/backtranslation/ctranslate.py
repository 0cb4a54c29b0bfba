"""Translation with CTranslate2 and SentencePiece.

A batch holds texts of one length, in pieces: nothing is padded, which is fast, and what a text becomes then does not
depend on its batch. With an int8 model on a processor this holds bit for bit, scores included (each row is quantised on
its own and the products are of whole numbers); in float32 up to rounding, which could tip a tie.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import groupby
from pathlib import Path
from typing import Any

from laclip_aug.backtranslation.folder import TEXT, check_languages, read_settings, read_vocabulary
from laclip_aug.backtranslation.translator import Translation, clean
from laclip_aug.errors import ConfigurationError, MissingExtraError, ModelError

_CONTROL = re.compile(r">>\w+<<|__[a-z]{2,3}__|[a-z]{3}_[A-Z][a-z]{3}|</?s>|<unk>|<pad>")
_LONGEST_PIECE = 16  # characters; SentencePiece's own default limit


def load(module: str) -> Any:
    """``ctranslate2`` or ``sentencepiece``, imported when first needed.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingExtraError("translate", module) from error


@dataclass(frozen=True, slots=True)
class Decoding:
    """How the engine searches.

    ``beam_size`` 1 is greedy; more hypotheses than beams widen the beam. ``max_tokens`` limits a source and a
    translation, in pieces; a translation also ends at twice its source's pieces plus 16. ``batch_tokens`` limits a
    batch. ``compute_type`` is CTranslate2's: ``default`` keeps the file's own.
    """

    beam_size: int = 1
    max_tokens: int = 128
    batch_tokens: int = 4096
    device: str = "cpu"
    compute_type: str = "default"
    threads: int = 1

    def __post_init__(self) -> None:
        for name in ("beam_size", "max_tokens", "batch_tokens", "threads"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"{name} is {getattr(self, name)}; give a whole number of at least 1")


class CTranslate2Model:
    """A converted model in memory; :meth:`translator` gives one direction of it.

    Raises:
        MissingExtraError: ctranslate2 or sentencepiece is not installed.
        ModelError: the folder is no converted model, or a file of it is damaged.
    """

    def __init__(self, folder: str | Path, decoding: Decoding | None = None) -> None:
        self.folder, self.decoding = Path(folder), decoding or Decoding()
        engine, pieces = load("ctranslate2"), load("sentencepiece")
        self.version = str(engine.__version__)
        self.settings, self.sha256 = read_settings(self.folder)
        self.vocabulary = read_vocabulary(self.folder)
        try:
            self.source = pieces.SentencePieceProcessor(model_file=str(self.folder / self.settings.source_pieces))
            self.target = pieces.SentencePieceProcessor(model_file=str(self.folder / self.settings.target_pieces))
            self.engine = engine.Translator(
                str(self.folder),
                device=self.decoding.device,
                compute_type=self.decoding.compute_type,
                inter_threads=self.decoding.threads,  # whole batches side by side: better than splitting small products
                intra_threads=1,
                max_queued_batches=-1,
            )
        except (RuntimeError, ValueError, OSError) as error:
            raise ModelError(
                f"{self.folder} cannot be loaded: {error}; convert the model again, or check device"
            ) from error

    def translator(self, source: str, target: str) -> CTranslate2Translator:
        """One direction. The codes are the model's own, such as ``eng_Latn``; a bilingual model ignores them.

        Raises:
            ConfigurationError: the model has no token for one of the languages.
        """
        check_languages(self.settings, self.vocabulary, (source, target))
        return CTranslate2Translator(self, source, target)


class CTranslate2Translator:
    """A :class:`Translator` for one direction of a :class:`CTranslate2Model`."""

    def __init__(self, model: CTranslate2Model, source: str, target: str) -> None:
        self._model: CTranslate2Model | None = model
        languages = (source, target)
        self._languages = languages
        template = model.settings.fill(model.settings.source, languages)
        place = template.index(TEXT)
        self._head, self._tail = template[:place], template[place + 1 :]
        self._target = model.settings.fill(model.settings.target, languages)

    def pieces_of(self, text: str) -> list[str]:
        """The pieces of a text that the model reads: at most ``max_tokens``, cut before a word if there is one."""
        model = self._opened()
        limit = model.decoding.max_tokens
        # A piece holds 16 characters at most, so what is beyond would be cut anyway, and a huge text costs nothing.
        pieces: list[str] = model.source.encode(clean(text)[: _LONGEST_PIECE * (limit + 1)], out_type=str)
        if len(pieces) <= limit:
            return pieces
        starts = [i for i in range(1, limit + 1) if pieces[i].startswith("▁")]
        return pieces[: starts[-1] if starts else limit]

    def translate(self, texts: Sequence[str], hypotheses: int = 1) -> list[list[Translation]]:
        """See :meth:`Translator.translate`; a text without any piece has no translation."""
        model = self._opened()
        decoding = model.decoding
        sources = [self.pieces_of(text) for text in texts]
        sizes = [len(pieces) for pieces in sources]
        answer: list[list[Translation]] = [[] for _ in texts]
        if hypotheses < 1:
            return answer
        batches: list[list[int]] = []
        for length, group in groupby(sorted(range(len(texts)), key=sizes.__getitem__), sizes.__getitem__):
            rows = list(group) if length else []
            step = max(1, decoding.batch_tokens // max(1, length))
            batches += [rows[start : start + step] for start in range(0, len(rows), step)]
        try:
            waiting = [self._submit(model, [sources[i] for i in batch], hypotheses) for batch in batches]
            for batch, results in zip(batches, waiting, strict=True):
                for i, result in zip(batch, results, strict=True):
                    answer[i] = self._read(model, result.result())
        except (RuntimeError, ValueError) as error:
            raise ModelError(
                f"{model.folder} failed to translate: {error}; a model with fewer positions needs a lower max_tokens"
            ) from error
        return answer

    def _submit(self, model: CTranslate2Model, sources: list[list[str]], hypotheses: int) -> Any:
        """Queue a batch of sources of one length; as many batches run side by side as there are threads."""
        return model.engine.translate_batch(
            [[*self._head, *pieces, *self._tail] for pieces in sources],
            target_prefix=[self._target] * len(sources) if self._target else None,
            asynchronous=True,
            beam_size=max(model.decoding.beam_size, hypotheses),
            num_hypotheses=hypotheses,
            max_input_length=0,
            max_decoding_length=min(model.decoding.max_tokens, 2 * len(sources[0]) + 16),
            disable_unk=True,
            return_scores=True,
        )

    def _read(self, model: CTranslate2Model, result: Any) -> list[Translation]:
        """The texts without the forced beginning and stray control tokens.

        The engine's score is a mean over pieces and the end mark.
        """
        answer = []
        for pieces, mean in zip(result.hypotheses, result.scores, strict=True):
            made = pieces[len(self._target) :]
            text = model.target.decode_pieces([piece for piece in made if not _CONTROL.fullmatch(piece)])
            answer.append(Translation(clean(text), mean * (len(made) + 1), len(made)))
        return answer

    def describe(self) -> dict[str, Any]:
        """Engine, the sha256 of each model file, languages and decoding."""
        model = self._opened()
        return {
            "engine": "ctranslate2",
            "languages": list(self._languages),
            "sha256": dict(model.sha256),
            "beam_size": model.decoding.beam_size,
            "max_tokens": model.decoding.max_tokens,
            "compute_type": str(model.engine.compute_type),
        }

    def provenance(self) -> dict[str, Any]:
        """The engine's version and the device."""
        model = self._opened()
        return {"version": model.version, "device": model.decoding.device}

    def close(self) -> None:
        """Let go of the model; its memory is freed when both directions have."""
        self._model = None

    def _opened(self) -> CTranslate2Model:
        if self._model is None:
            raise ModelError("this translator is closed; make another one")
        return self._model
