"""Long captions as their sentences, alone or some in a row joined: texts that need no model.

::

    sentences/
      splitting.py    a caption's sentences, in English and other scripts
      augmenter.py    SentencesAugmenter: the CaptionAugmenter registered as "sentences"
"""

from laclip_aug.sentences.augmenter import SentencesAugmenter

__all__ = ["SentencesAugmenter"]
