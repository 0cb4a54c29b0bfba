"""The journal loses no record that was acknowledged, whatever is cut off or changed at its end."""

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from laclip_aug.augmenter import Outcome, Rejection, Rewrite
from laclip_aug.cache.journal import Journal

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


def written(directory: str, records: list[Outcome]) -> tuple[Path, list[int]]:
    """The journal of ``records`` and the file's size after each, the empty journal's first."""
    path = Path(directory) / "journal"
    journal = Journal(path)
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
        journal = Journal(path)
        assert journal.recovered == len(journal) == whole
        assert list(journal.records()) == records[:whole]
        journal.append(records[0])  # and the journal goes on behind the last whole record
        assert list(journal.records()) == [*records[:whole], records[0]]
        journal.close()


@settings(max_examples=60, deadline=None)
@given(RECORDS, st.data())
def test_a_flipped_bit_stops_the_reading_there(records, data):
    with tempfile.TemporaryDirectory() as directory:
        path, sizes = written(directory, records)
        place = data.draw(st.integers(sizes[0], sizes[-1] - 1))
        content = bytearray(path.read_bytes())
        content[place] ^= 1 << data.draw(st.integers(0, 7))
        path.write_bytes(content)
        before = sum(size <= place for size in sizes[1:])
        journal = Journal(path)
        assert list(journal.records()) == records[:before]
        assert journal.dropped == sizes[-1] - sizes[before]
        journal.close()


def test_zeros_left_by_a_power_cut_are_no_records(tmp_path):
    path, _ = written(str(tmp_path), [Outcome("a dog", (Rewrite("loud", "A DOG"),))])
    with path.open("ab") as file:
        file.write(bytes(4096))
    journal = Journal(path)
    assert (journal.recovered, journal.dropped) == (1, 4096)
    journal.close()


def test_a_file_of_another_kind_holds_no_records(tmp_path):
    path = tmp_path / "journal"
    path.write_bytes(b"something else entirely, and long enough")
    journal = Journal(path)
    assert (journal.recovered, journal.dropped) == (0, 40)
    journal.close()
