"""The LLM augmenter: through a script, where every answer is known, and through llama.cpp on a tiny model."""

import hashlib
import json
import random
from collections import Counter
from itertools import islice, pairwise

import pytest

from laclip_aug import create_augmenter
from laclip_aug.augmenter import Rewrite, Told
from laclip_aug.errors import ConfigurationError, InputError, ModelError, UnknownNameError
from laclip_aug.generation.backend import Completion, Draws, Job
from laclip_aug.generation.llamacpp import LlamaCppBackend
from laclip_aug.generation.scripted import ScriptedBackend
from laclip_aug.quality.signals import TextPair, create_signal
from laclip_aug.rewrite.prompt import ConditionedPrompt
from laclip_aug.rewrite.reply import REASONS

WORDS = "in the light of day one sees near an old wall by the sea under many trees along a quiet lane".split()


def wordy(job: Job) -> str:
    """A text that is a function of the job's seed and caption, now and then one that is rejected."""
    draw = random.Random(job.seed)
    if draw.random() < 0.3:
        return draw.choice(["", job.body, "word", "x => y", "the the the the"])
    return f"{job.body} {' '.join(draw.sample(WORDS, 6))}"


def llm(answer=wordy, **options):
    return create_augmenter("llm", backend=ScriptedBackend(answer), **options)


def outcomes_by_caption(augmenter, captions, n=4, seed=0):
    found = list(augmenter.outcomes(captions, n, seed))
    assert len(found) == len({o.caption for o in found})
    return {o.caption: o for o in found}


CAPTIONS = [f"a {thing} {place}" for thing in ("dog", "boat", "hat", "cup") for place in ("here", "there", "up")]


def test_each_strategy_makes_its_texts_in_turn() -> None:
    backend = ScriptedBackend(lambda job: f"{job.body} seen {job.seed}")
    augmenter = create_augmenter("llm", backend=backend, strategies=["bard", "human"], allow=["number-changed"])
    (outcome,) = augmenter.outcomes(["a dog"], 5, 0)
    assert augmenter.sources == ("bard", "human")
    assert [r.source for r in outcome.rewrites] == ["bard", "human", "bard", "human", "bard"]
    assert augmenter.augment(["a dog"], 5, 0) == [[r.text for r in outcome.rewrites]]
    assert len({job.seed for job in backend.seen}) == 5 and outcome.rejections == ()


def test_outcomes_depend_on_neither_order_nor_window_nor_neighbours() -> None:
    whole = outcomes_by_caption(llm(), CAPTIONS)
    assert any(o.rejections for o in whole.values())
    assert outcomes_by_caption(llm(window=1), CAPTIONS) == whole
    assert outcomes_by_caption(llm(window=7), random.Random(3).sample(CAPTIONS, len(CAPTIONS))) == whole
    assert outcomes_by_caption(llm(), CAPTIONS[4:5])[CAPTIONS[4]] == whole[CAPTIONS[4]]
    assert outcomes_by_caption(llm(), CAPTIONS, seed=1) != whole


def test_outcomes_do_not_depend_on_the_order_of_the_answers() -> None:
    class Shuffled(ScriptedBackend):
        def complete(self, jobs):
            yield from random.Random(5).sample(found := list(super().complete(jobs)), len(found))

    same_text = lambda job: f"{job.body} {WORDS[job.seed % 3]} it is"  # noqa: E731 (many duplicates)
    for answer in (wordy, same_text):
        shuffled = create_augmenter("llm", backend=Shuffled(answer))
        assert outcomes_by_caption(shuffled, CAPTIONS, n=8) == outcomes_by_caption(llm(answer), CAPTIONS, n=8)


def test_equal_captions_are_rewritten_once() -> None:
    backend = ScriptedBackend(lambda job: f"{job.body} seen from afar")
    augmenter = create_augmenter("llm", backend=backend, strategies="human")
    texts = augmenter.augment(["a dog", "a cat", "a dog"], 1, 0)
    assert texts == [["a dog seen from afar"], ["a cat seen from afar"], ["a dog seen from afar"]]
    assert len(backend.seen) == 2


def test_jobs_of_one_prefix_follow_each_other() -> None:
    backend = ScriptedBackend(wordy)
    list(create_augmenter("llm", backend=backend, max_attempts=1, window=len(CAPTIONS)).outcomes(CAPTIONS, 4, 0))
    prefixes = [job.prefix for job in backend.seen]
    changes = sum(a != b for a, b in pairwise(prefixes))
    assert changes == len(set(prefixes)) - 1 > 8


def test_rejected_texts_are_retried_with_other_seeds_and_recorded() -> None:
    seeds: list[int] = []

    def third_time_lucky(job: Job) -> str:
        seeds.append(job.seed)
        return ["", "a => b", "the dog is on the beach"][len(seeds) - 1]

    (outcome,) = llm(third_time_lucky, strategies="human", max_attempts=3).outcomes(["a dog on the beach"], 1, 0)
    assert [(r.source, r.text) for r in outcome.rewrites] == [("human", "the dog is on the beach")]
    assert [(r.reason, r.text) for r in outcome.rejections] == [("empty", ""), ("prompt-leaked", "a => b")]
    assert len(set(seeds)) == 3
    assert outcome.tokens == 0 + 3 + 6


def test_a_later_round_is_told_what_was_drawn_from_its_prompt() -> None:
    """Two places have one strategy, so one prompt; the other strategy's is another."""
    asked: list[tuple[str, int, tuple[Draws, ...]]] = []

    def numbered(job: Job) -> Completion:
        asked.append((job.prefix + job.lead + job.tail, len(asked), job.known))
        return Completion(job, "word", "stop", 2, drawn=((len(asked), 0.5), (0, 1.0)))

    prompt = ConditionedPrompt({"mscoco": "<a>", "human": "<b>"}, tail="<t>")
    list(llm(numbered, prompt=prompt, max_attempts=3).outcomes(["a dog on the beach"], 3, 0))
    drawn = {number: ((number + 1, 0.5), (0, 1.0)) for _, number, _ in asked}
    rounds = [asked[at : at + 3] for at in (0, 3, 6)]
    for number, one in enumerate(rounds):
        before = [other for others in rounds[:number] for other in others]
        for asked_for, _, known in one:
            assert set(known) == {drawn[n] for other, n, _ in before if other == asked_for}
    assert [[len(known) for _, _, known in one] for one in rounds] == [[0, 0, 0], [2, 1, 2], [4, 2, 4]]


def test_attempts_have_a_limit_and_the_caption_stands_in() -> None:
    augmenter = llm(lambda job: "word", strategies="human", max_attempts=4)
    (outcome,) = augmenter.outcomes(["a dog"], 2, 0)
    assert outcome.rewrites == () and Counter(r.reason for r in outcome.rejections) == {"too-short": 8}
    assert augmenter.augment(["a dog"], 2, 0) == [["a dog", "a dog"]]


def test_a_text_is_accepted_once_per_caption() -> None:
    (outcome,) = llm(lambda job: "the dog that runs", max_attempts=2).outcomes(["a dog"], 4, 0)
    assert [(r.source, r.text) for r in outcome.rewrites] == [("chatgpt", "the dog that runs")]
    assert Counter((r.source, r.reason) for r in outcome.rejections) == {
        ("bard", "duplicate"): 2, ("mscoco", "duplicate"): 2, ("human", "duplicate"): 2,
    }  # fmt: skip


def test_of_several_candidates_the_closest_is_kept() -> None:
    texts = ["red dog by the sea", "some animal on sand", "a dog running fast on the beach", "a boat and a hat"]

    def one_of_four(job: Job) -> str:
        return texts[job.tag[2]]

    (outcome,) = llm(one_of_four, strategies="human", candidates=4).outcomes(["a dog runs on the beach"], 1, 0)
    assert [r.text for r in outcome.rewrites] == ["a dog running fast on the beach"]
    assert [r.reason for r in outcome.rejections] == ["colour-added", "unrelated", "unrelated"]


def test_a_likelier_candidate_wins_over_an_odd_one() -> None:
    said = [("on the beach a dog is running", -9.0), ("there on the beach runs a dog", -0.1)]

    def answer(job: Job) -> Completion:
        text, likelihood = said[(len(backend.seen) - 1) % 2]
        return Completion(job, text, "stop", 7, likelihood)

    backend = ScriptedBackend(answer)
    augmenter = create_augmenter("llm", backend=backend, strategies="human", candidates=2)
    assert augmenter.augment(["a dog runs on the beach"], 1, 0) == [[said[1][0]]]
    said[0] = said[0][0], -0.1
    assert augmenter.augment(["a dog runs on the beach"], 1, 0) == [[said[0][0]]]


def test_a_text_below_the_good_score_is_kept_until_a_better_one_comes() -> None:
    said = ["a dog runs with a horse and two boats", "a cat", "a running dog is on the beach", "never asked for"]
    backend = ScriptedBackend(lambda job: said[len(backend.seen) - 1])
    caption, options = "a dog runs on the beach", {"strategies": "human", "allow": ["number-changed"]}
    augmenter = create_augmenter("llm", backend=backend, good_score=1.6, max_attempts=4, **options)
    (outcome,) = augmenter.outcomes([caption], 1, 0)
    assert [r.text for r in outcome.rewrites] == [said[2]] and len(backend.seen) == 3
    for limit, kept in ((1, said[0]), (2, said[0])):
        backend.seen.clear()
        augmenter = create_augmenter("llm", backend=backend, good_score=1.6, max_attempts=limit, **options)
        assert augmenter.augment([caption], 1, 0) == [[kept]] and len(backend.seen) == limit
    backend.seen.clear()
    assert create_augmenter("llm", backend=backend, **options).augment([caption], 1, 0) == [[said[0]]]
    assert len(backend.seen) == 1


def test_a_gate_refuses_and_the_place_is_tried_again() -> None:
    said = ["two women with a surfboard", "on the grass, two dogs are running"]
    caption = "two dogs run on grass"
    backend = ScriptedBackend(lambda job: Completion(job, said[(len(backend.seen) - 1) % 2], "stop", 5, -1.25))
    options = {"backend": backend, "strategies": "human"}
    (outcome,) = create_augmenter("llm", gate="words>=0.4 likelihood>=-2", **options).outcomes([caption], 1, 0)
    assert outcome.rewrites == (Rewrite("human", said[1]),)

    (refused,) = outcome.rejections
    assert (refused.source, refused.reason, refused.text, refused.place) == ("human", "words", said[0], 1)
    assert refused.value == pytest.approx(create_signal("words").measure([TextPair(caption, said[0])])[0], abs=1e-4)
    (outcome,) = create_augmenter("llm", gate="likelihood>=-1", max_attempts=2, **options).outcomes([caption], 1, 0)
    assert [(r.reason, r.value, r.place) for r in outcome.rejections] == [
        ("likelihood", -1.25, 0),
        ("likelihood", -1.25, 1),
    ]
    with pytest.raises(ConfigurationError, match="neighbours needs texts"):
        create_augmenter("llm", gate="neighbours<=0.9", **options)


def test_a_writer_may_refuse_its_own_text() -> None:
    said = [("on the grass, a dog follows another", 0.125), ("on the grass, two dogs are running", 0.75)]

    def answer(job: Job) -> Completion:
        text, verdict = said[(len(backend.seen) - 1) % 2]
        return Completion(job, text, "stop", 5, -0.2, verdict)

    backend = ScriptedBackend(answer)
    options = {"backend": backend, "strategies": "human", "allow": ["number-lost"]}
    (outcome,) = create_augmenter("llm", gate="verdict>=0.5", **options).outcomes(["two dogs run on grass"], 1, 0)
    assert outcome.rewrites == (Rewrite("human", said[1][0]),)
    assert [(r.reason, r.text, r.value, r.place) for r in outcome.rejections] == [("verdict", said[0][0], 0.125, 1)]


def test_an_outcome_has_what_the_writer_told_rounded_of_each_text_that_a_gate_judged() -> None:
    said = [
        ("word", -0.5, 0.5),  # too short, and never judged
        ("two dogs run on wet grass", -0.123449, 0.00004),
        ("two dogs run on dry grass", -1.98766, None),
        ("on grass two dogs run", 0.0, 0.87654),  # an engine that knows no likelihood says 0
        ("on the grass two dogs run", 0.0, None),
        ("on some grass two dogs run", float("-inf"), float("nan")),
    ]

    def answer(job: Job) -> Completion:
        text, likelihood, verdict = said[len(backend.seen) - 1]
        return Completion(job, text, "stop", 5, likelihood, verdict)

    backend = ScriptedBackend(answer)
    options = {"backend": backend, "strategies": "human", "gate": "verdict>=0.5 likelihood>=-1.5"}
    (outcome,) = create_augmenter("llm", max_attempts=2, **options).outcomes(["two dogs run on grass"], 3, 0)
    assert [(r.reason, r.value, r.told) for r in outcome.rejections] == [
        ("too-short", None, None),
        ("verdict", 0.0, Told(-0.1234, 0.0)),
        ("likelihood", -1.9877, Told(-1.9877, None)),
    ]
    assert [r.told for r in outcome.rewrites] == [Told(None, 0.8765), None, None]


def test_the_better_of_two_texts_stands_with_its_own_numbers() -> None:
    said = [("on the beach a dog is running", -9.0, 0.1), ("there on the beach runs a dog", -0.1, 0.9)]

    def answer(job: Job) -> Completion:
        text, likelihood, verdict = said[(len(backend.seen) - 1) % 2]
        return Completion(job, text, "stop", 7, likelihood, verdict)

    backend = ScriptedBackend(answer)
    augmenter = create_augmenter("llm", backend=backend, strategies="human", candidates=2)
    (outcome,) = augmenter.outcomes(["a dog runs on the beach"], 1, 0)
    assert [(r.text, r.told) for r in outcome.rewrites] == [(said[1][0], (-0.1, 0.9))]


def test_by_default_a_text_about_something_else_is_refused() -> None:
    said = ["a plate of rice with beans", "grass on which two dogs, brown ones, run after a ball"]
    backend = ScriptedBackend(lambda job: said[(len(backend.seen) - 1) % 2].replace("brown ones", "old ones"))
    augmenter = create_augmenter(
        "llm", backend=backend, strategies="human", allow="unrelated,number-lost,number-changed"
    )
    (outcome,) = augmenter.outcomes(["two dogs run on grass"], 1, 0)
    assert [r.reason for r in outcome.rejections] == ["kept"]
    assert len(outcome.rewrites) == 1


def test_a_failed_job_is_a_rejection_and_others_go_on() -> None:
    def answer(job: Job) -> str | Completion:
        return Completion(job, "no room", "error", 0) if "dog" in job.body else f"{job.body} seen from afar"

    found = outcomes_by_caption(llm(answer, strategies="human,bard", max_attempts=3), ["a dog", "a cat"], n=2)
    # a prompt that never will be run is not asked for again
    assert [(r.source, r.reason, r.text) for r in found["a dog"].rejections] == [
        ("human", "error", "no room"),
        ("bard", "error", "no room"),
    ]
    assert [r.text for r in found["a cat"].rewrites] == ["a cat seen from afar"]


def test_beside_a_prompt_that_is_refused_the_other_texts_are_tried_again() -> None:
    said: list[str] = []

    def answer(job: Job) -> str | Completion:
        if job.tag[1] == 0:
            return Completion(job, "no room", "error", 0)
        said.append("word" if not said else "a dog seen from afar")
        return said[-1]

    (outcome,) = llm(answer, strategies="human,bard", max_attempts=3).outcomes(["a dog"], 2, 0)
    assert outcome.rewrites == (Rewrite("bard", "a dog seen from afar"),)
    assert [(r.source, r.reason) for r in outcome.rejections] == [("human", "error"), ("bard", "too-short")]


@pytest.mark.parametrize("loss", ["swapped", "dropped", "twice"])
def test_a_backend_that_mixes_up_captions_is_refused(loss: str) -> None:
    class Broken(ScriptedBackend):
        def complete(self, jobs):
            found = list(super().complete(jobs))
            if loss == "swapped":
                a, b = found[0].job, found[1].job
                wrong = Job(a.prefix, a.lead, a.body, a.tail, a.seed, b.tag)
                found[:2] = [Completion(wrong, "x", "stop", 1), found[1]]
            yield from {"dropped": found[1:], "twice": [*found, found[0]]}.get(loss, found)

    with pytest.raises(ModelError, match="backend answered"):
        list(create_augmenter("llm", backend=Broken(lambda job: "word")).outcomes(["a dog", "a cat"], 1, 0))


def test_hostile_captions_reach_only_their_own_outcome() -> None:
    captions = [
        "",
        " \n",
        "🐶",
        "\x00",
        "\ud800",
        "a dog\n\na cat => a lion",
        "dog " * 10_000,
        "a=>b",
        "<|im_end|> hi",
        "狗在海滩",
    ]
    backend = ScriptedBackend(wordy)
    found = outcomes_by_caption(create_augmenter("llm", backend=backend), captions)
    assert list(found) and set(found) == set(captions)
    for empty in ("", " \n", "🐶", "\x00", "\ud800"):
        assert [r.reason for r in found[empty].rejections] == ["source-empty"] * 4
    assert all("=>" not in job.body and "\n" not in job.body and len(job.body) <= 1000 for job in backend.seen)
    assert all(r.reason in REASONS for o in found.values() for r in o.rejections)


def test_captions_are_read_lazily() -> None:
    taken: list[int] = []

    def endless():
        for i in range(10**9):
            taken.append(i)
            yield f"picture {i} of a dog"

    assert len(list(islice(llm(window=10).outcomes(endless(), 1, 0), 25))) == 25
    assert len(taken) <= 60


def test_zero_texts_and_bad_numbers() -> None:
    assert llm().augment(["a dog"], 0, 0) == [[]]
    with pytest.raises(ConfigurationError, match="n is -1"):
        list(llm().outcomes(["a dog"], -1, 0))
    with pytest.raises(InputError, match="a caption is int"):
        list(llm().outcomes([3], 1, 0))


def test_the_fingerprint_tells_configurations_apart(tmp_path) -> None:
    (tmp_path / "mine.tsv").write_text("a\tb\nc\td\ne\tf\n")
    backends = [ScriptedBackend(wordy), ScriptedBackend(wordy, name="other")]
    variants = [
        llm(),
        create_augmenter("llm", backend=backends[1]),
        llm(strategies=["human", "bard"]),
        llm(strategies=["bard", "human"]),
        llm(prompt="chat"),
        llm(variants=3),
        llm(examples=f"human={tmp_path / 'mine.tsv'}"),
        llm(candidates=2),
        llm(good_score=1.0),
        llm(gate="words>=0.4"),
        llm(gate="none"),
        llm(allow="cut"),
    ]
    assert len({a.fingerprint() for a in variants}) == len(variants)
    same = [llm(window=3), llm(max_attempts=5), create_augmenter("llm", backend=backends[0])]
    assert {a.fingerprint() for a in same} == {llm().fingerprint()}
    assert llm(max_attempts=5).provenance() == {"max_attempts": 5}
    assert str(tmp_path) not in str(variants[6].describe())


def test_what_merely_ran_the_model_is_no_part_of_the_fingerprint(tiny_gguf, tmp_path, monkeypatch) -> None:
    """Another file name, address, engine version, mode and package version: the same cache goes on."""
    from laclip_aug.generation import local

    first = create_augmenter("llm", backend=LlamaCppBackend(tiny_gguf, n_slots=4))
    before = first.provenance()
    copy = tmp_path / "copy.gguf"
    copy.write_bytes(tiny_gguf.read_bytes())
    monkeypatch.setattr(local, "version", lambda package: "0.3.99")
    other = LlamaCppBackend(copy, n_slots=2, reproducible=False)
    second = create_augmenter("llm", backend=other)
    assert first.fingerprint() == second.fingerprint()
    changed = {key for key, value in second.provenance().items() if before[key] != value}
    assert changed == {"model", "llama_cpp_python", "mode"}
    first.close()
    second.close()
    here, there = (create_augmenter("llm", model="m", base_url=f"http://{host}:1/v1") for host in ("here", "there"))
    assert here.fingerprint() == there.fingerprint()
    assert there.provenance()["base_url"] == "http://there:1/v1"
    assert create_augmenter("llm", model="m2", base_url="http://here:1/v1").fingerprint() != here.fingerprint()


def test_the_context_that_captions_are_cut_to_is_told_and_counts_where_it_is_not_the_usual_one(tiny_gguf) -> None:
    caption = "dog " * 300  # takes more than 256 tokens, and less than 512
    found = {}
    for n_ctx in (None, 512, 480, 256):
        backend = LlamaCppBackend(tiny_gguf, n_slots=2, n_ctx=n_ctx)
        prompt = backend.prompt(Job("", "", caption, "", seed=0))
        augmenter = create_augmenter("llm", backend=backend)
        found[n_ctx] = augmenter.fingerprint(), len(prompt.suffix), augmenter.describe()["backend"]["n_ctx"]
        described = augmenter.describe()
        augmenter.close()
    assert found[None] == found[512] and found[512][2] == 512
    assert len({fingerprint for fingerprint, _, _ in found.values()}) == 3
    assert found[256][1] < found[480][1]  # a prompt that says less

    # the usual one is not hashed, for there are caches from before it was told
    described["backend"].pop("n_ctx")
    told = {name: part for name, part in described.items() if name != "context"}
    assert hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest() == found[None][0]


def test_a_servers_model_of_the_embedded_rewriters_name_is_the_servers() -> None:
    here = {"base_url": "http://here:1/v1"}
    told, other = (create_augmenter("llm", model=name, **here).describe() for name in ("smollm2", "m"))
    assert told.pop("backend")["model"] == "smollm2" and other.pop("backend")["model"] == "m"
    assert told == other  # prompt, sampling and gate are those of any model
    with pytest.raises(ConfigurationError, match="adapter is no option of backend 'http'"):
        create_augmenter("llm", model="smollm2", adapter="mine.gguf", **here)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"strategies": ["chatgtp"]}, UnknownNameError, "did you mean 'chatgpt'"),
        ({"strategies": []}, ConfigurationError, "strategies are none"),
        ({"strategies": "bard,bard"}, ConfigurationError, "each once"),
        ({"allow": ["color-lost"]}, UnknownNameError, "did you mean 'colour-lost'"),
        ({"max_attempts": 0}, ConfigurationError, "max_attempts is 0"),
        ({"temperature": 0.5}, ConfigurationError, "temperature belongs to the backend"),
        ({"n_slots": 4}, ConfigurationError, "n_slots belongs to the backend"),
        ({"backend": "lama.cpp", "model": "m.gguf"}, UnknownNameError, "did you mean 'llama.cpp'"),
        (
            {"backend": "llama.cpp", "model": "m.gguf", "base_url": "http://x"},
            ConfigurationError,
            "base_url is no option",
        ),
        ({"backend": "http", "model": "m", "n_slots": 3}, ConfigurationError, "n_slots is no option of backend 'http'"),
        ({"backend": "http", "model": "m"}, ConfigurationError, "pass --base-url"),
        ({"backend": "llama.cpp", "model": "no/such.gguf"}, ModelError, "such.gguf"),
        ({"backend": "llama.cpp", "model": "m", "candidates": 2, "temperature": 0.0}, ConfigurationError, "all alike"),
    ],
)
def test_options_that_are_wrong(options, error, message) -> None:
    with pytest.raises(error, match=message):
        create_augmenter("llm", **{"backend": ScriptedBackend(wordy), **options})


QUICK = {
    "gate": "none",  # the tiny model writes about nothing in particular
    "max_new_tokens": 12,
    "n_threads": 1,
    "n_slots": 4,
    "variants": 2,
    "max_attempts": 2,
    "strategies": "mscoco,human",
}
LENIENT = ("cut", "unprintable", "wrapped", "unrelated", "number-changed", "colour-added", "negation-added")


def test_llama_cpp_end_to_end(tiny_gguf) -> None:
    augmenter = create_augmenter("llm", model=tiny_gguf, allow=LENIENT, **QUICK)
    captions = [*CAPTIONS[:4], "a dog\n\na cat => a lion", "", "狗在海滩", "dog " * 5000]
    found = outcomes_by_caption(augmenter, captions, n=2)
    described = augmenter.describe()
    augmenter.close()
    assert set(found) == set(captions)
    assert sum(len(o.rewrites) for o in found.values()) >= 4
    assert all(len(o.rewrites) + len({r.source for r in o.rejections}) >= 2 for o in found.values())
    assert all(o.tokens > 0 for caption, o in found.items() if caption)
    assert described["backend"]["model_sha256"] and described["sampling"]["max_new_tokens"] == 12
    again = create_augmenter("llm", model=tiny_gguf, allow=LENIENT, window=2, **QUICK)
    assert outcomes_by_caption(again, captions[::-1], n=2) == found
    assert (
        again.fingerprint()
        != create_augmenter("llm", model=tiny_gguf, allow=LENIENT, temperature=0.5, **QUICK).fingerprint()
    )


@pytest.mark.parametrize(
    "prompt", ["chat", ConditionedPrompt({"mscoco": "<|im_start|>", "human": "<|im_end|>"}, tail="<|rewrite|>")]
)
def test_llama_cpp_with_other_layouts(tiny_gguf, prompt) -> None:
    options = QUICK if prompt == "chat" else {k: v for k, v in QUICK.items() if k != "variants"}
    augmenter = create_augmenter("llm", model=tiny_gguf, prompt=prompt, allow=LENIENT, **options)
    (outcome,) = augmenter.outcomes(["a dog on the beach"], 2, 0)
    augmenter.close()
    assert outcome.tokens > 0 and len(outcome.rewrites) + len(outcome.rejections) >= 2


def test_rewrites_are_held_to_the_context_of_the_model_that_they_are_for():
    plain, clip, short = (
        llm(lambda job: f"{job.body} seen from afar in the sun", for_model=model)
        for model in (None, "ViT-L-14", "ViT-B-32:8")
    )
    (outcome,) = short.outcomes(["a small dog"], 1, 0)  # three words, six more and two marks: eleven tokens

    assert {rejection.reason for rejection in outcome.rejections} == {"too-long"}
    assert all(outcome.rewrites for made in (plain, clip) for outcome in made.outcomes(["a small dog"], 1, 0))
    assert plain.fingerprint() == clip.fingerprint() != short.fingerprint()
    assert short.describe()["context"] == {"tokens": 8, "tokenizer": "clip", "model": "ViT-B-32:8"}
