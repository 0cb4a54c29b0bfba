"""The command-line options of the LLM augmenter. Each ``dest`` is an option in ``settings``."""

from __future__ import annotations

import argparse

from laclip_aug.generation.opening import BACKENDS
from laclip_aug.quality.gate import RELATED
from laclip_aug.rewrite.embedded import DEFAULTS, GATE_WITHOUT_VERDICT
from laclip_aug.rewrite.examples import STRATEGIES


def add_llm_arguments(parser: argparse.ArgumentParser) -> None:
    """Add them. An option that is not given stays None, which keeps its default."""
    what = parser.add_argument_group("what to rewrite with")
    what.add_argument(
        "--model",
        metavar="PATH|hf:REPO/FILE[@REVISION]|package:NAME[/FILE]",
        help="a GGUF file, one on the Hugging Face hub, or one in an installed distribution; with --base-url the "
        "model's name there (default: smollm2, which has its own adapter and prompt)",
    )
    what.add_argument(
        "--adapter", metavar="PATH|none", help="a LoRA adapter for the model, as GGUF; none: smollm2 as it comes"
    )
    what.add_argument(
        "--strategies", metavar="A,B", help=f"manners of rewriting, in order (default: {','.join(STRATEGIES)})"
    )
    what.add_argument("--prompt", metavar="LAYOUT", help="in-context (default) or chat, for instruct models")
    what.add_argument(
        "--examples",
        action="append",
        metavar="[STRATEGY=]PATH",
        help="own example pairs: .jsonl, .tsv, a COCO captions .json, or a LaCLIP .py file; may be repeated",
    )
    what.add_argument(
        "--variants",
        type=_number_or_name,
        metavar="N|nearest",
        help="fixed prompts per strategy (default: 8), or for each caption the three pairs most like it, which costs "
        "several times as much: each caption's prompt is read anew",
    )
    draw = parser.add_argument_group("how to draw and what to accept")
    draw.add_argument(
        "--temperature", type=float, metavar="T", help=f"default: 0.9, smollm2: {DEFAULTS['temperature']}; 0 is greedy"
    )
    draw.add_argument("--top-p", type=float, metavar="P", help="default: 0.95")
    draw.add_argument(
        "--max-new-tokens", type=int, metavar="N", help=f"default: 77, smollm2: {DEFAULTS['max_new_tokens']}"
    )
    draw.add_argument(
        "--max-attempts",
        type=int,
        metavar="N",
        help=f"rounds until a rewrite is accepted (default: 3, smollm2: {DEFAULTS['max_attempts']})",
    )
    draw.add_argument("--candidates", type=int, metavar="N", help="completions a round, the best is kept (default: 1)")
    draw.add_argument(
        "--gate",
        metavar="SPEC",
        help="what a text must reach, such as 'truth>=0.5 novelty>=0.1', or none; the signals: laclip-aug cache filter "
        f"--help (default: {RELATED}, smollm2: {DEFAULTS['gate']}, with an adapter of yours: {GATE_WITHOUT_VERDICT})",
    )
    draw.add_argument(
        "--good-score",
        type=float,
        metavar="X",
        help="draw again, attempts allowing, for what scores less (default: no bound)",
    )
    draw.add_argument("--allow", metavar="A,B", help="rejection reasons to let pass, for example cut,colour-added")
    engine = parser.add_argument_group("engine")
    engine.add_argument("--backend", metavar="NAME", help=f"{', '.join(BACKENDS)} (default: llama.cpp)")
    engine.add_argument("--n-gpu-layers", type=int, metavar="N", help="-1 for all; default: all if the build can")
    engine.add_argument("--n-threads", type=int, metavar="N", help="CPU threads")
    engine.add_argument("--n-slots", type=int, metavar="N", help="completions that advance together")
    engine.add_argument("--n-ctx", type=int, metavar="N", help="tokens of one completion, prompt included")
    engine.add_argument(
        "--reproducible",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="texts that do not depend on what runs beside them (default: on a CPU)",
    )
    engine.add_argument(
        "--window", type=int, metavar="N", help="captions taken up at a time (default: about five seconds of work)"
    )
    engine.add_argument(
        "--base-url",
        action="append",
        metavar="URL",
        help="an OpenAI-compatible server, such as llama-server or vLLM; given again, several share the requests",
    )
    engine.add_argument("--concurrency", type=int, metavar="N", help="requests under way at once (default: 256)")
    engine.add_argument(
        "--request-field",
        dest="request_fields",
        action="append",
        metavar="KEY=JSON",
        help="a further field of each request, or KEY= to leave one out; may be repeated",
    )


def _number_or_name(text: str) -> int | str:
    return int(text) if text.lstrip("-").isdecimal() else text
