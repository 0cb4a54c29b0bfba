"""Data, pairs, disturbances and batches of the embedded rewriter's recipe, on a few captions."""

import gzip
import json
import random
from pathlib import Path

import pytest
import torch

from benchmarks.embedded_rewriter import noise, run, vocabulary
from benchmarks.embedded_rewriter.batches import Row, Rows, collate, style
from benchmarks.embedded_rewriter.model import Rewriter, Shape
from benchmarks.embedded_rewriter.pairs import SIBLING, STRANGER, Captions
from benchmarks.embedded_rewriter.prepare import prepare
from benchmarks.embedded_rewriter.sources import load, tidy
from benchmarks.embedded_rewriter.train import Recipe, orthogonal, train
from benchmarks.embedded_rewriter.words import concepts
from laclip_aug.quality.attributes import attributes

COLOURS, THINGS, PLACES = ("red", "blue", "green"), ("dog", "cat", "boat", "child"), ("beach", "street", "hill")


def five(i: int) -> list[str]:
    colour, thing, place = COLOURS[i % 3], THINGS[i % 4], PLACES[i // 4 % 3]
    return [
        f"A {colour} {thing} with number {i} is resting quietly on the {place} today.",
        f"A {colour} {thing} {i} rests on the {place}.", f"On the {place}, the {colour} {thing} {i} is resting.",
        f"There is a {colour} {thing} {i} on a {place} .", f"The {place} with the {colour} {thing} {i}",
    ]  # fmt: skip


@pytest.fixture
def captions(tmp_path: Path) -> Path:
    """Sixty COCO images, forty Multi30k images (one shared with Flickr8k), alt-texts and fused rows."""
    folder = tmp_path / "captions"
    (folder / "multi30k").mkdir(parents=True)
    rows = [json.dumps({"image_id": i, "captions": five(i)}) for i in range(60)]
    (folder / "coco_val2017_captions.jsonl").write_text("\n".join(rows))
    for part, numbers in (("train", range(100, 140)), ("val", range(200, 210))):
        names = "".join(f"{i}.jpg\n" for i in numbers)
        (folder / "multi30k" / f"task2_images_{part}_images.txt").write_text(names)
        for rank in range(5):
            with gzip.open(folder / "multi30k" / f"task2_{part}.{rank + 1}.en.gz", "wt") as lines:
                lines.writelines(five(i)[rank] + "\n" for i in numbers)
    alt = "".join(f"alt text {i} of a boat 's sail\thttp://x/{i}\n" for i in range(50))
    (folder / "cc3m_validation.tsv").write_text("caption\turl\n" + alt)
    fused = [json.dumps({"raw": f"boat {i} SALE", "fused": f"A boat {i} for sale."}) for i in range(30)]
    (folder / "capsfusion_sample.jsonl").write_text("\n".join(fused))
    (tmp_path / "flickr8k.tsv").write_text("filepath\tcaption_index\tcaption\nimages/105_abc.jpg\t0\tA dog .\n")
    return folder


def test_held_out_images_and_shared_ids_do_not_train(captions: Path) -> None:
    train_split, held = load(captions, [captions.parent / "flickr8k.tsv"], coco_held=10)
    trained, kept = {i.key for i in train_split.images}, {i.key for i in held.images}
    assert not trained & kept
    assert len([k for k in kept if k.startswith("coco")]) == 10
    assert {k for k in kept if k.startswith("flickr")} == {f"flickr-{i}" for i in range(200, 210)}
    assert "flickr-105" not in trained
    assert "flickr-106" in trained
    texts = {t.lower() for i in train_split.images for t in i.captions}
    assert not texts & {t.lower() for i in held.images for t in i.captions}
    assert not set(train_split.alt_texts) & set(held.alt_texts)
    assert len(train_split.alt_texts) + len(held.alt_texts) == 50
    assert len(train_split.fused) + len(held.fused) == 30


def test_tidy_joins_what_a_tokenizer_took_apart() -> None:
    assert tidy("a dog 's ball , on   grass .") == "A dog's ball, on grass."


def test_near_pairs_keep_attributes_and_content() -> None:
    texts = [
        "A man rides a wave on a surfboard.", "A man riding a wave on his surfboard.",
        "A woman riding a wave on a surfboard.",
        "Two men ride a wave on surfboards.", "A man on a red surfboard rides a wave.", "A cat sleeps on a sofa.",
    ]  # fmt: skip
    known = Captions(texts)
    assert known.near(0, 1, STRANGER)
    assert not any(known.near(0, other, SIBLING) for other in (2, 3, 4, 5))
    assert concepts("A lady jumping") == concepts("woman jumps")


def test_disturbances_keep_numbers_colours_and_names() -> None:
    text = "Two red kayaks float near the Golden Gate Bridge in San Francisco while a man is watching."
    for seed in range(50):
        source, kind = noise.disturb(text, random.Random(seed))
        assert attributes(source).colours == attributes(text).colours
        assert attributes(source).numbers == attributes(text).numbers
        assert {"kayaks", "bridge", "francisco"} <= set(source.lower().replace(",", "").split())
        assert kind in ("order", "short", "words")


def test_a_style_is_told_by_dataset_length_and_order() -> None:
    assert style("A dog runs.", "A dog is running.", "coco") == "mscoco"
    assert style("A dog runs.", "A dog is running on the grass.", "multi30k") == "chatgpt"
    assert style("A dog on grass.", "Grass with a dog.", "multi30k") == "bard"
    assert style("A dog runs on grass.", "The dog runs.", "multi30k") == "human"


def test_targets_of_a_row_do_not_see_each_other() -> None:
    """Scores of two targets in one row equal those of each in a row of its own, by hand-made ids."""
    torch.manual_seed(0)
    model = Rewriter(Shape(vocabulary=50, width=16, layers=2, heads=2, hidden=24)).eval()
    source, first, second = [1, 20, 21, 22], [3, 30, 31, 2], [4, 40, 41, 42, 2]

    def scores(rows: list[Row]) -> torch.Tensor:
        batch = collate(rows)
        return model.logits(model(batch.ids, batch.positions, batch.mask).flatten(0, 1)[batch.index])

    together = scores([Row(source, [first, second])])
    apart = torch.cat([scores([Row(source, [first])]), scores([Row(source, [second])])])
    padded = scores([Row(source, [first]), Row(source, [second])])
    torch.testing.assert_close(together, apart)
    torch.testing.assert_close(padded, apart)
    assert collate([Row(source, [first, second])]).labels.tolist() == [*first[1:], *second[1:]]


def test_orthogonal_gives_singular_values_near_one() -> None:
    values = torch.linalg.svdvals(orthogonal(torch.randn(2, 24, 16, generator=torch.Generator().manual_seed(0))))
    assert values.min() > 0.5
    assert values.max() < 1.3


def test_training_goes_on_from_its_checkpoint_and_learns(captions: Path, tmp_path: Path) -> None:
    prepare(captions, tmp_path / "data", size=400)
    tokenizer = vocabulary.Tokenizer(tmp_path / "data" / "vocabulary.model")
    lines = (tmp_path / "data" / "captions.jsonl").read_text().splitlines()
    assert any(json.loads(line)["near"] for line in lines)
    batch = next(Rows(tmp_path / "data", tokenizer, seed=1).batches(256))
    assert batch.ids.numel() <= 256
    shape = Shape(vocabulary=tokenizer.size, width=32, layers=2, heads=2, hidden=48)
    recipe = Recipe(steps=20, fall=5, warmup=2, tokens=512, save_every=10)
    path = train(tmp_path / "data", tmp_path / "run", shape, recipe)
    assert torch.load(path, weights_only=True)["step"] == 20
    train(tmp_path / "data", tmp_path / "run", shape, Recipe(steps=40, fall=5, warmup=2, tokens=512))
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == [10, 20, 30, 40]
    assert log[-1]["loss"] < log[0]["loss"]


def test_one_command_goes_from_captions_to_results(
    captions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An untrained model writes nothing of use; what counts is that every step finds what the one before it wrote."""
    work = tmp_path / "work"
    options = ["--captions", str(captions), "--work", str(work), "--vocabulary", "400", "--steps", "10", "--fall", "2"]
    assert run.main([*options, "--tokens", "64", "--images", "2", "--candidates", "1"]) == 0
    assert "| coco | rewriter |" in capsys.readouterr().out
    results = {path.name for path in (work / "results").iterdir()}
    assert results == {f"embedded_rewriter{end}" for end in (".md", ".json", ".png", "_log.jsonl")}
    assert "**missed**" in (work / "results" / "embedded_rewriter.md").read_text()
    with pytest.raises(SystemExit, match="unknown step"):
        run.main([*options, "trian"])
