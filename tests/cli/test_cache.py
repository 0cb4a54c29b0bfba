"""``laclip-aug cache`` and its actions."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from laclip_aug.augmenter import Outcome, Rewrite
from laclip_aug.cache.config import Config
from laclip_aug.cache.entry import crc32_of
from laclip_aug.cache.format import read_manifest
from laclip_aug.cache.table import Table, write_table
from laclip_aug.cache.writer import CacheWriter
from laclip_aug.cli import main


@pytest.fixture
def directory(tmp_path, capsys):
    source = tmp_path / "in.txt"
    source.write_text("".join(f"photo {i}\n" for i in range(30)) + "hopeless\n\n")
    arguments = ["--augmenter", "shout", "--shard-rows", "10"]
    assert main(["build", str(source), "--cache", str(tmp_path / "cache"), *arguments]) == 0
    capsys.readouterr()
    return tmp_path / "cache"


def run(capsys, *arguments):
    status = main(["cache", *map(str, arguments)])
    captured = capsys.readouterr()
    return status, captured.out + captured.err


def test_info(directory, capsys):
    status, text = run(capsys, "info", directory)
    assert status == 0
    for line in (
        "augmenter: shout (fingerprint shout-1 !)",
        "sources: loud, calm; texts per caption: 2; seed: 0",
        "captions: 32, with a rewrite: 30, tokens: 186",
        "rewrites, calm: 30",
        "rejections, too-loud: 2",
        "32 rows, refused: empty 1",
    ):
        assert line in text


def test_show(directory, capsys):
    status, text = run(capsys, "show", directory, "photo  3")
    assert status == 0
    assert text.startswith("photo 3\n  loud: PHOTO 3 ")
    status, text = run(capsys, "show", directory, "hopeless")
    assert "loud, rejected, too-loud: HOPELESS" in text
    assert run(capsys, "show", directory, "--head", 3)[1].count("\n  loud") == 3
    first = run(capsys, "show", directory, "--sample", 4, "--seed", 7)
    assert first == run(capsys, "show", directory, "--sample", 4, "--seed", 7)
    assert run(capsys, "show", directory, "a bird") == (
        2,
        f"laclip-aug: error: the cache does not know 'a bird'; try: laclip-aug cache show {directory} --head 5\n",
    )
    assert run(capsys, "show", directory, "a bird", "--head", 3)[0] == 2


def test_a_caption_that_is_shown_cannot_move_the_cursor(tmp_path, capsys):
    (tmp_path / "in.jsonl").write_text(
        json.dumps({"title": "a dog \x1b[2J\x07 \u202eon grass"}) + "\n" + json.dumps({"title": "می\u200cدود"}) + "\n"
    )
    built = ["build", str(tmp_path / "in.jsonl"), "--cache", str(tmp_path / "cache"), "--augmenter", "shout"]
    assert main(built) == 0
    capsys.readouterr()
    status, text = run(capsys, "show", tmp_path / "cache", "a dog \x1b[2J\x07 \u202eon grass")
    assert status == 0
    assert text.startswith("a dog \\x1b[2J\\x07 \\u202eon grass\n  loud: A DOG \\x1b[2J\\x07 \\u202eON GRASS ")
    assert "می\u200cدود" in run(capsys, "show", tmp_path / "cache", "می\u200cدود")[1]  # Persian is written with it
    assert main(["rewrite", "می\u200cدود", "--augmenter", "shout"]) == 0
    assert capsys.readouterr().out.startswith("می\u200cدود\n")


def test_verify_says_what_is_damaged(directory, capsys):
    assert run(capsys, "verify", directory) == (0, "sound\n")
    shard = directory / "shard-000001.parquet"
    sound = shard.read_bytes()
    damaged = bytearray(sound)
    damaged[len(sound) // 2] ^= 1
    shard.write_bytes(damaged)
    status, text = run(capsys, "verify", directory)
    assert status == 1
    assert "shard-000001.parquet is damaged" in text
    shard.unlink()
    status, text = run(capsys, "verify", directory)
    assert (status, "shard-000001.parquet is missing" in text) == (1, True)
    shard.write_bytes(sound)
    (lookup,) = directory.glob("lookup-*.table")
    content = bytearray(lookup.read_bytes())
    content[content.index(b"PHOTO 17 ")] ^= 1
    lookup.write_bytes(content)
    status, text = run(capsys, "verify", directory)
    assert (status, f"{lookup.name} is damaged" in text, "cache compile" in text) == (1, True, True)
    assert run(capsys, "compile", directory)[0] == 0
    assert run(capsys, "verify", directory) == (0, "sound\n")


def test_verify_compares_the_lookup_with_the_shards(directory, capsys, tmp_path):
    # a lookup that is whole in itself, but of another cache
    (tmp_path / "in.txt").write_text("".join(f"photo {i}\n" for i in range(30)) + "hopeful\n\n")
    other = tmp_path / "other"
    build = ["build", str(tmp_path / "in.txt"), "--cache", str(other), "--augmenter", "shout", "--shard-rows", "10"]
    assert main(build) == 0
    manifest, there = read_manifest(directory), read_manifest(other)
    (mine,), (its,) = manifest.tables, there.tables
    path, pairs = directory / mine.name, Table(other / its.name, bytes.fromhex(its.origin)).items()
    size, _ = write_table(path, bytes.fromhex(mine.origin), pairs, its.records)
    manifest.tables = [replace(mine, bytes=size, crc32=crc32_of(path))]
    manifest.save(directory)
    capsys.readouterr()
    status, text = run(capsys, "verify", directory)
    assert status == 1
    assert "1 captions whose look-up entry differs" in text


def test_import_and_export(tmp_path, capsys):
    source = tmp_path / "in.jsonl"
    source.write_text('{"raw": "a dog", "fused": "a dog on grass"}\n{"raw": "a cat", "fused": ""}\n')
    keys = ["--caption-key", "raw", "--rewrite-key", "fused", "--source", "capsfusion"]
    status, text = run(capsys, "import", source, "--cache", tmp_path / "cache", *keys)
    assert status == 0
    assert "rewrites, capsfusion: 1" in text
    assert "rejections, empty: 1" in text
    status, text = run(capsys, "export", tmp_path / "cache", tmp_path / "new/out.jsonl")
    assert (status, text) == (0, f"2 records in {tmp_path / 'new/out.jsonl'}\n")
    rows = [json.loads(line) for line in (tmp_path / "new/out.jsonl").read_text().splitlines()]
    assert {row["caption"]: row["rewrites"] for row in rows} == {
        "a dog": [{"source": "capsfusion", "text": "a dog on grass"}],
        "a cat": [],
    }


@pytest.mark.parametrize("command", ["filter", "export"])
def test_the_help_says_that_the_column_of_images_is_used(command, capsys):
    with pytest.raises(SystemExit):
        main(["cache", command, "--help"])
    assert "--csv-img-key KEY column of the images" in " ".join(capsys.readouterr().out.split())


def test_export_for_data_of_ones_own(directory, tmp_path, capsys):
    (tmp_path / "mine.csv").write_text("words,filepath\nphoto 3,3.jpg\na bird,b.jpg\n")
    keys = ["--for", tmp_path / "mine.csv", "--caption-key", "words"]
    status, text = run(capsys, "export", directory, tmp_path / "new/out.csv", *keys)
    assert (status, text.splitlines()[0]) == (0, f"2 rows in {tmp_path / 'new/out.csv'}; with a text of")
    assert "refused, not-in-cache: 1" in text
    head, row, other = (tmp_path / "new/out.csv").read_text().splitlines()
    assert head == "words,filepath,loud,calm" and other == "a bird,b.jpg,,"
    assert row.startswith("photo 3,3.jpg,PHOTO 3 ")
    assert run(capsys, "export", directory, tmp_path / "{source}.txt", *keys)[0] == 0
    assert [len((tmp_path / f"{name}.txt").read_text().splitlines()) for name in ("loud", "calm")] == [2, 2]
    status, text = run(capsys, "export", directory, tmp_path / "folder")
    assert (status, text) == (0, f"32 records in {tmp_path / 'folder'}\n")
    (tmp_path / "half.tar").write_bytes(b"x" * 700)
    status, text = run(capsys, "export", directory, tmp_path / "tars", "--for", tmp_path / "half.tar")
    assert (status, "not written" in text) == (1, True), text
    status, text = run(capsys, "export", tmp_path, tmp_path / "x.csv", *keys)
    assert (status, "is no rewrite cache" in text) == (2, True)


def test_a_directory_that_is_no_cache(tmp_path, capsys):
    for action in ("info", "verify", "compile", "show"):
        status, text = run(capsys, action, tmp_path)
        assert status == 2
        assert "is no rewrite cache" in text
    assert list(tmp_path.iterdir()) == []
    status, text = run(capsys, "export", tmp_path, tmp_path / "out.jsonl")
    assert status == 2
    assert not list(tmp_path.glob("out*"))


def test_a_name_with_a_colon_is_no_address(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "captions:v1.csv").write_text("caption,llm\na dog runs,the dog\ntwo cats,cats sit\n")
    (tmp_path / "plain:v1.csv").write_text("caption\na dog runs\n")
    for cache in ("cc3m:v2", "./cc12m:v2"):  # the first time it is not there, the second time it is
        for made in (2, 0):
            status, text = run(capsys, "import", "captions:v1.csv", "--rewrite-key", "llm", "--cache", cache)
            assert (status, f"{made} captions made" in text) == (0, True), text
        for action in ("info", "show", "verify", "compile", "repair"):
            assert run(capsys, action, cache)[0] == 0
    for arguments in (
        ("merge", "cc3m:v2", "./cc12m:v2", "--out", "merged:v2"),
        ("filter", "merged:v2", "--gate", "none", "--out", "./filtered:v2"),
        ("export", "filtered:v2", "out:v2/all.jsonl"),
        ("export", "filtered:v2", "more:v2.csv", "--for", "./plain:v1.csv"),
    ):
        status, text = run(capsys, *arguments)
        assert status == 0, text
    assert main(["build", "captions:v1.csv", "--augmenter", "shout", "--cache", "built:v2"]) == 0
    assert main(["report", "built:v2", "--out", "report:v2.html"]) == 0
    assert {path.name for path in tmp_path.glob("*:*")} == {
        *("captions:v1.csv", "cc3m:v2", "cc12m:v2", "merged:v2", "filtered:v2", "out:v2", "more:v2.csv", "built:v2"),
        *("plain:v1.csv", "report:v2.html"),
    }
    for missing in ("captions:v9.csv", "./captions:v9.csv"):
        assert f"no such file: {missing}" in run(capsys, "import", missing, "--cache", "cc3m:v2")[1]
    assert "is no rewrite cache" in run(capsys, "info", "cc3m:v9")[1]


def test_an_address_is_no_cache_and_inputs_of_an_import_are_errors_in_words(tmp_path, capsys):
    (tmp_path / "in.txt").write_text("a dog\n")
    for arguments in (["info"], ["show"], ["verify"], ["compile"], ["export", "out.jsonl"]):
        status, text = run(capsys, arguments[0], "s3://bucket/cache", *arguments[1:])
        assert status == 2 and "s3://bucket/cache is an address" in text
    assert run(capsys, "import", "x.csv", "--cache", "s3://bucket/cache")[0] == 2
    build = ["build", str(tmp_path / "in.txt"), "--augmenter", "shout", "--cache", "s3://bucket/cache"]
    assert main(build) == 2 and "is an address" in capsys.readouterr().err
    assert not (tmp_path / "s3:").exists()
    cache = ["--cache", tmp_path / "cache"]
    (tmp_path / "empty.tar").write_bytes(bytes(10240))
    for name, message in (
        (tmp_path / "empty.tar", "no caption was read"),
        (tmp_path / "in.txt", "has no columns"),
        ("memory://none/a.jsonl", "cannot be read"),
        ("memory://none/a.tar", "unreachable"),
        ("pipe:exit 4", "exit status 4"),
        ("::".join(["x" * 200] * 40), "no such file"),
        ("a\0b", "no such file"),
    ):
        status, text = run(capsys, "import", name, "--source", "human", *cache)
        assert (status, message in text) == (2, True), text
        status, text = run(capsys, "import", name, "--group-key", "image", "--cache", tmp_path / "other")
        assert (status, message in text) == (2, True), text


def test_numbers_of_records_that_make_no_sense(directory, capsys):
    for option in ("--sample", "--head"):
        status, text = run(capsys, "show", directory, option, -1)
        assert (status, f"{option} -1: give 0 or more" in text) == (2, True)
        assert run(capsys, "show", directory, option, 0) == (0, "")


def test_export_to_standard_output(directory, capsys):
    assert main(["cache", "export", str(directory), "-"]) == 0
    captured = capsys.readouterr()
    rows = [json.loads(line) for line in captured.out.splitlines()]
    assert len(rows) == 32
    assert captured.err == "32 records in -\n"
    assert sum(len(row["rejections"]) for row in rows) == 3  # two of the hopeless one, and the empty caption


def test_an_unfinished_cache_shows_its_journal(tmp_path, capsys):
    with CacheWriter(tmp_path / "cache", Config("x", "1", 0, 1, ("x",))) as writer:
        for i in range(1000):
            writer.new([f"photo {i}"])
            writer.add(Outcome(f"photo {i}", (Rewrite("x", f"PHOTO {i}"),)))
    text = run(capsys, "info", tmp_path / "cache")[1]
    assert "captions: 1000, with a rewrite: 1000" in text
    assert "in the journal of an unfinished build: 1000" in text
    assert "x: PHOTO 7" in run(capsys, "show", tmp_path / "cache", "photo 7")[1]
    assert run(capsys, "export", tmp_path / "cache", tmp_path / "out.csv")[1].startswith("1000 records")
    compiled = run(capsys, "compile", tmp_path / "cache")[1]
    assert compiled.startswith("look-up of 1000 captions") and "run the same build again" in compiled
    status, text = run(capsys, "verify", tmp_path / "cache")
    assert status == 0 and "has not come to its end" in text and text.endswith("\nsound, but not finished\n")
    assert "has not come to its end" in run(capsys, "info", tmp_path / "cache")[1]


def test_what_verify_advises_for_an_unfinished_cache_can_be_typed(tmp_path, capsys):
    place = tmp_path / "my cache"
    with CacheWriter(place, Config("x", "1", 0, 1, ("x",)), shard_rows=1) as writer:
        writer.add(Outcome("a dog", (Rewrite("x", "the dog"),)))
    told = run(capsys, "verify", place)[1]
    advised = f"laclip-aug cache compile '{place}'"
    assert f"there is no look-up of all the shards; finish the build, or run: {advised}\n" in told
    assert main(shlex.split(advised)[1:]) == 0
    assert "no look-up" not in run(capsys, "verify", place)[1]


def test_repair(directory, capsys):
    assert run(capsys, "repair", directory) == (0, "nothing was damaged\n")
    (directory / "shard-000001.parquet").unlink()
    status, text = run(capsys, "repair", directory)
    assert status == 0
    assert "shard-000001.parquet is missing: 10 of 10 captions lost" in text
    assert text.endswith("repaired\n")


@pytest.mark.parametrize("end", ["typo", "killed", "interrupted"])
def test_a_first_import_that_fails_refuses_no_other(tmp_path, capsys, end):
    rows = '{"caption": "a dog", "long": "a dog on grass", "short": "dog"}\n' * 10
    (tmp_path / "in.jsonl").write_text(rows)
    main_of_it = "import sys; from laclip_aug.cli import main; sys.exit(main())"
    cache, command = tmp_path / "cache", [sys.executable, "-c", main_of_it, "cache", "import"]
    if end == "typo":
        failed = subprocess.run(
            [*command, tmp_path / "in.jsonl", "--rewrite-key", "lonk", "--cache", cache], capture_output=True, text=True
        )
        assert failed.returncode == 2
        assert "caption, long, short. Name the right one with its option (--rewrite-key" in failed.stderr
    else:
        os.mkfifo(tmp_path / "slow.jsonl")
        arguments = [tmp_path / "slow.jsonl", "--rewrite-key", "long", "--cache", cache]
        pipe = os.open(tmp_path / "slow.jsonl", os.O_RDWR)  # both ends, so that nothing waits for the child
        heeding = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731 - a background job ignores it
        with subprocess.Popen([*command, *arguments], preexec_fn=heeding) as child:
            os.write(pipe, rows.encode())
            while not (cache / "lock").exists():
                assert child.poll() is None
                time.sleep(0.05)
            child.send_signal(signal.SIGKILL if end == "killed" else signal.SIGINT)
            child.wait(60)
        os.close(pipe)
    assert {path.name for path in cache.glob("*")} <= {"lock"}
    status, text = run(capsys, "import", tmp_path / "in.jsonl", "--rewrite-key", "short", "--cache", cache)
    assert status == 0, text
    assert "short: dog" in run(capsys, "show", cache, "a dog")[1]
