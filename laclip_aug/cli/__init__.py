"""The ``laclip-aug`` command: one file per subcommand, each with ``add_arguments`` and ``run``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from shlex import join

from laclip_aug.cli.streams import drop_output, open_streams
from laclip_aug.errors import LaclipError
from laclip_aug.version import __version__

SUBCOMMANDS = {
    "rewrite": "rewrite a caption and show the rewrites, and what was rejected and why",
    "build": "augment captions into a cache",
    "batch": "write requests for vllm run-batch or OpenAI's batches, and read the answers",
    "eval": "how good a model is: zero-shot, few-shot, linear probe, retrieval, composition",
    "ablate": "compare ways to augment: train a grid of models, evaluate them, one table",
    "recipe": "print the command line of one of the paper's training runs",
    "report": "how good a cache is, on one page: counts, lengths, signals, rejections, samples",
    "cache": "info, show, verify, compile, repair, filter, merge, add-strategy, import, export",
    "translate": "convert translation models; show a back-translation",
}
"""What there is, in one line each. A subcommand's module is imported when it is asked for: some load much."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``laclip-aug`` with ``argv`` and return the exit status: 2 for an error that a message explains."""
    open_streams()
    parser = argparse.ArgumentParser(
        prog="laclip-aug",
        description="Text augmentation for CLIP: rewrite captions, build a cache of rewrites, look into it.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"laclip-aug {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        for name, summary in SUBCOMMANDS.items():
            chosen = import_module(f"laclip_aug.cli.{name}") if name in argv[:1] else None
            sub = commands.add_parser(
                name,
                help=summary,
                description=None if chosen is None else chosen.__doc__,
                formatter_class=argparse.RawDescriptionHelpFormatter,
                allow_abbrev=False,
            )
            if chosen is not None:
                chosen.add_arguments(sub, argv[1:])
                sub.set_defaults(run=chosen.run)
        args, strange = parser.parse_known_args(argv)
        if strange:
            parser.error(f"unrecognized arguments: {' '.join(strange)}; to see what there is: {_help_for(args)}")
        status = int(args.run(args))
        sys.stdout.flush()  # what fails when the interpreter ends is no message
        return status
    except LaclipError as error:
        print(f"laclip-aug: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("laclip-aug: interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    except BrokenPipeError:
        drop_output()  # the reader has gone; leave quietly
        return 1
    except OSError as error:
        drop_output()
        print(
            f"laclip-aug: error: the system refused to read or write ({error}); what was stored before is safe: free "
            "some space or fix the permissions, and run the same command again",
            file=sys.stderr,
        )
        return 2


def _help_for(args: argparse.Namespace) -> str:
    """The command that lists the options of what ``args`` chose; an augmenter brings its own."""
    augmenter = getattr(args, "augmenter", None)
    words = [args.command, getattr(args, "action", None), "--augmenter" if augmenter else None, augmenter, "--help"]
    return join(["laclip-aug", *(word for word in words if word)])
