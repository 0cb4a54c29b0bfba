"""An augmenter as another package would bring it, registered through an entry point as ``shout``.

It rejects every second attempt on a caption that says "reject", and every attempt on one that says "hopeless". One that
says "deadly" ends the process.
"""

import os
import time
from collections.abc import Iterable, Iterator, Sequence

from laclip_aug.augmenter import CaptionAugmenter, Outcome, Rejection, Rewrite, texts_of
from laclip_aug.seeding import derive


class ShoutAugmenter(CaptionAugmenter):
    name = "shout"
    sources = ("loud", "calm")

    def __init__(self, mark: str = "!", delay: float = 0.0) -> None:
        self.mark, self.delay = mark, delay

    def augment(self, captions: Sequence[str], n: int, seed: int) -> list[list[str]]:
        return texts_of(self.outcomes(captions, n, seed), captions, n, self.sources)

    def outcomes(self, captions: Iterable[str], n: int, seed: int) -> Iterator[Outcome]:
        for caption in captions:
            time.sleep(self.delay)
            if "deadly" in caption:
                os._exit(9)
            made: list[Rewrite] = []
            refused: list[Rejection] = []
            for j in range(n):
                source = self.sources[j % 2]
                text = f"{caption.upper() if source == 'loud' else caption} {derive(seed, caption, j) % 100}{self.mark}"
                if "hopeless" in caption or ("reject" in caption and j % 2):
                    refused.append(Rejection(source, "too-loud", text))
                else:
                    made.append(Rewrite(source, text))
            yield Outcome(caption, tuple(made), tuple(refused), tokens=3 * n)

    def fingerprint(self) -> str:
        return f"shout-1 {self.mark}"

    def describe(self) -> dict[str, object]:
        return {**super().describe(), "mark": self.mark}


def shared_letters(caption: str, text: str) -> float:
    """Share of the letters of either that are in both."""
    return len(set(caption) & set(text)) / max(1, len(set(caption) | set(text)))
