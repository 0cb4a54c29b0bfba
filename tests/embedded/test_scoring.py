"""The score that picks among candidates."""

import pytest

from laclip_aug.quality.wording import score

SOURCE = "Two brown dogs are playing in the snow"


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ("In the snow two dogs that are brown play", "Two brown dogs are playing in the snow"),  # new wording
        ("In snow, two brown dogs play.", "In snow, two brown dogs stand on grass."),  # keeps more
        ("Two brown dogs play in snow.", "Two brown dogs play in snow near an orange tractor."),  # invents less
        ("Two brown dogs play in snow.", ""),
        ("There are two brown dogs playing in snow.", "Two brown dogs with brown dogs playing in snow."),  # repeats
        ("Two brown dogs play in snow.", "A man with two brown dogs plays in snow."),  # no stranger
    ],
)
def test_order(better: str, worse: str) -> None:
    assert score(SOURCE, better) > score(SOURCE, worse)


def test_hostile_texts_have_a_score() -> None:
    for caption in ("", "\0", "日本語", "a " * 5000, "\ud800"):
        assert -1 <= score(caption, "a dog") <= 2.65
        assert -1 <= score("a dog", caption) <= 2.65


def test_of_two_equal_texts_the_one_that_the_model_finds_likelier_wins() -> None:
    text = "Two brown dogs play in snow."
    assert score(SOURCE, text, -0.5) > score(SOURCE, text, -2.5)
