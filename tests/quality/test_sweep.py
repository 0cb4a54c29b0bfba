"""The table of thresholds."""

import numpy as np
import pytest

from laclip_aug.quality.sweep import Swept, _quantile, lines

NAN = float("nan")


def test_shares_by_hand() -> None:
    values = [0.0, 0.1, 0.2, 0.3, NAN]
    at_least, at_most = dict(Swept(True, values).shares()), dict(Swept(False, values).shares())
    assert at_least[0.2] == 0.5
    assert at_most[0.2] == 0.75
    assert list(at_least.values()) == sorted(at_least.values(), reverse=True)
    assert at_least[min(at_least)] == 1


@pytest.mark.parametrize("values", [[], [NAN], [0.5], [0.5, 0.5], [-1e9, 1e9], [0.0] * 1000 + [1e-9]])
def test_any_values_give_a_short_table(values: list[float]) -> None:
    shares = Swept(True, values).shares()
    assert len(shares) <= 16
    assert all(0 <= share <= 1 for _, share in shares)
    assert bool(shares) == any(value == value for value in values)


def test_what_is_held_grows_with_the_values_and_not_with_the_texts() -> None:
    swept = Swept()
    for _ in range(500):
        swept.add([0.0, 0.1, 0.2, 0.3, float("nan")])
    assert swept.counts == {0.0: 500, 0.1: 500, 0.2: 500, 0.3: 500}
    assert swept.unknown == 500
    assert dict(swept.shares())[0.2] == 0.5


@pytest.mark.parametrize("share", [0.0, 0.01, 0.4, 0.5, 0.99, 1.0])
def test_bounds_go_from_the_first_to_the_last_percent_as_numpy_reckons_them(share: float) -> None:
    values = [0.5, 0.1, 0.1, 0.1, 0.7, 0.9, 0.9, -0.4, 0.2]
    known, numbers = np.unique(values, return_counts=True)
    assert _quantile(known, np.cumsum([0, *numbers]), share) == pytest.approx(np.quantile(values, share))


def test_the_table_says_what_is_not_known() -> None:
    text = "\n".join(lines({"clip(ViT-B-32)>=": Swept(True, [0.1, 0.3, NAN])}))
    assert "clip(ViT-B-32)>=" in text
    assert "of 2 texts (1 unknown)" in text
    assert "0.2   50.0%" in text
