"""Texts in one file and captions in another, joined by a key that both have: ``uid``, ``sha256``, ``url``, ...

The captions wait in a database file of SQLite's own that is deleted as soon as it is opened, so that nothing is left of
it: about 60 bytes and the caption for each row, in the directory for temporary files (``SQLITE_TMPDIR``, ``TMPDIR``).
Memory stays at a quarter of a gigabyte, however many rows there are.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import islice
from typing import Any

from laclip_aug.errors import InputError
from laclip_aug.exchange.log import InputLog
from laclip_aug.exchange.readers import MISSING
from laclip_aug.exchange.row_keys import key_of

KEYS = ("uid", "sha256", "url")
"""Looked for in this order where no key is named. Numbers of a download, such as ``key``, have to be named."""

_KEYS = "Each row needs a text or a whole number as the key that it is joined by"
_BATCH = 4096
_MEMORY = 256 << 10  # kilobytes

Rows = Iterator[tuple[str, list[Any]]]


def join_key(named: str | None, texts: Sequence[str], captions: Sequence[str]) -> tuple[str, str]:
    """The names of the key in the file of texts and in that of captions.

    Args:
        named: ``uid``, or ``uid=id`` where the captions' file has another name for it.

    Raises:
        InputError: no key is named, and the files share none of ``KEYS``.
    """
    if named:
        mine, equals, its = named.partition("=")
        return mine, its if equals else mine
    for key in KEYS:
        if key in texts and key in captions:
            return key, key
    raise InputError(
        f"the files share no column {', '.join(KEYS)} to be joined by (texts have {', '.join(texts) or 'none'}; "
        f"captions have {', '.join(captions) or 'none'}); name it with --join KEY, or --join KEY=KEY_OF_THE_CAPTIONS"
    )


def joined(captions: Rows, texts: Rows, log: InputLog) -> Iterator[tuple[str, list[Any]]]:
    """(caption, cells) of rows (place, [key, cells...]) of ``texts`` whose key a row (place, [key, caption]) has.

    Rejections: ``no-key``; ``key-twice`` (the first row with a key counts) and ``key-twice-in-captions`` (the same,
    where the captions differ); ``not-in-captions``, a row of texts without a caption; ``not-in-texts``, a caption
    without texts; ``missing`` and ``not-text``, of captions.

    Raises:
        InputError: the disk for temporary files is full.
    """
    try:
        with closing(sqlite3.connect("")) as store:
            store.execute(f"PRAGMA cache_size = -{_MEMORY}")
            store.execute("PRAGMA journal_mode = OFF")
            store.execute("PRAGMA synchronous = OFF")
            store.execute(
                "CREATE TABLE c (key BLOB PRIMARY KEY, caption BLOB, place TEXT, number INT, used INT) WITHOUT ROWID"
            )
            _keep(captions, store, log)
            yield from _matched(texts, store, log)
            (rest,) = store.execute("SELECT count(*) FROM c WHERE NOT used").fetchone()
            if rest:
                (place,) = store.execute("SELECT place FROM c WHERE NOT used ORDER BY number LIMIT 1").fetchone()
                log.reject("not-in-texts", place)
                log.rejections["not-in-texts"] += rest - 1
    except sqlite3.OperationalError as error:
        raise InputError(
            f"the captions to be joined do not fit on the disk for temporary files ({error}); name another directory "
            "in the environment variable SQLITE_TMPDIR"
        ) from None


def _keep(rows: Rows, store: sqlite3.Connection, log: InputLog) -> None:
    number = 0
    while slab := list(islice(rows, _BATCH)):
        fit = []
        for place, (key, caption) in slab:
            digest = _digest(key)
            if digest is None:
                log.reject("no-key", place, _KEYS)
            elif caption is None or caption == MISSING:
                log.reject("missing", place)
            elif not isinstance(caption, str):
                log.reject("not-text", place)
            else:
                fit.append((digest, caption.encode("utf-8", "surrogatepass"), place))
        for digest, caption, place in fit:
            number += 1
            row = (digest, caption, place, number)
            done = store.execute("INSERT OR IGNORE INTO c VALUES (?, ?, ?, ?, 0)", row)
            if not done.rowcount:
                (there,) = store.execute("SELECT caption FROM c WHERE key = ?", (digest,)).fetchone()
                if there != caption:
                    log.reject("key-twice-in-captions", place)


def _matched(rows: Rows, store: sqlite3.Connection, log: InputLog) -> Iterator[tuple[str, list[Any]]]:
    for place, (key, *cells) in rows:
        digest = _digest(key)
        if digest is None:
            log.reject("no-key", place, _KEYS)
            continue
        found = store.execute("SELECT caption, used FROM c WHERE key = ?", (digest,)).fetchone()
        if found is None:
            log.reject("not-in-captions", place)
        elif found[1]:
            log.reject("key-twice", place)
        else:
            store.execute("UPDATE c SET used = 1 WHERE key = ?", (digest,))
            log.place = place
            yield found[0].decode("utf-8", "surrogatepass"), cells


def _digest(key: Any) -> bytes | None:
    """16 bytes that stand for a key, a text or a whole number; ``None`` if it is neither."""
    text = key_of(key.strip() if isinstance(key, str) else key)
    if not text or text == MISSING:
        return None
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
