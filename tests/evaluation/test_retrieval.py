"""Retrieval, classification by nearest text and composition, counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from laclip_aug.evaluation.accuracy import mean_per_class, ranks_of_labels, top_k_and_mean
from laclip_aug.evaluation.composition import composition
from laclip_aug.evaluation.retrieval import first_ranks, retrieval
from laclip_aug.evaluation.zeroshot import unit, zero_shot

AXES = np.eye(4, dtype=np.float32)
# three images; texts 0 and 1 belong to image 0, 2 to image 1, 3 and 4 to image 2
IMAGES = np.stack([AXES[0], AXES[1], AXES[2]])
TEXTS = np.array(
    [
        [0.9, 0.1, 0.0, 0.3],  # nearest: image 0, its own
        [0.1, 0.8, 0.2, 0.5],  # order of images: 1, 2, 0: its own is last
        [0.5, 0.4, 0.0, 0.1],  # 0, 1: its own is second
        [0.0, 0.0, 1.0, 9.0],  # 2, its own
        [0.3, 0.2, 0.1, 0.0],  # 0, 1, 2: its own is last
    ],
    dtype=np.float32,
)
OWNERS = np.array([0, 0, 1, 2, 2])


def test_ranks_counted_by_hand() -> None:
    # Cosines of image 1 with the five texts, their second numbers over their lengths (0.954, 0.970, 0.648, 9.06,
    # 0.374): 0.105, 0.825, 0.617, 0, 0.535: its own text 2 comes second.
    # Image 2: 0, 0.206, 0, 0.110, 0.267: text 4 is first.
    # Image 0: 0.943, 0.103, 0.772, 0, 0.802: text 0 is first.
    to_text = first_ranks(IMAGES, TEXTS, np.stack([OWNERS, np.arange(5)], axis=1))
    assert to_text.tolist() == [0, 1, 0]
    to_image = first_ranks(TEXTS, IMAGES, np.stack([np.arange(5), OWNERS], axis=1))
    assert to_image.tolist() == [0, 2, 1, 0, 2]
    found = retrieval(IMAGES, TEXTS, OWNERS, at=(1, 2))
    assert found == pytest.approx(
        {
            "image-to-text R@1": 100 * 2 / 3,
            "image-to-text R@2": 100.0,
            "text-to-image R@1": 40.0,
            "text-to-image R@2": 60.0,
        }
    )


def test_equal_scores_go_to_the_first_and_not_to_the_right_one() -> None:
    same = np.ones((4, 4), dtype=np.float32)
    pairs = np.stack([np.arange(4), np.arange(4)], axis=1)
    assert first_ranks(same, same, pairs).tolist() == [0, 1, 2, 3]
    # two right candidates of equal score, the second and the third: one wrong one stands before them
    assert first_ranks(same[:1], same, np.array([[0, 2], [0, 1]])).tolist() == [1]


@pytest.mark.parametrize("block", [(1, 1), (3, 7), (64, 5), (1000, 1000)])
def test_blocks_change_nothing(block: tuple[int, int]) -> None:
    """Against a stable sort of the whole matrix, with captions that occur several times."""
    generator = np.random.default_rng(1)
    images = generator.standard_normal((40, 8)).astype(np.float32)
    texts = generator.standard_normal((100, 8)).astype(np.float32)
    texts[50:] = texts[:50]
    owners = np.concatenate([np.arange(40), generator.integers(0, 40, 60)])
    scores = (unit(images).astype(np.float64) @ unit(texts).astype(np.float64).T).astype(np.float32)
    order = np.argsort(-scores, axis=1, kind="stable")
    expected = [next(n for n, text in enumerate(row) if owners[text] == image) for image, row in enumerate(order)]
    pairs = np.stack([owners, np.arange(100)], axis=1)
    assert first_ranks(images, texts, pairs, block).tolist() == expected


def test_zero_shot_by_hand() -> None:
    classifier = AXES[:3, :3]
    images = 7 * np.array([[2, 1, 0], [1, 2, 0], [1, 2, 3], [3, 1, 2]], dtype=np.float32)
    found = zero_shot(images, np.array([0, 0, 2, 1]), classifier)
    # right: the first and the third; of class 0 one of two, of class 1 none, of class 2 all
    assert found == pytest.approx({"top-1": 50.0, "mean-per-class": 100 * (0.5 + 0 + 1) / 3})


def test_top_five_and_ties() -> None:
    scores = np.array([[6, 5, 4, 3, 2, 1.0], [6, 5, 4, 3, 2, 1.0], [0, 0, 0, 0, 0, 0]])
    labels = np.array([4, 5, 1])
    assert ranks_of_labels(scores, labels).tolist() == [4, 5, 1]
    assert top_k_and_mean(scores, labels) == pytest.approx({"top-1": 0, "top-5": 200 / 3, "mean-per-class": 0})
    assert mean_per_class(np.array([True, False, True]), np.array([7, 7, 9])) == 0.75


def test_composition_needs_a_strictly_nearer_caption() -> None:
    right, images = AXES[[0, 1, 2]], AXES[[0, 1, 2]]
    wrong = np.stack([AXES[1], AXES[1] * 5, AXES[2] + 9 * AXES[3], AXES[2]])
    # row 0 right; row 1: the wrong caption is as near, so wrong; row 2: of its two wrong ones one is as near
    assert composition(images, right, wrong, np.array([0, 1, 2, 2])) == pytest.approx(100 / 3)
