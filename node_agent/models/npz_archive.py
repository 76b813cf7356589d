"""Arrays of npz archives, read without trust: no pickles, no eval, no memory before sizes are known to be sound.

An npz file is a zip archive, whose members can claim any size. Every fault is a ValueError of one line.
"""

import io
import math
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt

CHUNK_BYTES = 2**20  # decompressed at once
MOST_MEMBERS = 64
_READ_BYTES = 2**16 + 22  # of the file at once: the largest end of an archive
MOST_HEADER_BYTES = 4096  # of an array; numpy writes 128
# Bytes that one compressed byte can stand for: zlib's technical details, https://zlib.net/zlib_tech.html, state 1032.
MOST_DEFLATE_RATIO = 1032
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # numpy's; lzma can claim gigabytes of memory
_FAULTS = (
    ValueError, TypeError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error, struct.error,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Header:
    """The form of an array, as its first bytes state it."""

    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]
    in_columns: bool  # True if the first index varies fastest (Fortran's order)
    offset: int  # bytes before the first item

    @property
    def byte_count(self) -> int:
        """Size of all items [byte]."""
        return math.prod(self.shape) * self.dtype.itemsize


class NpzArchive:
    """An npz file; nothing of an array is read before its header has been compared with the archive.

    Attributes:
        members: the arrays by name, without `.npy`.
        others: the names of members that are no arrays.

    Raises:
        ValueError: in every member, if the file is no archive of plain arrays, or damaged.
        OSError: it cannot be read.
    """

    def __init__(self, stream: BinaryIO) -> None:
        """Read the table of contents of a stream that can be positioned."""
        self._size = stream.seek(0, io.SEEK_END)
        try:
            self._zip = zipfile.ZipFile(cast(BinaryIO, _ShortReads(stream)))
        except _FAULTS as error:
            raise ValueError("no npz file, or one that was cut off") from error
        infos = self._zip.infolist()
        if len(infos) > MOST_MEMBERS:
            raise ValueError(f"an archive of {len(infos)} files, {MOST_MEMBERS} at most")
        names = [info.filename.removesuffix(".npy") for info in infos]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"array {twice[0]!a} stands in the archive twice")
        arrays = {name: info for name, info in zip(names, infos, strict=True) if name != info.filename}
        self.members: Mapping[str, zipfile.ZipInfo] = arrays
        self.others = [info.filename for info in infos if info.filename in names]

    def header(self, name: str) -> Header:
        """Return the form that an array states; `check` compares it with the archive."""
        with self._opened(self._member(name)) as stream:
            return _header(stream)

    def check(self, name: str) -> Header:
        """Return the form of an array. Raises ValueError if the archive cannot hold an array of this form."""
        header, member = self.header(name), self._member(name)
        claimed = member.file_size - header.offset
        if header.byte_count != claimed:
            what = f"{header.dtype.name} of shape {header.shape} has {header.byte_count} bytes"
            raise ValueError(f"{what}, the archive has {claimed}")
        deflated = member.compress_type == zipfile.ZIP_DEFLATED
        most = min(member.compress_size, self._size) * (MOST_DEFLATE_RATIO if deflated else 1)
        if member.file_size > most:
            raise ValueError(f"the file is too small for the {member.file_size} bytes that it states")
        return header

    @contextmanager
    def items(self, name: str) -> Iterator[io.BufferedIOBase]:
        """Open the bytes of an array's items, after `check`; their checksum is compared at their end."""
        offset = self.check(name).offset
        with self._opened(self._member(name)) as stream:
            stream.read(offset)
            yield stream

    def read(self, name: str) -> npt.NDArray[Any]:
        """Return an array, after `check`. The caller compares the size in its header with a limit before."""
        header = self.check(name)
        array: npt.NDArray[Any] = np.empty(header.shape, header.dtype, "F" if header.in_columns else "C")
        if not header.byte_count:
            return array
        room, filled = array.reshape(-1, order="A").view(np.uint8), 0
        with self.items(name) as stream:
            while chunk := stream.read(CHUNK_BYTES):
                room[filled : filled + len(chunk)] = np.frombuffer(chunk, np.uint8)
                filled += len(chunk)
        if filled != header.byte_count:
            raise ValueError(f"it ends after {filled} of {header.byte_count} bytes")
        return array

    def _member(self, name: str) -> zipfile.ZipInfo:
        if name not in self.members:
            raise ValueError("there is no such array")
        member = self.members[name]
        if member.flag_bits & 1:
            raise ValueError("it is encrypted")
        if member.compress_type not in _METHODS:
            raise ValueError("compressed in a way that numpy does not use")
        return member

    @contextmanager
    def _opened(self, member: zipfile.ZipInfo) -> Iterator[io.BufferedIOBase]:
        try:
            with self._zip.open(member) as stream:
                yield cast(io.BufferedIOBase, stream)
        except _FAULTS as error:
            raise ValueError((" ".join(str(error).split()) or type(error).__name__)[:200]) from error


class _ShortReads:
    """A stream that reads little at once: zipfile reads a table of contents whole, however long it claims to be."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.seek, self.tell, self.seekable = stream.seek, stream.tell, stream.seekable

    def read(self, size: int | None = -1, /) -> bytes:
        return self._stream.read(_READ_BYTES if size is None or size < 0 else min(size, _READ_BYTES))


def _header(stream: io.BufferedIOBase) -> Header:
    """Read the header of an npy file; types and shapes that are plain text are parsed, all else is refused."""
    magic = stream.read(8)
    if magic[:6] != b"\x93NUMPY" or magic[6:] not in (b"\x01\x00", b"\x02\x00"):
        raise ValueError("no header that numpy writes")
    length_bytes = 2 if magic[6:7] == b"\x01" else 4
    header_bytes = int.from_bytes(stream.read(length_bytes), "little")
    if header_bytes > MOST_HEADER_BYTES:
        raise ValueError("no header that numpy writes")
    text = stream.read(header_bytes).decode("latin-1")
    descr = re.search(r"'descr'\s*:\s*'([<>|=]?[a-zA-Z]\d{0,6})'", text)
    order = re.search(r"'fortran_order'\s*:\s*(True|False)", text)
    shape = re.search(r"'shape'\s*:\s*\(([\d,\sL]{0,80})\)", text)
    if not (descr and order and shape):
        shown = ascii(text)
        raise ValueError(f"header {shown if len(shown) <= 40 else f'{shown[:36]}...'}")
    if "O" in descr[1]:
        raise ValueError("it holds Python objects (pickles), which are not read")
    sizes = tuple(int(size) for size in re.findall(r"\d+", shape[1]))
    offset = len(magic) + length_bytes + header_bytes
    return Header(np.dtype(descr[1]), sizes, order[1] == "True", offset)
