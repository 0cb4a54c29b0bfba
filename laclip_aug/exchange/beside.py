"""What stands beside each caption of somebody's own data: the rewrites that a cache has of it, in named places.

A cache knows captions and no rows, so an export goes through the data, in its order, and looks each caption up. Several
rows with one caption get the same texts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Any, Protocol

from laclip_aug.augmenter import Rewrite
from laclip_aug.exchange.log import InputLog
from laclip_aug.exchange.readers import MISSING

UNKNOWN = "not-in-cache"
"""Reason in the log for a caption that the cache does not know."""


class Rewrites(Protocol):
    """Where texts are looked up: a cache."""

    @property
    def sources(self) -> Sequence[str]:
        """The kinds of text, in their fixed order."""

    def get(self, caption: str) -> Sequence[Rewrite] | None:
        """The rewrites of ``caption``, possibly none; ``None`` where the caption is unknown."""

    def most(self, sources: Collection[str]) -> int:
        """The largest number of rewrites of a caption from ``sources``."""


class Beside:
    """The texts of captions, in one place for each text that a caption may have of a source.

    The first text of the source ``bard`` is in the place ``bard``, a second one in ``bard_2``, and so on. ``log``
    counts the captions that the cache does not know, ``texts`` the captions with a text by source.

    Args:
        rewrites: the cache.
        log: of the reading of the data.
        as_imported: the text of a caption and a source that an import refused and the data had; ``None`` for none.
    """

    def __init__(
        self, rewrites: Rewrites, log: InputLog, as_imported: Callable[[str, str], str | None] = lambda *_: None
    ) -> None:
        self._rewrites, self._as_imported = rewrites, as_imported
        self.log = log
        self.texts: Counter[str] = Counter()
        self.sources = list(rewrites.sources)
        self.most = {source: max(1, rewrites.most([source])) for source in self.sources}
        self.places = [name for source in self.sources for name in _places(source, self.most[source])]

    def of(self, caption: Any, where: str) -> dict[str, list[str]]:
        """Source → its texts for ``caption``, which stands at ``where``; all are empty where there is no caption."""
        found: dict[str, list[str]] = {source: [] for source in self.sources}
        if caption is None or caption == MISSING:
            self.log.reject("missing", where)
            return found
        if not isinstance(caption, str):
            several = isinstance(caption, list)
            self.log.reject("several-captions" if several else "not-text", where)
            return found
        rewrites = self._rewrites.get(caption)
        if rewrites is None:
            self.log.reject(UNKNOWN, where)
        for rewrite in rewrites or ():
            found[rewrite.source].append(rewrite.text)
        for source, texts in found.items():
            if not texts and self.most[source] == 1 and (text := self._as_imported(caption, source)) is not None:
                texts.append(text)
            self.texts[source] += bool(texts)
        return found

    def placed(self, caption: Any, where: str) -> dict[str, str | None]:
        """Place → text, for each of ``places``; ``None`` where there is none."""
        texts = self.of(caption, where)
        flat = {
            name: text
            for source, own in texts.items()
            for name, text in zip(_places(source, len(own)), own, strict=True)
        }
        return {name: flat.get(name) for name in self.places}

    def lines(self) -> list[str]:
        """For people: how many rows have a text of each source, and what had none and why."""
        return [f"  {source}: {self.texts[source]}" for source in self.sources] + [f"  {s}" for s in self.log.lines()]


def _places(source: str, number: int) -> list[str]:
    return [source if place == 1 else f"{source}_{place}" for place in range(1, number + 1)]
