"""WordNet in miniature, written in its own file format: compiled, cached, downloaded, and missing."""

import multiprocessing
import zipfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from laclip_aug.eda import EDAAugmenter, wordnet
from laclip_aug.eda.sources import cache_directory, load_table
from laclip_aug.errors import ConfigurationError

LICENCE = "  1 a licence line, which starts with two blanks  \n"
# offset lex_file type count(hex) (word lex_id)* pointers | gloss
DATA = {
    "noun": (
        "00000001 05 n 04 dog 0 domestic_dog 0 Canis_familiaris 0 hound 0 000 | a dog ; \"the dog barked\"  \n"
        "00000002 18 n 02 dog 0 scoundrel 0 000 | a bad person  \n"
        "00000003 06 n 02 car 0 auto 0 000 | a vehicle  \n"
        "00000004 14 n 02 week 0 hebdomad 0 000 | " + "a week ago, " * 20 + "a week  \n"
        "00000005 06 n 01 abacus 0 000 | for counting  \n"
        "00000006 06 n 02 abacus 0 counter 0 000 | for counting  \n"
        "00000007 06 n 02 train 0 rail 0 000 | carriages  \n"
        "00000008 13 n 02 hot_dog 0 frank 0 000 | a sausage  \n"
        "00000009 06 n 02 auto 1 lorry 1 000 | another  \n"
        "00000010 06 n 02 set 0 kit 0 000 | things  \n"
    ),
    "verb": (
        "00000011 38 v 02 run 0 race 1 000 01 + 02 00 | move fast  \n"
        "00000012 38 v 02 train 0 coach 0 000 01 + 02 00 | teach  \n"
    ),
    "adj": "00000013 00 a 03 glad(p) 0 happy 0 red 0 000 | pleased  \n",
    "adv": "00000014 02 r 02 fast 0 quickly 0 000 | with speed  \n",
}  # fmt: skip
# lemma pos synset_count pointer_count sense_count tagged_count offsets
INDEX = {
    "noun": (
        "abacus n 2 0 2 0 00000005 00000006\nauto n 2 0 2 0 00000003 00000009\ncanis_familiaris n 1 0 1 0 00000001\n"
        "car n 1 0 1 0 00000003\ncounter n 1 0 1 0 00000006\ndog n 2 0 2 0 00000001 00000002\n"
        "domestic_dog n 1 0 1 0 00000001\nfrank n 1 0 1 0 00000008\n"
        "hebdomad n 1 0 1 0 00000004\nhot_dog n 1 0 1 0 00000008\n"
        "hound n 1 0 1 0 00000001\nkit n 1 0 1 0 00000010\nlorry n 1 0 1 0 00000009\nrail n 1 0 1 0 00000007\n"
        "scoundrel n 1 0 1 0 00000002\nset n 1 0 1 0 00000010\ntrain n 1 0 1 0 00000007\nweek n 1 0 1 0 00000004\n"
    ),
    "verb": (
        "coach v 1 0 1 0 00000012\nrace v 1 0 1 0 00000011\nrun v 1 0 1 0 00000011\ntrain v 1 0 1 0 00000012\n"
    ),
    "adj": "glad a 1 0 1 0 00000013\nhappy a 1 0 1 0 00000013\nred a 1 0 1 0 00000013\n",
    "adv": "fast r 1 0 1 0 00000014\nquickly r 1 0 1 0 00000014\n",
}  # fmt: skip
FILES = {
    **{f"data.{pos}": LICENCE + text for pos, text in DATA.items()},
    **{f"index.{pos}": LICENCE + text for pos, text in INDEX.items()},
    "noun.exc": "abaci abacus\n",
    "verb.exc": "ran run\n",
}


@pytest.fixture
def nltk_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """nltk reads NLTK_DATA when it is imported; a test sets its list of directories as well."""
    import nltk.data

    directory = tmp_path / "nltk_data"
    monkeypatch.setattr(nltk.data, "path", [str(directory)])
    return directory


@pytest.fixture
def corpus(nltk_path: Path) -> Path:
    directory = nltk_path / "corpora" / "wordnet"
    directory.mkdir(parents=True)
    for name, text in FILES.items():
        (directory / name).write_text(text, encoding="utf-8")
    return directory


def test_the_first_sense_is_compiled(corpus: Path) -> None:
    entries = load_table("wordnet").entries
    open_ = {form: contexts[0] for form, contexts in entries.items()}
    assert open_["dog"] == ("hound",)  # not the second sense, the name, nor the phrase
    assert open_["dogs"] == ("hounds",)
    assert open_["hound"] == ("dog",)
    assert open_["runs"] == ("races",)
    assert open_["ran"] == ("raced",)
    assert open_["fast"] == ("quickly",)
    assert open_["glad"] == ("happy",)
    assert "red" not in entries
    assert "abaci" not in entries  # its first sense has no other word
    assert "counter" not in entries  # "abacus" has it in its second sense only
    assert "week" not in entries  # "hebdomad" is too rare
    assert open_["hebdomad"] == ("week",)
    assert "set" not in entries  # a grammar word
    assert open_["car"] == ("auto",)
    assert "lorry" not in entries  # only the second sense of "auto"


def test_parts_of_speech(corpus: Path) -> None:
    contexts = load_table("wordnet").entries["train"]
    assert contexts == ((), ("rail",), ("rail",), ("coach",))


def test_sense_counts_decide_where_there_are_any(corpus: Path) -> None:
    (corpus / "cntlist.rev").write_text("train%1:06:00:: 1 9\ntrain%2:38:00:: 1 1\n", encoding="utf-8")
    assert load_table("wordnet").entries["train"][0] == ("rail",)


def test_compounds(corpus: Path) -> None:
    augmenter = EDAAugmenter(synonyms="wordnet", operations="sr")
    assert augmenter.augment(["hot dog", "the dog"], 1, 0) == [["hot dog"], ["the hound"]]


def test_the_built_in_rows_are_preferred(corpus: Path) -> None:
    entries = load_table("wordnet+builtin").entries
    assert set(entries["dog"][1]) == {"hound", "canine"}
    assert entries["hebdomad"][0] == ("week",)


def test_a_zipped_corpus_is_read_in_place(nltk_path: Path) -> None:
    (nltk_path / "corpora").mkdir(parents=True)
    with zipfile.ZipFile(nltk_path / "corpora" / "wordnet.zip", "w") as archive:
        for name, text in FILES.items():
            archive.writestr(f"wordnet/{name}", text)
    assert load_table("wordnet").entries["dog"][0] == ("hound",)


def test_the_compiled_table_is_kept_and_used(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_table("wordnet")
    assert len(list(cache_directory().iterdir())) == 1
    monkeypatch.setattr(wordnet, "rows", None)  # compiling again would fail
    again = load_table("wordnet")
    assert (again.entries, again.compounds, again.origin) == (first.entries, first.compounds, first.origin)


def test_another_corpus_is_another_file(corpus: Path) -> None:
    before = load_table("wordnet").digest
    data = corpus / "data.noun"
    data.write_text(data.read_text().replace("hound", "whelp"), encoding="utf-8")
    index = corpus / "index.noun"
    index.write_text(index.read_text().replace("hound", "whelp"), encoding="utf-8")
    assert load_table("wordnet").digest != before
    assert len(list(cache_directory().iterdir())) == 2


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "not text"])
def test_a_damaged_cache_file_is_made_again(corpus: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    before = load_table("wordnet").digest
    (path,) = cache_directory().iterdir()
    whole = path.read_bytes()
    path.write_bytes(
        {"cut": whole[:-9], "flipped": whole.replace(b"hound", b"hounx"), "empty": b"", "not text": b"\xff"}[damage]
    )
    assert load_table("wordnet").digest == before
    assert path.read_bytes() == whole
    assert "again" in caplog.text


def test_a_cache_directory_that_cannot_be_written(corpus: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache_directory().parent.mkdir(parents=True)
    cache_directory().write_text("a file where the directory would be")
    assert load_table("wordnet").entries["dog"][0] == ("hound",)
    assert "cannot keep the compiled synonyms" in caplog.text


def _digest(synonyms: str) -> str:
    return load_table(synonyms).digest


def test_processes_race_for_the_cache(corpus: Path) -> None:
    with ProcessPoolExecutor(4, multiprocessing.get_context("fork")) as pool:
        digests = set(pool.map(_digest, ["wordnet"] * 8))
    assert digests == {load_table("wordnet").digest}
    assert [path.suffix for path in cache_directory().iterdir()] == [".tsv"]


@pytest.mark.parametrize("synonyms", ["wordnet", "wordnet+builtin"])
def test_nothing_is_downloaded(nltk_path: Path, monkeypatch: pytest.MonkeyPatch, synonyms: str) -> None:
    import nltk

    monkeypatch.setattr(nltk, "download", lambda *args, **options: pytest.fail("a download"))
    with pytest.raises(ConfigurationError, match=r"python -m nltk\.downloader wordnet.*'builtin'"):
        load_table(synonyms)
    assert not nltk_path.exists()


def test_the_default_words_are_the_packages_own_with_and_without_wordnet(nltk_path: Path) -> None:
    without = EDAAugmenter()
    (nltk_path / "corpora" / "wordnet").mkdir(parents=True)
    for name, text in FILES.items():
        (nltk_path / "corpora" / "wordnet" / name).write_text(text, encoding="utf-8")
    assert EDAAugmenter().fingerprint() == without.fingerprint() == EDAAugmenter(synonyms="builtin").fingerprint()
    assert EDAAugmenter(synonyms="wordnet").fingerprint() != without.fingerprint()


def test_words_that_depended_on_the_machine_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"builtin, wordnet or wordnet\+builtin"):
        load_table("auto")


def test_a_relative_cache_home_is_ignored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_directory() == tmp_path / ".cache" / "laclip-aug" / "synonyms"
