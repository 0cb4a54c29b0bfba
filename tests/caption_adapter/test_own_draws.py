"""What an adapter learns of its own draws, and for which captions it draws."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from benchmarks.caption_adapter import own_draws, sources
from benchmarks.caption_adapter.judged_rows import measured, verdicts
from benchmarks.quality import fresh
from benchmarks.quality.judged import sound
from tests.caption_adapter.test_verdicts import NOUNS

DOG = "a brown dog runs over the wet grass of a park"
CUP = "an old cup stands beside a plate of bread"


def draw(caption: str, text: str, own: float | None = 0.99, likelihood: float = -0.1, **more: str) -> dict[str, Any]:
    line = {"set": "coco", "caption": caption, "strategy": "mscoco", "text": text}
    return line | {"own": own, "likelihood": likelihood} | more


def test_refused_texts_are_unsound_and_the_surest_of_the_others_sound() -> None:
    lost = draw(DOG, "A dog runs over the wet grass.", refused="colour-lost")
    sure = draw(DOG, "A brown dog is running over the park's wet grass.")
    plain = draw(CUP, "An old cup is seen, and it stands beside bread on one plate.")
    left = [
        draw(DOG, "Sure! Here it is", refused="spoken"),  # an answer, no rewrite
        draw(DOG, "A photo of a brown dog that runs over the wet grass of a park."),  # hardly a new word
        draw(DOG, "A brown dog is running over a park's wet grass.", own=0.02, likelihood=-2.0),
        draw(CUP, "An old cup is seen, and it stands by bread on one plate.", own=None),  # broken off
    ]
    found = own_draws.rows([lost, sure, plain, *left], random.Random(1))
    assert found == [
        lost | {"strict": "false", "writing": 1.0, "judging": 0.0},
        sure | {"strict": "ok", "writing": 0.5, "judging": 0.0},
        plain | {"strict": "ok", "writing": 0.5, "judging": 0.0},
    ]
    assert [sound(row) for row in found] == [False, True, True]


def test_no_own_draw_is_trained_on_whose_caption_is_measured_on() -> None:
    texts = [f"a dog of {n} years runs" for n in range(40)]
    own = [draw(caption, "A dog runs", refused="number-lost") for caption in texts]
    some, _ = verdicts(NOUNS, own)
    assert {row["caption"] for row in some} & set(texts) == {text for text in texts if not measured(text)}
    assert 0 < sum(map(measured, texts)) < 40


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Caption sets of a few lines, as their makers write them."""
    coco = [{"image_id": n, "captions": [f"a red bus number {n} ", f"a bus in town {n}"]} for n in range(60)]
    (tmp_path / "coco_val2017_captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in coco))
    cc3m = [
        "caption\turl",
        *(f"person at event {n}\thttp://x.org/{n}" for n in range(40)),
        "a green door\thttp://x.org/a",
    ]
    (tmp_path / "cc3m_validation.tsv").write_text("\n".join(cc3m) + "\n")
    read = json.loads(fresh.FILE.read_text(encoding="utf-8").splitlines()[0])["caption"]
    laion = [read, *(f"Shoes Size {n}" for n in range(40))]
    (tmp_path / "laion_alt_text.jsonl").write_text("".join(json.dumps({"caption": one}) + "\n" for one in laion))
    return tmp_path


def test_it_draws_for_each_caption_once_but_for_none_that_is_held_out_or_read(folder: Path) -> None:
    found = own_draws.captions(folder)
    assert all(len(texts) == len(set(texts)) for texts in found.values())
    held = {" ".join(text.split()) for own in sources.coco(folder, held=True) for text in own}
    assert held and not held & set(found["coco"]) and len(found["coco"]) == 120 - len(held)
    assert all("red" in text for text in found["coco"][: len(found["coco"]) // 2]), "those with a colour come first"
    assert not set(sources.cc3m(folder, held=True)) & set(found["cc3m"])
    assert {"Shoes Size 1", "Shoes Size 2", "Shoes Size 3"} & set(found["laion"])
    read = {json.loads(line)["caption"] for line in fresh.FILE.read_text(encoding="utf-8").splitlines()}
    assert not read & {text for texts in found.values() for text in texts}
