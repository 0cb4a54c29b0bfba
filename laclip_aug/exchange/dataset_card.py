"""Records out as a folder that ``datasets.load_dataset`` loads: Parquet files, and a README.md that is its card.

The card's YAML header tells the loader where the files are and what is in them; below it stands what made the texts.
The licence is left to fill in, as nobody but the owner of the captions can.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from laclip_aug.augmenter import Outcome
from laclip_aug.errors import ConfigurationError
from laclip_aug.exchange.export import record_schema, write_parquet
from laclip_aug.exchange.files import TEMPORARY, disk_errors, replace_file, sync_directory, write_new

CARD = "README.md"
_ROWS = 500_000


@dataclass(frozen=True)
class Origin:
    """What a card tells of where the records come from.

    ``made`` is what made the texts, one description for each configuration; ``inputs`` what was read, by name;
    ``texts`` the number of texts of each source.
    """

    made: list[dict[str, Any]]
    inputs: Mapping[str, Any]
    texts: Mapping[str, int]
    by_image: bool = False


def write_dataset(records: Iterable[Outcome], output: Path, origin: Origin) -> int:
    """Write ``records`` to the directory ``output``; returns their number.

    Raises:
        ConfigurationError: ``output`` holds something already.
        CacheError: the disk is full or failed. The directory is there as a whole or not at all.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ConfigurationError(f"{output} holds something already; name a new directory")
    half = output.with_name(output.name + TEMPORARY)
    with disk_errors(output):
        shutil.rmtree(half, ignore_errors=True)
        (half / "data").mkdir(parents=True)
        try:
            number, source = 0, iter(records)
            for part, first in enumerate(source):  # each file takes further ones from the same iterator
                with write_new(half / "data" / f"{part:05d}.parquet") as file:
                    number += write_parquet(file, chain([first], islice(source, _ROWS - 1)))
            replace_file(half / CARD, _card(output.name, origin, number).encode())
            if output.exists():
                output.rmdir()
            half.rename(output)
        except BaseException:
            shutil.rmtree(half, ignore_errors=True)
            raise
        sync_directory(output.parent)
    return number


def _card(name: str, origin: Origin, number: int) -> str:
    import yaml

    header = {
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "data/*.parquet"}]}],
        "dataset_info": {
            "config_name": "default",
            "features": [_feature(field) for field in record_schema(origin.by_image)],
        },
        "task_categories": ["zero-shot-image-classification"],
        "tags": ["captions", "text-augmentation", "clip"],
    }
    texts = "\n".join(f"| {source} | {made} |" for source, made in origin.texts.items())
    read = "\n".join(
        f"- `{Path(path).name}`: {entry.get('rows')} rows, refused: "
        + (", ".join(f"{reason} {times}" for reason, times in entry.get("rejections", {}).items()) or "none")
        for path, entry in origin.inputs.items()
    )
    made = json.dumps(origin.made, indent=1, ensure_ascii=False)
    return f"""---
{yaml.safe_dump(header, sort_keys=False)}license: unknown  # fill in: that of the captions, and what the model's allows
---

# {name}

{number} captions with texts that could caption the same image, made or imported with laclip-aug. A row has the
`caption`, its `rewrites` (`source` and `text`), and its `rejections`: texts that were refused, with the reason. Where
the model that wrote a text said how likely it is, `likelihood` is the mean log-probability of its tokens, in nats, and
`verdict` how likely the model finds it true, from 0 to 1; elsewhere they are null.

| source | texts |
|---|---|
{texts}

## What was read

{read or "- unknown"}

## What made the texts

```json
{made}
```
"""


def _feature(field: Any) -> dict[str, Any]:
    """A column as the card's header names it."""
    import pyarrow.types as types

    if types.is_list(field.type):
        inner = field.type.value_type
        parts = [_feature(part) for part in inner] if types.is_struct(inner) else str(inner)
        return {"name": field.name, "list": parts}
    return {"name": field.name, "dtype": {"double": "float64"}.get(str(field.type), str(field.type))}
