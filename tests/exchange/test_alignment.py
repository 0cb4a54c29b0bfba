"""Texts that stand beside the wrong captions are found, with the first of them, and those in line are not."""

from __future__ import annotations

import json
import random

import pytest

from laclip_aug.cache.format import read_manifest
from laclip_aug.cache.ingest import import_cache
from laclip_aug.cache.verify import verify_cache
from laclip_aug.errors import ConfigurationError, InputError
from laclip_aug.exchange.alignment import SourceAudit, words
from laclip_aug.exchange.import_form import ImportForm
from laclip_aug.quality.words import shipped

ROWS = 3000


@pytest.fixture(scope="module")
def pairs():
    """Captions of eight words as frequent as in photo captions, and texts that keep some of them."""
    counts = shipped().counts
    known = [stem for stem in counts if stem.isalpha()]

    def draw(rng, number):
        return rng.choices(known, weights=[counts[stem] for stem in known], k=number)

    rng = random.Random(3)
    captions, loose, close = [], [], []
    for _ in range(ROWS):
        caption = draw(rng, 8)
        captions.append(" ".join(caption))
        loose.append(" ".join([*rng.sample(caption, 3), *draw(rng, 8)]))
        close.append(" ".join([*rng.sample(caption, 6), *draw(rng, 3)]))
    return captions, {"loose": loose, "close": close}


def judged(captions, texts):
    audit = SourceAudit("x")
    for number, (caption, text) in enumerate(zip(captions, texts, strict=False), 1):
        audit.add(words(caption), words(text), f"row {number}")
    return audit.verdict()


def row_of(verdict):
    assert verdict.first is not None
    return int(verdict.first.place.removeprefix("row "))


@pytest.mark.parametrize("kind", ["loose", "close"])
def test_texts_in_line_are_in_line_in_any_order_of_the_rows(pairs, kind):
    captions, texts = pairs[0], pairs[1][kind]
    verdict = judged(captions, texts)
    assert (verdict.related, verdict.misaligned, verdict.first, verdict.rows) == (True, 0, None, ROWS)
    assert verdict.own > 10 * verdict.far and verdict.line().endswith(": in line")
    by_text = sorted(zip(captions, texts, strict=True), key=lambda pair: pair[1])
    assert judged(*zip(*by_text, strict=True)).misaligned == 0


@pytest.mark.parametrize(("kind", "near"), [("loose", 3), ("close", 1)])
def test_damage_is_found_with_its_first_row(pairs, kind, near):
    captions, texts = pairs[0], pairs[1][kind]
    other = random.Random(1).sample(texts[1500:], ROWS - 1500)
    for damaged, first, rows, offset in (
        (texts[1:], 1, ROWS - 1, 1),  # the first line is missing
        (texts[:1500] + texts[1501:] + texts[:1], 1501, 1500, 1),  # one is missing in the middle, and one is added
        ([*texts[:700], *texts[701:2000], texts[700], *texts[2000:]], 701, 1300, 1),  # one was moved down
        ([*texts[:700], texts[1999], *texts[700:1999], *texts[2000:]], 701, 1300, -1),  # one was moved up
        (texts[:1500] + texts[1000:2500], 1501, 1500, 0),  # a block of 500 twice, the end cut off
        (texts[:1500] + other, 1501, 1500, 0),
        ([t for n, t in enumerate(texts) if n % 100 != 60], 61, ROWS - 90, None),  # 1% of the lines are missing
    ):
        verdict = judged(captions, damaged)
        assert abs(row_of(verdict) - first) <= near
        assert abs(verdict.misaligned - rows) <= max(20, 0.02 * rows) or verdict.related is False
        assert offset in (None, verdict.first.offset)


def test_texts_of_another_set_have_no_first_row(pairs):
    captions, texts = pairs[0], list(pairs[1]["close"])
    random.Random(2).shuffle(texts)
    verdict = judged(captions, texts)
    assert (verdict.related, verdict.misaligned, verdict.first) == (False, ROWS, None)
    assert "are of other images" in verdict.line()


def test_what_cannot_be_judged_is_said_to_be_so(pairs):
    captions, texts = pairs[0], pairs[1]["close"]
    foreign = [" ".join(word[::-1] + "й" for word in text.split()) for text in texts]
    for verdict in (judged(captions, foreign), judged(captions, [""] * ROWS), judged(captions, ["one dog"] * ROWS)):
        assert (verdict.judged, verdict.related, verdict.misaligned) == (0, None, 0)
        assert "none could be judged" in verdict.line()
    few = judged(captions[:40], texts[:40])
    assert few.related is None and few.misaligned == 0
    half = judged(captions + captions, texts + foreign)
    assert (half.related, half.misaligned) == (True, 0)
    assert judged([], []).line() == "alignment, x: 0 rows, too few to be judged"


def test_captions_of_one_image_in_a_row_are_in_line(pairs):
    captions, texts = pairs[0][:600], pairs[1]["close"][:600]
    other = pairs[1]["loose"][:600]
    five = [five for group in zip(captions, texts, other, strict=True) for five in group]
    following = [group[(place + 1) % 3] for group in zip(captions, texts, other, strict=True) for place in range(3)]
    assert judged(five, following).misaligned == 0


def test_scripts_without_spaces(pairs):
    rng = random.Random(4)
    signs = [chr(0x4E00 + number) for number in range(3000)]
    captions = ["".join(rng.sample(signs, 10)) for _ in range(ROWS)]
    texts = ["".join([*rng.sample(list(caption), 5), *rng.sample(signs, 6)]) for caption in captions]
    assert judged(captions, texts).related is True
    assert row_of(judged(captions, texts[:1500] + texts[1501:])) in (1500, 1501, 1502)


def written(tmp_path, captions, **texts):
    (tmp_path / "in.csv").write_text("".join(f"{n}.jpg,{caption}\n" for n, caption in enumerate(captions)))
    for source, rows in texts.items():
        (tmp_path / f"{source}.txt").write_text("".join(row + "\n" for row in rows))
    return tmp_path / "in.csv", ImportForm(lines=tuple(f"{s}={tmp_path / s}.txt" for s in texts))


def test_an_import_is_refused_before_anything_is_stored(pairs, tmp_path):
    captions, good = pairs[0], pairs[1]["loose"]
    bad = pairs[1]["close"][:1500] + pairs[1]["close"][1501:] + ["a dog runs"]
    source, form = written(tmp_path, captions, chatgpt=good, bard=bad)
    with pytest.raises(InputError) as error:
        import_cache(source, tmp_path / "cache", form)
    said = str(error.value)
    assert "nothing was stored" in said and "bard" in said and "chatgpt" not in said
    assert f"the first is {source}: row 1501: its text and those after it belong to the caption one row below" in said
    assert "--max-misaligned 0.51" in said
    assert not (tmp_path / "cache").exists()

    report = import_cache(source, tmp_path / "cache", form, max_misaligned=0.51)
    assert report.made == ROWS
    assert [line.split(":")[0] for line in report.input.audit] == ["alignment, chatgpt", "alignment, bard"]
    assert "out of line" in "\n".join(report.lines())
    assert read_manifest(tmp_path / "cache").inputs[str(source)]["alignment"] == report.input.audit
    before = sorted(path.name for path in (tmp_path / "cache").iterdir())
    with pytest.raises(InputError, match="do not stand beside"):
        import_cache(source, tmp_path / "cache", form)  # a finished cache stays one
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == before
    assert verify_cache(tmp_path / "cache") == ([], [])


def test_files_of_unequal_length_say_where(pairs, tmp_path):
    captions, texts = pairs[0], pairs[1]["close"]
    source, form = written(tmp_path, captions, gpt=[text for n, text in enumerate(texts) if n % 100 != 60])
    with pytest.raises(InputError, match=r"(?s)has 2970 lines.*has 3000 rows.*nothing was stored.*row 61: ") as error:
        import_cache(source, tmp_path / "cache", form, max_misaligned=1.0)  # no option joins what has no partner
    assert "a text is missing before it" in str(error.value)
    assert not (tmp_path / "cache").exists()
    source, form = written(tmp_path, ["a dog", "a cat"], gpt=["the dog"])
    with pytest.raises(InputError, match="no row says where"):
        import_cache(source, tmp_path / "cache", form)


def test_columns_of_another_file_are_refused_in_a_table(pairs, tmp_path):
    captions, texts = pairs[0], pairs[1]["close"]
    table = tmp_path / "in.jsonl"
    table.write_text(
        "".join(json.dumps({"caption": c, "x": t}) + "\n" for c, t in zip(captions, reversed(texts), strict=True))
    )
    with pytest.raises(InputError, match="are of other images, or all are out of line"):
        import_cache(table, tmp_path / "cache", ImportForm(rewrite_keys=("x",)))
    assert import_cache(table, tmp_path / "cache", ImportForm(rewrite_keys=("x",)), max_misaligned=1).made == ROWS
    for part in (-0.1, 1.5, float("nan")):
        with pytest.raises(ConfigurationError, match="is a part from 0 to 1"):
            import_cache(table, tmp_path / "other", ImportForm(rewrite_keys=("x",)), max_misaligned=part)
    assert not (tmp_path / "other").exists()


def test_captions_one_a_line(tmp_path):
    (tmp_path / "redcaps.txt").write_bytes("a dog\r\n一只猫\n".encode())
    (tmp_path / "gpt.txt").write_text("the brown dog\nthe grey cat\n")
    form = ImportForm(lines=(f"gpt={tmp_path / 'gpt.txt'}",))
    report = import_cache(tmp_path / "redcaps.txt", tmp_path / "cache", form)
    assert (report.made, report.cache.rewrites["gpt"]) == (2, 2)
