"""A report as one HTML page that needs nothing else: no script, no font, no image from elsewhere.

Captions are web data: all text is escaped by the template engine, plots are images in which nothing runs, and the page
tells the browser to run and load nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from laclip_aug.cache.plots import plots_of
from laclip_aug.errors import MissingExtraError
from laclip_aug.quality.stems import FUNCTION_WORDS, stem, stems_of, words_of
from laclip_aug.version import __version__

TEMPLATE = "page.html"
_KEPT = " \n\u200c\u200d"  # zero-width (non-)joiners shape Persian, Hindi and emoji


def check_page() -> None:
    """Raise :class:`MissingExtraError` unless jinja2 and matplotlib, which pages need, are installed."""
    for module in ("jinja2", "matplotlib"):
        try:
            import_module(module)
        except ImportError as error:
            raise MissingExtraError("plot", module) from error


def page_of(report: Mapping[str, Any], title: str) -> str:
    """The page of a report as :func:`laclip_aug.cache.report.report_of` makes it.

    Raises:
        MissingExtraError: matplotlib or jinja2 is not installed.
    """
    check_page()
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(share=_share, number=_number, visible=visible)
    environment.globals["marked"] = marked
    template = environment.get_template(TEMPLATE)
    origins = [list(_flat(config)) for config in report["cache"]["configs"]]
    return str(
        template.render(report=report, title=title, plots=plots_of(report), origins=origins, version=__version__)
    )


def visible(text: object) -> str:
    """``text`` with what cannot be seen, or would reorder the page, shown as its code: ``\\u202e`` as ``U+202E``."""
    return "".join(c if c.isprintable() or c in _KEPT else f"⟨U+{ord(c):04X}⟩" for c in str(text))


def marked(text: str, other: str) -> Iterator[tuple[str, bool]]:
    """``text`` in pieces that join to it again; for each whether it has a content word that ``other`` lacks."""
    known = set(stems_of(other))
    for piece in re.split(r"(\s+)", visible(text)):
        if piece:
            fresh = (w for w in words_of(piece) if w not in FUNCTION_WORDS and stem(w) not in known)
            yield piece, next(fresh, None) is not None


def _share(value: float) -> str:
    return f"{value:.1%}"


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:.2f}"


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, part in value.items():
        if isinstance(part, Mapping):
            yield from _flat(part, "" if name == "describe" else f"{prefix}{name}.")
        elif part not in (None, "", [], ()) and not (prefix == "" and name == "sources" and isinstance(part, list)):
            yield prefix + name, ", ".join(map(str, part)) if isinstance(part, list | tuple) else str(part)
