"""Rewrites by batch files, for `vllm run-batch` or OpenAI's batches: write requests, have them run, read the answers.

examples:
  laclip-aug batch write captions.tsv --cache rewrites --out requests --model Qwen2.5-7B --prompt chat
  laclip-aug batch read captions.tsv --cache rewrites --answers answers --out again --model Qwen2.5-7B --prompt chat

Between the two, for each file: vllm run-batch -i requests/requests-00000.jsonl -o answers/00000.jsonl --model MODEL

`read` wants the input and the options of `write`. What has no answer yet, failed, or needs another attempt is written
to --out; run it, and read again with the old answers and the new ones. Captions in the cache are not asked for again.

OpenAI's own models take no top_k, min_p and samplers, which make vLLM and llama-server draw as the paper does; leave
them out, of both commands: --request-field top_k= --request-field min_p= --request-field samplers=
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from laclip_aug.cli.augmenters import add_augmenter_arguments
from laclip_aug.cli.build import add_input_arguments, input_options
from laclip_aug.cli.numbers import check_counts

if TYPE_CHECKING:
    from laclip_aug.augmenter import CaptionAugmenter
    from laclip_aug.generation.batch_files import Answers, RequestFiles

_OF_THE_BACKEND = ("model", "temperature", "top_p", "max_new_tokens", "request_fields")
_OF_A_SERVER = ("base_url", "concurrency", "backend", "adapter")


def add_arguments(parser: argparse.ArgumentParser, argv: Sequence[str]) -> None:
    """Add the actions ``write`` and ``read``, each with the options of the LLM augmenter."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, text in (
        ("write", "write the requests for all captions that the cache lacks"),
        ("read", "take answers into the cache, through the same reading, checks and gate as a build"),
    ):
        sub = actions.add_parser(name, help=text, description=text, allow_abbrev=False)
        sub.add_argument("input", nargs="+", metavar="INPUT", help="caption files, as laclip-aug build takes them")
        sub.add_argument(
            "--cache", dest="directory", required=True, metavar="DIR", help="the cache to make or go on with"
        )
        what = "where the requests go" if name == "write" else "where requests go that must be asked (again)"
        sub.add_argument("--out", required=True, metavar="DIR", help=what)
        if name == "read":
            sub.add_argument(
                "--answers",
                nargs="+",
                required=True,
                metavar="PATH",
                help="files of answers, or folders of .jsonl files",
            )
        sub.add_argument("--n", type=int, metavar="N", help="texts per caption (default: one per strategy)")
        sub.add_argument("--seed", type=int, default=0, help="default: 0")
        sub.add_argument("--most-requests", type=int, default=50_000, metavar="N", help="of a file (default: 50,000)")
        sub.add_argument("--most-megabytes", type=int, default=200, metavar="N", help="of a file (default: 200)")
        add_input_arguments(sub)
        if list(argv[:1]) == [name]:
            add_augmenter_arguments(sub, argv)


def run(args: argparse.Namespace) -> int:
    """Write or read, and say what was done; 1 if something must be asked (again) after reading."""
    from laclip_aug.exchange.files import check_output
    from laclip_aug.generation.batch_files import Answers, RequestFiles

    check_counts(args, "n", "most_requests", "most_megabytes")
    _check(args)
    check_output(Path(args.out) / "requests-00000.jsonl")
    requests = RequestFiles(Path(args.out), args.most_requests, args.most_megabytes * 10**6)
    if args.action == "write":
        return _write(args, _augmenter(args, None, requests), requests)
    answers = Answers([file for given in args.answers for file in _files(Path(given))])
    return _read(args, _augmenter(args, answers, requests), answers, requests)


def _check(args: argparse.Namespace) -> None:
    from laclip_aug.errors import ConfigurationError

    if args.augmenter != "llm":
        raise ConfigurationError(f"--augmenter {args.augmenter} needs no batch: use laclip-aug build")
    if args.option:
        raise ConfigurationError("--option is for augmenters of other packages; leave it out")
    if wrong := [name for name in _OF_A_SERVER if getattr(args, name) is not None]:
        raise ConfigurationError(f"--{wrong[0].replace('_', '-')} has no meaning for batch files; leave it out")
    if args.model is None:
        raise ConfigurationError("name the model that will answer, as its server calls it: --model NAME")


def _write(args: argparse.Namespace, augmenter: CaptionAugmenter, requests: RequestFiles) -> int:
    from laclip_aug.cache.todo import missing_captions
    from laclip_aug.exchange.readers import CaptionInput

    captions = CaptionInput(args.input, input_options(args))
    count = 0

    def asked() -> Iterator[str]:
        nonlocal count
        for caption in missing_captions(captions, Path(args.directory)):
            count += 1
            yield caption

    for _ in augmenter.outcomes(asked(), args.n or len(augmenter.sources), args.seed):
        pass  # each failed, for there is no answer yet
    augmenter.close()
    print(f"read {captions.log.rows} rows: {count} captions are not in the cache")
    print("\n".join(f"  {line}" for line in captions.log.lines()), end="\n" if captions.log.lines() else "")
    print(f"{requests.written} requests in {len(requests.files)} files in {args.out}")
    return 0


def _read(args: argparse.Namespace, augmenter: CaptionAugmenter, answers: Answers, requests: RequestFiles) -> int:
    from laclip_aug.cache.build import build_cache

    try:
        report = build_cache(
            args.input, args.directory, augmenter, n=args.n, seed=args.seed, options=input_options(args)
        )
    finally:
        augmenter.close()
    print("\n".join(report.lines()))
    for reason, number in answers.unread.items():
        print(f"lines left out, {reason}: {number}")
    if answers.repeated:
        print(f"answers to a request that has one already: {answers.repeated}; the first good one counts")
    if answers.unknown:
        print(f"answers not asked for now, of captions in the cache or other commands: {answers.unknown}")
    if requests.written:
        print(f"{requests.written} requests must be asked: {len(requests.files)} files in {args.out}")
    return 1 if report.failed else 0


def _augmenter(args: argparse.Namespace, answers: Answers | None, requests: RequestFiles) -> CaptionAugmenter:
    """The LLM augmenter of the options, with files for an engine."""
    from laclip_aug.augmenter import create_augmenter
    from laclip_aug.generation.backend import Sampling
    from laclip_aug.generation.batch_files import BatchBackend

    chosen: dict[str, Any] = {
        dest: value for dest in args.augmenter_defaults if (value := getattr(args, dest)) is not None
    }
    engine = {name: chosen.pop(name) for name in _OF_THE_BACKEND if name in chosen}
    model, fields = engine.pop("model"), engine.pop("request_fields", ())
    return create_augmenter("llm", backend=BatchBackend(model, Sampling(**engine), fields, answers, requests), **chosen)


def _files(given: Path) -> list[Path]:
    return sorted(given.glob("*.jsonl")) if given.is_dir() else [given]
