"""Addresses: what is read through a driver of ``fsspec`` or through a command, instead of from this machine's disk.

``pipe:COMMAND`` and what ``curl`` fetches go through webdataset, as in open_clip's trainer, and everything else
(``s3:``, ``gs:``, ``hf:``, ``memory:``) through ``fsspec``.
"""

from __future__ import annotations

import glob
import io
import os
import re
import shutil
from contextlib import suppress
from pathlib import Path
from shlex import quote
from typing import IO, Any

from laclip_aug.errors import CacheError, InputError

_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+):/|(pipe|file):", re.IGNORECASE)
"""A colon alone makes none: ``cc3m:v2`` is a name like others. Of ``s3://``, ``Path`` leaves ``s3:/``."""
_CURL = ("http", "https", "ftps", "sftp", "scp")
_COPIERS = {"s3": "aws s3 cp {} -", "gs": "gsutil cat {}", "gcs": "gsutil cat {}", "https": "curl -fsSL {}"}


def is_address(name: str) -> bool:
    """Whether ``name`` is no path of this machine."""
    return bool(_ADDRESS.match(name)) and not exists(name)


def scheme_of(address: str) -> str:
    """``s3`` of ``s3://bucket/a.tar``, and an empty text of a path."""
    found = _ADDRESS.match(address)
    return (found[1] or found[2]).lower() if found else ""


def local_directory(directory: str | Path) -> Path:
    """``directory`` of a cache as a path.

    Raises:
        CacheError: it is an address.
    """
    if is_address(str(directory)):
        raise CacheError(
            f"a cache is a directory of this machine, as trainers read it at random, and {directory} is an address; "
            "name a local directory: a finished cache may be copied anywhere, and back before training"
        )
    return Path(directory)


def shortened(name: str) -> str:
    """``name`` as a message shows it."""
    return name if len(name) <= 300 else f"{name[:150]} … {name[-100:]}"


def matching(address: str) -> list[str]:
    """The addresses that a pattern such as ``s3://bucket/*.tar`` stands for; any other address stands for itself."""
    scheme = scheme_of(address)
    if scheme == "pipe" or scheme in _CURL or not glob.has_magic(address):
        return [address]
    try:
        filesystem, pattern = _filesystem(address)
        found = [filesystem.unstrip_protocol(path) for path in sorted(filesystem.glob(pattern))]
    except InputError:
        raise
    except Exception as error:  # whatever a storage driver raises
        raise InputError(f"{address} cannot be listed ({_said(error)}); check the address and your access") from error
    if not found:
        raise InputError(f"nothing matches {address}; check the pattern")
    return found


def open_address(address: str, seek: bool) -> IO[bytes]:
    """The bytes at ``address``; with ``seek`` they can be read in any order. Raises as ``places.open_bytes``."""
    scheme = scheme_of(address)
    if seek and scheme == "pipe":
        raise InputError(f"{address} flows, and Parquet has to be read in any order; fetch the file first")
    try:
        if scheme == "pipe" or (scheme in _CURL and not seek and shutil.which("curl")):
            from webdataset.gopen import gopen

            source = gopen(address)
        else:
            filesystem, path = _filesystem(address)
            source = filesystem.open(path, "rb")
    except InputError:
        raise
    except Exception as error:
        raise OSError(_said(error)) from error
    return io.BufferedReader(_Stream(source), 1 << 20)  # type: ignore[return-value,arg-type,unused-ignore]


def _filesystem(address: str) -> tuple[Any, str]:
    """The fsspec file system of ``address``, and the path there.

    Raises:
        InputError: its driver is not installed, or its scheme is unknown.
    """
    import fsspec.core
    from fsspec.registry import known_implementations

    scheme = scheme_of(address)
    try:
        filesystem, path = fsspec.core.url_to_fs(address)
    except ImportError as error:
        module = known_implementations.get(scheme, {}).get("class", "").split(".")[0].replace("_", "-")
        pip = f"install it with: pip install {module}" if module not in ("", "fsspec") else f"fsspec says: {error}"
        raise InputError(
            f"the driver that reads {scheme}: addresses is not installed; {pip}\nor {through_a_pipe(address)}"
        ) from None
    except ValueError as error:
        raise InputError(
            f"{shortened(address)} cannot be opened ({error}); fetch the file first, or name a program that prints it: "
            f"'pipe:COMMAND'"
        ) from None
    return filesystem, path


def through_a_pipe(address: str) -> str:
    """Advice to name a program that prints the file at ``address``."""
    command = _COPIERS.get(scheme_of(address), "COMMAND {}").format(quote(address))
    return f"name a program that prints the file, which open_clip's trainer can read too: {quote('pipe:' + command)}"


class _Stream(io.RawIOBase):
    """A source's bytes, with every error of its driver as an ``OSError``, and the exit status of a command checked."""

    def __init__(self, source: Any) -> None:
        self._source = source

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return hasattr(self._source, "seek")

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(self._source.seek(offset, whence))

    def tell(self) -> int:
        return int(self._source.tell())

    def readinto(self, buffer: Any) -> int:
        command = getattr(self._source, "proc", None)
        try:
            # webdataset's pipes ask for the status at each read, and lose what came before a late failure
            data = (self._source if command is None else command.stdout).read(len(buffer))
        except Exception as error:
            raise OSError(_said(error)) from error
        if not data and command is not None and (status := command.wait()) not in (0, *self._source.ignore_status):
            raise OSError(f"the command ended with exit status {status}")
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            with suppress(Exception):  # a command that is cut off as nothing more is read has failed in no way
                self._source.close()
        super().close()


def _said(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def exists(name: str) -> bool:
    return os.path.exists(name)  # noqa: PTH110 - pathlib's raises where a name is too long
