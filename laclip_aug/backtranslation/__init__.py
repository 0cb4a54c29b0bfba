"""Back-translation of captions: English to a pivot language and back.

::

    backtranslation/
      augmenter.py   BackTranslationAugmenter: the CaptionAugmenter registered as "back-translation"
      content.py     how many of the caption's content words came back
      choice.py      which of several translations go on, best first or drawn by a key
      pivots.py      pivot languages: how an option names the two translators of a round trip
      translator.py  the Translator protocol, and what every translator does to hostile text first
      ctranslate.py  CTranslate2 and SentencePiece: OPUS-MT and Marian, NLLB, M2M-100, the embedded pair
      folder.py      a converted model's folder: files, hashes, language tokens
      apertium.py    the Apertium program, for checks
      convert.py     a Hugging Face or Marian folder into a converted one
      marian.py      the Marian network of a Hugging Face folder, weight by weight
      embedded/      the English-German model that ships with the package, and its model card

Source: Sennrich, Haddow and Birch 2016, section 3; a baseline in the ablation of LaCLIP (Fan et al. 2023).
"""

from laclip_aug.backtranslation.augmenter import BackTranslationAugmenter
from laclip_aug.backtranslation.translator import Translation, Translator

__all__ = ["BackTranslationAugmenter", "Translation", "Translator"]
