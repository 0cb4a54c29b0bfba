"""The table of thresholds."""

import pytest

from laclip_aug.quality.sweep import kept_shares, lines

NAN = float("nan")


def test_shares_by_hand() -> None:
    values = [0.0, 0.1, 0.2, 0.3, NAN]
    at_least, at_most = dict(kept_shares(values)), dict(kept_shares(values, at_least=False))
    assert at_least[0.2] == 0.5
    assert at_most[0.2] == 0.75
    assert list(at_least.values()) == sorted(at_least.values(), reverse=True)
    assert at_least[min(at_least)] == 1


@pytest.mark.parametrize("values", [[], [NAN], [0.5], [0.5, 0.5], [-1e9, 1e9], [0.0] * 1000 + [1e-9]])
def test_any_values_give_a_short_table(values: list[float]) -> None:
    shares = kept_shares(values)
    assert len(shares) <= 16
    assert all(0 <= share <= 1 for _, share in shares)
    assert bool(shares) == any(value == value for value in values)


def test_the_table_says_what_is_not_known() -> None:
    text = "\n".join(lines({"clip(ViT-B-32)>=": ([0.1, 0.3, NAN], True)}))
    assert "clip(ViT-B-32)>=" in text
    assert "of 2 texts (1 unknown)" in text
    assert "0.2   50.0%" in text
