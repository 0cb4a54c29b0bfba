"""How many workers a cluster has room for, and how many CPUs each gets: worked out by hand."""

import pytest

from laclip_aug.cluster.ray import shares
from laclip_aug.errors import ConfigurationError

SMALL, LARGE, PLAIN = {"CPU": 32.0, "GPU": 4.0}, {"CPU": 96.0, "GPU": 8.0}, {"CPU": 64.0}


@pytest.mark.parametrize(
    ("machines", "workers", "gpus", "expected"),
    [
        ([PLAIN], None, 0, (1, 64)),
        ([PLAIN], 2, 0, (2, 32)),
        ([PLAIN, SMALL], None, 0, (2, 32)),  # each fits on the smaller one
        ([PLAIN, SMALL], 3, 0, (3, 16)),  # two of them on one machine, whichever it is
        ([SMALL, LARGE], None, 1, (12, 8)),  # 32 / 4 < 96 / 8
        ([SMALL, LARGE], None, 8, (1, 96)),  # the small one has no room
        ([LARGE], None, 0.5, (16, 6)),
        ([LARGE], 3, 2, (3, 24)),
        ([SMALL, PLAIN], None, 4, (1, 32)),
    ],
)
def test_shares(machines: list[dict[str, float]], workers: int | None, gpus: float, expected: tuple[int, int]) -> None:
    assert shares(machines, workers, gpus) == expected


def test_too_much_is_asked() -> None:
    with pytest.raises(ConfigurationError, match="has 9 GPUs for a worker, the most is 8"):
        shares([SMALL, LARGE], None, 9)
    with pytest.raises(ConfigurationError, match="less than one CPU for each of 65 workers"):
        shares([PLAIN], 65, 0)
