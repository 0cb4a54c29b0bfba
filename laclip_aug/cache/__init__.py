"""The rewrite cache: built once from any augmenter, looked up by content during training.

::

    DIR/
      manifest.json         what made the texts, counts, shards with sha256; the one file to read first
      shard-000000.parquet  the records: the source of truth and the exchange format
      lookup-0a1b2c.table   compiled from the shards, never changed, read by every loader worker
      journal-000001        records of the shard in work, while a build runs or after one was killed
      lock                  held by the one process that writes
"""
