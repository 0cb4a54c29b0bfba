"""LoRA adapters: the merge against numpy and against llama.cpp's own application, and the file that is kept."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path

import gguf
import llama_cpp
import numpy as np
import pytest

from laclip_aug.errors import ModelError
from laclip_aug.generation import adapters
from laclip_aug.generation.backend import Job, Sampling
from laclip_aug.generation.child import ChildBackend
from laclip_aug.generation.llamacpp import LlamaCppBackend
from laclip_aug.generation.models import resolve_model
from laclip_aug.generation.plain import PlainLlamaBackend
from tests.gguf_maker import make_adapter, make_gguf

GREEDY = Sampling(temperature=0, max_new_tokens=2)  # a longer text would show the formats' rounding
JOBS = [Job("write", " ", text, " =>", seed) for seed, text in enumerate(["a dog", "two cats", "a red boat"])]


def tensors(path: Path) -> dict[str, np.ndarray]:
    return {t.name: gguf.dequantize(t.data, t.tensor_type) for t in gguf.GGUFReader(path).tensors}


def scores(model: Path, adapter: Path | None) -> np.ndarray:
    """Logits of a fixed text, by llama_cpp alone, which applies ``adapter`` at each step."""
    llama = llama_cpp.Llama(
        str(model), n_ctx=64, n_threads=1, logits_all=True, verbose=False, lora_path=adapter and str(adapter)
    )
    llama.eval(llama.tokenize(b"a dog and two cats near the water"))
    found = np.array(llama.scores[: llama.n_tokens])
    llama.close()
    return found


@pytest.mark.parametrize(("kind", "tolerance"), [("F16", 1e-3), ("BF16", 8e-3), ("Q8_0", 2e-2)])
def test_merged_weights_are_w_plus_scaled_b_a(
    tiny_gguf: Path, tiny_adapter: Path, tmp_path: Path, kind: str, tolerance: float
) -> None:
    assert adapters.merge(tiny_gguf, tiny_adapter, kind, tmp_path / "merged.gguf")
    base, lora, found = tensors(tiny_gguf), tensors(tiny_adapter), tensors(tmp_path / "merged.gguf")
    assert list(found) == list(base)
    for name, weight in base.items():
        expected = weight
        if f"{name}.lora_a" in lora:
            expected = weight + 8.0 / 4 * lora[f"{name}.lora_b"] @ lora[f"{name}.lora_a"]
            assert np.abs(expected - weight).max() > 0.1
        np.testing.assert_allclose(found[name], expected, atol=tolerance * np.abs(expected).max())


def test_a_merged_model_scores_as_llama_cpp_does_with_the_adapter(
    tiny_gguf: Path, tiny_adapter: Path, tmp_path: Path
) -> None:
    adapters.merge(tiny_gguf, tiny_adapter, "F16", tmp_path / "merged.gguf")
    plain, applied, merged = (
        scores(tiny_gguf, None), scores(tiny_gguf, tiny_adapter), scores(tmp_path / "merged.gguf", None),
    )  # fmt: skip
    assert np.abs(applied - plain).max() > 1  # the adapter does something
    assert np.abs(merged - applied).max() < 0.02 * applied.std()


def test_the_rest_of_the_file_is_kept(tiny_gguf: Path, tiny_adapter: Path, tmp_path: Path) -> None:
    adapters.merge(tiny_gguf, tiny_adapter, "BF16", tmp_path / "merged.gguf")
    base, found = (
        {k: f.contents() for k, f in gguf.GGUFReader(path).fields.items() if k not in ("general.file_type",)}
        for path in (tiny_gguf, tmp_path / "merged.gguf")
    )
    assert found == base


def test_it_is_merged_once_and_again_if_the_file_was_changed(
    tiny_gguf: Path, tiny_adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    model, adapter = resolve_model(tiny_gguf), resolve_model(tiny_adapter)
    made = adapters.merged(model, adapter, "BF16")
    assert made is not None
    path, kind = made
    assert (path.parent, kind) == (tmp_path / "laclip-aug", "BF16")
    before, content = path.stat().st_ino, path.read_bytes()
    assert adapters.merged(model, adapter, "BF16") == made
    assert path.stat().st_ino == before
    path.write_bytes(content[:-7] + bytes([content[-7] ^ 1]) + content[-6:])
    assert adapters.merged(model, adapter, "BF16") == made
    assert path.read_bytes() == content
    path.write_bytes(content[:1000])
    adapters.merged(model, adapter, "BF16")
    assert path.read_bytes() == content
    other = resolve_model(make_adapter(tmp_path / "other.gguf", tiny_gguf, seed=2))
    assert adapters.merged(model, other, "BF16") != made
    assert adapters.merged(model, adapter, "Q8_0") != made
    assert len(list((tmp_path / "laclip-aug").iterdir())) == 6  # three models, their hashes, nothing half-written


def test_a_merged_file_is_read_again_when_its_state_changes_and_once_a_day(
    tiny_gguf: Path, tiny_adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    model, adapter = resolve_model(tiny_gguf), resolve_model(tiny_adapter)
    made = adapters.merged(model, adapter, "BF16")
    assert made is not None
    path, sound, state = made[0], made[0].read_bytes(), made[0].stat()
    damaged = sound[:-7] + bytes([sound[-7] ^ 1]) + sound[-6:]

    def damage() -> None:
        path.write_bytes(damaged)
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))  # as on a disk that forgets a bit

    damage()
    adapters.merged(model, adapter, "BF16")
    assert path.read_bytes() == damaged  # believed, as it was read a moment ago
    note = json.loads(path.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps(note | {"read": note["read"] - 25 * 3600}))
    adapters.merged(model, adapter, "BF16")
    assert path.read_bytes() == sound

    os.utime(path)  # touched, and sound: read, and believed again
    inode = path.stat().st_ino
    adapters.merged(model, adapter, "BF16")
    assert path.stat().st_ino == inode
    path.with_suffix(".json").write_text("{")
    adapters.merged(model, adapter, "BF16")
    assert path.read_bytes() == sound


def test_the_files_used_last_are_kept(tiny_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder, model = tmp_path / "laclip-aug", resolve_model(tiny_gguf)
    for seed in (1, 2, 3, 4):
        make_adapter(tmp_path / f"{seed}.gguf", tiny_gguf, seed=seed)

    def engine() -> ChildBackend:
        return ChildBackend(
            "laclip_aug.generation.llamacpp:LlamaCppBackend", tiny_gguf, GREEDY,
            adapter=str(tmp_path / "1.gguf"), n_ctx=256, n_slots=2, n_threads=1, reproducible=True,
        )  # fmt: skip

    def texts(backend: ChildBackend) -> list[tuple[int, str]]:
        return sorted((c.job.seed, c.text) for c in backend.complete(JOBS))

    def merge(seed: int) -> Path:
        made = adapters.merged(model, resolve_model(tmp_path / f"{seed}.gguf"), "F16")
        assert made is not None
        return made[0]

    def unused_for(hours: float, path: Path) -> None:
        os.utime(path, (time.time() - 3600 * hours,) * 2)

    running = engine()
    said = texts(running)
    (first,) = folder.glob("*.gguf")
    second, third = merge(2), merge(3)
    for hours, path in ((7, second), (9, first), (8, third)):
        unused_for(hours, path.with_suffix(".json"))
    assert merge(3) == third  # in use again
    mine, dead, alive = folder / "mine.gguf", folder / f".{first.stem}.1.gguf", folder / f".{first.stem}.2.gguf"
    for path in (mine, dead, alive):
        path.write_bytes(b"a file of the user's, what a killed merge left, and one under way")
    unused_for(5, mine)
    unused_for(5, dead)
    fourth = merge(4)

    assert {path for path in folder.iterdir() if path.suffix == ".gguf"} == {second, third, fourth, mine, alive}
    assert not first.with_suffix(".json").exists()
    assert texts(running) == said  # it has what it loaded
    running.close()
    again = engine()
    assert texts(again) == said and first.exists()
    again.close()


@pytest.mark.parametrize("kind", [LlamaCppBackend, PlainLlamaBackend])
def test_an_engine_that_merges_says_what_one_that_applies_says(
    kind: type[LlamaCppBackend], tiny_gguf: Path, tiny_adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def said(adapter: Path | None) -> tuple[dict[str, float], dict[str, object], dict[str, object]]:
        backend = kind(tiny_gguf, GREEDY, adapter=adapter, n_ctx=256, n_threads=1)
        done = {f"{c.job.seed} {c.text}": c.log_likelihood for c in backend.complete(JOBS)}
        found = done, backend.describe(), backend.provenance()
        backend.close()
        return found

    without, merged = said(None), said(tiny_adapter)
    (tmp_path / "file").write_text("no directory can be made here")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    applied = said(tiny_adapter)
    assert merged[0] == pytest.approx(applied[0], abs=0.15)  # the same texts; merged weights are rounded to 8 bits
    assert merged[0].keys() != without[0].keys()
    assert "adapter_sha256" not in without[1]
    assert (
        merged[1]
        == applied[1]
        == without[1] | {"adapter_sha256": hashlib.sha256(tiny_adapter.read_bytes()).hexdigest()}
    )
    assert merged[2]["adapter"] == "tiny-lora.gguf"
    assert merged[2]["weights"] in ("BF16", "Q8_0", "F16")
    assert applied[2]["weights"] == "as in the file"


def test_an_adapter_of_another_model_is_refused(tiny_gguf: Path, tmp_path: Path) -> None:
    wide = make_gguf(tmp_path / "wide.gguf", n_embd=128)
    other = make_adapter(tmp_path / "wide-lora.gguf", wide)
    with pytest.raises(ModelError, match=r"no adapter for tiny\.gguf.*--adapter none"):
        LlamaCppBackend(tiny_gguf, GREEDY, adapter=other, n_ctx=256, n_threads=1)
    with pytest.raises(ModelError, match=r"no adapter for tiny\.gguf"):
        LlamaCppBackend(tiny_gguf, GREEDY, adapter=wide, n_ctx=256, n_threads=1)
    with pytest.raises(ModelError, match="no model file"):
        LlamaCppBackend(tiny_gguf, GREEDY, adapter=tmp_path / "absent.gguf", n_ctx=256, n_threads=1)


def test_a_truncated_adapter_or_model_is_refused_in_words(tiny_gguf: Path, tiny_adapter: Path, tmp_path: Path) -> None:
    model, adapter = tiny_gguf.read_bytes(), tiny_adapter.read_bytes()
    cut = tmp_path / "cut.gguf"
    for size in (100, len(adapter) // 2, len(adapter) - 1):
        cut.write_bytes(adapter[:size])
        with pytest.raises(ModelError, match=r"cut\.gguf is no adapter for tiny\.gguf \(.+\);.*fetch it again"):
            LlamaCppBackend(tiny_gguf, GREEDY, adapter=cut, n_ctx=256, n_threads=1)
    for size in (100, len(model) // 2, len(model) - 1):
        cut.write_bytes(model[:size])
        with pytest.raises(ModelError, match=r"cannot load cut\.gguf"):
            LlamaCppBackend(cut, GREEDY, adapter=tiny_adapter, n_ctx=256, n_threads=1)
