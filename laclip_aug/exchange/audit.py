"""An import is read once before anything of it is stored, to see that its texts stand beside their own captions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from laclip_aug.augmenter import Outcome
from laclip_aug.errors import ConfigurationError, InputError
from laclip_aug.exchange.alignment import SourceAudit, Verdict, words
from laclip_aug.exchange.import_form import ImportForm
from laclip_aug.exchange.imports import line_files, open_import
from laclip_aug.exchange.lines_form import joined_lines, unequal
from laclip_aug.exchange.log import InputLog
from laclip_aug.exchange.readers import InputOptions

_NOTHING: frozenset[str] = frozenset()


def audit_import(
    inputs: str | Path | Sequence[str],
    form: ImportForm,
    options: InputOptions | None = None,
    max_misaligned: float = 0.0,
) -> list[Verdict]:
    """The verdict on each source's texts.

    Args:
        max_misaligned: the part of a source's rows that may be out of line.

    Raises:
        ConfigurationError: ``max_misaligned`` is no part, or the form is ambiguous.
        InputError: more rows are out of line, with the first of them; files joined line by line are of unequal length;
            or an input cannot be read.
    """
    if not 0.0 <= max_misaligned <= 1.0:
        raise ConfigurationError(f"--max-misaligned is a part from 0 to 1, not {max_misaligned:g}; give 0.01 for 1%")
    lengths = ""
    if form.lines:
        opened = open_import(inputs, form, options)  # says what is wrong with the options
        files = line_files(form)
        lengths = unequal(opened.files[0], files, options or InputOptions())
        log = InputLog()
        records: Iterable[Outcome] = joined_lines(opened.files[0], files, log, options or InputOptions())
    else:
        opened = open_import(inputs, form, options)
        log, records = opened.log, opened.records
    verdicts = _judge(records, log)
    bad = [found for found in verdicts if found.misaligned > max_misaligned * found.rows]
    if lengths:
        where = [found.line() for found in verdicts if found.first] or ["no row says where: compare the files' ends"]
        raise InputError("\n  ".join([f"{lengths}; nothing was stored", *where]))
    if bad:
        raise InputError(
            "\n  ".join(
                [
                    "texts do not stand beside their own captions; nothing was stored. Fetch the files again, or check "
                    "which columns or files belong together; --max-misaligned "
                    f"{_advised(bad)} takes them as they are",
                    *(found.line() for found in bad),
                ]
            )
        )
    return verdicts


def _advised(bad: Iterable[Verdict]) -> str:
    """The smallest round ``--max-misaligned`` that lets all these pass."""
    share = max(found.misaligned / found.rows for found in bad)
    return f"{min(1.0, int(share * 100 + 1) / 100):g}"


def _judge(records: Iterable[Outcome], log: InputLog) -> list[Verdict]:
    audits: dict[str, SourceAudit] = {}
    for number, record in enumerate(records, 1):
        place = log.place or f"record {number}"
        caption = words(record.caption)
        texts: dict[str, frozenset[str]] = {}
        for rewrite in record.rewrites:
            texts[rewrite.source] = texts.get(rewrite.source, _NOTHING) | words(rewrite.text)
        for source in texts:
            audits.setdefault(source, SourceAudit(source))
        for source, audit in audits.items():
            audit.add(caption, texts.get(source, _NOTHING), place)
    return [audit.verdict() for audit in audits.values()]
