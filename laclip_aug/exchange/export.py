"""Records out, as JSON lines."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from laclip_aug.augmenter import Outcome
from laclip_aug.exchange.files import TEMPORARY, disk_errors


def export_jsonl(records: Iterable[Outcome], output: str | Path, rejections: bool = False) -> int:
    """Write every record as a JSON line ``{"caption", "rewrites": [{"source", "text"}]}``; returns their number.

    With ``rejections``, a list ``"rejections"`` of ``{"source", "reason", "text"}`` and ``"tokens"`` are added.

    Raises:
        CacheError: the file cannot be written. A kill leaves no half file under its name.
    """
    output, number = Path(output), 0
    temporary = output.with_name(output.name + TEMPORARY)
    with disk_errors(output):
        with temporary.open("w", encoding="utf-8", newline="\n") as file:
            for record in records:
                row: dict[str, Any] = {
                    "caption": record.caption,
                    "rewrites": [{"source": r.source, "text": r.text} for r in record.rewrites],
                }
                if rejections:
                    row["rejections"] = [
                        {"source": r.source, "reason": r.reason, "text": r.text} for r in record.rejections
                    ]
                    row["tokens"] = record.tokens
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
                number += 1
        temporary.replace(output)
    return number
