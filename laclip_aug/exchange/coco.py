"""COCO's own captions, one JSON object of images and annotations, named with the command that makes a table of them.

open_clip's trainer needs a table or tars, so that they are not read: what is refused here stops it too.
"""

from __future__ import annotations

import json
import re
from pathlib import PurePosixPath
from shlex import quote
from typing import Any

from laclip_aug.encoding import UNPACK
from laclip_aug.errors import InputError
from laclip_aug.exchange.addresses import is_address, shortened
from laclip_aug.exchange.log import InputLog
from laclip_aug.exchange.places import open_bytes

_HEAD = re.compile(rb'\s*\{.*"(?:images|annotations)"\s*:\s*\[', re.DOTALL)
_PROGRAM = """\
import csv, json, sys; d = json.load(sys.stdin.buffer); n = {i["id"]: i["file_name"] for i in d["images"]}; \
w = csv.writer(sys.stdout, delimiter="\\t", lineterminator="\\n"); w.writerow(["filepath", "title"]); \
w.writerows(sorted(([n[a["image_id"]], a["caption"]] for a in d["annotations"]), key=lambda row: row[0]))"""


def refuse_coco(file: str, content: Any) -> None:
    """Raise :class:`InputError` if ``content``, an object of ``file``, has captions as those of COCO are."""
    if not isinstance(content, dict):
        return
    images, rows = content.get("images"), content.get("annotations")
    if not (isinstance(images, list) and isinstance(rows, list) and rows and isinstance(rows[0], dict)):
        return
    if not {"image_id", "caption"} <= rows[0].keys():
        return
    path = PurePosixPath(PurePosixPath(file).name if is_address(file) else file)
    packed = path.suffix in UNPACK
    table = quote(str(path.with_name(f"{path.name.partition('.json')[0]}.tsv")))
    source = f"{UNPACK[path.suffix]} {quote(str(path))} | " if packed else ""
    command = f"{source}python3 -X utf8 -c {quote(_PROGRAM)}{'' if packed else f' < {quote(str(path))}'} > {table}"
    make = "Fetch it, and make" if is_address(file) else "Make"
    raise InputError(
        f"{shortened(file)} has images and annotations apart, as COCO's captions, which open_clip's trainer cannot "
        f"read either. {make} a table, which cache import takes with --group-key filepath; make it with: {command}"
    )


def refuse_indented_coco(file: str, head: bytes) -> None:
    """The same of a file that has no object in a line, and begins with ``head``. Other files are not read whole."""
    if _HEAD.match(head):
        try:
            with open_bytes(file, InputLog()) as stream:
                content = json.load(stream)
        except (ValueError, RecursionError, OSError):
            return
        refuse_coco(file, content)
