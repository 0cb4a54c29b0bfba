"""``laclip-aug build`` as a user runs it: real processes, a third-party augmenter, kills and interrupts."""

import json
import signal
import subprocess
import sys
import time

import pytest

from laclip_aug.cache.format import read_manifest
from laclip_aug.cache.shards import read_shard
from laclip_aug.cache.verify import verify_cache
from laclip_aug.cli import main


def command(*arguments):
    return [sys.executable, "-c", "import sys; from laclip_aug.cli import main; sys.exit(main())", *map(str, arguments)]


def captions_of(directory):
    return [record.caption for shard in read_manifest(directory).shards for _, record in read_shard(directory, shard)]


def test_build_reports_and_refuses_another_seed(tmp_path, capsys):
    source = tmp_path / "in.tsv"
    source.write_text("caption\turl\na dog\tu\na hopeless case\tu\na dog\tu\n\tu\n")
    build = ["build", str(source), "--cache", str(tmp_path / "cache"), "--augmenter", "shout"]
    assert main([*build, "--option", "mark=?"]) == 0
    report = capsys.readouterr().out
    # pandas, and so open_clip's trainer, reads the empty field as the text "nan": recorded, and never rewritten
    assert "read 4 rows: 2 captions made, 1 repeated or made before, 1 refused" in report
    assert f"refused, missing: 1, for example {source}: row 4" in report
    assert "rejections, too-loud: 2" in report
    assert "the cache holds 3 captions; 1 of them (33.3%) have a rewrite" in report
    assert main([*build, "--option", "mark=?", "--seed", "1"]) == 2
    assert "seed: 0 there, 1 asked for" in capsys.readouterr().err
    manifest = json.loads((tmp_path / "cache" / "manifest.json").read_text())
    assert manifest["configs"][0]["n"] == 2  # one text for each source
    assert manifest["configs"][0]["describe"]["mark"] == "?"


def test_input_options(tmp_path, capsys):
    source = tmp_path / "words"
    source.write_text("img;words\n1.jpg;a dog\n")
    build = ["build", str(source), "--cache", str(tmp_path / "cache"), "--augmenter", "shout"]
    assert main(build) == 2
    assert "--input-format" in capsys.readouterr().err
    build += ["--input-format", "csv", "--csv-separator", ";", "--csv-img-key", "img"]
    assert main(build) == 2
    assert "its columns are: img, words" in capsys.readouterr().err
    assert main([*build, "--csv-caption-key", "words"]) == 0
    assert captions_of(tmp_path / "cache") == ["a dog"]


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--n", "0"], "--n must be at least 1"),
        (["--shard-rows", "-1"], "--shard-rows must be at least 1"),
        (["--dry-run", "--price-per-hour", "-1"], "--price-per-hour must be 0 or more, not -1"),
        (["--dry-run", "--price-per-hour", "nan"], "--price-per-hour must be 0 or more, not nan"),
        (["--augmenter", "shot"], "did you mean 'shout'"),
    ],
)
def test_wrong_options(tmp_path, capsys, extra, message):
    (tmp_path / "in.txt").write_text("a dog\n")
    assert (
        main(["build", str(tmp_path / "in.txt"), "--cache", str(tmp_path / "c"), "--augmenter", "shout", *extra]) == 2
    )
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_build_goes_on(tmp_path, plugin_environment, how):
    source, cache = tmp_path / "in.txt", tmp_path / "cache"
    captions = [f"photo {i}" for i in range(120)]
    source.write_text("\n".join(captions))
    arguments = ["build", source, "--cache", cache, "--augmenter", "shout", "--shard-rows", 50]
    victim = subprocess.Popen(
        command(*arguments, "--option", "delay=0.05"),
        env=plugin_environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # a shell's background job, which these tests may be part of, is started with it ignored
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while victim.poll() is None and not list(cache.glob("journal-000001")):
        time.sleep(0.02)
    victim.send_signal(how)
    _, errors = victim.communicate()
    if how == signal.SIGINT:
        assert victim.returncode == 130
        assert "the same command goes on from here" in errors
    else:
        assert victim.returncode == -signal.SIGKILL
    again = subprocess.run(command(*arguments), env=plugin_environment, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert "read 120 rows: 120 captions made" not in again.stdout  # the first shard at least was kept
    assert sorted(captions_of(cache)) == sorted(captions)
    assert verify_cache(cache) == ([], [])


def test_any_augmenter_builds_behind_a_gate(tmp_path, capsys):
    source = tmp_path / "in.txt"
    source.write_text("a dog\na cat\n")
    argv = ["build", str(source), "--cache", str(tmp_path / "cache"), "--augmenter", "shout"]
    assert main([*argv, "--gate", "shared-letters>=0.5"]) == 0
    counts = read_manifest(tmp_path / "cache").counts
    assert counts.rewrites == {"calm": 2}  # what is shouted shares no letter with its caption
    assert counts.rejections == {"shared-letters": 2}
    assert main(argv) == 2  # without the gate it would be another cache
    assert "gate" in capsys.readouterr().err
