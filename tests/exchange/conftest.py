"""Tables to import: rows written as JSONL or Parquet."""

import json

import pyarrow as pa
import pyarrow.parquet as pq


def jsonl(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def written(path, rows):
    """``rows`` in a file of the kind that its name says."""
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
        return path
    return jsonl(path, *rows)
