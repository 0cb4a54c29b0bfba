"""The content words of a text in any language, and how many of a caption's a text has.

A text about something else, such as a refusal, shares no content word with the caption. Words compare by stem; English
endings are cut, and of longer words the first letters count, which serves inflected languages too. Scripts without
spaces have no words to see: Han characters stand for themselves, of the others (kana, Thai, Khmer, ...) three
neighbouring letters do.
"""

from __future__ import annotations

import re
from functools import lru_cache

from laclip_aug.quality.checks import UNSPACED, folded

_FUNCTION_WORDS = frozenset(
    # English
    "a an the of on in at to for from with by and or but as is are was were be been being it its this that these those "
    "he she they we you i me my his her their our your him them there here while which who whose some what how when "
    "where any into onto over up out off has have had do does not no one so than then very during will would can could "
    "shall should may might must if just also such please let us am "
    # and its abbreviations, folded
    "s t m re ve ll d don "
    # the shortest words of its neighbours
    "de la le les el los las un una une der das dem des ein eine einen en et y und mit auf im am zu il lo di da do dos "
    "du au aux em na os que qui con por para pour sur dans avec est es ist sind e o ich je yo nicht "
    "на в и с по из за не к у о для это как що та і я вы "
    # and of further scripts
    "है हैं था थे थी में का की के को से पर और एक यह वह इस उस ने नहीं भी जो हो कर रहा रहे रही "
    "একটি এক এই সেই ও এবং না আমি যে তার করে থেকে সাথে হয় আছে করা "
    "في على من إلى عن مع هذا هذه ذلك أن لا ما هو هي التي الذي كان قد ثم أو "
    "در از به با که این آن را است و یک برای بر نیست تا می ہے ہیں میں کا کی کے کو سے پر اور ایک یہ وہ نہیں "
    "של על את זה לא עם אל הוא היא אני כי גם או יש "
    "το η ο τα οι του της των με σε για και στο στη στην στον από ένα μια ένας δεν να θα είναι που "
    # what an image is called says nothing about it
    "image photo picture".split()
)
_FUNCTION_CHARACTERS = frozenset(
    "的一是在不了有和这中为上下个我你您他她它们与及之也可以能会要请对无法没到把被里着就都而或些"
)
_UNSPACED_RUN = re.compile(f"{UNSPACED.pattern}+")
_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_STEM = 5


@lru_cache(maxsize=8192)
def content(text: str) -> frozenset[str]:
    """The stems of the content words, numbers included.

    >>> sorted(content("The 2 dogs are running"))
    ['2', 'dog', 'run']
    """
    plain = folded(text)
    units = {_stem(word) for word in _UNSPACED_RUN.sub(" ", plain).split() if word not in _FUNCTION_WORDS}
    for run in _UNSPACED_RUN.findall(plain):
        units.update(set(_HAN.findall(run)) - _FUNCTION_CHARACTERS)
        for piece in _HAN.split(run):
            units.update(piece[at : at + 3] for at in range(max(0, len(piece) - 2)))
    return frozenset(units)


def share_kept(caption: str, text: str) -> float:
    """Which share of the caption's content ``text`` has, 0 to 1; 0 if the caption has none."""
    wanted = content(caption)
    return len(wanted & content(text)) / len(wanted) if wanted else 0.0


def _stem(word: str) -> str:
    """Cut an English ending and what follows the fifth letter; crude, and the same on both sides."""
    for ending in ("ing", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)]
            if len(word) > 3 and word[-1] == word[-2]:
                word = word[:-1]  # running
            break
    return word[:_STEM].rstrip("e") or word
