"""The ``open_clip`` command: ``open_clip train`` is open_clip's trainer with the ``--text-aug-*`` options.

One process:      open_clip train --train-data train.csv --model ViT-B-32 --text-aug laclip --text-aug-cache rewrites
Several of them:  torchrun --nproc-per-node 8 --no-python -- open_clip train ...
                  (without the "--", torchrun may take an option such as --logs for its own)
Or as a module:   torchrun --nproc-per-node 8 -m laclip_aug.cli.open_clip train ...
"""

from __future__ import annotations

import argparse
import io
import shlex
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

from laclip_aug.errors import ConfigurationError, LaclipError, UnknownNameError
from laclip_aug.version import __version__

if TYPE_CHECKING:
    from laclip_aug.training.hook import Hook

_PROGRAM = "open_clip"
_COMMANDS = ("train",)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``open_clip`` with ``argv`` and return the exit status: 2 for an error that a message explains."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        if not arguments or arguments[0] in ("-h", "--help"):
            print(f"usage: {_PROGRAM} {{train}} ...\n\n{__doc__}\nMore: {_PROGRAM} train --help")
            return 0 if arguments else 2
        if arguments[0] == "--version":
            from laclip_aug import openclip

            print(f"open_clip {openclip.installed_version()}, laclip-aug {__version__}")
            return 0
        if arguments[0] not in _COMMANDS:
            raise UnknownNameError("command", arguments[0], _COMMANDS)
        return _train(arguments[1:])
    except LaclipError as error:
        print(f"{_PROGRAM}: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{_PROGRAM}: interrupted before training", file=sys.stderr)
        return 130


def check_line(arguments: Sequence[str]) -> None:
    """Parse what follows ``open_clip train`` as it would, and train nothing.

    Raises:
        ConfigurationError: an option is wrong, ours or open_clip's.
    """
    from laclip_aug.training import parser

    _, rest = parser.parse(arguments)
    fine, said = _ask_trainer(_model_parser().parse_known_args(rest)[1])
    if not fine:
        why = (said.strip() or "it does not say why").splitlines()[-1].split("error: ", 1)[-1]
        raise ConfigurationError(f"open_clip's trainer refuses this line: {why}; see open_clip train --help")


def _ask_trainer(arguments: Sequence[str]) -> tuple[bool, str]:
    """Whether the trainer's own parser takes ``arguments``, and what it says: its help, if they ask for it."""
    from laclip_aug import openclip

    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said):
        try:
            openclip.PARSE_ARGS.get()(list(arguments))
        except (SystemExit, ValueError, SyntaxError) as error:
            return False, said.getvalue() or str(error)
    return True, said.getvalue()


def _model_parser() -> argparse.ArgumentParser:
    model = argparse.ArgumentParser(add_help=False, usage=argparse.SUPPRESS, allow_abbrev=False)
    model.add_argument_group("model").add_argument(
        "--model-config",
        type=Path,
        metavar="FILE",
        help="a JSON file in the form of open_clip's own; its name without .json is then a name for --model",
    )
    return model


def _train(arguments: list[str]) -> int:
    from laclip_aug.training import parser

    model = _model_parser()
    program, sys.argv[0] = sys.argv[0], f"{_PROGRAM} train"  # what the trainer's parser calls itself
    try:
        if "-h" in arguments or "--help" in arguments:
            parser.add_arguments(model)
            print(f"{_ask_trainer(['--help'])[1]}\n{model.format_help()}")
            return 0
        chosen, rest = parser.parse(arguments)
        own, rest = model.parse_known_args(rest)

        from laclip_aug import openclip
        from laclip_aug.training import hook
        from laclip_aug.training.processes import cpu_data_parallel

        if own.model_config is not None:
            openclip.add_model_config(own.model_config)
        with hook.install(chosen) as installed, cpu_data_parallel():
            try:
                return int(openclip.run_trainer(rest) or 0)
            except LaclipError as error:
                print(f"{_PROGRAM}: error: {_said(error)}{_once_more(installed)}", file=sys.stderr)
                return 2
            except KeyboardInterrupt:
                print(f"{_PROGRAM}: interrupted; {_interrupted(installed)}", file=sys.stderr)
                return 130
    finally:
        sys.argv[0] = program


def _said(error: LaclipError) -> str:
    """The message of an error, without the traceback that torch puts before it if a loader worker raised it."""
    kind = f"{type(error).__module__}.{type(error).__qualname__}: "
    return str(error).rpartition(f"\n{kind}")[2].strip()


def _once_more(installed: Hook) -> str:
    """What else the next try needs: the trainer opens the log before it reads data, and refuses a name that has one."""
    args = installed.arguments
    if args is None or args.name is None or installed.goes_on:
        return ""
    if _has_checkpoint(args):
        return f"; then, {_going_on(args)}"
    log = getattr(args, "log_path", None)
    return f"; then start again under another --name, as there is {log} now" if installed.named and log else ""


def _interrupted(installed: Hook) -> str:
    """What to do after an interrupt: a run without ``--name`` has a name that only the trainer knows."""
    args = installed.arguments
    if args is None or args.name is None:
        return "there is no checkpoint yet; start the same command again"
    if _has_checkpoint(args):
        return _going_on(args)
    log = min((Path(args.logs) / args.name).glob("out*"), default=None)
    if log is None or not installed.named or installed.goes_on:
        return "there is no checkpoint yet; start the same command again"
    return f"there is no checkpoint yet; start again under another --name, as there is {log} now"


def _going_on(args: argparse.Namespace) -> str:
    """How to go on from the last checkpoint of a run."""
    from laclip_aug.training.refusals import unseen_checkpoint

    resume, name = "latest", args.name
    if unseen := unseen_checkpoint(args):
        resume, name = str(unseen), f"{name}-2"
    place = shlex.join(["--logs", str(args.logs), "--name", name, "--resume", resume])
    return f"to go on, add to the same command: {place}"


def _has_checkpoint(args: argparse.Namespace) -> bool:
    return any((Path(args.logs) / args.name / "checkpoints").glob("*"))


if __name__ == "__main__":
    raise SystemExit(main())
