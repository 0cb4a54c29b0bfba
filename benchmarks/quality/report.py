"""The study's figures as a page with tables, and its ROC curves as a plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def written(found: Mapping[str, Any], related: str, strict: str) -> str:
    """``quality.md``."""
    parts = [
        "# Quality: which rewrites are true\n",
        f"Made by `{found['command']}` (`benchmarks/quality/`). Thresholds and weights were chosen on captions of one "
        "half by hash; all figures are of the other half. Rewrites are single draws of a 135M-parameter model, judged "
        "by eye: true if all that the text says holds where the caption holds, if it names what the caption is mainly "
        "about, and if it can be read. Texts that the attribute rules refuse are left out of the signals' figures.\n",
        "## The judged rewrites\n",
        _table(
            ["origin", "judged", "true", "true, pass the rules", "false, pass the rules"],
            [[origin, *counts.values()] for origin, counts in found["judged"].items()],
        ),
        "## Signals\n",
        "AUC is the share of (true, false) pairs of rewrites that the signal orders rightly. Then the share of the "
        "true that is kept where 5% of the false are accepted, and what a bound that was chosen so on the other half "
        "does here: true kept / false accepted. Swapped: a true rewrite against the same with one word made wrong "
        "(colours and numbers are what the attribute rules are for). Cost is one core's, texts a CPU-second.\n",
        _table(
            [
                "signal",
                "AUC",
                "kept at 5%",
                "chosen bound",
                "COCO shuffled",
                "CapsFusion shuffled",
                "word swapped",
                "colour",
                "number",
                "texts/s",
            ],
            [_row(name, figures) for name, figures in found["signals"].items()],
        ),
        "![true rewrites kept against false ones accepted](quality.png)\n",
        "AUC by who wrote the text:\n",
        _table(
            ["signal", *(origins := list(found["judged"]))],
            [
                [name, *(_number(figures["auc by origin"].get(origin)) for origin in origins)]
                for name, figures in found["signals"].items()
                if "auc by origin" in figures
            ],
        ),
        "## Gates\n",
        f"Share of the pairs that a gate lets pass. `{related}` is the default for LLM rewrites and for imports, "
        f"`{strict}` a strict one for small models. Own pairs are those that pass the attribute rules; shuffled ones "
        "are all, rules not asked. Likelihood is asked of the judged texts that came with one.\n",
        _table(
            ["gate", *(kinds := list(next(iter(found["gates"].values()))))],
            [[f"`{spec}`", *(f"{figures[kind]:.1%}" for kind in kinds)] for spec, figures in found["gates"].items()],
        ),
    ]
    return "\n".join(parts) + "\n" + (Path(__file__).parent / "findings.md").read_text(encoding="utf-8")


def draw(curves: Mapping[str, tuple[Sequence[float], Sequence[float]]], path: Path) -> None:
    """ROC curves of the signals on judged rewrites."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6.4, 5.2))
    for number, (name, (false, true)) in enumerate(curves.items()):
        axes.plot([0, *false], [0, *true], label=name, linewidth=1.4, linestyle=("-", "--", ":")[number // 7 % 3])
    axes.axvline(0.05, color="0.6", linewidth=0.8)
    axes.set(xlabel="false rewrites accepted", ylabel="true rewrites kept", xlim=(0, 1), ylim=(0, 1))
    axes.legend(fontsize=8, loc="lower right")
    figure.tight_layout()
    figure.savefig(path, dpi=130)


def _row(name: str, figures: Mapping[str, Any]) -> list[str]:
    swapped, shuffled = figures.get("auc, swapped", {}), figures.get("auc, shuffled", {})
    chosen = figures["bound of the other half"]
    return [
        name,
        _number(figures["auc"]),
        f"{figures['at 5% false']['true kept']:.0%}",
        f"{chosen['true kept']:.0%} / {chosen['false accepted']:.0%}",
        *(_number(shuffled.get(kind)) for kind in ("COCO", "CapsFusion")),
        *(_number(swapped.get(f"a {kind} swapped")) for kind in ("word", "colour", "number")),
        f"{figures['texts a CPU-second']:,}" if "texts a CPU-second" in figures else "",
    ]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines) + "\n"
