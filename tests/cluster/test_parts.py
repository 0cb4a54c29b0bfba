"""Into how many parts an input is divided: of 2,000 captions at least, one to four for each worker."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat

import pytest

from laclip_aug.cluster.build import parts_for


@pytest.mark.parametrize(
    ("captions", "workers", "parts"),
    [
        (0, 3, 3),
        (160, 2, 2),
        (4001, 2, 2),
        (6100, 2, 3),
        (6100, 1, 3),
        (9000, 1, 4),
        (15_999, 2, 7),
        (16_000, 2, 8),
        (90_000, 2, 8),
    ],
)
def test_parts(captions: int, workers: int, parts: int) -> None:
    assert parts_for(repeat("a boat", captions), workers) == parts


def test_no_more_is_read_than_it_takes() -> None:
    seen = []

    def counted() -> Iterator[str]:
        for caption in repeat("a boat"):
            seen.append(caption)
            yield caption

    assert parts_for(counted(), 3) == 12
    assert len(seen) == 24_000
