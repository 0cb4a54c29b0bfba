"""What is compressed, unpacked while it is read; any damage is an ``OSError``, as of a file that cannot be read."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from typing import IO, Any

_OPEN = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
ENDINGS = tuple(_OPEN)
"""The endings of compressed files that are read."""


def unpacked(stream: IO[bytes], ending: str) -> IO[bytes]:
    """The bytes that ``stream`` has compressed in the way that ``ending`` names; sums are checked at its end.

    Closing it leaves ``stream`` open. Reading raises an OSError where the stream is damaged or cut.
    """
    return io.BufferedReader(_Unpacked(_OPEN[ending](stream)))  # type: ignore[operator]


class _Unpacked(io.RawIOBase):
    """The bytes of ``source``; what its module raises for damage, each another error, is an ``OSError``."""

    def __init__(self, source: Any) -> None:
        self._source = source

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return bool(self._source.seekable())

    def seek(self, offset: int, whence: int = 0) -> int:
        try:
            return int(self._source.seek(offset, whence))
        except (EOFError, zlib.error, lzma.LZMAError) as error:
            raise OSError(str(error)) from error

    def tell(self) -> int:
        return int(self._source.tell())

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._source.read1(len(buffer))  # no more than is there: what comes before damage is read
        except (EOFError, zlib.error, lzma.LZMAError) as error:
            raise OSError(str(error)) from error
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._source.close()
        super().close()
