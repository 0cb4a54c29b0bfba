from pathlib import Path

import pytest

from laclip_aug.eda.sources import load_table
from laclip_aug.eda.synonyms import BUILTIN, SynonymTable, compile_table, fitting, read_rows
from laclip_aug.eda.tokens import split
from laclip_aug.errors import ConfigurationError
from laclip_aug.quality.attributes import COLOURS, NEGATIONS, NUMBER_WORDS, SPATIAL


def candidates(table: SynonymTable, caption: str, word: str) -> set[str]:
    parts = split(caption)
    known = table.words.get(word.lower())
    return set(fitting(known, parts, parts.index(word, 1))) if known else set()


def compiled(tmp_path: Path, text: str) -> SynonymTable:
    path = tmp_path / "rows.tsv"
    path.write_text(text, encoding="utf-8")
    return load_table(str(path))


def test_the_built_in_words_are_many_and_safe() -> None:
    rows, _ = read_rows(BUILTIN)
    assert sum(bool(row.synonyms) for row in rows) > 600
    table = load_table("builtin")
    protected = COLOURS | NUMBER_WORDS | NEGATIONS | SPATIAL
    for form, contexts in table.entries.items():
        assert form not in protected
        for words in contexts:
            for word in words:
                assert word != form
                assert not protected & set(word.replace("-", " ").split())


@pytest.mark.parametrize(
    ("caption", "word", "expected"),
    [
        ("a train comes", "train", {"railroad train"}),
        ("they ride bikes", "bikes", {"bicycles", "cycles"}),
        ("a man holding a cup", "holding", {"grasping", "gripping"}),
        ("the children play", "children", {"kids", "youngsters"}),
        ("a hot dog", "dog", set()),
        ("a dog house", "dog", set()),
        ("two big dogs", "dogs", {"hounds", "canines"}),
        ("people park here", "park", set()),
    ],
)
def test_built_in_words_in_captions(caption: str, word: str, expected: set[str]) -> None:
    assert candidates(load_table("builtin"), caption, word) == expected


def test_parts_of_speech_by_the_word_before(tmp_path: Path) -> None:
    table = compiled(tmp_path, "n\tlight\tlamp\na\tlight\tpale\nv\tlight\tkindle\n")
    assert candidates(table, "they light it", "light") == {"kindle"}
    assert candidates(table, "it is light", "light") == {"pale"}
    assert candidates(table, "the light is", "light") == set()  # a noun or an adjective
    assert candidates(table, "men light it", "light") == set()


def test_weights_decide_where_the_context_does_not(tmp_path: Path) -> None:
    table = compiled(tmp_path, "n\twalk\tpath\nv\twalk\tstroll\t2\n")
    assert candidates(table, "men walk", "walk") == {"stroll"}
    assert candidates(table, "a walk", "walk") == {"path"}
    table = compiled(tmp_path, "n\twalk\tpath\nv\twalk\tstroll\t1.9\n")
    assert candidates(table, "men walk", "walk") == set()


def test_an_ing_form_in_a_noun_place_is_left_alone(tmp_path: Path) -> None:
    table = compiled(tmp_path, "n\topening\tgap\nv\topen\tunlock\t2\n")
    assert candidates(table, "the opening", "opening") == set()
    assert candidates(table, "she is opening it", "opening") == {"unlocking"}


def test_a_form_of_two_lemmas_takes_what_fits_both(tmp_path: Path) -> None:
    table = compiled(tmp_path, "v\tlay\tput|place\nv\tlie\trest|place\n")
    assert candidates(table, "they lay it", "lay") == set()  # "place" is no past
    assert candidates(table, "they lied it", "lied") == set()
    assert candidates(table, "they lie it", "lie") == {"rest", "place"}


def test_rows_of_one_lemma_are_merged(tmp_path: Path) -> None:
    assert candidates(compiled(tmp_path, "n\tdog\thound\nn\tdog\tcanine|hound\n"), "a dog", "dog") == {
        "hound",
        "canine",
    }


def test_function_words_are_never_replaced(tmp_path: Path) -> None:
    table = compiled(tmp_path, "n\twill\ttestament\nv\thave\town\n")
    assert set(table.entries) == {"wills"}


def test_lines_read_back() -> None:
    table = load_table("builtin")
    again = SynonymTable.from_lines(table.lines(), "copy")
    assert again.entries == table.entries
    assert again.compounds == table.compounds
    assert again.digest == table.digest


def test_the_digest_follows_the_content() -> None:
    rows, compounds = read_rows(BUILTIN)
    table = compile_table(rows, compounds, "a")
    assert compile_table(reversed(rows), compounds, "b").digest != compile_table(rows[1:], compounds, "a").digest
    assert compile_table(rows, compounds - {"hot dog"}, "a").digest != table.digest
    assert compile_table(rows, compounds, "another origin").digest == table.digest


@pytest.mark.parametrize(
    "line",
    ["dog\thound", "q\tdog\thound", "n\t\thound", "n\tdog\thound\tmuch", "n\tdog\thound\t-1", "n\tdog\thound\t1\tx"],
)
def test_a_malformed_line_is_named(tmp_path: Path, line: str) -> None:
    with pytest.raises(ConfigurationError, match=r"rows\.tsv, line 2: expected 'pos TAB lemma"):
        compiled(tmp_path, f"# comment\n{line}\n")


@pytest.mark.parametrize("first", ["", "# Hunde\r\n"])
def test_a_file_as_windows_saves_it(tmp_path: Path, first: str) -> None:
    (tmp_path / "rows.tsv").write_bytes(b"\xef\xbb\xbf" + f"{first}n\tdog\thound\r\nx\thot dog\r\n".encode())
    rows, compounds = read_rows(tmp_path / "rows.tsv")
    assert [(row.pos, row.lemma, row.synonyms) for row in rows] == [("n", "dog", ("hound",))]
    assert compounds == {"hot dog"}
    (tmp_path / "rows.tsv").write_bytes("n\tdog\thound\r\n".encode("utf-16"))
    with pytest.raises(ConfigurationError, match="convert it with: iconv -f UTF-16 -t UTF-8"):
        read_rows(tmp_path / "rows.tsv")


def test_a_missing_or_binary_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="give a UTF-8 text file"):
        load_table(str(tmp_path / "none.tsv"))
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match="give a UTF-8 text file"):
        load_table(str(tmp_path / "binary"))
