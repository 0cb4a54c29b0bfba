"""The journal loses no record that was acknowledged, whatever is cut off or changed at its end."""

import shutil
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laclip_aug.augmenter import Outcome, Rejection, Rewrite
from laclip_aug.cache.journal import Journal, read_journal
from laclip_aug.errors import CacheCorruptError, CacheError

TEXT = st.text(max_size=40)
RECORDS = st.lists(
    st.builds(
        Outcome,
        caption=TEXT,
        rewrites=st.lists(st.builds(Rewrite, TEXT, TEXT), max_size=3).map(tuple),
        rejections=st.lists(st.builds(Rejection, TEXT, TEXT, TEXT), max_size=3).map(tuple),
        tokens=st.integers(0, 10**6),
    ),
    min_size=1,
    max_size=8,
)


ORIGIN = {"config": {"seed": 1}}


def written(directory: str | Path, records: list[Outcome]) -> tuple[Path, list[int]]:
    """The journal of ``records`` and the file's size after each, the empty journal's first."""
    path = Path(directory) / "journal"
    journal = Journal(path, ORIGIN)
    sizes = [path.stat().st_size]
    for record in records:
        journal.append(record)
        sizes.append(path.stat().st_size)
    journal.close()
    return path, sizes


@settings(max_examples=60, deadline=None)
@given(RECORDS, st.data())
def test_a_torn_tail_costs_only_the_torn_record(records, data):
    with tempfile.TemporaryDirectory() as directory:
        path, sizes = written(directory, records)
        cut = data.draw(st.integers(0, sizes[-1]))
        path.write_bytes(path.read_bytes()[:cut])
        whole = sum(size <= cut for size in sizes[1:])
        journal = Journal(path, ORIGIN)
        assert journal.damage == []
        assert journal.recovered == len(journal) == whole
        assert list(journal.read().records) == records[:whole]
        journal.append(records[0])  # and the journal goes on behind the last whole record
        found = journal.read()
        assert list(found.records) == [*records[:whole], records[0]]
        assert (found.origins, found.damage) == ([ORIGIN], [])
        journal.close()


@settings(max_examples=150, deadline=None)
@given(RECORDS, st.data())
def test_a_flipped_bit_costs_one_record_and_is_no_torn_end(records, data):
    with tempfile.TemporaryDirectory() as directory:
        path, sizes = written(directory, records)
        place = data.draw(st.integers(0, sizes[-1] - 1))
        content = bytearray(path.read_bytes())
        content[place] ^= 1 << data.draw(st.integers(0, 7))
        path.write_bytes(content)
        hit = sum(size <= place for size in sizes[1:]) if place >= sizes[0] else None  # the record, or the origin
        others = [record for number, record in enumerate(records) if number != hit]
        journal = Journal(path, ORIGIN)
        assert list(journal.read().records) == others
        assert len(journal.damage) == 1
        assert "1 records lost" in journal.damage[0]
        assert journal.dropped == 0
        journal.append(Outcome("one more", ()))
        assert list(journal.read().records) == [*others, Outcome("one more", ())]
        journal.close()


def test_a_gap_is_counted_and_named(tmp_path):
    records = [Outcome(f"photo {i}", ()) for i in range(1000)]
    path, sizes = written(tmp_path, records)
    content = bytearray(path.read_bytes())
    content[sizes[500] + 30 : sizes[503] - 3] = b"\xff" * (
        sizes[503] - 3 - sizes[500] - 30
    )  # three records, most of it
    path.write_bytes(content)
    found = read_journal(path)
    assert found.lost == 3
    assert list(found.records) == [*records[:500], *records[503:]]
    (sentence,) = found.damage
    assert f"from byte {sizes[500]} to {sizes[503]}, 3 records lost" in sentence
    content = bytearray(path.read_bytes())
    del content[sizes[10] : sizes[12]]  # no damaged byte is left to see
    path.write_bytes(content)
    assert read_journal(path).lost == 5


def test_the_caption_of_a_damaged_record_is_named(tmp_path):
    path, _ = written(tmp_path, [Outcome("a dog", (Rewrite("loud", "A DOG"),)), Outcome("a cat", ())])
    content = path.read_bytes()
    path.write_bytes(content.replace(b"A DOG", b"A FOG"))
    (sentence,) = read_journal(path).damage
    assert "'a dog'" in sentence


def test_zeros_left_by_a_power_cut_are_a_torn_end(tmp_path):
    path, sizes = written(tmp_path, [Outcome("a dog", ()), Outcome("a cat", ())])
    sound = path.read_bytes()
    for content, torn in (
        (sound + bytes(4096), 4096),
        (
            sound[: sizes[1] + 25] + bytes(sizes[2] - sizes[1] - 25),
            sizes[2] - sizes[1],
        ),  # the length came, the text not
    ):
        path.write_bytes(content)
        found = read_journal(path)
        assert (found.torn, found.damage) == (torn, [])


def test_a_file_of_another_kind_holds_no_records(tmp_path):
    path = tmp_path / "journal"
    path.write_bytes(b"something else entirely, and long enough")
    journal = Journal(path, ORIGIN)
    assert (journal.recovered, journal.dropped, len(journal.damage)) == (0, 0, 1)
    journal.close()


def test_damage_while_it_is_written_is_seen_when_it_is_committed(tmp_path):
    path = tmp_path / "journal"
    journal = Journal(path, ORIGIN)
    for number in range(10):
        journal.append(Outcome(f"photo {number}", ()))
    content = path.read_bytes()
    path.write_bytes(content.replace(b"photo 4", b"photo 5"))
    with pytest.raises(CacheCorruptError, match=r"1 of 10 records are gone.*run the same command again"):
        journal.read()
    journal.close()


@pytest.mark.parametrize("how", ["deleted", "moved"])
def test_a_folder_that_goes_while_it_is_written_ends_the_build_within_a_second(tmp_path, how):
    folder = tmp_path / "cache"
    folder.mkdir()
    journal = Journal(folder / "journal", ORIGIN)
    journal.append(Outcome("a dog", ()))
    if how == "deleted":
        shutil.rmtree(folder)
    else:
        folder.rename(tmp_path / "elsewhere")
    time.sleep(1.1)
    with pytest.raises(CacheError, match=r"deleted or moved.*run the same command again"):
        journal.append(Outcome("a cat", ()))
    journal.close()


def test_a_later_run_is_told_from_the_first(tmp_path):
    path, _ = written(tmp_path, [Outcome("a dog", ())])
    other = {"config": {"seed": 2}}
    for origin in (ORIGIN, other, other):
        Journal(path, origin).close()
    assert read_journal(path).origins == [ORIGIN, other]
