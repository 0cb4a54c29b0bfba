"""What an engine tells of a text besides its words: how likely the model finds it, and whether true."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import llama_cpp
import numpy as np
import pytest

from laclip_aug.errors import ModelError
from laclip_aug.generation.backend import Sampling
from laclip_aug.generation.llamacpp import LlamaCppBackend
from laclip_aug.generation.plain import PlainLlamaBackend
from tests.generation.test_engine import GREEDY, SAMPLED, make_jobs, texts


@pytest.mark.parametrize("sampling", [SAMPLED, GREEDY])
def test_likelihood_and_verdict_are_those_of_the_plain_loop(tiny_gguf: Path, sampling: Sampling) -> None:
    jobs = make_jobs(["a dog on the beach", "two boats", "a red ball"], verdict_words=(" dog", " cat"))
    plain = PlainLlamaBackend(tiny_gguf, sampling, n_ctx=512, n_threads=1)
    engine = LlamaCppBackend(tiny_gguf, sampling, n_ctx=512, n_threads=1)
    ours, theirs = ({c.job.tag: c for c in backend.complete(jobs)} for backend in (engine, plain))
    plain.close()
    engine.close()
    same = [tag for tag in ours if ours[tag].text == theirs[tag].text]
    assert same  # rounding may part the two
    for tag in same:
        assert ours[tag].log_likelihood == pytest.approx(theirs[tag].log_likelihood, abs=0.01)
        assert ours[tag].verdict == pytest.approx(theirs[tag].verdict, abs=0.01)
        assert -20 < ours[tag].log_likelihood < 0


def test_the_verdict_is_the_odds_of_its_two_words_where_the_text_ends(tiny_gguf: Path) -> None:
    """Against llama.cpp's own ``Llama``, reading one token after the other; the text itself stays what it was."""
    jobs = make_jobs(
        ["a dog on the beach", "two boats", "a red ball", "a cat and a dog near the house", "a car", "sky"]
    )
    asked = [replace(job, verdict_words=(" dog", " cat")) for job in jobs]
    engine = LlamaCppBackend(tiny_gguf, Sampling(temperature=0, max_new_tokens=200), n_ctx=512, n_slots=3, n_threads=1)
    without, found = list(engine.complete(jobs)), list(engine.complete(asked))
    prompts = {job.tag: engine.prompt(job) for job in jobs}
    engine.close()
    assert texts(iter(without)) == texts(iter(found)) and {c.verdict for c in without} == {None}
    llama = llama_cpp.Llama(str(tiny_gguf), n_ctx=512, n_threads=1, logits_all=True, verbose=False)
    yes, no = (llama.tokenize(word, add_bos=False)[0] for word in (b"dog", b"cat"))  # adds the space by itself
    ended = [completion for completion in found if completion.finish == "stop"]
    for completion in ended:
        prompt = prompts[completion.job.tag]
        llama.reset()
        llama.eval([*prompt.prefix, *prompt.suffix])
        for _ in range(completion.tokens):
            scores = llama.scores[llama.n_tokens - 1].copy()
            llama.eval([int(scores.argmax())])
        assert completion.verdict == pytest.approx(1 / (1 + np.exp(scores[no] - scores[yes])), abs=0.01)
    llama.close()
    assert len({round(c.verdict or 0, 3) for c in ended}) > 1


def test_a_text_that_is_cut_has_no_verdict(tiny_gguf: Path) -> None:
    jobs = make_jobs(["a dog on the beach", "two boats", "a red ball"], verdict_words=(" dog", " cat"))
    engine = LlamaCppBackend(tiny_gguf, Sampling(max_new_tokens=1), n_ctx=512, n_threads=1)
    found = list(engine.complete(jobs))
    engine.close()
    assert {c.finish for c in found} >= {"length"}
    assert all((c.verdict is None) == (c.finish == "length") for c in found)


def test_a_word_of_verdict_is_one_token(tiny_gguf: Path) -> None:
    engine = LlamaCppBackend(tiny_gguf, GREEDY, n_ctx=512, n_threads=1)
    (job,) = make_jobs(["a dog"], verdict_words=(" dog", " dogs"))
    with pytest.raises(ModelError, match="' dogs', a word of verdict, is 2 tokens"):
        list(engine.complete([job]))
    assert texts(engine.complete(make_jobs(["a dog"])))  # and the engine goes on
    engine.close()
