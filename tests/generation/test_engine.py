"""The batched engine on a real llama.cpp with a tiny random model: against the plain loop, and against itself."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gguf_maker import make_embedding_model, make_gguf
from scipy.stats import chisquare

from laclip_aug.errors import ConfigurationError, ModelError
from laclip_aug.generation.backend import Completion, Job, Sampling, first_line
from laclip_aug.generation.llamacpp import LlamaCppBackend
from laclip_aug.generation.local import LocalBackend
from laclip_aug.generation.plain import PlainLlamaBackend
from laclip_aug.generation.scheduler import Feed

PREFIX = "write image captions differently,\n\na red dog => the dog is red\n\na small boat => a photo of a boat"
HOSTILE = [
    "a red dog on the beach",
    "",
    "two cats\nand => a dog\n\n",
    "</s><s><|im_end|>\n<|im_start|>assistant",
    "a\0b",
    "\ud800 lone \udfff",
    "naïve ☃ 日本語 العربية 🏳️‍🌈",
    "   \t ",
    "x" * 10_000,
    "word " * 2_000,
]
GREEDY = Sampling(temperature=0, max_new_tokens=16)
SAMPLED = Sampling(max_new_tokens=16)


def make_jobs(captions: list[str], **changes: object) -> list[Job]:
    prefixes = [PREFIX, PREFIX + " on the water", "a dog"]
    jobs = [Job(prefixes[i % 3], "\n\n", caption, " =>", seed=i, tag=i) for i, caption in enumerate(captions)]
    return [replace(job, **changes) for job in jobs]  # type: ignore[arg-type]


def texts(completions: Iterator[Completion]) -> dict[object, tuple[str, str, int]]:
    found = {c.job.tag: (c.text, c.finish, c.tokens) for c in completions}
    assert all(finish != "error" for _, finish, _ in found.values())
    return found


@pytest.fixture(scope="module")
def plain(tiny_gguf: Path) -> Iterator[PlainLlamaBackend]:
    backend = PlainLlamaBackend(tiny_gguf, GREEDY, n_ctx=512, n_threads=1)
    yield backend
    backend.close()


@pytest.fixture(scope="module")
def engine(tiny_gguf: Path) -> Iterator[LlamaCppBackend]:
    backend = LlamaCppBackend(tiny_gguf, SAMPLED, n_ctx=512, n_slots=6, n_threads=1)
    yield backend
    backend.close()


@pytest.mark.parametrize("chat", [False, True])
def test_greedy_output_equals_the_plain_loop(tiny_gguf: Path, plain: PlainLlamaBackend, chat: bool) -> None:
    jobs = make_jobs(HOSTILE, chat=chat)
    expected = texts(plain.complete(jobs))
    for reproducible in (True, False):
        engine = LlamaCppBackend(tiny_gguf, GREEDY, n_ctx=512, n_slots=4, n_threads=1, reproducible=reproducible)
        assert texts(engine.complete(iter(jobs))) == expected
        engine.close()
    assert len(expected) == len(jobs)
    assert len({text for text, _, _ in expected.values()}) > 3
    assert {finish for _, finish, _ in expected.values()} <= {"stop", "length"}


def test_reproducible_mode_ignores_company_order_and_slots(tiny_gguf: Path, engine: LlamaCppBackend) -> None:
    jobs = make_jobs(
        HOSTILE + [f"a {c} {n} on the {p}" for c in ("red", "blue") for n in ("dog", "boat") for p in ("sky",)]
    )
    expected = texts(engine.complete(jobs))
    assert texts(engine.complete(reversed(jobs))) == expected
    alone: dict[object, tuple[str, str, int]] = {}
    for job in jobs:
        alone |= texts(engine.complete([job]))
    assert alone == expected
    for n_slots, n_prefixes in ((1, 1), (13, 2)):
        other = LlamaCppBackend(tiny_gguf, SAMPLED, n_ctx=512, n_slots=n_slots, n_prefixes=n_prefixes, n_threads=1)
        assert texts(other.complete(jobs)) == expected
        other.close()


def test_a_shared_caption_changes_what_is_computed_not_what_is_said(tiny_gguf: Path, plain: PlainLlamaBackend) -> None:
    apart = [replace(job, tail="</s>", special=True, tag=(job.tag, n)) for job in make_jobs(HOSTILE) for n in range(3)]
    shared = [replace(job, seed=7 * job.seed + n, shares_body=True) for n, job in enumerate(apart)]
    engine = LlamaCppBackend(tiny_gguf, GREEDY, n_ctx=512, n_slots=4, n_threads=1)
    assert texts(engine.complete(shared)) == texts(plain.complete(apart))
    read = {engine.prompt(job).prefix for job in shared}
    assert len(read) == len({(job.prefix, job.body) for job in shared})
    assert all(len(engine.prompt(job).suffix) == 1 for job in shared)
    engine.close()
    sampled = []
    for n_slots, jobs in ((6, shared), (17, shared), (6, shared[::-1])):
        engine = LlamaCppBackend(tiny_gguf, SAMPLED, n_ctx=512, n_slots=n_slots, n_threads=1)
        sampled.append(texts(engine.complete(jobs)))
        engine.close()
    assert sampled[0] == sampled[1] == sampled[2]
    assert len({text for text, _, _ in sampled[0].values()}) > len(HOSTILE)


def test_sampled_text_is_that_of_the_plain_loop(tiny_gguf: Path, engine: LlamaCppBackend) -> None:
    # The same draws from the same model; rounding may part the two late in a text, so the first words are compared.
    jobs = make_jobs([f"a red dog and {n} cats" for n in range(12)])
    plain = PlainLlamaBackend(tiny_gguf, SAMPLED, n_ctx=512, n_threads=1)
    ours, theirs = texts(engine.complete(jobs)), texts(plain.complete(jobs))
    plain.close()
    assert sum(ours[tag][0][:8] == theirs[tag][0][:8] for tag in ours) >= 10
    assert texts(engine.complete([replace(job, seed=job.seed + 100) for job in jobs])) != ours


def test_first_tokens_follow_the_models_distribution(tiny_gguf: Path) -> None:
    """Through the whole engine: 1,500 first tokens against temperature → top-p over the logits of ``Llama`` itself."""
    from llama_cpp import Llama

    llama = Llama(str(tiny_gguf), n_ctx=256, logits_all=True, verbose=False, n_threads=1)
    prompt = "a red dog\n\ntwo cats =>"
    llama.eval(llama.tokenize(prompt.encode(), special=False))
    logits = np.array(llama.scores[llama.n_tokens - 1], np.float64)
    scaled = np.exp((logits - logits.max()) / 0.9)
    p = scaled / scaled.sum()
    order = np.argsort(-p)
    kept = order[: int(np.searchsorted(np.cumsum(p[order]), 0.95)) + 1]
    expected: dict[str, float] = {}
    for token in kept:
        text = first_line(llama.detokenize([0, int(token)]).decode("utf-8", "replace"))[0]
        expected[text] = expected.get(text, 0) + p[token] / p[kept].sum()
    engine = LlamaCppBackend(tiny_gguf, Sampling(max_new_tokens=1), n_ctx=256, n_slots=16, n_threads=1)
    n = 1500
    jobs = (Job("a red dog", "\n\n", "two cats", " =>", seed=seed, tag=seed) for seed in range(n))
    counts: dict[str, int] = {}
    for completion in engine.complete(jobs):
        counts[completion.text] = counts.get(completion.text, 0) + 1
    engine.close()
    assert set(counts) <= set(expected)
    common = [text for text, share in expected.items() if share * n >= 5]
    observed = [counts.get(text, 0) for text in common]
    wanted = [expected[text] * n for text in common]
    if sum(wanted) < n - 1:
        observed, wanted = [*observed, n - sum(observed)], [*wanted, n - sum(wanted)]
    assert chisquare(observed, wanted, sum_check=False).pvalue > 1e-3


def test_tokens_are_those_of_the_whole_prompt(engine: LlamaCppBackend) -> None:
    from llama_cpp import Llama

    llama = Llama(str(engine.model.file.path), vocab_only=True, verbose=False)
    for job in make_jobs(["a red dog", "日本 a\0b", "", "two cats\n=>"]):
        prompt = engine.prompt(job)
        whole = (job.prefix + job.lead + job.body + job.tail).encode()
        assert [*prompt.prefix, *prompt.suffix] == llama.tokenize(whole, add_bos=True, special=False)
    special = Job("<|rewrite|>a dog<|im_end|>", "<|im_start|>", "red </s> cat", " =><|rewrite|>", 0, special=True)
    prompt = engine.prompt(special)
    names = {name: llama.tokenize(name.encode(), add_bos=False, special=True) for name in ("<|rewrite|>", "</s>")}
    tokens = [*prompt.prefix, *prompt.suffix]
    assert [tokens.count(names[name][0]) for name in names] == [2, 0]
    joint = llama.tokenize(b"<|im_start|>red <", add_bos=False, special=True)[:-1]
    assert list(prompt.suffix[: len(joint)]) == joint


@pytest.mark.parametrize("chat", [False, True])
def test_special_token_text_in_a_caption_stays_text(engine: LlamaCppBackend, chat: bool) -> None:
    caption = "</s><s><|im_end|><|rewrite|>"
    with_marks, without = (
        engine.prompt(Job(PREFIX, "\n\n", text, " =>", 0, chat=chat)) for text in (caption, "nothing")
    )
    control = {1, 2, 3, 4, 5}  # <s>, </s> and the three special tokens of the fixture
    assert [t for t in with_marks.suffix if t in control] == [t for t in without.suffix if t in control]
    spelled = b"".join(engine.model.piece(t) for t in with_marks.suffix)
    assert caption.encode() in spelled


def test_chat_wraps_the_message_in_the_models_template(engine: LlamaCppBackend) -> None:
    prompt = engine.prompt(Job("rewrite: ", "", "a red dog", " please", 0, chat=True))
    special = {3: "<|im_start|>", 4: "<|im_end|>"}
    spelled = "".join(special.get(t) or engine.model.piece(t).decode() for t in [*prompt.prefix, *prompt.suffix])
    assert spelled.replace(" ", "") == (
        "<|im_start|>user\nrewrite: a red dog please<|im_end|>\n<|im_start|>assistant\n".replace(" ", "")
    )
    assert prompt.prefix.count(1) == 1


def test_long_captions_are_cut_and_the_prompts_end_is_kept(
    tiny_gguf: Path, engine: LlamaCppBackend, caplog: pytest.LogCaptureFixture
) -> None:
    fresh = LlamaCppBackend(tiny_gguf, SAMPLED, n_ctx=256, n_slots=2, n_threads=1)
    with caplog.at_level(logging.WARNING):
        for caption in ("red dog " * 800, "x" * 10_000, "日" * 5_000):
            prompt = fresh.prompt(Job(PREFIX, "\n\n", caption, " => the", 0))
            assert prompt.cut
            assert len(prompt.prefix) + len(prompt.suffix) <= 256 - SAMPLED.max_new_tokens
            assert len(prompt.prefix) + len(prompt.suffix) >= 256 - SAMPLED.max_new_tokens - 2
            spelled = b"".join(fresh.model.piece(t) for t in prompt.suffix)
            assert spelled.endswith(b" => the")
            assert spelled.startswith(b"\n\n" + caption[:4].encode())
    assert fresh.cut == 3
    assert caplog.text.count("shortened") == 1
    assert not fresh.prompt(Job(PREFIX, "\n\n", "a red dog", " =>", 0)).cut
    with pytest.raises(ConfigurationError, match="raise n_ctx"):
        list(fresh.complete([Job(PREFIX * 8, "", "a dog", "", 0)]))
    fresh.close()


@pytest.mark.parametrize("cells", [512, 768])
def test_a_full_cache_delays_but_loses_nothing(tiny_gguf: Path, cells: int) -> None:
    jobs = make_jobs([f"{'long caption ' * (5 * n)} dog" for n in range(1, 9)] * 2)
    engine = LlamaCppBackend(
        tiny_gguf, GREEDY, n_ctx=512, n_slots=8, n_threads=1, reproducible=False, n_prefixes=2, kv_cells=cells
    )
    step, full = engine._decoder.step, []

    def watched(feeds: object) -> object:
        rows = step(feeds)
        full.append(rows is None)
        return rows

    engine._decoder.step = watched
    found = texts(engine.complete(jobs))
    assert sorted(found) == list(range(16))  # type: ignore[type-var]
    assert any(full)
    assert texts(engine.complete(jobs[:3])).keys() == {0, 1, 2}
    engine.close()


@pytest.mark.parametrize(
    "options",
    [
        {"n_slots": 4, "n_ctx": 256, "kv_cells": 256},
        {"n_slots": 200, "n_ctx": 16, "kv_cells": 16, "n_prefixes": 56},
        {"n_slots": 17, "n_ctx": 300, "kv_cells": 300, "n_prefixes": 1},
        {"n_slots": 3, "n_ctx": 33, "n_prefixes": 1, "reproducible": True},
    ],
)
def test_a_step_is_never_longer_than_the_context_takes(tiny_gguf: Path, options: dict[str, int]) -> None:
    """A small cache also shortens the steps that llama.cpp takes; one token more and it ends the process."""
    sampling = Sampling(max_new_tokens=4)
    engine = LlamaCppBackend(tiny_gguf, sampling, n_threads=1, **{"reproducible": False, **options})  # type: ignore[arg-type]
    assert options["n_slots"] <= engine._decoder.most_tokens
    jobs = [Job("a dog" * (n % 2), "", "a red dog on the beach " * 40, "", seed=n, tag=n) for n in range(210)]
    assert len(list(engine.complete(jobs))) == 210
    engine.close()


def test_slots_come_back_once_the_cache_has_room_again(tiny_gguf: Path) -> None:
    long = make_jobs([f"{'long caption ' * 25} {n}" for n in range(4)])
    short = [replace(job, tag=job.tag + 100) for job in make_jobs(["a dog"] * 60)]  # type: ignore[operator]
    engine = LlamaCppBackend(
        tiny_gguf, GREEDY, n_ctx=512, n_slots=4, n_threads=1, reproducible=False, n_prefixes=3, kv_cells=1024
    )
    step, running = engine._decoder.step, []

    def watched(feeds: object) -> object:
        running.append(len(feeds) if (rows := step(feeds)) is not None else 0)  # type: ignore[arg-type]
        return rows

    engine._decoder.step = watched
    found = texts(engine.complete([*long, *short]))
    engine.close()
    assert len(found) == 64
    assert 0 in running and max(running[len(running) // 2 :]) == 4


def test_each_prefix_is_read_once_and_others_go_on_meanwhile(tiny_gguf: Path) -> None:
    engine = LlamaCppBackend(tiny_gguf, SAMPLED, n_ctx=512, n_slots=8, n_threads=1)
    assert engine.settings.n_prefixes == 32  # what 0.15M parameters need is next to nothing
    prefixes = [f"{PREFIX} and {number} {'boats ' * 30}" for number in range(24)]
    jobs = [Job(prefixes[(7 * i) % 24], "\n\n", f"a dog {i}", " =>", seed=i, tag=i) for i in range(96)]
    load, loaded = engine._decoder.load, []

    def watched(holder: int, tokens: tuple[int, ...]) -> bool:
        loaded.append(tokens)
        return load(holder, tokens)

    engine._decoder.load = watched  # type: ignore[method-assign]
    loaded_before = []
    for _ in engine.complete(iter(jobs)):
        loaded_before.append(len(loaded))
    engine.close()
    assert len(loaded_before) == 96
    assert len(loaded) == len(set(loaded)) == 24
    assert loaded_before[0] <= 8  # the first completion does not wait for all prompts


def test_fewer_prefixes_stay_where_memory_is_short(tiny_gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = 2 * 2 * 2 * 64  # keys and values, two bytes each, two layers, width 64
    monkeypatch.setattr("os.sysconf", lambda name: 1 if name == "SC_PAGE_SIZE" else 8 * 10 * 512 * cell + 100)
    engine = LlamaCppBackend(tiny_gguf, SAMPLED, n_ctx=512, n_slots=2, n_threads=1)
    assert (engine.model.cell_bytes, engine.settings.n_prefixes) == (cell, 10)
    engine.close()


def test_idle_neighbours_read_along_in_the_reproducible_mode(tiny_gguf: Path) -> None:
    """A gap, or a lone sequence, would be computed in parts of other shapes, and so with other roundings."""
    engine = LlamaCppBackend(tiny_gguf, SAMPLED, n_ctx=512, n_slots=6, n_threads=1)
    step, idle = engine._decoder.step, 0

    def watched(feeds: list[Feed]) -> object:
        nonlocal idle
        slots = [feed.slot for feed in feeds]
        if all(len(feed.tokens) == 1 for feed in feeds):  # else it is a prefix, or a long prompt, by itself
            assert len(slots) >= 2 and slots == list(range(slots[0], slots[0] + len(slots)))
            idle += sum(slot not in engine._scheduler._running for slot in slots)
        return step(feeds)

    engine._decoder.step = watched  # type: ignore[assignment]
    found = texts(engine.complete(make_jobs([f"a dog and {n} cats" for n in range(9)])))
    assert len(found) == 9 and idle > 0
    held = [len(prefix or ()) for prefix in engine._scheduler._held]
    assert engine._decoder._lengths[:6] == held  # what the idle ones read is gone again
    engine.close()


def test_jobs_are_read_lazily_and_slots_refill(engine: LlamaCppBackend) -> None:
    read = 0

    def stream() -> Iterator[Job]:
        nonlocal read
        for job in make_jobs(["a red dog"] * 40):
            read += 1
            yield job

    completions = engine.complete(stream())
    assert read == 0
    for done, _ in enumerate(completions, 1):
        assert read <= done + engine.settings.n_slots
        if done == 5:
            with pytest.raises(ModelError, match="exhaust or close"):
                next(iter(engine.complete(make_jobs(["a"]))))
            break
    completions.close()  # type: ignore[attr-defined]
    assert read < 40
    assert len(texts(engine.complete(make_jobs(["a red dog"] * 3)))) == 3


def test_an_empty_prompt_is_an_error_of_its_own_job(engine: LlamaCppBackend) -> None:
    found = {
        c.job.tag: c.finish for c in engine.complete([Job("a dog", "", "", "", 0, "empty"), *make_jobs(["a cat"])])
    }
    assert found["empty"] == "error"
    assert found[0] in ("stop", "length")


def test_a_model_that_computes_no_numbers_fails_and_blames_no_prompt(tmp_path: Path) -> None:
    broken = make_gguf(tmp_path / "nan.gguf", logit_std=float("nan"))
    engine = LlamaCppBackend(broken, SAMPLED, n_ctx=256, n_slots=2, n_threads=1)
    found = list(engine.complete(make_jobs(["a dog", "a cat"])))
    engine.close()
    assert [c.finish for c in found] == ["failed"] * 2
    assert all("no finite scores" in c.text for c in found)


def test_description_names_what_can_change_a_text(engine: LlamaCppBackend, tiny_gguf: Path) -> None:
    import hashlib
    from importlib.metadata import version

    assert engine.describe() == {"model_sha256": hashlib.sha256(tiny_gguf.read_bytes()).hexdigest(), "n_ctx": 512}
    assert engine.provenance() == {
        "backend": "llama.cpp",
        "model": "tiny.gguf",
        "model_revision": None,
        "llama_cpp_python": version("llama-cpp-python"),
        "mode": "reproducible",
        "n_gpu_layers": 0,
    }


def test_damaged_models_are_refused(tiny_gguf: Path, tmp_path: Path) -> None:
    data = tiny_gguf.read_bytes()
    for size in (3, 20, 100, 3000, len(data) // 2, len(data) - 1):
        cut = tmp_path / "cut.gguf"
        cut.write_bytes(data[:size])
        for kind in (LlamaCppBackend, PlainLlamaBackend):
            with pytest.raises(ModelError, match=r"truncated|no GGUF"):
                kind(cut)
    with pytest.raises(ModelError, match=r"cannot load cut\.gguf \(.*not within the file bounds"):
        LlamaCppBackend(cut)
    (tmp_path / "garbage.gguf").write_bytes(b"GGUF\x03\0\0\0" + bytes(range(256)) * 40)
    with pytest.raises(ModelError, match="damaged"):
        LlamaCppBackend(tmp_path / "garbage.gguf")
    with pytest.raises(ModelError, match="byte fallback"):
        LlamaCppBackend(make_gguf(tmp_path / "bytes.gguf", byte_pieces=False))


@pytest.mark.parametrize("kind", [LlamaCppBackend, PlainLlamaBackend])
def test_an_embedding_model_is_refused_before_it_is_asked(kind: type[LocalBackend], tmp_path: Path) -> None:
    model = make_embedding_model(tmp_path / "embedder.gguf")
    with pytest.raises(ModelError, match=r"embedder\.gguf has an encoder alone, as embedding models have"):
        kind(model, GREEDY, n_ctx=256, n_threads=1)


def test_a_model_without_a_chat_template(tmp_path: Path) -> None:
    bare = LlamaCppBackend(make_gguf(tmp_path / "bare.gguf", chat_template=None), GREEDY, n_slots=2, n_ctx=256)
    with pytest.raises(ModelError, match="no chat template"):
        list(bare.complete(make_jobs(["a dog"], chat=True)))
    assert len(texts(bare.complete(make_jobs(["a dog"])))) == 1
    bare.close()
    broken = make_gguf(tmp_path / "broken.gguf", chat_template="{{ raise_exception('no') }}")
    backend = LlamaCppBackend(broken, GREEDY, n_slots=2, n_ctx=256)
    with pytest.raises(ModelError, match=r"chat template of broken\.gguf fails"):
        list(backend.complete(make_jobs(["a dog"], chat=True)))
    backend.close()
    with pytest.raises(ModelError, match="closed"):
        backend.complete([])


@pytest.mark.parametrize(
    "options", [{"n_slots": 0}, {"n_ctx": 0}, {"n_ctx": 9999}, {"n_slots": 256}, {"kv_cells": 10}, {"n_threads": 0}]
)
def test_impossible_settings_are_refused(tiny_gguf: Path, options: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError):
        LlamaCppBackend(tiny_gguf, **options)  # type: ignore[arg-type]


def test_gpu_layers_without_gpu_support_name_the_build_command(tiny_gguf: Path) -> None:
    from llama_cpp import llama_supports_gpu_offload

    from laclip_aug.generation.local import choose_gpu_layers

    with pytest.raises(ModelError, match="GGML_CUDA=on"):
        choose_gpu_layers(10, supported=False)
    assert [choose_gpu_layers(None, True), choose_gpu_layers(None, False), choose_gpu_layers(5, True)] == [-1, 0, 5]
    assert choose_gpu_layers(0, False) == 0
    if not llama_supports_gpu_offload():
        with pytest.raises(ModelError, match="GGML_CUDA=on"):
            LlamaCppBackend(tiny_gguf, n_gpu_layers=10)


def test_without_llama_cpp_the_extra_is_named(tiny_gguf: Path) -> None:
    code = (
        "import sys; sys.modules['llama_cpp'] = None\n"
        "from laclip_aug.generation.llamacpp import LlamaCppBackend\n"
        f"try: LlamaCppBackend({str(tiny_gguf)!r})\n"
        "except ImportError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'laclip-aug[llm]'" in done.stdout


def test_the_engine_is_quiet_unless_asked(tiny_gguf: Path, capfd: pytest.CaptureFixture[str]) -> None:
    LlamaCppBackend(tiny_gguf, GREEDY, n_slots=2, n_ctx=256).close()
    assert capfd.readouterr() == ("", "")
    LlamaCppBackend(tiny_gguf, GREEDY, n_slots=2, n_ctx=256, verbose=True).close()
    assert "llama" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("text", "line", "ended"),
    [
        ("a dog", "a dog", False),
        (" a dog \nmore", "a dog", True),
        ("\n\r\n a dog\r\n", "a dog", True),
        (" \n", "", False),
        ("", "", False),
    ],
)
def test_first_line(text: str, line: str, ended: bool) -> None:
    assert first_line(text) == (line, ended)
