"""The package as a whole: light import, public names, errors that help."""

from __future__ import annotations

import subprocess
import sys

import pytest

import laclip_aug
from laclip_aug import errors

HEAVY = ("torch", "open_clip", "open_clip_train", "llama_cpp", "ctranslate2", "pyarrow", "pandas", "nltk")


def loaded_by(statement: str) -> set[str]:
    """The heavy modules that a fresh interpreter has loaded after ``statement``."""
    code = f"import sys\n{statement}\nprint(*[m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    "statement",
    [
        "import laclip_aug",
        "import laclip_aug.augmenter; laclip_aug.augmenter.augmenter_names()",
        "import laclip_aug.cli, contextlib\nwith contextlib.suppress(SystemExit): laclip_aug.cli.main(['--version'])",
    ],
)
def test_light_import(statement: str) -> None:
    assert loaded_by(statement) == set()


def test_the_light_import_test_can_fail() -> None:
    assert "pandas" in loaded_by("import pandas")


def test_import_changes_no_global_state() -> None:
    code = (
        "import os, random, logging\n"
        "before = (dict(os.environ), random.getstate(), logging.root.level, list(logging.root.handlers))\n"
        "import laclip_aug, laclip_aug.augmenter, laclip_aug.cli\n"
        "assert before == (dict(os.environ), random.getstate(), logging.root.level, list(logging.root.handlers))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_public_names_load_and_unknown_ones_do_not() -> None:
    assert {name for name in laclip_aug.__all__ if getattr(laclip_aug, name) is None} == set()
    with pytest.raises(AttributeError, match="no attribute 'CaptionAugmentor'"):
        laclip_aug.CaptionAugmentor  # noqa: B018


def test_errors_are_the_builtin_kinds_people_catch() -> None:
    assert issubclass(errors.ConfigurationError, ValueError)
    assert issubclass(errors.MissingExtraError, ImportError)
    assert issubclass(errors.CacheMissError, KeyError)
    assert str(errors.CacheMissError("no such caption")) == "no such caption"
    assert "pip install 'laclip-aug[llm]'" in str(errors.MissingExtraError("llm", "llama_cpp"))


def test_every_error_derives_from_the_base_and_stands_in_the_drawing() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    for kind in kinds:
        assert issubclass(kind, errors.LaclipError)
        assert kind.__name__ in (errors.__doc__ or "")


def test_seeds_depend_on_every_part_and_its_type() -> None:
    from laclip_aug.seeding import derive, generator

    parts = [("ab", "c"), ("a", "bc"), ("abc",), (1,), ("1",), (b"1",), (-1,), ("a", 1), ("a", 2), ("\ud800",), ()]
    assert len({derive(*p) for p in parts}) == len(parts)
    # Computed with `b2sum -l 64` over the byte string  s 02 00*7 'a' 'b'  (tag, length, data), read little-endian.
    assert derive("ab") == int.from_bytes(bytes.fromhex(B2SUM_OF_AB), "little")
    assert generator(1, "x").random() == generator(1, "x").random() != generator(2, "x").random()


B2SUM_OF_AB = "d6380496eebf51dd"


def test_attributes_by_hand() -> None:
    from laclip_aug.quality.attributes import attributes

    two = attributes("Two grey cats and a RED ball")
    assert (two.colours, two.numbers, two.negated) == ({"gray", "red"}, {"2"}, False)
    assert two.lost_numbers(attributes("a pair of cats")) == two.lost_numbers(attributes("2 cats")) == frozenset()
    assert two.lost_numbers(attributes("three cats")) == {"2"}
    assert two.added_numbers(attributes("three cats")) == {"3"}
    assert attributes("twenty-five cats").numbers == attributes("25 cats").numbers == {"25"}
    assert attributes("one dog").numbers == attributes("a dog").numbers == frozenset()
    assert attributes("1,000 people").numbers == {"1000"}
    assert attributes("a dog that isn't wet").negated
    assert attributes("a field without trees").negated
    assert not attributes("a knot in a rope").negated
    assert attributes("reddened colored").colours == frozenset()
    assert attributes("").numbers == frozenset()
