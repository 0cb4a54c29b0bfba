"""Meta-input-output pairs: the built-in ones keep what must be kept; files of other people are read, never run."""

import json
from itertools import combinations

import pytest

from laclip_aug.errors import InputError, UnknownNameError
from laclip_aug.quality.attributes import attributes
from laclip_aug.quality.checks import folded
from laclip_aug.rewrite.examples import STRATEGIES, Pair, builtin_pairs, load_pairs
from laclip_aug.rewrite.import_examples import pairs_from_coco, pairs_from_file, pairs_from_python

PUBLISHED = """
import os
chatgpt_source_caption_list = ["dog on grass", "red car", "cup of tea"]
chatgpt_target_caption_list = ["A dog lies on the grass.", "A car that is red.", "Some tea in a cup."]
coco_caption_list = [["a dog runs", "the dog is running", "dog in motion"], ["a cat sits", "the cat is sitting"]]
def main():
    return 1 / 0
"""


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_builtin_pairs_are_sixteen_and_say_where_they_come_from(strategy: str) -> None:
    pairs = builtin_pairs(strategy)
    assert len(pairs) == 16
    assert len({folded(p.caption) for p in pairs} | {folded(p.rewrite) for p in pairs}) == 32
    assert all(p.source.startswith("written for this project in the manner of ") for p in pairs)


def test_builtin_captions_differ_between_strategies() -> None:
    texts = [{folded(t) for p in builtin_pairs(s) for t in (p.caption, p.rewrite)} for s in STRATEGIES]
    assert all(not a & b for a, b in combinations(texts, 2))


@pytest.mark.parametrize("pair", [p for s in STRATEGIES for p in builtin_pairs(s)], ids=lambda p: p.caption[:40])
def test_builtin_pairs_keep_numbers_colours_negation_and_placeholders(pair: Pair) -> None:
    before, after = attributes(pair.caption), attributes(pair.rewrite)
    assert not before.lost_numbers(after) and not before.added_numbers(after)
    assert before.colours == after.colours
    assert before.negated == after.negated
    assert pair.caption.count("<PERSON>") == pair.rewrite.count("<PERSON>")
    assert len(pair.rewrite.split()) < 30 and "=>" not in pair.caption + pair.rewrite


def test_a_wrong_strategy_suggests_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="unknown strategy 'chatgtp'; did you mean 'chatgpt'"):
        builtin_pairs("chatgtp")


def test_jsonl_and_tsv_give_the_same_pairs(tmp_path) -> None:
    (tmp_path / "own.jsonl").write_text('{"caption": "a  dog", "rewrite": "the dog", "source": "me"}\n\n')
    (tmp_path / "own.tsv").write_text("caption\trewrite\tsource\na dog\tthe dog\tme\r\n")
    assert load_pairs(tmp_path / "own.jsonl") == load_pairs(tmp_path / "own.tsv") == (Pair("a dog", "the dog", "me"),)
    assert list(pairs_from_file(tmp_path / "own.tsv")) == ["own"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"caption": "a dog", "rewrite": "the dog"}\n{"caption": ', "a.jsonl, line 2: no JSON"),
        ("a.jsonl", b"[1, 2]", "line 1: no object"),
        ("a.jsonl", b'{"caption": "a dog"}', 'line 1: no object with "caption" and "rewrite"'),
        ("a.jsonl", b'{"caption": 3, "rewrite": "x y"}', "line 1: the caption is int"),
        ("a.jsonl", b'{"caption": "a", "rewrite": "\\ud800 b"}', "line 1: the rewrite holds U\\+D800"),
        ("a.jsonl", b'{"caption": "a", "rewrite": "b\\u0000c"}', "line 1: the rewrite holds U\\+0000"),
        ("a.jsonl", b'{"caption": "a", "rewrite": "b\\nc"}', "line 1: the rewrite holds U\\+000A"),
        ("a.jsonl", b'{"caption": "a => b", "rewrite": "c"}', "line 1: the caption holds '=>'"),
        ("a.jsonl", b'{"caption": "a", "rewrite": " "}', "line 1: the rewrite is empty"),
        ("a.jsonl", b"[" * 100_000, "line 1: no JSON"),
        ("a.jsonl", b"", "holds no pair"),
        ("a.tsv", b"a dog\tthe dog\nonly one\n", "a.tsv, line 2: 1 tab-separated"),
        ("a.tsv", b"a dog\tthe dog\n\xff\xfe\tx\n", "a.tsv, line 2: not UTF-8"),
        ("a.tsv", "un café\tein Kaffee\n".encode("utf-16"), "a.tsv, line 1: not UTF-8; .*with: iconv -f UTF-16"),
        ("a.jsonl", "{}\n".encode("utf-16-le"), "a.jsonl, line 1: not UTF-8; .*with: iconv -f UTF-16LE"),
        ("a.json", '{"annotations": "é"}'.encode("utf-16"), "a.json, line 1: not UTF-8; .*with: iconv -f UTF-16"),
        ("a.py", "x = 'a café in town'".encode("cp1252"), "a.py, line 1: not UTF-8; .*with: iconv -f WINDOWS-1252"),
        ("a.tsv", b"a dog\t" + b"x" * 501, "line 1: the rewrite has 501 characters"),
        ("a.txt", b"a dog\tthe dog\n", "unknown kind of pairs file '.txt'"),
        ("a.json", b"{", "a.json, line 1: no JSON"),
        ("a.json", b"[]", 'no list "annotations"'),
        ("a.json", b'{"annotations": [{"image_id": 1, "caption": null}]}', "annotation 0 lacks"),
        ("a.json", b'{"annotations": []}', "0 images have two different captions; 16 are needed"),
        ("a.py", b"x = (", "a.py, line 1: no Python"),
        ("a.py", b"x = 1\0", "no Python"),
        ("a.py", b"x = 1", "no list such as"),
        ("a.py", b"x = " + b"-" * 100_000 + b"1", "no Python|no list such as"),
        ("a.py", b"bard_source_caption_list = ['a b']", "strategy 'bard' has only its source list"),
        ("a.py", b"\nbard_source_caption_list = open('x')", "a.py, line 2: a plain list is expected"),
        ("a.py", b"bard_source_caption_list = [\n'a b',\nf'{1}']", "a.py, line 3: a plain text is expected"),
        ("a.py", b"a_source_caption_list=['a','b']\na_target_caption_list=['c']", "has 2 source and 1 target"),
        ("a.py", b"coco_caption_list = [['a', 'b'],\n['c']]", "line 2: fewer than two captions"),
    ],
)
def test_hostile_files_are_input_errors_that_name_the_place(tmp_path, name, content, message) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        pairs_from_file(tmp_path / name)


def test_a_missing_file_is_an_input_error(tmp_path) -> None:
    with pytest.raises(InputError, match=r"cannot read .*none.jsonl: No such file"):
        load_pairs(tmp_path / "none.jsonl")


def test_coco_pairs_are_two_captions_of_one_image_whatever_the_order_of_the_file(tmp_path) -> None:
    rows = [{"image_id": i, "caption": f"caption {c} of image {i}"} for i in range(40) for c in "abcde"]
    (tmp_path / "one.json").write_text(json.dumps({"annotations": rows}))
    (tmp_path / "two.json").write_text(json.dumps({"annotations": rows[::-1]}))
    pairs = pairs_from_coco(tmp_path / "one.json", seed=3)
    texts = [(p.caption, p.rewrite) for p in pairs]
    assert texts == [(p.caption, p.rewrite) for p in pairs_from_coco(tmp_path / "two.json", seed=3)]
    assert texts != [(p.caption, p.rewrite) for p in pairs_from_coco(tmp_path / "one.json", seed=4)]
    assert all(a.split()[-1] == b.split()[-1] and a != b for a, b in texts)
    assert len({a.split()[-1] for a, _ in texts}) == 16


def test_the_published_python_file_is_parsed(tmp_path) -> None:
    (tmp_path / "pairs.py").write_text(PUBLISHED)
    found = pairs_from_python(tmp_path / "pairs.py")
    assert list(found) == ["mscoco", "chatgpt"]
    assert [(p.caption, p.rewrite) for p in found["chatgpt"]][1] == ("red car", "A car that is red.")
    assert {found["mscoco"][1].caption, found["mscoco"][1].rewrite} == {"a cat sits", "the cat is sitting"}


def test_a_python_file_is_never_executed(tmp_path) -> None:
    canary = tmp_path / "canary"
    effect = f"open({str(canary)!r}, 'w').close()\n"
    (tmp_path / "pairs.py").write_text(effect + PUBLISHED)
    exec((tmp_path / "pairs.py").read_text())  # the file does have the effect when it is run
    assert canary.exists()
    canary.unlink()
    pairs_from_python(tmp_path / "pairs.py")
    assert not canary.exists()
