"""EDAAugmenter as users see it: determinism, safety on any text, the registry, processes."""

import json
import multiprocessing
import pickle
import re
import subprocess
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laclip_aug.augmenter import create_augmenter
from laclip_aug.eda import EDAAugmenter
from laclip_aug.errors import ConfigurationError, UnknownNameError

CAPTIONS = [
    "A man is riding a red bike near two big dogs.",
    "Three women sit on a wooden bench by the sea",
    "a small boat isn't moving, the lake is calm",
    "An old photo of <PERSON> in the city",
]


@pytest.fixture(scope="module")
def augmenter() -> EDAAugmenter:
    return EDAAugmenter(synonyms="builtin")


def test_the_registry_knows_it() -> None:
    made = create_augmenter("eda", synonyms="builtin", operations="sr,rd", alpha_rd=0.2)
    assert made.name == "eda"
    assert made.sources == ("eda",)
    assert made.describe()["alphas"] == {"sr": 0.1, "rd": 0.2}


def test_shape_and_order(augmenter: EDAAugmenter) -> None:
    texts = augmenter.augment(CAPTIONS, 5, seed=1)
    assert [len(row) for row in texts] == [5] * 4
    assert augmenter.augment(CAPTIONS[::-1], 5, seed=1) == texts[::-1]
    assert [augmenter.augment([caption], 5, seed=1)[0] for caption in CAPTIONS] == texts
    assert augmenter.augment([], 3, seed=1) == []
    assert augmenter.augment(CAPTIONS, 0, seed=1) == [[]] * 4


def test_text_j_does_not_depend_on_n(augmenter: EDAAugmenter) -> None:
    longest = augmenter.augment(CAPTIONS, 9, seed=1)
    for n in range(9):
        assert augmenter.augment(CAPTIONS, n, seed=1) == [row[:n] for row in longest]


@pytest.mark.parametrize(
    ("caption", "words"),
    [("salt &amp; pepper on a small table", {"salt", "&", "pepper", "on", "a", "small", "table"}),
     ("it&amp;#39;s a small brown bird &lt;3", {"it's", "a", "small", "brown", "bird", "<3"})],
)  # fmt: skip
def test_html_escapes_are_read_as_clip_reads_them(caption: str, words: set[str]) -> None:
    """Deletion alone: what is left over are whole words of what the escapes stand for."""
    augmenter = EDAAugmenter(operations="rd", alpha_rd=0.5)
    texts = {text for seed in range(20) for text in augmenter.augment([caption], 4, seed)[0]} - {caption}
    assert len(texts) > 1
    assert all(set(text.split()) <= words for text in texts)


def test_seeds_differ(augmenter: EDAAugmenter) -> None:
    assert len({json.dumps(augmenter.augment(CAPTIONS, 2, seed)) for seed in range(20)}) > 15


def test_the_mixture_uses_each_operation_once_in_four_texts() -> None:
    """With alphas far apart the operations can be told by the number of words: 10, 11 and about 5."""
    augmenter = EDAAugmenter(synonyms="builtin", alpha_rd=0.999, operations=("sr", "ri", "rs", "rd"))
    caption = "dogs people photos houses cars friends boats streams women men"
    for row in augmenter.augment([caption], 40, seed=0):
        for turn in range(0, 40, 4):
            kinds = []
            for text in row[turn : turn + 4]:
                words = text.split()
                changed = Counter(words) != Counter(caption.split())
                kinds.append({10: "sr" if changed else "rs", 11: "ri", 2: "rd"}[len(words)])
            assert sorted(kinds) == ["rd", "ri", "rs", "sr"]


def test_one_operation_alone() -> None:
    replaced = EDAAugmenter(synonyms="builtin", alpha_ri=0, alpha_rs=0, alpha_rd=0)
    assert replaced.describe()["alphas"] == {"sr": 0.1}
    named = EDAAugmenter(synonyms="builtin", operations="sr")
    assert replaced.augment(CAPTIONS, 3, 0) == named.augment(CAPTIONS, 3, 0)
    assert replaced.fingerprint() == named.fingerprint()


def test_unchanged_captions_are_counted(augmenter: EDAAugmenter) -> None:
    outcomes = list(augmenter.outcomes(["犬", "a dog runs on the beach"], 2, seed=0))
    assert [r.reason for r in outcomes[0].rejections] == ["unchanged", "unchanged"]
    assert len(outcomes[1].rewrites) == 2


@pytest.mark.parametrize(
    "options",
    [
        {"alpha_sr": -0.1},
        {"alpha_rd": 1.5},
        {"alpha_rs": float("nan")},
        {"operations": ()},
        {"operations": "sr", "alpha_sr": 0},
    ],
)
def test_wrong_options(options: dict) -> None:
    with pytest.raises(ConfigurationError):
        EDAAugmenter(synonyms="builtin", **options)


def test_an_unknown_operation_is_named() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown EDA operation 'rss'; did you mean 'rs'\?"):
        EDAAugmenter(synonyms="builtin", operations="sr,rss")


def test_the_fingerprint_follows_parameters_and_table(tmp_path: Path, synonyms: str) -> None:
    other = tmp_path / "other.tsv"
    other.write_text(Path(synonyms).read_text().replace("hound", "mutt"), encoding="utf-8")
    copy = tmp_path / "copy.tsv"
    copy.write_text(Path(synonyms).read_text(), encoding="utf-8")
    prints = [
        EDAAugmenter(synonyms=synonyms).fingerprint(),
        EDAAugmenter(synonyms=synonyms, alpha_sr=0.2).fingerprint(),
        EDAAugmenter(synonyms=synonyms, operations="sr").fingerprint(),
        EDAAugmenter(synonyms=str(other)).fingerprint(),
    ]
    assert len(set(prints)) == 4
    assert EDAAugmenter(synonyms=str(copy)).fingerprint() == prints[0]
    json.dumps(EDAAugmenter(synonyms=synonyms).describe())


_COLOURS = set("red orange yellow green blue purple pink brown black white gray grey golden silver".split())
_NUMBERS = set("two three four five six seven eight nine ten twelve dozen hundred".split())
_NEGATIONS = set("no not without never none nobody nothing isn't aren't don't can't".split())
_PLACES = set("on in under behind above near left right between".split())
_NOUNS = "dog Dog DOG car apple hour women street photo photos child hot-dog well-made Paris".split()
_OTHERS = "a an A the The is are riding sits big old quickly and of with".split()
_ODD = [
    "<PERSON>",
    "http://a.org/dog",
    "#dog",
    "@dog",
    "me@dog.org",
    '"stop the dog"',
    "3",
    "1,000",
    "犬",
    "🐶",
    "(big",
    "dog)",
]
_VOCABULARY = sorted(_COLOURS | _NUMBERS | _NEGATIONS | _PLACES) + _NOUNS + _OTHERS + _ODD
_PHRASES = st.lists(
    st.tuples(
        st.sampled_from(_VOCABULARY),
        st.sampled_from(["", "", "", ",", ".", "!"]),
        st.sampled_from([" ", " ", "  ", "\n"]),
    ),
    max_size=14,
).map(lambda words: "".join(word + mark + gap for word, mark, gap in words))


def kept(text: str) -> tuple[list[str], list[str], list[str]]:
    words = re.findall(r"[a-z'’]+", re.sub(r'"[^"]*"', " ", text.lower()))
    protected = _COLOURS | _NUMBERS | _NEGATIONS | _PLACES
    special = [odd for odd in (*_ODD[:8], "犬", "🐶") for _ in range(text.count(odd))]
    marks = [mark for mark in text if mark in ",.!()"]
    return [word for word in words if word in protected], special, marks


@settings(max_examples=400, deadline=None)
@given(_PHRASES, st.integers(0, 2**63))
def test_protected_words_survive_in_number_and_order(caption: str, seed: int) -> None:
    augmenter = _SHARED["builtin"]
    for text in augmenter.augment([caption], 4, seed)[0]:
        assert kept(text) == kept(caption)
        assert bool(text.strip()) == bool(caption.strip())


@settings(max_examples=400, deadline=None)
@given(st.text(st.characters(), max_size=120), st.integers(0, 2**32))
def test_no_text_makes_it_fail(caption: str, seed: int) -> None:
    texts = _SHARED["builtin"].augment([caption], 4, seed)[0]
    assert len(texts) == 4
    assert all(isinstance(text, str) for text in texts)


_SHARED = {"builtin": EDAAugmenter(synonyms="builtin", alpha_sr=0.3, alpha_ri=0.3, alpha_rs=0.3, alpha_rd=0.4)}


@pytest.mark.parametrize(
    "caption",
    [
        "",
        " ",
        "\n\t",
        "dog",
        "Dog!",
        "\0",
        "a\0b dog\0 runs",
        "犬が走る",
        "собака бежит",
        "🐶🐕 🐩",
        "\ud800 \udfff",
        "e\u0301",
    ],
)
def test_captions_without_two_words_pass_unharmed(augmenter: EDAAugmenter, caption: str) -> None:
    if len(re.findall(r"[a-z]+", caption)) < 2:
        assert augmenter.augment([caption], 3, 0)[0] == [caption] * 3
    else:
        assert all("a\0b" in text and "dog\0" in text for text in augmenter.augment([caption], 3, 0)[0])


def test_a_huge_caption(augmenter: EDAAugmenter) -> None:
    caption = "a dog runs " * 5_000
    assert all(text != caption for text in augmenter.augment([caption], 4, 0)[0])


def test_hostile_marks_take_linear_time(augmenter: EDAAugmenter) -> None:
    for caption in (
        "“" * 20_000,
        "<" * 20_000 + " a",
        "a-" * 20_000,
        "' " * 20_000,
        "`" * 20_000,
        "a" * 50_000 + "1",
    ):
        assert augmenter.augment([caption], 1, 0) == [[caption]]


def test_it_survives_pickling(synonyms: str) -> None:
    augmenter = EDAAugmenter(synonyms=synonyms)
    Path(synonyms).unlink()  # a worker needs no file
    copy = pickle.loads(pickle.dumps(augmenter))  # noqa: S301 (our own bytes)
    assert copy.augment(CAPTIONS, 4, 7) == augmenter.augment(CAPTIONS, 4, 7)
    assert copy.fingerprint() == augmenter.fingerprint()


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_make_the_same_texts(method: str, augmenter: EDAAugmenter) -> None:
    with ProcessPoolExecutor(1, multiprocessing.get_context(method)) as pool:
        assert pool.submit(augmenter.augment, CAPTIONS, 4, 7).result() == augmenter.augment(CAPTIONS, 4, 7)


def test_another_process_with_another_hash_seed_makes_the_same_texts(augmenter: EDAAugmenter) -> None:
    code = (
        "import json, sys; from laclip_aug.eda import EDAAugmenter; a = EDAAugmenter(synonyms='builtin');"
        "print(json.dumps([a.augment(json.loads(sys.argv[1]), 4, 7), a.fingerprint()]))"
    )
    for hash_seed in ("0", "1"):
        done = subprocess.run(
            [sys.executable, "-c", code, json.dumps(CAPTIONS)],
            env={"PYTHONHASHSEED": hash_seed}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert json.loads(done.stdout) == [augmenter.augment(CAPTIONS, 4, 7), augmenter.fingerprint()]


def test_importing_it_loads_no_nltk() -> None:
    code = "import sys, laclip_aug.eda; sys.exit(any(m in sys.modules for m in ('nltk', 'torch', 'numpy')))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_command_line_options() -> None:
    import argparse

    parser = argparse.ArgumentParser()
    EDAAugmenter.add_arguments(parser)
    options = vars(parser.parse_args(["--alpha-rd", "0", "--operations", "sr,rd", "--synonyms", "builtin"]))
    assert EDAAugmenter(**options).describe()["alphas"] == {"sr": 0.1}
