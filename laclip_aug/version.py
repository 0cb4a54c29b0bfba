"""The version of this package, for whoever records what made a text."""

__version__ = "0.1.0"
