"""Photos out of the training set's domain: one of each ImageNet class, in groups that a small model may tell apart.

From a checkout of github.com/EliSchwartz/imagenet-sample-images (1,000 photos, 110 MB; ImageNet's terms: research). A
group is a range of classes in ImageNet's order, which is that of their WordNet ids and so of the file names.
"""

from __future__ import annotations

import shutil
from pathlib import Path

GROUPS = {
    "fish": [*range(7), *range(389, 398)],
    "bird": [*range(7, 25), *range(80, 101), *range(127, 147)],
    "snake": [*range(52, 69)],
    "dog": [*range(151, 269)],
    "cat": [*range(281, 294)],
    "insect": [*range(300, 327)],
    "monkey": [*range(369, 383)],
    "boat": [472, 484, 510, 554, 576, 625, 628, 780, 814, 871, 914],
    "car": [436, 468, 511, 609, 627, 656, 661, 717, 734, 751, 817],
    "musical instrument": [
        401,
        402,
        420,
        432,
        486,
        513,
        541,
        546,
        558,
        566,
        579,
        593,
        594,
        642,
        683,
        699,
        776,
        875,
        889,
    ],
    "fruit or vegetable": [*range(936, 947), *range(948, 958)],
    "food": [924, 925, 926, 927, 928, 930, 931, 932, 933, 934, 935, 959, 962, 963, 964, 965],
}
"""By what a photo shows, the places of its class among the thousand."""


def group(checkout: Path, out: Path) -> None:
    """Copy the photos of the groups to ``out``, a folder for each group.

    Raises:
        SystemExit: ``checkout`` has other photos.
    """
    photos = sorted(checkout.glob("n*.JPEG"))
    if len(photos) != 1000:
        raise SystemExit(f"{checkout} has {len(photos)} photos n*.JPEG, and not the thousand of imagenet-sample-images")
    half = out.with_name(out.name + ".part")
    shutil.rmtree(half, ignore_errors=True)
    for name, places in GROUPS.items():
        (half / name).mkdir(parents=True)
        for place in places:
            shutil.copyfile(photos[place], half / name / photos[place].name)
    half.rename(out)
