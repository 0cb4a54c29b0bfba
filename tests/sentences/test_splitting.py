"""Where a caption's sentences end: abbreviations, lists, other scripts; and that no word is lost."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laclip_aug.sentences.splitting import join, sentences_of


@pytest.mark.parametrize(
    "caption",
    [
        "Dr. Lee and Mrs. Ray of St. Paul feed two dogs near the U.S. embassy",
        "a watch with a dial of approx. 40 mm. and a strap of 22 mm. leather",
        "J. K. Rowling signs a book, e.g. for a boy, at No. 12 Fifth Ave. in the morning",
        "A jar of 12 fl. oz. honey with a lid that is 3.5 in. wide",
        "The photo is from www.example.com/a.b and was taken at 5.30 p.m. by Acme Inc. for its shop",
        "wait... what a view of the sea",
        "Wow! A dog on the beach",  # one word is no sentence
        "A dog that runs. Wow!",
    ],
)
def test_what_is_one_sentence(caption: str) -> None:
    assert sentences_of(caption) == [caption]


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("a dog runs. a cat sleeps.", ["a dog runs.", "a cat sleeps."]),
        ('"Come here." The man waves! Is it a dog?', ['"Come here."', "The man waves!", "Is it a dog?"]),
        ("He lives in the U.S. The dog is brown", ["He lives in the U.S. The dog is brown"]),  # rather one too few
        ("1. A dog runs. 2. A cat sleeps.", ["1. A dog runs.", "2. A cat sleeps."]),
        ("red boots for men\nsize 42 and up\n\n", ["red boots for men", "size 42 and up"]),
        ("一只狗在海滩上奔跑。“天空真蓝！”他说得对。", ["一只狗在海滩上奔跑。", "“天空真蓝！”", "他说得对。"]),
        ("狗在海滩上跑!猫在沙发上睡觉", ["狗在海滩上跑!", "猫在沙发上睡觉"]),
        ("犬が浜辺を走る。猫が眠っている。", ["犬が浜辺を走る。", "猫が眠っている。"]),
        ("एक कुत्ता दौड़ रहा है। आकाश नीला है।", ["एक कुत्ता दौड़ रहा है।", "आकाश नीला है।"]),
        ("هل هذا كلب؟ نعم، إنه كلب بني.", ["هل هذا كلب؟", "نعم، إنه كلب بني."]),
        ("یہ ایک کتا ہے۔ آسمان نیلا ہے۔", ["یہ ایک کتا ہے۔", "آسمان نیلا ہے۔"]),
        ("ឆ្កែរត់លើឆ្នេរ។ មេឃពណ៌ខៀវ។", ["ឆ្កែរត់លើឆ្នេរ។", "មេឃពណ៌ខៀវ។"]),
        ("Ein Hund, ca. 3 Jahre alt. Er läuft z.B. am Meer.", ["Ein Hund, ca. 3 Jahre alt.", "Er läuft z.B. am Meer."]),
        ("", []),
        (" \n ", []),
    ],
)
def test_where_sentences_end(caption: str, expected: list[str]) -> None:
    assert sentences_of(caption) == expected


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from("aB1 .!?…。؟।\n\"')(狗क-\ud800\0") | st.characters(), max_size=60))
def test_nothing_is_lost(caption: str) -> None:
    found = sentences_of(caption)

    assert all(piece == piece.strip() != "" for piece in found)
    assert "".join((join(found) if found else "").split()) == "".join(caption.split())
