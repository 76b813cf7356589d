"""Arrays of an npz archive, whose sizes are checked before memory is taken for them; no pickle is ever read."""

import lzma
import math
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

MOST_BYTES = 2**30  # of one array
_KINDS = "biuf"
_CHUNK = 2**20  # bytes


class Archive:
    """An npz file with the shape and type of each array, read from their headers alone.

    Raises:
        ValueError: in every member, if the file is no archive of plain arrays, or damaged.
        OSError: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        """Read the headers of the file at `path`."""
        self._path = path
        self.headers: Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]] = self._read_headers()

    def _read_headers(self) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
        found = {}
        with _opened(self._path) as archive:
            for member in archive.namelist():
                if member.endswith(".npy"):
                    with _member(archive, member) as stream:
                        shape, _, dtype = _header(stream)
                    found[member.removesuffix(".npy")] = (shape, dtype)
        return found

    def __contains__(self, name: str) -> bool:
        return name in self.headers

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of an array."""
        return self._known(name)[0]

    def read(self, name: str) -> npt.NDArray[Any]:
        """Return an array of numbers."""
        shape, dtype = self._known(name)
        if dtype.kind not in _KINDS:
            raise ValueError(f"{name}: an array of {dtype}, not of numbers")
        size = dtype.itemsize * math.prod(shape)
        if size > MOST_BYTES:
            raise ValueError(f"{name}: {size} bytes, above the limit of {MOST_BYTES}")
        if not size:
            return np.empty(shape, dtype)
        with _opened(self._path) as archive, _member(archive, f"{name}.npy") as stream:
            _, fortran, _ = _header(stream)
            array: npt.NDArray[Any] = np.empty(shape, dtype, "F" if fortran else "C")  # memory is taken page by page
            room, filled = array.reshape(-1, order="A").view(np.uint8).data, 0
            while filled < size and (count := stream.readinto(room[filled : filled + _CHUNK])):  # type: ignore[attr-defined]
                filled += count
        if filled != size:
            raise ValueError(f"{name}: it ends after {filled} of {size} bytes")
        return array

    def _known(self, name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
        if name not in self.headers:
            raise ValueError(f"it has no array {name!r}")
        return self.headers[name]


def _opened(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError, EOFError) as error:
        raise ValueError(f"no npz archive: {error}") from error


@contextmanager
def _member(archive: zipfile.ZipFile, name: str) -> Iterator[IO[bytes]]:
    """Open a member of an archive; its faults become ValueErrors."""
    try:
        with archive.open(name) as stream:
            yield stream
    # RuntimeError: it is encrypted.
    except (zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError, RuntimeError, KeyError) as error:
        raise ValueError(f"{name}: {error}") from error


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return shape, order (True: Fortran's) and type from the header of an npy file."""
    version = npy.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"npy version {version}, known are 1.0 and 2.0")
    return (npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0)(stream)
