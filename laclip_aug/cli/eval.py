"""Evaluate a model: zero-shot, few-shot, linear probe, retrieval, composition.

examples:
  laclip-aug eval zero-shot --model ViT-B-32 --pretrained epoch_30.pt --data photos/
  laclip-aug eval few-shot --model ViT-B-32 --pretrained epoch_30.pt --data cifar10 --root ~/data
  laclip-aug eval retrieval --model ViT-B-32 --pretrained epoch_30.pt --data images.tar --captions captions.tsv
  laclip-aug eval composition --model ViT-B-32 --pretrained epoch_30.pt --data val2017/ --negatives swap_obj.json
  laclip-aug eval all --model laclip --pretrained cc12m_laclip.ckpt --data mine.yaml --data cifar10 --root ~/data

A data set of your own is a YAML file; so is a protocol:
  name: flowers             # photos/train/CLASS/*.jpg and photos/test/CLASS/*.jpg beside the file
  data: photos
  splits: {train: "train[:80%]", val: "train[80%:]", test: test}
  metric: mean-per-class

A checkpoint in its run's folder is made with the options of its training, which are read from its params.txt.

Features are made once and kept by model and data: run again, or add a protocol, and only the rest is computed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from laclip_aug.errors import ConfigurationError, InputError

if TYPE_CHECKING:
    from laclip_aug.evaluation.datasets import DataSet
    from laclip_aug.evaluation.protocols import Protocol

KINDS = ("zero-shot", "few-shot", "linear-probe", "retrieval", "composition", "all")
DEFAULTS = {"zero-shot": "zero-shot-80"}
ALL = ("zero-shot-7", "zero-shot-80", "zero-shot-own", "few-shot", "linear-probe", "retrieval", "composition")


def add_arguments(parser: argparse.ArgumentParser, argv: Sequence[str]) -> None:
    """Add the options of ``laclip-aug eval``."""
    from laclip_aug.evaluation.datasets import dataset_names
    from laclip_aug.evaluation.model import PRECISIONS
    from laclip_aug.evaluation.protocols import protocol_names

    parser.add_argument("kind", choices=KINDS, help="what to evaluate; all does what the data are fit for")
    model = parser.add_argument_group("model")
    model.add_argument("--model", required=True, help="open_clip's name, hf-hub:REPO, local-dir:DIR, or laclip")
    model.add_argument(
        "--pretrained",
        default="",
        metavar="TAG|FILE",
        help="its weights; of hf-hub: and local-dir: a file instead of theirs",
    )
    model.add_argument("--model-config", type=Path, metavar="FILE", help="JSON that describes a model of your own")
    model.add_argument("--precision", choices=PRECISIONS, default="fp32", help="(default: fp32)")
    model.add_argument("--device", default="", help="as torch names it (default: a GPU if there is one)")
    data = parser.add_argument_group("data")
    data.add_argument(
        "--data",
        action="append",
        required=True,
        metavar="DATA",
        help="a folder, tars, a YAML file, torchvision:NAME, clip-benchmark:NAME, or one of: "
        f"{', '.join(dataset_names())}; several times for several",
    )
    data.add_argument("--root", type=Path, metavar="DIR", help="where torchvision and clip-benchmark have their data")
    data.add_argument("--captions", metavar="FILE", help="captions of the images, in any language, for retrieval")
    data.add_argument("--negatives", action="append", metavar="FILE", help="captions with hard negatives (SugarCrepe)")
    data.add_argument(
        "--classnames",
        metavar="FILE",
        help="class names, one a line, in the order of the class numbers, or of the folders of all splits",
    )
    how = parser.add_argument_group("how")
    how.add_argument(
        "--protocol",
        action="append",
        metavar="NAME|FILE",
        help=f"(default: by the kind) {', '.join(protocol_names())}, or a YAML file; several times for several",
    )
    how.add_argument("--features", type=Path, metavar="DIR", help="where features are kept (default: in ~/.cache)")
    how.add_argument("--batch-size", type=int, default=64, metavar="N", help="images at a time (default: 64)")
    how.add_argument("--workers", type=int, metavar="N", help="processes that decode images (default: by the CPUs)")
    how.add_argument("--json", metavar="FILE", help="write the results as JSON too; - writes them to standard output")


class _Parser(argparse.ArgumentParser):
    """A parser whose mistakes are errors of ours."""

    def error(self, message: str) -> NoReturn:
        raise ConfigurationError(f"{message}; see laclip-aug eval --help")


def check_line(words: Sequence[str], *, data: bool) -> None:
    """Parse what follows ``laclip-aug eval``, the model left out, as it would; with ``data``, look at the data too.

    Raises:
        ConfigurationError: an option is wrong, a data set or a file of it is not there, or lacks what is asked for.
        InputError: the images of a data set cannot be listed.
    """
    parser = _Parser(prog="laclip-aug eval", add_help=False, allow_abbrev=False)
    add_arguments(parser, words)
    args = parser.parse_args([*words, "--model", "any"])
    protocols = _protocols(args)
    if not data:
        return
    from laclip_aug.evaluation.run import fitting

    sets = _data_sets(args)
    for one in sets:
        _look_for([one.captions] if one.captions else [], one.negatives)
    lacking = [
        f"{one.spec.name} has {why} for {found.name}" for one in sets for found, why in fitting(one, protocols) if why
    ]
    if lacking and (args.kind != "all" or len(lacking) == len(sets) * len(protocols)):
        raise ConfigurationError(f"{lacking[0]}; give classes, splits, captions or negatives")


def _look_for(captions: Sequence[Path], negatives: Sequence[Path]) -> None:
    for option, files in (("--captions", captions), ("--negatives", negatives)):
        for file in files:
            if not file.is_file():
                raise ConfigurationError(f"there is no file {file}; check the path of {option}")


def _protocols(args: argparse.Namespace) -> list[Protocol]:
    from laclip_aug.evaluation.protocols import load_protocol

    if args.batch_size < 1 or (args.workers or 0) < 0:
        raise ConfigurationError("--batch-size must be at least 1, and --workers at least 0")
    names = args.protocol or (ALL if args.kind == "all" else [DEFAULTS.get(args.kind, args.kind)])
    protocols = [load_protocol(name) for name in names]
    for protocol in protocols:
        if args.kind not in (protocol.kind, "all"):
            raise ConfigurationError(
                f"--protocol {protocol.name} is for {protocol.kind}, not {args.kind}; ask for eval {protocol.kind}"
            )
    return protocols


def _data_sets(args: argparse.Namespace) -> list[DataSet]:
    from laclip_aug.evaluation.datasets import load_dataset

    own = {"captions": args.captions, "negatives": args.negatives, "classnames": args.classnames}
    return [load_dataset(given, args.root, **own) for given in args.data]


def run(args: argparse.Namespace) -> int:
    """Print the table, and write the JSON; 1 if one of several evaluations failed."""
    from laclip_aug.evaluation.features import FeatureStore
    from laclip_aug.evaluation.model import Model
    from laclip_aug.evaluation.results import as_json, table
    from laclip_aug.evaluation.run import Evaluation, fitting
    from laclip_aug.exchange.files import check_output, replace_file

    protocols = _protocols(args)
    if args.json not in (None, "-"):
        check_output(Path(args.json))
    sets = _data_sets(args)
    _look_for([Path(args.captions)] if args.captions else [], [Path(file) for file in args.negatives or ()])
    model = Model(args.model, args.pretrained, args.model_config, args.precision, args.device)
    evaluation = Evaluation(model, FeatureStore(args.features, args.batch_size, args.workers))
    results, failed = [], 0
    for data in sets:
        try:
            todo = list(fitting(data, protocols)) if args.kind == "all" else [(each, "") for each in protocols]
        except InputError as error:
            failed += _failed(args.kind, f"{data.spec.name}: {error}", error)
            continue
        for protocol, why in todo:
            if why:
                print(f"{data.spec.name}: {protocol.name} left out: {why}", file=sys.stderr)
                continue
            try:
                results.append(evaluation.run(protocol, data))
            except InputError as error:
                failed += _failed(args.kind, f"{data.spec.name}: {protocol.name}: {error}", error)
                continue
            for reason, count in results[-1].left_out.items():
                print(f"{data.spec.name}: {protocol.name}: {count} {reason}, left out", file=sys.stderr)
    if not results:
        raise ConfigurationError("nothing could be evaluated, see above; give classes, splits, captions or negatives")
    if args.json == "-":
        print(as_json(model.identity, results), end="")
    else:
        print(table(results))
        if args.json:
            replace_file(Path(args.json), as_json(model.identity, results).encode("utf-8"))
    return 1 if failed else 0


def _failed(kind: str, what: str, error: Exception) -> int:
    """Of several evaluations one that fails is told and counted, and the others go on."""
    if kind != "all":
        raise error
    print(f"laclip-aug: error: {what}", file=sys.stderr)
    return 1
