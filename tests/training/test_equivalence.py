"""Mode x processes x accumulation x loss: the gradients of one global batch, however it is cut up.

Two things are shown for each cell, by the first step of real training runs:

* the gradients are open_clip's own in the same cell: ``laclip``'s are those of plain open_clip on the drawn texts, and
  ``laclip-mt``'s the mean of those of plain open_clip on each slice of texts;
* against one process without accumulation they are equal, or off by exactly the factors by which open_clip's are.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from .one_step import Batch, Gradients, Run, error, first_gradients, make_batch, mean

ROUNDING = 1e-5
MODES = ("none", "laclip", "laclip-mt")
LOSSES = {
    "CLIP": (),
    "CLIP, `--local-loss`": ("--local-loss",),
    "CLIP, `--gather-with-grad`": ("--gather-with-grad",),
    "CLIP, both flags": ("--local-loss", "--gather-with-grad"),
    "SigLIP": ("--siglip",),
}
VARIANTS = {
    "negatives": ("--text-aug-mt-negatives", "all"),
    "text side": ("--text-aug-mt-text-side", "sampled"),
    "duplicates": ("--text-aug-mt-mask-duplicates",),
}
TABLE = Path(__file__).parents[2] / "benchmarks" / "results" / "equivalence.md"


@dataclass(frozen=True)
class Cell:
    loss: str
    processes: int
    accumulation: int

    def __str__(self) -> str:
        return f"{self.loss.replace('`', '')}-{self.processes}x{self.accumulation}"

    @property
    def towers(self) -> float | None:
        """By what the gradients of all weights of the towers differ from the first cell's; None: not by a factor."""
        if self.processes == 1 or self.loss == "SigLIP" or "--gather-with-grad" in LOSSES[self.loss]:
            return 1
        # Without gathered gradients a process differentiates the whole loss by its own samples only, and then the
        # processes average; with --local-loss it drops its samples' part as negatives too.
        return None if "--local-loss" in LOSSES[self.loss] else 1 / self.processes

    @property
    def scalars(self) -> float:
        """The same for logit scale and bias: each accumulated batch adds the gradient of the whole loss."""
        return self.accumulation


CELLS = [Cell(loss, processes, accumulation) for loss in LOSSES for processes in (1, 2) for accumulation in (1, 2)]
FLAGS_IDLE = [cell for cell in CELLS if cell.processes == 1 and cell.loss.startswith("CLIP,")]
VARIANT_CELLS = [
    (cell, variant)
    for cell in CELLS
    for variant in VARIANTS
    if cell not in FLAGS_IDLE
    and cell.loss in ("CLIP", "CLIP, both flags", "SigLIP")
    and (variant == "duplicates" or cell.loss != "SigLIP")
]


def reference(cell: Cell) -> Cell:
    """The cell of one process without accumulation."""
    return Cell("SigLIP" if cell.loss == "SigLIP" else "CLIP", 1, 1)


def runs(batch: Batch) -> dict[tuple[object, ...], Run]:
    made: dict[tuple[object, ...], Run] = {}
    for cell in CELLS:

        def add(*key: object, data: Path = batch.slices[0], extra: tuple[str, ...] = (), cell: Cell = cell) -> None:
            options = (*LOSSES[cell.loss], *extra)
            made[(cell, *key)] = batch.run(data, cell.accumulation, cell.processes, options)

        add("none")
        for mode in ("laclip", "laclip-mt"):
            add(mode, extra=batch.augmented(mode))
        if cell in FLAGS_IDLE:
            continue
        for mode in ("laclip", "laclip-mt"):
            add(mode, "untrimmed", extra=batch.augmented(mode, "--text-aug-trim", "off"))
        add("drawn", data=batch.drawn)
        for j, table in enumerate(batch.slices[1:], start=1):
            add("slice", j, data=table)
        for variant, options in VARIANTS.items():
            if (cell, variant) in VARIANT_CELLS:
                add(variant, extra=batch.augmented("laclip-mt", *options))
    return made


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[object, ...], Gradients]:
    root = tmp_path_factory.mktemp("equivalence")
    return first_gradients(runs(make_batch(root)), root)


@pytest.mark.parametrize("trim", ["trimmed", "untrimmed"])
@pytest.mark.parametrize("mode", MODES[1:])
@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell not in FLAGS_IDLE], ids=str)
def test_gradients_are_open_clips_own_in_the_same_cell(
    found: dict[tuple[object, ...], Gradients], cell: Cell, mode: str, trim: str
) -> None:
    got = found[(cell, mode, "untrimmed") if trim == "untrimmed" else (cell, mode)]
    slices = [found[cell, "none"], found[cell, "slice", 1], found[cell, "slice", 2]]
    expected = mean(slices) if mode == "laclip-mt" else found[cell, "drawn"]

    assert error(got["towers"], expected["towers"]) < ROUNDING
    assert error(got["scalars"], expected["scalars"]) < ROUNDING
    assert error(got["towers"], found[cell, "none"]["towers"]) > 0.01


def agree(got: Gradients, whole: Gradients, cell: Cell) -> None:
    """``got`` is the first cell's gradient but for the factors of ``cell``."""
    if cell.towers is None:
        assert error(got["towers"], whole["towers"]) > 0.01
    else:
        assert error(got["towers"], cell.towers * whole["towers"]) < ROUNDING
    assert error(got["scalars"], cell.scalars * whole["scalars"]) < ROUNDING


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_one_global_batch_gives_the_same_gradients(
    found: dict[tuple[object, ...], Gradients], cell: Cell, mode: str
) -> None:
    agree(found[cell, mode], found[reference(cell), mode], cell)


@pytest.mark.parametrize(("cell", "variant"), VARIANT_CELLS, ids=str)
def test_other_forms_of_the_loss_behave_alike(
    found: dict[tuple[object, ...], Gradients], cell: Cell, variant: str
) -> None:
    got = found[cell, variant]
    agree(got, found[reference(cell), variant], cell)
    if cell.loss != "SigLIP":  # where, at its starting bias of -10, a negative weighs next to nothing
        assert error(got["towers"], found[cell, "laclip-mt"]["towers"]) > 1e-3


def entry(cell: Cell) -> str:
    """How the published table describes a cell."""
    words = []
    if cell.towers is None:
        words.append("towers differ")
    elif cell.towers != 1:
        words.append(f"towers × 1/{round(1 / cell.towers)}")
    if cell.scalars != 1:
        words.append(f"scale × {cell.scalars}")
    return ", ".join(words) or "equal"


def test_the_published_table_shows_what_is_tested_here() -> None:
    lines = [
        f"| {mode} | {loss} | {' | '.join(entry(Cell(loss, p, a)) for p in (1, 2) for a in (1, 2))} |"
        for mode in MODES
        for loss in LOSSES
    ]
    assert "\n".join(lines) in TABLE.read_text(encoding="utf-8")
