"""llama.cpp in this process: the batched engine.

The only module that knows a name of llama_cpp. It uses the low-level interface, whose mistakes end the process, so all
that could is checked before a call.

In the reproducible mode each sequence has a cache of its own, each step gives every running sequence one token, and a
step holds at least two sequences. A completion then goes through the same arithmetic whatever runs beside it: on a CPU
its text depends on neither the batch nor the number of slots. The fast mode keeps all sequences in one cache and reads
prompts in one go; rounding then depends on the neighbours. On a GPU neither mode promises equal texts.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from laclip_aug.errors import MissingExtraError, ModelError
from laclip_aug.generation.adapters import merged
from laclip_aug.generation.backend import Completion, Job
from laclip_aug.generation.batch import TokenBatch, filled
from laclip_aug.generation.chat import chat_renderer
from laclip_aug.generation.local import LocalBackend, Settings, Wanted, choose_gpu_layers, refuse_unusable
from laclip_aug.generation.models import ModelFile, resolve_model
from laclip_aug.generation.scheduler import Feed, Scheduler
from laclip_aug.generation.threads import faster, rows_to_try
from laclip_aug.generation.tokens import check_byte_pieces, single_token, special_texts

_STEP_TOKENS = 512
EMBEDDER = "an encoder alone, as embedding models have"


class _Log:
    """llama.cpp's own messages: its last errors are kept for ours, all are shown only if asked for."""

    verbose = False
    errors: ClassVar[deque[str]] = deque(maxlen=3)
    callback: Any = None

    @classmethod
    def receive(cls, level: int, text: bytes, _: Any) -> None:
        line = text.decode("utf-8", "replace")
        if cls.verbose:
            sys.stderr.write(line)
        if level == 4 and line.strip():  # GGML_LOG_LEVEL_ERROR of ggml.h; 3 are warnings
            cls.errors.append(line.strip())


@functools.cache
def library() -> Any:
    """The module llama_cpp, its messages sent to ours.

    Raises:
        MissingExtraError: llama-cpp-python is not installed.
    """
    try:
        import llama_cpp
    except ImportError as error:
        raise MissingExtraError("llm", "llama_cpp") from error
    _Log.callback = llama_cpp.llama_log_callback(_Log.receive)
    llama_cpp.llama_log_set(_Log.callback, ctypes.c_void_p(0))
    return llama_cpp


class NativeModel:
    """A loaded model with its vocabulary. ``load`` is how, if not by llama.cpp's own function; then it also frees."""

    def __init__(self, wanted: Wanted, load: Callable[[str, int], Any] | None = None) -> None:
        self.lib = library()
        _Log.verbose = wanted.verbose
        self.n_gpu_layers = choose_gpu_layers(wanted.n_gpu_layers, bool(self.lib.llama_supports_gpu_offload()))
        self.file: ModelFile = resolve_model(wanted.reference)
        self.adapter = None if wanted.adapter is None else resolve_model(wanted.adapter)
        self.path, self.weights = self.file.path, ""
        if self.adapter and (made := merged(self.file, self.adapter, self._fastest())):
            self.path, self.weights = made
        self._owned, self._pieces = load is None, dict[int, bytes]()
        _Log.errors.clear()
        self.pointer = (load or self._load)(str(self.path), self.n_gpu_layers)
        if not self.pointer:
            raise ModelError(
                f"llama.cpp cannot load {self.file.name} ({'; '.join(_Log.errors) or 'no reason given'}). The file is "
                "truncated or damaged, or needs a newer llama-cpp-python: fetch it again, or upgrade"
            )
        try:
            self._read()
        except BaseException:
            self.close()
            raise

    def _fastest(self) -> str:
        """The format in which this machine computes fastest by batch, of those that lose next to nothing."""
        if self.n_gpu_layers:
            return "F16"
        return "BF16" if b"AVX512_BF16 = 1" in self.lib.llama_print_system_info() else "Q8_0"

    def apply(self, context: Any) -> None:
        """Let ``context`` compute with the adapter, where it was not merged into the weights."""
        if self.adapter is None or self.weights:
            return
        _Log.errors.clear()
        lora = self.lib.llama_adapter_lora_init(self.pointer, os.fsencode(self.adapter.path))
        adapters = (self.lib.llama_adapter_lora_p_ctypes * 1)(lora)
        if not lora or self.lib.llama_set_adapters_lora(context, adapters, 1, (ctypes.c_float * 1)(1.0)):
            raise ModelError(
                f"{self.adapter.name} is no adapter for {self.file.name} ({'; '.join(_Log.errors) or 'no reason'}); "
                "name the model that it was trained on, fetch it again if it is damaged, or take --adapter none"
            )

    def _load(self, path: str, layers: int) -> Any:
        parameters = filled(self.lib.llama_model_default_params(), n_gpu_layers=layers)
        return self.lib.llama_model_load_from_file(os.fsencode(path), parameters)

    def _read(self) -> None:
        lib, model = self.lib, self.pointer
        self.vocab = vocab = lib.llama_model_get_vocab(model)
        self.n_vocab = int(lib.llama_vocab_n_tokens(vocab))
        self.n_params = int(lib.llama_model_n_params(model))
        self.n_ctx_train = int(lib.llama_model_n_ctx_train(model))
        width = lib.llama_model_n_embd(model) // max(1, lib.llama_model_n_head(model))
        self.cell_bytes = int(4 * lib.llama_model_n_layer(model) * lib.llama_model_n_head_kv(model) * width)
        refuse_unusable(
            self.file.name,
            {
                "an encoder": lib.llama_model_has_encoder(model),
                "a recurrent state": lib.llama_model_is_recurrent(model) or lib.llama_model_is_hybrid(model),
                "diffusion in place of a causal decoder": lib.llama_model_is_diffusion(model),
                "no vocabulary": not self.n_vocab or lib.llama_vocab_type(vocab) == lib.LLAMA_VOCAB_TYPE_NONE,
            },
        )
        texts = [self._text(token) for token in range(self.n_vocab)]
        kinds = [int(lib.llama_vocab_get_attr(vocab, token)) for token in range(self.n_vocab)]
        if lib.llama_vocab_type(vocab) == lib.LLAMA_VOCAB_TYPE_SPM:
            check_byte_pieces(texts, self.file.name)
        user = [bool(kind & lib.LLAMA_TOKEN_ATTR_USER_DEFINED) for kind in kinds]
        control = [bool(kind & lib.LLAMA_TOKEN_ATTR_CONTROL) for kind in kinds]
        self.specials, self.markup = special_texts(texts, control, user)
        bos = int(lib.llama_vocab_bos(vocab))
        self.bos = bos if bos >= 0 and lib.llama_vocab_get_add_bos(vocab) else None
        self.space_prefix = b"".join(self.piece(token) for token in self.tokenize("x", False)).startswith(b" ")
        self.ends = functools.cache(lambda token: bool(lib.llama_vocab_is_eog(vocab, token)))
        self.word = functools.cache(lambda text: single_token(self, text, self.file.name))

    def _text(self, token: int) -> str:
        return str(self.lib.llama_vocab_get_text(self.vocab, token).decode("utf-8", "replace")) if token >= 0 else ""

    def tokenize(self, text: str, special: bool) -> list[int]:
        data = text.encode("utf-8", "replace")  # a lone surrogate becomes "?"
        size = len(data) + 16
        while True:
            tokens = (self.lib.llama_token * size)()
            count = self.lib.llama_tokenize(self.vocab, data, len(data), tokens, size, False, special)
            if count >= 0:
                return list(tokens[:count])
            size = -count

    def piece(self, token: int) -> bytes:
        if token not in self._pieces:
            buffer = ctypes.create_string_buffer(1024)  # far above the longest piece of any vocabulary
            size = self.lib.llama_token_to_piece(self.vocab, token, buffer, len(buffer), 0, False)
            if size < 0:
                raise ModelError(f"token {token} of {self.file.name} stands for {-size} bytes; its file may be damaged")
            self._pieces[token] = buffer.raw[:size]
        return self._pieces[token]

    def chat(self) -> Callable[[str], str] | None:
        """What wraps a user message in the model's own template; None if the file holds none."""
        template = self.lib.llama_model_chat_template(self.pointer, None)
        if not template:
            return None
        bos, eos = self.lib.llama_vocab_bos(self.vocab), self.lib.llama_vocab_eos(self.vocab)
        return chat_renderer(template.decode("utf-8", "replace"), self._text(bos), self._text(eos), self.file.name)

    def close(self) -> None:
        if self.pointer and self._owned:
            self.lib.llama_model_free(self.pointer)
        self.pointer = None


class _Decoder:
    """A context: sequences 0 to n_slots - 1 generate, those above hold prefixes."""

    def __init__(self, model: NativeModel, settings: Settings) -> None:
        self._lib = lib = model.lib
        self._n_vocab, self.uniform = model.n_vocab, settings.reproducible
        self.n_slots, self.n_holders = settings.n_slots, settings.n_prefixes
        sequences = self.n_slots + self.n_holders
        step = max(_STEP_TOKENS, sequences)
        parameters = filled(
            lib.llama_context_default_params(),
            # llama.cpp rounds up to 256 cells anyway, yet takes no longer steps than the cells that were asked for.
            n_ctx=settings.n_ctx * sequences if self.uniform else max(settings.kv_cells, sequences),
            n_batch=step,
            n_ubatch=step,
            n_seq_max=sequences,
            n_outputs_max=sequences,
            n_threads=settings.n_threads,
            n_threads_batch=settings.n_threads,
            # Flash attention passes over empty cells; without it each row would read 256 cells at least.
            flash_attn_type=lib.LLAMA_FLASH_ATTN_TYPE_AUTO,
            kv_unified=not self.uniform,
        )
        _Log.errors.clear()
        self.pointer = lib.llama_init_from_model(model.pointer, parameters)
        if not self.pointer:
            raise ModelError(
                f"llama.cpp cannot make {sequences} sequences of {settings.n_ctx} tokens ({'; '.join(_Log.errors)}); "
                "lower n_slots or n_ctx"
            )
        refuse_unusable(model.file.name, {EMBEDDER: not lib.llama_get_memory(self.pointer)})
        model.apply(self.pointer)
        self.most_tokens = int(lib.llama_n_batch(self.pointer))  # less than asked for where the cache is smaller
        self._memory = lib.llama_get_memory(self.pointer)
        self._lengths = [0] * sequences
        self._arrays = TokenBatch(self.most_tokens, sequences)
        self._batch = filled(lib.llama_batch(), **self._arrays.pointers())

    def load(self, holder: int, tokens: Sequence[int]) -> bool:
        self.unload(holder)
        parts = [tokens[start : start + self.most_tokens] for start in range(0, len(tokens), self.most_tokens)]
        return all(self.step([Feed(self.n_slots + holder, part, False)]) is not None for part in parts)

    def unload(self, holder: int) -> None:
        self.trim(self.n_slots + holder, 0)

    def copy(self, holder: int, slot: int) -> None:
        source = self.n_slots + holder
        self.trim(slot, 0)
        if self._lengths[source]:  # whole sequences only: a part of one cannot go to another cache
            self._lib.llama_memory_seq_cp(self._memory, source, slot, -1, -1)
        self._lengths[slot] = self._lengths[source]

    def trim(self, slot: int, length: int) -> None:
        if self.pointer:
            self._lib.llama_memory_seq_rm(self._memory, slot, length, -1)
            self._lengths[slot] = min(length, self._lengths[slot])

    def step(self, feeds: Sequence[Feed]) -> npt.NDArray[np.float32] | None:
        self._batch.n_tokens = self._arrays.fill(feeds, self._lengths)
        code = self._lib.llama_decode(self.pointer, self._batch)
        if code == 1:  # no room in the cache; nothing has changed
            return None
        if code:
            raise ModelError(f"llama.cpp failed to compute (code {code}); lower n_slots or n_ctx if memory is short")
        for feed in feeds:
            self._lengths[feed.slot] += len(feed.tokens)
        rows = sum(feed.scores for feed in feeds)
        if not rows:
            return np.empty((0, self._n_vocab), np.float32)
        return np.ctypeslib.as_array(self._lib.llama_get_logits(self.pointer), shape=(rows, self._n_vocab))

    def try_step(self, rows: int, threads: int, seconds: float) -> bool:
        """Set the number of threads; whether a step of ``rows`` slots then ends in ``seconds``. It is undone."""
        end = time.perf_counter() + seconds
        late = self._lib.ggml_abort_callback(lambda _: time.perf_counter() > end)
        self._lib.llama_set_n_threads(self.pointer, threads, threads)
        self._lib.llama_set_abort_callback(self.pointer, late, None)
        self._batch.n_tokens = self._arrays.fill([Feed(slot, (0,), True) for slot in range(rows)], self._lengths)
        code = self._lib.llama_decode(self.pointer, self._batch)
        self._lib.llama_set_abort_callback(self.pointer, self._lib.ggml_abort_callback(), None)
        self._lib.llama_memory_clear(self._memory, False)
        return bool(code == 0)

    def close(self) -> None:
        if self.pointer:
            self._lib.llama_free(self.pointer)
            self.pointer = None


class LlamaCppBackend(LocalBackend):
    """The batched engine of this module. For arguments and errors see :class:`LocalBackend`."""

    name = "llama.cpp"

    def _load(self, wanted: Wanted) -> NativeModel:
        self._native = NativeModel(wanted)
        return self._native

    def _open(self) -> None:
        self._decoder = _Decoder(self._native, self.settings)
        self._scheduler = Scheduler(self._decoder, self.model, self.prompt, self.sampling)

    def _try_threads(self, most: int) -> int:
        rows = rows_to_try(self._native.n_params, self.settings.n_slots)
        return faster(functools.partial(self._decoder.try_step, rows), most) if rows else most

    def _run(self, jobs: Iterator[Job]) -> Iterator[Completion]:
        return self._scheduler.run(jobs)

    def _release(self) -> None:
        self._decoder.close()
