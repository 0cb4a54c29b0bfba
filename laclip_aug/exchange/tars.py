"""Captions in webdataset tars, as open_clip's trainer takes them: which members make a sample, which is its text."""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from shlex import quote
from typing import Any

from laclip_aug.errors import ConfigurationError
from laclip_aug.exchange.addresses import is_address, shortened
from laclip_aug.exchange.archives import flowing_tar
from laclip_aug.exchange.log import InputLog
from laclip_aug.exchange.places import open_bytes

_MEMBER = re.compile(r"^((?:.*/|)[^.]+)[.]([^/]*)$")  # webdataset's split into sample key and ending
_SKIPPED = re.compile(r"__[^/]*__($|/)")
_IMAGES = {"jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "cls", "json", "npy", "npz", "pyd", "pth"}

Sample = dict[str, bytes]
"""Endings, in lower case, and the contents of the members of one sample that have them."""


@dataclass(frozen=True)
class TextKeys:
    """Where a sample has its caption; the options and their meaning are open_clip 4's.

    Without ``json``, the first ending of ``text`` that the sample has. With ``json``, the first of these fields of its
    ``.json`` member that holds more than white space; where the trainer draws among them (``probs``), every field that
    can be drawn.

    Raises:
        ConfigurationError: there are more probabilities than fields, without fields, or below 0.
    """

    text: tuple[str, ...] = ("txt",)
    json: tuple[str, ...] = ()
    probs: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if len(self.probs) > len(self.json):
            raise ConfigurationError(
                f"--json-text-key-probs has {len(self.probs)} values for {len(self.json)} fields of --json-text-key; "
                "give one for each field, or fewer"
            )
        if wrong := [prob for prob in self.probs if not 0 <= prob < float("inf")]:
            raise ConfigurationError(f"--json-text-key-probs must be 0 or more, not {wrong[0]:g}")

    @classmethod
    def of(
        cls, text_key: str | None = None, json_text_key: str | None = None, probs: Sequence[float] | None = None
    ) -> TextKeys:
        """The keys as typed: ``"txt;caption"``, and ``"a;b"`` with the probabilities of ``a`` and of ``b``."""
        return cls(_split(text_key) or ("txt",), _split(json_text_key), tuple(probs or ()))

    def typed(self) -> str:
        """The options that say this, quoted for a shell, with a space before; nothing for the default."""
        given = [("--text-key", self.text)] if self.text != ("txt",) else []
        given += [("--json-text-key", self.json)] if self.json else []
        words = [word for option, keys in given for word in (option, ";".join(keys))]
        words += ["--json-text-key-probs", *map(str, self.probs)] if self.probs else []
        return "".join(f" {quote(word)}" for word in words)

    @property
    def endings(self) -> tuple[str, ...]:
        """The endings of the members that have to be read."""
        return ("json",) if self.json else self.text

    def captions(self, sample: Mapping[str, bytes]) -> tuple[list[str], str]:
        """The captions of ``sample``, or none and the reason: ``no-caption``, ``invalid-utf8`` or ``empty``."""
        if self.json:
            return self._of_json(sample)
        for ending in self.text:
            if ending in sample:
                try:
                    return [sample[ending].decode("utf-8")], ""
                except UnicodeDecodeError:
                    return [], "invalid-utf8"
        return [], "no-caption"

    def _of_json(self, sample: Mapping[str, bytes]) -> tuple[list[str], str]:
        if "json" not in sample:
            return [], "no-caption"
        fields = json_fields(sample["json"])
        if fields is None:
            return [], "malformed-json"
        weights = (*self.probs, *(0.0 for _ in self.json[len(self.probs) :]))
        drawn = [key for key, weight in zip(self.json, weights, strict=True) if weight > 0]
        texts = {key: value for key in self.json if isinstance(value := fields.get(key), str) and value.strip()}
        # of the fields with a weight the trainer takes any; the others stand in, in their order
        found = [texts[key] for key in drawn if key in texts] or [texts[key] for key in self.json if key in texts][:1]
        return found, "" if found else "no-caption"


def _split(keys: str | None) -> tuple[str, ...]:
    return tuple(part for key in (keys or "").split(";") if (part := key.strip()))


def json_fields(data: bytes) -> dict[str, Any] | None:
    """The fields of a JSON object; ``None`` if ``data`` is none."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def sample_of(member: tarfile.TarInfo) -> tuple[str, str] | None:
    """(key of its sample, ending in lower case) of a member of a tar; ``None`` if it belongs to no sample."""
    split = _MEMBER.match(member.name)
    if not member.isreg() or split is None or _SKIPPED.match(member.name):
        return None
    return split[1], split[2].lower()


def tar_samples(file: str, log: InputLog, endings: Sequence[str]) -> Iterator[tuple[str, Sample]]:
    """(place, sample) of each sample of a tar; only members with one of ``endings`` are read.

    A sample ends where the key changes or an ending comes again, as in open_clip's trainer.
    Rejections: ``unreachable``, a tar that cannot be opened; ``damaged-tar``, one that is damaged or cut, where the
    reading of it stops, as the trainer's does, and goes on with the next. A tar that only lacks its end mark is none.
    """
    key, sample = "", Sample()
    opened = False
    try:
        with open_bytes(file, log) as stream:
            opened = not is_address(file) or bool(stream.peek(1))  # type: ignore[attr-defined]
            with flowing_tar(stream) as tar:
                for member in tar:
                    split = sample_of(member)
                    if split is None:
                        continue
                    ending = split[1]
                    if sample and (split[0] != key or ending in sample):
                        yield f"{file}: {key}", sample
                        sample = Sample()
                    key = split[0]
                    content = tar.extractfile(member) if ending in endings else None
                    sample[ending] = content.read() if content else b""
                    tar.members = []  # type: ignore[attr-defined]  # or tarfile would keep every header
    except (tarfile.TarError, OSError) as error:
        why = " ".join(str(error).split()) or type(error).__name__
        if opened:
            log.reject("damaged-tar", f"{shortened(file)}: after {key or 'nothing'}: {why}")
        else:
            log.reject("unreachable", f"{shortened(file)}: {why}", "Check the address and your access to it")
    if sample:  # of a damaged tar, what is whole of it
        yield f"{file}: {key}", sample


def tar_captions(file: str, log: InputLog, keys: TextKeys | None = None) -> Iterator[tuple[str, str]]:
    """(place, caption) of each sample, decoded as the trainer does.

    Rejections, besides those of :func:`tar_samples`: ``no-caption``, with the endings or fields that the sample has;
    ``invalid-utf8``; ``malformed-json``.
    """
    keys = keys or TextKeys()
    for place, sample in tar_samples(file, log, keys.endings):
        log.rows += 1
        captions, reason = keys.captions(sample)
        if reason == "no-caption":
            log.reject(reason, f"{place} ({_has(sample, keys)})", _advice(sample, keys))
        elif reason:
            log.reject(reason, place)
        for caption in captions:
            yield place, caption


def tar_rows(
    file: str, log: InputLog, keys: TextKeys | None, wanted: Sequence[str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """(place, columns) of each sample as a row of a table.

    Its columns are the fields of its ``.json`` member, the endings in ``wanted``, and ``""``, its caption, unless
    ``keys`` is ``None``. ``syn.json:syn_text`` in ``wanted`` is a field of another member. Rejections are those of
    :func:`tar_captions`.
    """
    members = [key.partition(":")[0] for key in wanted]
    for place, sample in tar_samples(file, log, (*(keys.endings if keys else ()), "json", *members)):
        log.rows += 1
        row = json_fields(sample.get("json", b"")) or {}
        for key, ending in zip(wanted, members, strict=True):
            if ending not in sample:
                continue
            if ending == key:
                row[key] = sample[ending].decode("utf-8", "surrogateescape")
            elif (fields := json_fields(sample[ending])) is None:
                log.reject("malformed-json", f"{place} (.{ending})")
            else:
                row[key] = fields.get(key.partition(":")[2])
        if keys is None:
            yield place, row
            continue
        captions, reason = keys.captions(sample)
        if reason:
            log.reject(reason, f"{place} ({_has(sample, keys)})", _advice(sample, keys))
        for caption in captions:
            yield place, {**row, "": caption}


def _has(sample: Sample, keys: TextKeys) -> str:
    if keys.json and "json" in sample:
        fields = json_fields(sample["json"]) or {}
        return f"its fields: {', '.join(list(fields)[:12]) or 'none'}"
    return f"its endings: {', '.join('.' + ending for ending in list(sample)[:12])}"


def _advice(sample: Sample, keys: TextKeys) -> str:
    """What to do about a sample without a caption, by the endings that it has."""
    if keys.json:
        return "" if "json" not in sample else "Name the field of the captions with --json-text-key"
    if dotted := [ending for ending in sample if ending.rsplit(".", 1)[-1] in keys.text]:
        return (
            f"webdataset ends a sample's key at the first dot of the name, so the trainer sees the ending "
            f".{dotted[0]} too, and no caption: rename the members without dots"
        )
    if texts := [ending for ending in sample if ending not in _IMAGES and "." not in ending]:
        return f"If .{texts[0]} members hold the captions: --text-key '{';'.join((*keys.text, texts[0]))}'"
    if "json" in sample:
        return "If the .json members hold the captions, name their field with --json-text-key"
    return ""
