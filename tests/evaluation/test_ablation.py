"""The ablation's file, its grid and its statistics."""

from __future__ import annotations

import json
import re
from collections import Counter
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml

from laclip_aug.augmenter import Outcome, Rewrite
from laclip_aug.cache.config import Config
from laclip_aug.cache.writer import CacheWriter
from laclip_aug.cli import main
from laclip_aug.errors import ConfigurationError, LaclipError
from laclip_aug.evaluation.ablation.config import Ablation, read_ablation
from laclip_aug.evaluation.ablation.grid import Arm, Cell, cells_of, open_caches, train_command
from laclip_aug.evaluation.ablation.records import CellRecord
from laclip_aug.evaluation.ablation.statistics import bootstrap, paired, summary
from laclip_aug.evaluation.ablation.table import markdown, rows_of
from laclip_aug.evaluation.recipes import load_recipe
from tests.evaluation.conftest import class_folders, encoded


def make_cache(directory: Path, kind: str, sources: tuple[str, ...], each: int = 1) -> str:
    with CacheWriter(directory, Config(kind, "x", 0, each * len(sources), sources)) as writer:
        texts = tuple(Rewrite(name, f"{name} text {number} here") for name in sources for number in range(each))
        writer.new(["a red dog"])
        writer.add(Outcome("a red dog", texts))
        writer.finish()
    return str(directory)


def read(folder: Path, grid: dict[str, Any], **others: Any) -> Ablation:
    """The ablation of a file; of model RN50 where the grid has a mode alone."""
    if "mode" in grid:
        grid = {"model": "RN50"} | grid
    content: dict[str, Any] = {"train": {"train-data": "x.tsv"}, "evaluate": ["retrieval --data y"], "grid": grid}
    (folder / "a.yaml").write_text(yaml.safe_dump(content | others, sort_keys=False))
    return read_ablation(folder / "a.yaml")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trian": {}}, r"unknown key in a.yaml: 'trian'; did you mean 'train'\?"),
        ({"grid": {"model": "RN50", "seeds": [1]}}, "did you mean 'seed'"),
        ({"grid": {"mode": ["lacip"]}}, "did you mean 'laclip'"),
        ({"grid": {"mode": None}}, "grid: mode must be a name"),
        ({"grid": {"model": "RN50", "texts": [1, -1]}}, "a whole number from 0"),
        ({"grid": {"model": "RN50", "seed": [True]}}, "a whole number"),
        ({"grid": {"model": "RN50", "seed": [1, 1]}}, "names one twice"),
        ({"grid": {"model": "absent.json"}}, "there is no file absent.json"),
        ({"grid": {}}, "grid: model must be a name"),
        ({"grid": {"model": "RN50", "cache": ["rewrites"]}}, "must give each cache a name"),
        ({"grid": {"model": "RN50", "cache": {"a": {"directory": "d", "strategy": "x"}}}}, "did you mean 'strategies'"),
        ({"grid": {"model": "RN50", "text-encoder": {"bert": {"frozen": True}}}}, "no weights to freeze"),
        ({"grid": {"model": "RN50", "text-encoder": {"b": {"hf_pooler_type": "x"}}}}, "no hf_model_name"),
        ({"train": {"train-data": "x", "text-aug": "laclip"}}, "set for each run by the grid"),
        ({"train": {"train-data": "x", "batch_size": 3}}, "write 'batch-size' for 'batch_size'"),
        ({"train": {"train-data": "x", "lr": {"a": 1}}}, "lr must be text, a number, true"),
        ({"train": {}}, "there is no train-data"),
        ({"train": None}, "needs 'train'"),
        ({"evaluate": "zero-shot"}, "must be a list of evaluations"),
        ({"evaluate": ["zero-shot --data 'x"]}, "quotation"),
        ({"evaluate": ["zero-shot --pretrained x"]}, "--pretrained is set for each run"),
        ({"paper": "cc12"}, "did you mean 'cc12m'"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        read(tmp_path, changes.pop("grid", {"model": "RN50"}), **changes)


def test_a_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("train: !!python/object/apply:os.system ['touch here']\n")
    with pytest.raises(LaclipError):
        read_ablation(tmp_path / "a.yaml")


def test_the_grid(tmp_path: Path) -> None:
    llm = make_cache(tmp_path / "llm", "llm", ("chatgpt", "bard", "human"))
    eda = make_cache(tmp_path / "eda", "eda", ("eda",), each=4)
    grid = {
        "model": ["RN50", "ViT-B-32"],
        "mode": ["none", "eda", "laclip", "laclip-mt"],
        "cache": {"llm": llm, "eda": eda, "bard": {"directory": llm, "strategies": ["bard"]}},
    }
    ablation = read(tmp_path, grid | {"seed": [0, 5]})
    cells = cells_of(ablation, open_caches(ablation))
    arms = [
        Arm("none"),
        Arm("eda", "eda", 4, "eda"),  # its cache trains in its own mode, not once more as laclip
        Arm("laclip", "llm", 3, "llm"),
        Arm("laclip", "bard", 1, "llm", ("bard",)),
        Arm("laclip-mt", "llm", 3, "llm"),
        Arm("laclip-mt", "eda", 4, "eda"),
        Arm("laclip-mt", "bard", 1, "llm", ("bard",)),
    ]
    assert [cell.arm for cell in cells[:7]] == arms
    assert Counter(cells) == Counter(
        Cell(model, "random", arm, seed) for model, arm, seed in product(("RN50", "ViT-B-32"), arms, (0, 5))
    )
    assert len({cell.name for cell in cells}) == len(cells)


def test_texts_are_counted_by_strategies_in_turn(tmp_path: Path) -> None:
    llm = make_cache(tmp_path / "llm", "llm", ("chatgpt", "bard", "human"))
    grid = {"mode": ["none", "laclip", "laclip-mt"], "cache": {"llm": llm}, "texts": [0, 1, 2, 3], "seed": 0}
    ablation = read(tmp_path, grid)
    cells = cells_of(ablation, open_caches(ablation))
    assert [(cell.arm.mode, cell.arm.strategies) for cell in cells] == [
        ("none", None),  # once, though each mode has 0
        *(("laclip", strategies) for strategies in (("chatgpt",), ("chatgpt", "bard"), None)),
        *(("laclip-mt", strategies) for strategies in (("chatgpt",), ("chatgpt", "bard"), None)),
    ]
    eda = make_cache(tmp_path / "eda", "eda", ("eda",), each=4)
    one = read(tmp_path, {"mode": "laclip", "cache": {"eda": eda}, "texts": 2})
    with pytest.raises(ConfigurationError, match=r"cannot give 2 texts .* only 4"):
        cells_of(one, open_caches(one))


def test_eda_needs_no_cache_and_others_do(tmp_path: Path) -> None:
    ablation = read(tmp_path, {"mode": ["eda"], "texts": [0, 1, 4], "seed": 0})
    cells = cells_of(ablation, {})
    lines = [train_command(cell, ablation, tmp_path, {("RN50", "random"): ["--model", "RN50"]}) for cell in cells]
    pools = [line[line.index("--text-aug-num-texts") + 1] if "--text-aug-num-texts" in line else "" for line in lines]
    assert pools == ["", "2", "5"]  # the original is one of the pool
    for mode in ("laclip", "laclip-mt", "back-translation"):
        with pytest.raises(ConfigurationError, match="needs a cache"):
            cells_of(read(tmp_path, {"mode": mode}), {})
    llm = make_cache(tmp_path / "llm", "llm", ("human",))
    unused = read(tmp_path, {"mode": ["none", "eda"], "cache": {"llm": llm}})
    with pytest.raises(ConfigurationError, match="no mode of the grid uses the cache llm"):
        cells_of(unused, open_caches(unused))


def test_options_go_where_they_have_a_meaning(tmp_path: Path) -> None:
    """Each line is taken by the options' own validation, which refuses what has no effect."""
    from laclip_aug.training import parser

    llm = make_cache(tmp_path / "llm", "llm", ("human",))
    given = {"text-aug-max-miss": 0.01, "text-aug-mt-reduction": "paper", "text-aug-original-prob": 0.5}
    train = {"train-data": "x", "aug-cfg": ["scale=(0.5,1.0)"], "local-loss": True, "torchcompile": False} | given
    grid = {"mode": ["none", "eda", "laclip", "laclip-mt"], "cache": {"llm": llm}, "seed": 4}
    ablation = read(tmp_path, grid, train=train)
    found = {}
    for cell in cells_of(ablation, open_caches(ablation)):
        line = train_command(cell, ablation, tmp_path, {("RN50", "random"): ["--model", "RN50"]})
        found[cell.arm.mode], rest = parser.parse(line[2:])
        assert "--local-loss" in rest and "--torchcompile" not in rest
    assert [found[mode].seed for mode in ("none", "eda", "laclip", "laclip-mt")] == [0, 4, 4, 4]
    assert (found["laclip"].original_prob, found["laclip"].max_miss) == (0.5, 0.01)
    assert found["laclip-mt"].mt_reduction == "paper"

    train |= {"text-aug-with": "sentences", "text-aug-weights": "original=2", "text-aug-option": "most=1"}
    del train["text-aug-original-prob"], train["text-aug-mt-reduction"]
    ablation = read(tmp_path, grid | {"mode": ["none", "laclip", "laclip-mt"]}, train=train)
    for cell in cells_of(ablation, open_caches(ablation)):
        line = train_command(cell, ablation, tmp_path, {("RN50", "random"): ["--model", "RN50"]})
        options, _ = parser.parse(line[2:])
        assert options.augmenters == (() if cell.arm.mode == "none" else ("sentences",))
        assert options.weights == ({"original": 2.0} if cell.arm.mode == "laclip" else None)


def test_names_that_differ_stay_apart() -> None:
    names = [Cell("RN50", "random", Arm("laclip", cache, 1), 0).name for cache in ("a/b", "a b", "a-b", "é" * 300)]
    assert len(set(names)) == 4
    assert all("/" not in name and len(name) < 150 for name in names)


def test_mean_and_deviation() -> None:
    found = summary([2.0, 4.0, 9.0])
    assert (found.mean, found.count) == (5.0, 3)
    assert found.deviation == pytest.approx(13**0.5)  # (9 + 1 + 16) / 2
    assert summary([3.0]).deviation is None


def test_the_interval_by_hand() -> None:
    assert bootstrap([1.0]) is None
    assert bootstrap([1.0, 3.0]) == (1.0, 3.0)
    # of 3 ** 3 means of 0, 0, 3: 8 are 0, 12 are 1, 6 are 2, 1 is 3; 97.5% of 27 is 26.3, so the 27th
    assert bootstrap([0.0, 0.0, 3.0]) == (0.0, 3.0)
    # of 4 ** 4 means of 0, 0, 0, 4, (3/4)^4 are 0, ..., 13 of 256 are 3 or more, and 1 is 4: the 250th is 3
    assert bootstrap([0.0, 0.0, 0.0, 4.0]) == (0.0, 3.0)


def test_many_seeds_agree_with_scipy() -> None:
    import numpy as np
    from scipy import stats

    values = np.random.default_rng(3).normal(1.0, 2.0, 12)
    low, high = bootstrap(values.tolist()) or (0.0, 0.0)
    reference = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=20_000, random_state=1)
    assert (low, high) == pytest.approx(tuple(reference.confidence_interval), abs=0.06)


def test_differences_are_of_seeds_that_both_have() -> None:
    found = paired({1: 5.0, 2: 7.0, 3: 100.0}, {1: 4.0, 2: 4.0, 9: 0.0})
    assert found is not None
    assert (found.mean, found.count, found.interval) == (2.0, 2, (1.0, 3.0))
    assert paired({1: 5.0}, {2: 4.0}) is None


def test_the_table_compares_within_a_model_and_leaves_unknown_cells_empty() -> None:
    arms = (Arm("none"), Arm("laclip", "gpt|4", 4, "llm"), Arm("laclip-mt", "gpt|4", 4, "llm"), Arm("laclip", "h", 4))
    found = {
        Cell(model, "random", arm, seed): {"x retrieval R@1": 10 * place + seed + shift}
        for shift, model in ((0, "A"), (100, "B"))
        for place, arm in enumerate(arms)
        for seed in (0, 2)
    }
    published = load_recipe("cc12m").published
    lines = markdown(rows_of(found, published), published, [0, 2]).splitlines()
    rows = [[cell.strip() for cell in line.replace("\\|", "!").strip("|").split("|")] for line in lines[2:10]]
    assert rows[0] == ["A", "none", "", "0", "1.00 ± 1.41", "2", "", "40.2"]
    assert rows[5] == ["B", "laclip", "gpt!4", "4", "111.00 ± 1.41", "2", "+10.00 [+10.00, +10.00]", "48.4"]
    assert rows[6][-1] == ""  # the paper's own figure of laclip-mt is not known
    assert rows[7][-1] == ""  # nor what made these texts
    assert len({len(line) for line in lines[:10]}) == 1


def test_figures_of_lines_that_share_data_and_protocol_stay_apart(tmp_path: Path) -> None:
    """As ``laclip-aug eval --json`` names them: data by the last part of a folder's path, a protocol by its file."""
    evaluated = {
        "retrieval --data p --captions en.tsv": ("p", "retrieval", 50.0),
        "retrieval --data p --captions=de.tsv --workers=0": ("p", "retrieval", 7.0),
        "retrieval --data coco/val": ("val", "retrieval", 1.0),
        "retrieval --data flickr/val": ("val", "retrieval", 2.0),
        "zero-shot --data q": ("q", "zero-shot-80", 3.0),
        "zero-shot --data q --classnames names.txt": ("q", "zero-shot-80", 4.0),
        "zero-shot --data r": ("r", "zero-shot-80", 5.0),
        "all --data r": ("r", "zero-shot-80", 5.0),
        "retrieval --data c --data s": ("s", "retrieval", 6.0),
    }
    lines = [tuple(line.split()) for line in evaluated]
    record = CellRecord(tmp_path, Cell("m", "random", Arm("none"), 0), ["open_clip", "train"], 1, {})
    record.directory.mkdir(parents=True)
    for line, (data, protocol, value) in zip(lines, evaluated.values(), strict=True):
        result = {"data": {"name": data}, "protocol": protocol, "metrics": {"R@1": value}}
        record.result_of(line).write_text(json.dumps({"results": [result]}))
    assert record.figures(lines) == {
        "p retrieval --captions en.tsv R@1": 50.0,
        "p retrieval --captions de.tsv --workers 0 R@1": 7.0,
        "val retrieval --data coco/val R@1": 1.0,
        "val retrieval --data flickr/val R@1": 2.0,
        "q zero-shot-80 R@1": 3.0,
        "q zero-shot-80 --classnames names.txt R@1": 4.0,
        "r zero-shot-80 R@1": 5.0,  # the same options, so the same figure
        "s retrieval R@1": 6.0,
    }


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("retrieval --data coco/val --captions c.tsv --data=flickr/val", "2 of --data are called 'val' .* own"),
        ("zero-shot --data flickr/val --protocol one.yaml --protocol two.yaml", "2 of --protocol are called 'seven'"),
    ],
)
def test_a_line_whose_results_would_share_a_name_is_refused(
    line: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("coco/val", "flickr/val"):
        Path(folder).mkdir(parents=True)
    for file in ("one.yaml", "two.yaml"):
        Path(file).write_text("kind: zero-shot\nname: seven\nversion: 1\ntemplates: simple\n")
    with pytest.raises(ConfigurationError, match=message):
        read(tmp_path, {"model": "RN50"}, evaluate=[line])
    parts = ["retrieval --data coco/val --data absent", "retrieval --data flickr/val", "zero-shot --data coco/val"]
    assert len(read(tmp_path, {"model": "RN50"}, evaluate=parts).evaluate) == 3


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("laclip-aug eval retrieval --data photos", "evaluate: .*invalid choice: 'laclip-aug'"),
        ("retrieval --dat photos", "evaluate: .*required: --data"),
        ("few-shot --data photos --protocol zero-shot-7", "zero-shot-7 is for zero-shot, not few-shot"),
        ("few-shot --data photos --protocol fewshot", "did you mean 'few-shot'"),
    ],
)
def test_a_line_that_no_evaluation_takes_is_refused_before_training(
    line: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    read(tmp_path, {"model": "RN50", "mode": "none"}, evaluate=[line])
    for options in (["--dry-run"], []):
        assert main(["ablate", "a.yaml", *options]) == 2
        said = capsys.readouterr()
        assert re.search(message, said.err) and "usage:" not in said.err
    assert not Path("a").exists()


def test_a_number_of_runs_that_cannot_be_is_refused_also_where_none_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    read(tmp_path, {"model": "RN50", "mode": "none"})
    assert main(["ablate", "a.yaml", "--dry-run", "--jobs", "0"]) == 2
    assert "--jobs must be at least 1, not 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("zero-shot --data foto", "unknown data set, file or folder 'foto'"),
        ("retrieval --data photos.tar", "unknown data set, file or folder 'photos.tar'"),
        ("retrieval --data photos --captions val.tsv", "there is no file val.tsv; check the path of --captions"),
        (
            "composition --data photos --negatives swap.json",
            "there is no file swap.json; check the path of --negatives",
        ),
        ("retrieval --data photos", "photos has no captions for retrieval; give"),
        ("few-shot --data photos", "photos has no split for training for few-shot; give"),
        ("zero-shot --data photos --data flat", "flat has no classes for zero-shot-80; give"),
        ("all --data flat", "flat has no classes for zero-shot-7; give"),
        ("all --data photos --data empty", "empty holds no image"),
    ],
)
def test_what_an_evaluation_needs_is_looked_for_before_training(
    line: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    class_folders(Path("photos"), 1)
    for folder in ("flat", "empty"):
        Path(folder).mkdir()
    Path("flat/0.png").write_bytes(encoded((9, 9, 9), 1))
    fine = ["zero-shot --data photos", "all --data photos --data flat"]
    read(tmp_path, {"model": "RN50", "mode": "none"}, evaluate=[*fine, line])
    assert main(["ablate", "a.yaml", "--dry-run"]) == 0  # the data may be on another machine
    assert main(["ablate", "a.yaml"]) == 2
    assert message in capsys.readouterr().err
    assert not Path("a").exists()


def test_the_readme_s_file_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    Path("ablation.yaml").write_text(next(part for part in readme.split("```") if part.startswith("yaml"))[4:])
    Path("captions.tsv").write_text("filepath\ttitle\nx.png\ta red dog\n")
    for name in ("rewrites", "stricter"):
        make_cache(tmp_path / name, "llm", ("chatgpt", "bard", "mscoco", "human"))
    assert main(["ablate", "ablation.yaml", "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    # three seeds of: none, and two modes with two caches and two numbers of texts
    assert len(lines) == len(set(lines)) == 3 * (1 + 2 * 2 * 2)
    assert all(line.startswith("open_clip train ") for line in lines)
    Path("ablation.yaml").write_text(Path("ablation.yaml").read_text().replace("epochs:", "epoch-count:"))
    assert main(["ablate", "ablation.yaml"]) == 2
    assert "unrecognized arguments: --epoch-count" in capsys.readouterr().err
