"""Numbers on a command line that count something."""

from __future__ import annotations

import argparse

from laclip_aug.errors import ConfigurationError


def check_counts(args: argparse.Namespace, *names: str) -> None:
    """Refuse a number below 1 in the options ``names``, where they are given.

    Raises:
        ConfigurationError: there is one; it names the option.
    """
    for name in names:
        value = getattr(args, name)
        if value is not None and value < 1:
            raise ConfigurationError(f"--{name.replace('_', '-')} must be at least 1, not {value}")
