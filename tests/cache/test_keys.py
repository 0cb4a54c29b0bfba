"""Captions are told apart by what they say."""

import hashlib

from hypothesis import given, settings
from hypothesis import strategies as st

from laclip_aug.cache.keys import KEY_BYTES, KeySet, caption_key, normalise


def test_white_space_and_composition_do_not_tell_captions_apart():
    assert normalise("  a \n\t dog ") == "a dog"
    assert normalise("cafe\u0301") == "caf\u00e9"
    assert caption_key("a  dog\n") == caption_key("a dog")


def test_case_and_words_do():
    assert len({caption_key(text) for text in ("a dog", "A dog", "a dog.", "a  cat", "")}) == 5


def test_key_is_blake2b_of_the_utf8_text():
    assert caption_key(" a dog") == hashlib.blake2b(b"a dog", digest_size=16).digest()


def test_marks_without_end_take_no_longer_than_letters():
    """In form NFC marks below stand before marks above; CPython takes the square of a run's length to sort them."""
    caption = "a dog " + "\u0301\u0316" * 100_000
    assert normalise(caption) == "a dog " + "\u0316" * 100_000 + "\u0301" * 100_000
    assert caption_key(caption) == caption_key("a dog  " + "\u0316\u0301" * 100_000)


def test_hostile_captions_have_keys():
    for text in ("\0", "\ud800 half", "=> caption", "🐕" * 10_000):
        assert len(caption_key(text)) == KEY_BYTES


@given(st.text())
def test_normalising_twice_changes_nothing(text):
    assert normalise(normalise(text)) == normalise(text)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.integers(0, 60), max_size=20), max_size=30))
def test_key_set_is_a_set(slabs):
    # zeros at the end of a key, and few distinct keys in tiny runs, exercise padding and merging
    keys, reference = KeySet(flush=4), set()
    for slab in slabs:
        answer = keys.add_new([number.to_bytes(1, "big") + bytes(15) for number in slab])
        expected = []
        for number in slab:
            expected.append(number not in reference)
            reference.add(number)
        assert answer == expected
        assert len(keys) == len(reference)
