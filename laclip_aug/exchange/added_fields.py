"""Webdataset tars of one's own with the texts as fields of each sample's ``.json`` member, which open_clip 4 trains on.

That trainer draws one of several fields (``--json-text-key a;b``) by given weights (``--json-text-key-probs 1 1``), and
passes over those that a sample has not: with equal weights it draws uniformly from the original caption and the texts
that there are, which is LaCLIP. All other members stay as they are, to the byte.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from copy import copy
from pathlib import Path
from shlex import quote
from typing import Any

from laclip_aug.errors import CacheError, ConfigurationError, InputError
from laclip_aug.exchange.addresses import shortened
from laclip_aug.exchange.archives import flowing_tar
from laclip_aug.exchange.beside import Beside
from laclip_aug.exchange.files import replace_file, write_new
from laclip_aug.exchange.objects import json_bytes
from laclip_aug.exchange.places import open_bytes
from laclip_aug.exchange.tars import TextKeys, json_fields, sample_of

ORIGINAL = "original"
"""The field of the caption itself, where it is not in a field already."""
ABOUT = "laclip-aug.json"
"""In the directory of the tars: what they were made of, so that another export cannot go on with them."""

_KEPT = ("path", "mtime", "uname", "gname", "comment")
"""Extended headers of a member that hold for its copy; its size and holes are told anew."""

Member = tuple[tarfile.TarInfo, bytes]


def field_names(beside: Beside, keys: TextKeys) -> list[str]:
    """The fields to train on: the caption's, then those of the texts."""
    return [keys.json[0] if len(keys.json) == 1 else ORIGINAL, *beside.places]


def trained_with(fields: list[str]) -> str:
    """The options of open_clip 4 that draw uniformly from ``fields``."""
    return f"--json-text-key {quote(';'.join(fields))} --json-text-key-probs {' '.join('1' for _ in fields)}"


def write_tars(
    beside: Beside, files: list[str], output: Path, keys: TextKeys, origin: dict[str, Any]
) -> tuple[list[str], list[str]]:
    """Write each tar, with its texts, under its own name to the directory ``output``; one that is there already stays.

    Args:
        origin: what tells this export from another: JSON types.

    Returns:
        What was written, one statement a line; and what went wrong: a damaged tar is not written, and the others are.

    Raises:
        ConfigurationError: two tars have one name, one would replace itself, a field has the name of a source, or
            ``output`` holds something else.
        CacheError: the disk is full or failed. Each tar is whole or absent, and the same call goes on.
    """
    places = {file: output / _name(file) for file in files}
    if len(set(places.values())) < len(files):
        raise ConfigurationError("two of the tars have one name; write each folder's to a directory of its own")
    for file, place in places.items():
        if Path(file).exists() and place.exists() and Path(file).samefile(place):
            raise ConfigurationError(f"{place} would replace itself; name another directory")
    fields = field_names(beside, keys)
    if bad := [name for name in fields if ";" in name]:
        raise ConfigurationError(f"open_clip divides names at ';', so {bad[0]!r} can be no field; rename that source")
    _begin(output, {**origin, "fields": fields})
    number, failed, there = 0, [], [place for place in places.values() if place.exists()]
    for file, place in places.items():
        if place in there:
            continue
        try:
            number += _write(beside, file, place, keys, fields)
        except (tarfile.TarError, InputError) as error:
            failed.append(f"{shortened(file)}: {' '.join(str(error).split()) or type(error).__name__}")
    said = [f"{number} samples in {output}"]
    return said + [f"{len(there)} tars were there already"] * bool(there), failed


def _name(file: str) -> str:
    """The name of the tar that is written: without an ending that says it is packed, as it is not."""
    name = Path(file.split("?")[0]).name
    for ending in (".gz", ".bz2", ".xz"):
        name = name.removesuffix(ending)
    return name.removesuffix(".tgz").removesuffix(".tar") + ".tar"


def _begin(output: Path, origin: dict[str, Any]) -> None:
    about = json.dumps(origin, indent=1).encode() + b"\n"
    path = output / ABOUT
    try:
        output.mkdir(parents=True, exist_ok=True)
        there = sorted(part.name for part in output.iterdir())
        before = path.read_bytes() if path.exists() else b""
    except OSError as error:
        raise CacheError(f"{output} cannot be used ({error.strerror}); name another directory") from None
    if before != about:
        if there:
            what = "an export of something else" if before else f"{there[0]!r}"
            raise ConfigurationError(f"{output} holds {what}; name a new directory")
        replace_file(path, about)


def _write(beside: Beside, file: str, place: Path, keys: TextKeys, fields: list[str]) -> int:
    number = 0
    with write_new(place) as out, tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as to:
        for key, members in _samples(file, beside):
            if key:
                number += 1
                beside.log.rows += 1
                members = _extended(beside, f"{file}: {key}", key, members, keys, fields)
            for info, data in members:
                if info.isreg():
                    info = copy(info)
                    info.size, info.type = len(data), tarfile.REGTYPE
                    info.pax_headers = {name: text for name, text in info.pax_headers.items() if name in _KEPT}
                to.addfile(info, io.BytesIO(data) if info.isreg() else None)
            to.members = []  # type: ignore[attr-defined]  # or tarfile would keep every header
    return number


def _samples(file: str, beside: Beside) -> Iterator[tuple[str, list[Member]]]:
    """(key, members) of each sample, and ``""`` with what is none; together all members in their order.

    A sample ends where :func:`laclip_aug.exchange.tars.tar_samples` ends it.
    """
    key, members, endings = "", list[Member](), set[str]()
    try:
        with open_bytes(file, beside.log) as stream, flowing_tar(stream) as tar:
            for info in tar:
                content = tar.extractfile(info) if info.isreg() else None
                member = info, content.read() if content else b""
                tar.members = []  # type: ignore[attr-defined]
                split = sample_of(info)
                if split is None:
                    if endings:
                        members.append(member)
                    else:
                        yield "", [member]
                    continue
                if endings and (split[0] != key or split[1] in endings):
                    yield key, members
                    members, endings = [], set()
                key = split[0]
                endings.add(split[1])
                members.append(member)
            if not tar.marked:
                raise tarfile.ReadError(
                    "it has no end mark, so it may be cut short; if it is whole, add 1024 zero bytes"
                )
    except OSError as error:  # or it would be taken for one of the writing
        raise tarfile.ReadError(str(error)) from None
    yield key if endings else "", members


def _extended(
    beside: Beside, where: str, key: str, members: list[Member], keys: TextKeys, fields: list[str]
) -> list[Member]:
    """``members`` with the texts in the ``.json`` member, a new one at the end if there is none."""
    contents = {split[1]: data for info, data in members if (split := sample_of(info)) is not None}
    captions, reason = keys.captions(contents)
    if reason:
        beside.log.reject(reason, where)
        return members
    row = json_fields(contents["json"]) if "json" in contents else {}
    if row is None:
        beside.log.reject("malformed-json", where)
        return members
    added = {ORIGINAL: captions[0], **beside.placed(captions[0], where)}
    if keys.json and fields[0] == keys.json[0]:
        del added[ORIGINAL]
    if taken := [name for name in added if name in row]:
        raise ConfigurationError(
            f"{where} has a field {taken[0]!r} already, which the texts need; give tars without it"
        )
    data = json_bytes({**row, **{name: text for name, text in added.items() if text is not None}})
    found = next((place for place, (info, _) in enumerate(members) if _is_json(info)), None)
    if found is None:
        last = next(info for info, _ in reversed(members) if sample_of(info) is not None)
        info = tarfile.TarInfo(f"{key}.json")
        info.mtime, info.mode, info.uid, info.gid = last.mtime, last.mode, last.uid, last.gid
        info.uname, info.gname = last.uname, last.gname
        members = [*members, (info, b"")]
        found = len(members) - 1
    return [*members[:found], (members[found][0], data), *members[found + 1 :]]


def _is_json(info: tarfile.TarInfo) -> bool:
    split = sample_of(info)
    return split is not None and split[1] == "json"
