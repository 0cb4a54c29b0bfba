"""Word-level augmentation of captions (EDA): synonym replacement, random insertion, swap and deletion.

::

    eda/
      augmenter.py    EDAAugmenter: the CaptionAugmenter registered as "eda"
      operations.py   the four operations on a split caption
      tokens.py       splitting, what may not be touched, case, a/an
      inflection.py   English noun and verb forms
      synonyms.py     the synonym table: rows of lemmas compiled to word forms
      wordnet.py      WordNet through nltk: found and read
      sources.py      which table: WordNet, built-in or a file; compiled once, kept in a cache directory
      data/           the built-in synonym rows and irregular forms

Source: Wei and Zou, EDA: Easy Data Augmentation Techniques (EMNLP-IJCNLP 2019), section 2.
"""

from laclip_aug.eda.augmenter import EDAAugmenter

__all__ = ["EDAAugmenter"]
