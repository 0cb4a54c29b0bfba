"""Tars of which damage is an error; ``tarfile`` takes a bad header, unless it is the first, for the end of the tar.

A tar without an end mark is read to its last member: some writers leave the mark out, or are killed before it.
"""

from __future__ import annotations

import re
import tarfile
from pathlib import Path
from typing import IO

from laclip_aug.encoding import packed_as, unpack_command
from laclip_aug.errors import InputError
from laclip_aug.exchange.unpacking import unpacked

_PACKED_TAR = re.compile(r"\.(tar\.(gz|bz2|xz)|tgz|tbz2?|txz)$", re.IGNORECASE)


class _Header(tarfile.TarInfo):
    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> _Header:
        try:
            return super().fromtarfile(tar)
        except (tarfile.EOFHeaderError, tarfile.EmptyHeaderError) as error:  # type: ignore[attr-defined]
            if isinstance(tar, Tar):
                tar.marked = isinstance(error, tarfile.EOFHeaderError)  # type: ignore[attr-defined]
            raise
        except (tarfile.HeaderError, ValueError) as error:  # no sum vouches for a pax header's numbers
            raise tarfile.ReadError(f"a header is damaged: {error}") from None


class Tar(tarfile.TarFile):
    """A tar to be read once, member by member.

    Going through it raises ``tarfile.TarError`` where it is damaged or cut, and an ``OSError`` where it cannot be read.
    ``marked`` says, at its end, whether an end mark came: without one, more may have been cut off.
    """

    tarinfo = _Header
    marked = False

    def next(self) -> tarfile.TarInfo | None:
        """The next member; after the last, ``None``, once the rest of the file is read and found to be padding."""
        member = super().next()
        while member is None and (rest := self.fileobj.read(1 << 20)):
            if rest.count(0) < len(rest):
                raise tarfile.ReadError(
                    "more follows its end mark: a part was never written, or tars were joined other than by tar -A"
                )
        return member


def flowing_tar(stream: IO[bytes]) -> Tar:
    """The tar that ``stream``, a buffered reader, holds, compressed or not; it is read to its end."""
    ending = packed_as(stream.peek(16))  # type: ignore[attr-defined]
    return Tar.open(fileobj=unpacked(stream, ending) if ending else stream, mode="r|")


def local_tar(file: str) -> Tar:
    """An unpacked tar of this machine, which can be read in any order.

    Raises:
        InputError: it is compressed; says how to unpack it.
        tarfile.TarError, OSError: it cannot be read.
    """
    refuse_compressed(Path(file))
    return Tar.open(file, "r:")


def refuse_compressed(file: Path) -> None:
    """Raise :class:`InputError`, which says how to unpack it, if ``file`` is compressed."""
    with file.open("rb") as stream:
        ending = packed_as(stream.read(16))
    if ending:
        target = unpacked_name(file) or file.with_name(f"unpacked-{file.name}")
        raise InputError(
            f"{file} is compressed, and images are read from anywhere in a tar; unpack it with: "
            f"{unpack_command(str(file), ending, str(target))}"
        )


def unpacked_name(file: Path) -> Path | None:
    """What a file that is named like a compressed tar is to be called when it is unpacked."""
    bare = _PACKED_TAR.sub("", file.name)
    return None if bare == file.name else file.with_name(f"{bare}.tar")
