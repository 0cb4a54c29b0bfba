"""What is looked up before training, what is refused, and what is said of it."""

from __future__ import annotations

import io
import json
import logging
import re
import shlex
import tarfile
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from open_clip_train.data import CsvDataset

from laclip_aug import openclip
from laclip_aug.augmenter import Outcome, Rejection, Rewrite
from laclip_aug.cache.format import Config
from laclip_aug.cache.lookup import CaptionCache
from laclip_aug.cache.writer import CacheWriter
from laclip_aug.cli import main
from laclip_aug.errors import CacheMissError, ConfigurationError
from laclip_aug.training import coverage
from laclip_aug.training.counts import Drawn
from laclip_aug.training.options import TextAugOptions

from .conftest import make_cache

KNOWN = [f"a dog number {number}" for number in range(4000)]


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_cache(tmp_path_factory.mktemp("large"), KNOWN)


def look(cache: Path, dataset: Any, train_data: str | None = None, args: Any = None, **options: Any) -> None:
    """What happens before a training on ``dataset`` starts."""
    chosen = TextAugOptions(mode="laclip", cache=str(cache), **options)
    lookup = CaptionCache(cache)
    captions = coverage.training_captions(dataset, Namespace(train_data=train_data, **(args or {})), seed=0)
    sources = chosen.strategies or lookup.sources
    measured = coverage.measure(lookup, sources, captions, captions.whole)
    coverage.check(measured, captions, str(train_data), chosen)


def table(*captions: str) -> SimpleNamespace:
    return SimpleNamespace(captions=captions)


def shard(path: Path, samples: list[dict[str, str]]) -> str:
    with tarfile.open(path, "w") as tar:
        for number, sample in enumerate(samples):
            for ending, text in {"jpg": "image", **sample}.items():
                member = tarfile.TarInfo(f"{number:05d}.{ending}")
                member.size = len(text.encode())
                tar.addfile(member, io.BytesIO(text.encode()))
    return str(path)


def test_one_missing_caption_of_a_table_is_found_wherever_it_is(large: Path) -> None:
    for place in (0, 2500, 3999):
        captions = [*KNOWN[:place], "a whale", *KNOWN[place + 1 :]]
        with pytest.raises(CacheMissError, match=r"3999 of 4000 training captions .*'a whale'.*--text-aug-max-miss"):
            look(large, table(*captions))


def test_a_share_may_miss(large: Path, caplog: pytest.LogCaptureFixture) -> None:
    four, five = ([*KNOWN[:-number], *["a whale"] * number] for number in (4, 5))  # 0.1% and more of 4,000
    with caplog.at_level(logging.WARNING):
        look(large, table(*four), max_miss=0.001)
    assert "3996 of 4000 training captions" in caplog.text
    with pytest.raises(CacheMissError):
        look(large, table(*five), max_miss=0.001)
    look(large, table(*five), on_miss="original")


def test_draws_are_held_to_the_share_too(large: Path) -> None:
    options = TextAugOptions(mode="laclip", cache=str(large), max_miss=0.01)
    coverage.check_draws(Drawn({}, captions=10_000, missed=170), options)  # 100, and 20/3 + sqrt((20/3)^2 + 40 * 100)
    with pytest.raises(CacheMissError, match=r"171 of 10000 captions missed the cache, more .*miss 1%"):
        coverage.check_draws(Drawn({}, captions=10_000, missed=171), options)


def test_chance_stops_no_run_that_misses_what_it_may(large: Path) -> None:
    options = TextAugOptions(mode="laclip", cache=str(large), max_miss=0.005)
    draw, between = np.random.default_rng(0), 64 * 256  # captions from one look to the next
    for _ in range(20 * 30 * 8):  # runs, epochs and ranks, on three million captions
        missed = draw.binomial(between, 0.005, 22).cumsum().tolist()
        for look_number, so_far in enumerate(missed, 1):
            coverage.check_draws(Drawn({}, captions=look_number * between, missed=so_far), options)
    twice = draw.binomial(between, 0.01, 22).cumsum().tolist()
    with pytest.raises(CacheMissError):
        coverage.check_draws(Drawn({}, captions=2 * between, missed=twice[1]), options)


def test_the_advised_share_is_accepted(large: Path) -> None:
    captions = table(*KNOWN[:-7], *["a whale"] * 7)
    with pytest.raises(CacheMissError) as caught:
        look(large, captions)
    from laclip_aug.training.parser import parse

    words = str(caught.value).split("--text-aug-max-miss ")[1].split(",")[0]
    options, _ = parse(["--text-aug", "laclip", "--text-aug-cache", str(large), "--text-aug-max-miss", words])
    look(large, captions, max_miss=options.max_miss)


EDA = ("--augmenter", "eda", "--synonyms", "builtin", "--n", "2")


def advised(error: pytest.ExceptionInfo[CacheMissError]) -> list[str]:
    """What the error says to type, as a shell divides it."""
    return shlex.split(re.findall(r": (laclip-aug build .*?), with", str(error.value))[0])[1:]


@pytest.mark.parametrize(
    ("file", "separator", "columns", "typed"),
    [
        ("train.tsv", "\t", ("filepath", "title"), ()),
        ("train.csv", ";", ("url", "alt text"), ("--csv-separator", ";", "--csv-caption-key", "alt text")),
        ("train.csv", ",", ("title", "caption"), ("--csv-separator", ",", "--csv-caption-key", "caption")),
        ("train.txt", "\t", ("filepath", "title"), ("--dataset-type", "csv")),
    ],
)
@pytest.mark.parametrize("imported", [False, True])
def test_the_advised_build_adds_the_captions_of_any_table(
    tmp_path: Path, file: str, separator: str, columns: tuple[str, str], typed: tuple[str, ...], imported: bool
) -> None:
    captions = ["a red dog", "a blue car", "a green tree"]
    rows = [columns, *((f"{number}.png", caption) for number, caption in enumerate(captions))]
    (tmp_path / file).write_text("\n".join(separator.join(row) for row in rows) + "\n")
    (tmp_path / "some.jsonl").write_text('{"caption": "a red dog", "mine": "a dog that is red"}\n')
    cache, making = ("--cache", str(tmp_path / "my cache")), ("cache", "import") if imported else ("build",)
    assert main([*making, str(tmp_path / "some.jsonl"), *cache, *(("--rewrite-key", "mine") if imported else EDA)]) == 0

    args = openclip.PARSE_ARGS.get()(["--train-data", str(tmp_path / file), *typed])
    dataset = CsvDataset(args.train_data, None, columns[0], args.csv_caption_key, args.csv_separator)
    options = TextAugOptions(mode="laclip", cache=cache[1])

    def start() -> None:
        found = coverage.training_captions(dataset, args, seed=0)
        coverage.check(
            coverage.measure(CaptionCache(cache[1]), (), found, found.whole), found, str(args.train_data), options
        )

    with pytest.raises(CacheMissError, match="'a blue car', 'a green tree'") as error:
        start()
    assert main([*advised(error), *EDA]) == 0
    start()
    assert len(CaptionCache(cache[1])) == 3  # and nothing that is no caption


def test_quotes_that_a_typed_tab_leaves_in_captions_are_explained(tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_text('filepath\ttitle\n0.png\t"a ""big"" dog, red"\n')
    (tmp_path / "caption.jsonl").write_text(json.dumps({"caption": 'a "big" dog, red'}) + "\n")
    cache = str(tmp_path / "cache")
    assert main(["build", str(tmp_path / "caption.jsonl"), "--cache", cache, *EDA]) == 0

    def start(*typed: str) -> None:
        args = openclip.PARSE_ARGS.get()(["--train-data", str(tmp_path / "train.tsv"), *typed])
        table = CsvDataset(args.train_data, None, "filepath", "title", args.csv_separator)
        look(Path(cache), table, args.train_data, {"csv_separator": args.csv_separator})

    with pytest.raises(CacheMissError, match=r"leave out --csv-separator '\\t'.* quotes around cells stay"):
        start("--csv-separator", "\\t")
    start()


def test_captions_of_the_trainers_own_are_in_no_file(large: Path) -> None:
    with pytest.raises(CacheMissError, match="They are the trainer's own, in no file") as error:
        look(large, SimpleNamespace(caption="Dummy caption"))
    assert "laclip-aug build" not in str(error.value)


@pytest.mark.parametrize("on_miss", ["error", "original"])
def test_nothing_to_look_up_is_refused(large: Path, tmp_path: Path, on_miss: str) -> None:
    tar = shard(tmp_path / "no-text.tar", [{"json": '{"caption": "a dog"}'}] * 3)
    with pytest.raises(ConfigurationError, match=r"(?s)no caption of the training data.*endings: .jpg, .json"):
        look(large, object(), tar, on_miss=on_miss)
    with pytest.raises(ConfigurationError, match="no caption of the training data"):
        look(large, table(), "empty.csv", on_miss=on_miss)


def test_captions_are_those_that_open_clip_4_would_read(large: Path, tmp_path: Path) -> None:
    fields = {"long": KNOWN[0], "short": KNOWN[1], "none": " "}
    tar = shard(tmp_path / "both.tar", [{"caption": KNOWN[2], "json": json.dumps(fields)}])

    def read(**args: Any) -> list[str]:
        return list(coverage.training_captions(object(), Namespace(train_data=tar, **args), seed=0))

    assert read(text_key="txt;caption", json_text_key=None, json_text_key_probs=None) == [KNOWN[2]]
    assert read(text_key="txt", json_text_key="none;short;long", json_text_key_probs=None) == [KNOWN[1]]
    assert read(text_key="txt", json_text_key="long;short", json_text_key_probs=[0.5, 0.5]) == KNOWN[:2]
    assert read() == []


def test_a_cache_without_any_rewrite_warns(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with CacheWriter(tmp_path / "none", Config("llm", "test", seed=0, n=1, sources=("chatgpt",))) as writer:
        writer.new(["a dog"])
        writer.add(Outcome("a dog", (), (Rejection("chatgpt", "echo"),)))
        writer.finish()
    with caplog.at_level(logging.WARNING):
        look(tmp_path / "none", table("a dog"))
    assert "with 0.00 rewrites each: there is no rewrite, so every caption is trained on as it is" in caplog.text


def test_only_chosen_strategies_count(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with CacheWriter(tmp_path / "one", Config("import", "test", seed=0, n=1, sources=("mine", "other"))) as writer:
        writer.new(["a dog"])
        writer.add(Outcome("a dog", (Rewrite("other", "the dog"), Rewrite("gpt", "one dog"))))
        writer.finish()
    with caplog.at_level(logging.INFO):
        look(tmp_path / "one", table("a dog"))
    assert "2.00 rewrites each" in caplog.text
    with caplog.at_level(logging.INFO):
        look(tmp_path / "one", table("a dog"), strategies=("mine",))
    assert "there is no rewrite by the chosen strategies" in caplog.text
