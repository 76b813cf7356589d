"""Tables in numpy's npz format, read without trust: no pickles, and no memory before sizes are known to be sound."""

import math
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import numpy as np

from node_agent.errors import InputError
from node_agent.models.answer_table.arrays import MOST_BYTES, PLAN_ROWS, Values, check_layouts, check_names, short

MOST_MEMBERS, MOST_DIRECTORY_BYTES = 64, 2**16
_CHUNK_BYTES = 2**20
_END, _LARGE_END = b"PK\x05\x06", b"PK\x06\x07"  # end of the archive's directory; the same of archives above 4 GiB
_MOST_HEADER_BYTES = 4096
_REMAKE = "write it again, with numpy.savez or with the script of: dtoee-testbed model exporter"


def read_npz(stream: BinaryIO, file: str, *, from_columns: bool = False) -> dict[str, Values]:
    """Return the arrays of a table by name, with the types that the file has. Their values are not checked.

    Args:
        stream: the file; it can be positioned.
        file: its name in messages.
        from_columns: True if the testbed itself wrote the file, from columns; it may have PLAN_ROWS then.

    Raises:
        InputError: the file is no npz, is damaged or too large, or its arrays have wrong names, types or shapes.
    """
    with _in_one_line(file):
        _check_end(stream, file)
        with zipfile.ZipFile(stream) as archive:
            members = _members(archive, file)
            check_names(file, members.keys() - ({PLAN_ROWS} if from_columns else set()))
            layouts = {}
            for name, member in members.items():
                with _in_one_line(f"{file}: array {name}"):
                    layouts[name] = _layout(archive, member, file)
            check_layouts(file, {name: (dtype, shape) for name, (dtype, shape, _) in layouts.items()})
            arrays = {}
            for name, member in members.items():
                with _in_one_line(f"{file}: array {name}"):
                    arrays[name] = _values(archive, member, *layouts[name])
            return arrays


@contextmanager
def _in_one_line(place: str) -> Iterator[None]:
    """Turn the failures of numpy and of the zip library into an InputError that begins with `place`."""
    try:
        yield
    except (OSError, EOFError, ValueError, TypeError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error,
            struct.error) as error:  # fmt: skip
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{place}: {reason[:200]}", hint=_REMAKE) from error


def _check_end(stream: BinaryIO, file: str) -> None:
    """Check the size of the archive's directory, which the zip library reads whole."""
    size = stream.seek(0, 2)
    if size > MOST_BYTES + MOST_DIRECTORY_BYTES:
        raise InputError(f"{file}: {size} bytes, more than {MOST_BYTES}", hint="draw a sample of the rows")
    stream.seek(max(0, size - 22 - 2**16))
    tail = stream.read()
    plain = tail[-22:]
    at = len(tail) - 22 if plain.startswith(_END) and plain.endswith(b"\0\0") else tail.rfind(_END)
    if at < 0 or len(tail) - at < 22:
        raise InputError(f"{file}: no npz file, or one that was cut off", hint=_REMAKE)
    entries, directory_bytes = struct.unpack_from("<HI", tail, at + 10)
    if (
        entries > MOST_MEMBERS
        or directory_bytes > MOST_DIRECTORY_BYTES
        or tail[max(0, at - 20) : at].startswith(_LARGE_END)
    ):
        raise InputError(f"{file}: an archive of {entries} or more files", hint=_REMAKE)


def _members(archive: zipfile.ZipFile, file: str) -> dict[str, zipfile.ZipInfo]:
    """Return the archive's arrays by name."""
    found: dict[str, zipfile.ZipInfo] = {}
    for member in archive.infolist():
        name = member.filename.removesuffix(".npy")
        if name == member.filename:
            raise InputError(f"{file}: {short(name)} in the archive is no array", hint=_REMAKE)
        if name in found:
            raise InputError(f"{file}: array {short(name)} stands in the archive twice", hint=_REMAKE)
        if member.flag_bits & 1:
            raise InputError(f"{file}: array {short(name)} is encrypted", hint=_REMAKE)
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise InputError(f"{file}: array {short(name)} is compressed by an unusual method", hint=_REMAKE)
        found[name] = member
    return found


def _layout(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, file: str
) -> tuple[np.dtype[np.generic], tuple[int, ...], bool]:
    """Return type, shape and order (True: the first index varies fastest) of an array, from its header."""
    name = member.filename.removesuffix(".npy")
    with archive.open(member) as stream:
        magic = stream.read(8)
        length_bytes = 2 if magic[6:7] == b"\x01" else 4
        header_bytes = int.from_bytes(stream.read(length_bytes), "little")
        if magic[:6] != b"\x93NUMPY" or magic[6:7] not in (b"\x01", b"\x02") or header_bytes > _MOST_HEADER_BYTES:
            raise InputError(f"{file}: array {name} has no header that numpy writes", hint=_REMAKE)
        header = stream.read(header_bytes).decode("latin-1")
    descr = re.search(r"'descr'\s*:\s*'([<>|=]?[a-zA-Z]\d{0,6})'", header)
    order = re.search(r"'fortran_order'\s*:\s*(True|False)", header)
    shape = re.search(r"'shape'\s*:\s*\(([\d,\sL]{0,80})\)", header)
    if not (descr and order and shape):
        raise InputError(f"{file}: array {name}: header {short(header)}", hint=f"only plain arrays are read; {_REMAKE}")
    if "O" in descr[1]:
        hint = "they would have to be unpickled, which can run code; save numbers and strings only"
        raise InputError(f"{file}: array {name} holds Python objects", hint=hint)
    dtype = np.dtype(descr[1])
    sizes = tuple(int(size) for size in re.findall(r"\d+", shape[1]))
    stated = math.prod(sizes) * dtype.itemsize
    found = member.file_size - len(magic) - length_bytes - header_bytes
    if stated != found:
        what = f"{dtype.name} of shape {sizes} has {stated} bytes, the archive has {found}"
        raise InputError(f"{file}: array {name}: {what}", hint=_REMAKE)
    return dtype, sizes, order[1] == "True"


def _values(
    archive: zipfile.ZipFile,
    member: zipfile.ZipInfo,
    dtype: np.dtype[np.generic],
    shape: tuple[int, ...],
    fortran: bool,
) -> Values:
    """Return the content of an array. Raises zipfile.BadZipFile if its checksum differs."""
    array: Values = np.empty(shape[::-1] if fortran else shape, dtype)
    to_fill = array.reshape(-1).view(np.uint8)
    with archive.open(member) as stream:
        stream.read(member.file_size - array.nbytes)  # the header
        at = 0
        while chunk := stream.read(_CHUNK_BYTES):
            to_fill[at : at + len(chunk)] = np.frombuffer(chunk, np.uint8)
            at += len(chunk)
    if at != array.nbytes:
        raise EOFError(f"{at} bytes, its header states {array.nbytes}")
    return array.T if fortran else array
