"""Which image of a set each path of a table means: tables have other folders before a path than this machine.

A path is compared from its end with the image's whole path, the folder of the split included. Two folders often number
their images alike, so what agrees further wins: of ``train/0.jpg`` and ``test/0.jpg``, the second is of the image
``0.jpg`` in ``photos/test``, and no other row that says ``train`` is of an image there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from laclip_aug.errors import InputError


@dataclass(frozen=True)
class _Match:
    """An image (its place in the set) that a path may mean.

    ``agreement`` counts the folders around the set that the path names too; it is below 0 where the path does not name
    all folders inside the set. ``whole``: nothing in the path says otherwise.
    """

    place: int
    agreement: int
    whole: bool

    @property
    def order(self) -> tuple[int, bool]:
        """What is greater is the better match."""
        return self.agreement, self.whole


def places_of(paths: Iterable[str], keys: Sequence[str], folders: Sequence[Path], source: str) -> dict[str, int]:
    """The place in ``keys`` of each of ``paths`` that is there.

    Args:
        paths: images as a table names them.
        keys: images by their path inside the set.
        folders: what the set's paths are inside; several if it can be called by several names.
        source: where the paths are from, for messages.

    Raises:
        InputError: two paths mean the same image, and nothing tells which is the right one.
    """
    ends, around = _ends(keys), [_parts(str(folder)) for folder in folders]
    parts = {path: _parts_there(path, ends) for path in paths}
    matches = {own: found for own in dict.fromkeys(parts.values()) if (found := _match(own, keys, ends, around))}
    ordered = sorted(matches.items(), key=lambda item: item[1].order, reverse=True)
    chosen: dict[int, tuple[str, ...]] = {}
    for own, match in ordered:
        if not match.whole and match.agreement < ordered[0][1].agreement:
            continue  # it names another folder, and other paths name this one
        other = chosen.setdefault(match.place, own)
        if own != other and match.order == matches[other].order:
            raise InputError(
                f"{source}: {'/'.join(other)!r} and {'/'.join(own)!r} may both be of the image {keys[match.place]!r} "
                f"in {folders[0] if folders else 'the set'}; leave one out, or call that folder as the table does"
            )
    places = {own: place for place, own in chosen.items()}
    return {path: places[own] for path, own in parts.items() if own in places}


def _ends(keys: Sequence[str]) -> dict[tuple[str, ...], int | None]:
    """The image of each end of a key: the one that is called so, else the only one that ends so; None of several."""
    ends: dict[tuple[str, ...], int | None] = {}
    whole: dict[tuple[str, ...], int | None] = {}
    for place, key in enumerate(keys):
        parts = _parts(key)
        whole[parts] = None if parts in whole else place
        for start in range(1, len(parts)):
            ends[parts[start:]] = None if parts[start:] in ends else place
    return ends | whole


def _match(
    path: tuple[str, ...],
    keys: Sequence[str],
    ends: dict[tuple[str, ...], int | None],
    around: Sequence[tuple[str, ...]],
) -> _Match | None:
    start = next((start for start in range(len(path)) if path[start:] in ends), None)
    if start is None or (place := ends[path[start:]]) is None:
        return None
    agreement = len(path) - start - len(_parts(keys[place]))
    if agreement == 0:
        agreement = max((_shared_end(path[:start], folders) for folders in around), default=0)
    return _Match(place, agreement, start == max(agreement, 0))


def _parts_there(path: str, ends: Mapping[tuple[str, ...], int | None]) -> tuple[str, ...]:
    r"""The parts of a path of a table, between which Windows writes ``\``, unless an image is called so."""
    parts = _parts(path)
    return parts if "\\" not in path or parts[-1:] in ends else _parts(path.replace("\\", "/"))


def _parts(path: str) -> tuple[str, ...]:
    return tuple(part for part in path.split("/") if part not in ("", "."))


def _shared_end(one: Sequence[str], other: Sequence[str]) -> int:
    count = 0
    while count < min(len(one), len(other)) and one[-1 - count] == other[-1 - count]:
        count += 1
    return count
