"""What the recipe takes for a good pair, and what it holds out."""

import json
import random
from pathlib import Path

import pytest

from benchmarks.caption_adapter.metrics import novelty
from benchmarks.caption_adapter.near import Captions, Near, concepts
from benchmarks.caption_adapter.rows import Pair
from benchmarks.caption_adapter.run import OWN_PAIRS
from benchmarks.caption_adapter.sources import coco, held_out
from benchmarks.caption_adapter.transplant import Donors, transplant
from benchmarks.caption_adapter.written import crossed, fault, read


@pytest.mark.parametrize(
    ("caption", "text", "reason"),
    [
        ("two dogs on grass", "on the grass are two dogs", None),
        ("dogs on grass", "on the grass are two dogs", "number or colour added"),
        ("a dog on grass", "a brown dog is on grass", "number or colour added"),
        ("a dog on grass", "A dog, on grass!", "same words"),
        ("a dog on grass", "there is no dog on the grass", "negation changed"),
        ("a dog in the city", "a dog in the streets of Paris", "name added"),
        ("a dog in paris", "a dog walks around Paris", None),
        ("a dog on grass", "grassy dog", "length"),
    ],
)
def test_fault(caption: str, text: str, reason: str | None) -> None:
    assert fault(caption, text) == reason


def test_read_keeps_the_good_and_counts_the_refused(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    record = {
        "caption": "a dog on grass",
        "chatgpt": "On the grass is a dog.",
        "bard": "Red dog on grass",
        "human": None,
    }
    path.write_text(json.dumps(record) + "\n")
    pairs, refused = read(path)
    assert pairs == [Pair("a dog on grass", (("chatgpt", "On the grass is a dog."),))]
    assert dict(refused) == {"number or colour added": 1}
    path.write_text(json.dumps(record) + '\n{"text": "x"}\n')
    with pytest.raises(ValueError, match=r"pairs\.jsonl:2"):
        read(path)


def test_crossed_rewrites_add_nothing() -> None:
    pair = Pair(
        "x",
        (
            ("chatgpt", "A large dog runs along the beach at sunset."),
            ("bard", "Dog on beach"),
            ("human", "At sunset, a big dog is running on the beach"),
        ),
    )
    assert crossed(pair) == [
        Pair("A large dog runs along the beach at sunset.", (pair.texts[2],)),
        Pair("At sunset, a big dog is running on the beach", (pair.texts[0],)),
    ]


def test_near_wants_the_same_content_in_other_words() -> None:
    texts = [
        "A lady is riding a bike down the road",
        "A woman rides on her bicycle in a street",
        "A woman rides her bicycle with a red helmet",
        "Two ladies are riding a bike down the road",
        "A lady is riding a bike down a road",
    ]
    assert concepts(texts[0]) == concepts(texts[1])
    own = Captions(texts)
    bounds = Near(0.8, 0.8, 0.4)
    assert [t for t in range(1, 5) if own.near(0, t, bounds)] == [1]
    assert list(own.siblings([[0, 1], [2, 3]])) == [(0, 1), (1, 0)]


def test_transplant_replaces_on_both_sides_and_fits_the_article() -> None:
    pair = Pair("a dog runs", (("bard", "A running dog"), ("human", "Dog, running")))
    made = transplant(pair, Donors(["owl", "an owl"]), random.Random(0))
    assert made == Pair("an owl runs", (("bard", "A running owl"), ("human", "Owl, running")))
    untouched = Pair("a dog", (("bard", "the cat"),))
    assert transplant(untouched, Donors(["owl"]), random.Random(0)) == untouched


def test_coco_is_held_out_by_image(tmp_path: Path) -> None:
    lines = [json.dumps({"image_id": n, "captions": [f"caption  {n}", "other"]}) for n in range(500)]
    (tmp_path / "coco_val2017_captions.jsonl").write_text("\n".join(lines))
    held, train = coco(tmp_path, held=True), coco(tmp_path, held=False)
    assert len(held) + len(train) == 500
    assert 70 <= len(held) <= 130
    assert all(held_out(own[0].removeprefix("caption ")) for own in held)
    assert not any(held_out(own[0].removeprefix("caption ")) for own in train)
    assert held_out(" 139 \n") == held_out("139")


def test_the_bold_pairs_are_sound() -> None:
    pairs, refused = read(OWN_PAIRS.with_name("bold.jsonl"))
    assert len(pairs) > 1400
    assert not refused
    texts = [(pair.caption, text) for pair in pairs for _, text in pair.texts]
    assert sum(novelty(caption, text) for caption, text in texts) / len(texts) > 0.5
