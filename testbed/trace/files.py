"""Opening files that a user names, to read them or to replace them as a whole; gzip is unpacked and packed."""

import gzip
import io
import os
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from node_agent.errors import InputError

BYTE_ORDER_MARK = b"\xef\xbb\xbf"  # some programs put it before UTF-8 text
GZIP_MARK = b"\x1f\x8b"
GZIP_SUFFIX = ".gz"
_GZIP_LEVEL = 6
_BUFFER_BYTES = 1 << 20


def nameable(path: Path | str) -> Path:
    """Return the path, ready to be opened. Raises InputError for a null byte, where Python raises a bare ValueError."""
    if "\0" in str(path):
        message = f"{str(path)!r} cannot be read or written: a file name cannot contain a null byte"
        raise InputError(message, hint="give the path of a file")
    return Path(path)


@contextmanager
def opened(path: Path | str, *, hint: str) -> Iterator[io.BufferedReader]:
    """Open a file for reading, in binary. Raises InputError with the hint if it cannot be opened or read."""
    try:
        with nameable(path).open("rb") as file:
            yield file
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"{path}: cannot be read: {reason}", hint=hint) from error


@contextmanager
def unpacked(path: Path | str, *, hint: str) -> Iterator[BinaryIO]:
    """Open a trace for reading, in binary. A file that begins as gzip does is unpacked, whatever its name.

    Raises:
        InputError: the file cannot be opened or read, with the hint; or its gzip data is damaged or cut off.
    """
    with opened(path, hint=hint) as file:
        if file.peek(len(GZIP_MARK))[: len(GZIP_MARK)] != GZIP_MARK:
            yield file
            return
        try:
            with io.BufferedReader(gzip.GzipFile(fileobj=file, mode="rb"), _BUFFER_BYTES) as inner:
                yield inner
        except EOFError:
            again = "copy or download the file again"
            raise InputError(f"{path}: cannot be read: its gzip data is cut off", hint=again) from None
        except (gzip.BadGzipFile, zlib.error) as error:
            hint = "try gzip --test; copy or download the file again"
            raise InputError(f"{path}: cannot be read: its gzip data is damaged: {error}", hint=hint) from None


def bare_suffix(name: Path | str) -> str:
    """Return the suffix of a file's name in lower case, that before .gz if there is one."""
    path = Path(str(name).lower())
    return path.with_suffix("").suffix if path.suffix == GZIP_SUFFIX else path.suffix


@contextmanager
def replacing(path: Path | str) -> Iterator[BinaryIO]:
    """Open a file for writing, in binary; it replaces `path` in one step when everything is written.

    A symbolic link at `path` stays, and its target is replaced. What is written to a name with .gz is packed; equal
    contents give equal files.

    Raises:
        InputError: the file cannot be written, or `path` is not a regular file.
    """
    partial: str | None = None
    try:
        target = nameable(path).resolve()
        if target.exists() and not target.is_file():
            raise InputError(f"{path}: not a regular file", hint="name a new file, or a regular file to replace")
        handle, partial = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        with os.fdopen(handle, "wb") as file:
            if str(path).lower().endswith(GZIP_SUFFIX):
                packed = gzip.GzipFile(filename="", mode="wb", compresslevel=_GZIP_LEVEL, fileobj=file, mtime=0)
                with packed, io.BufferedWriter(cast(io.RawIOBase, packed), _BUFFER_BYTES) as buffered:
                    yield buffered
            else:
                yield file
            os.fchmod(file.fileno(), 0o644)  # mkstemp makes it private; traces are meant to be shared
        os.replace(partial, target)
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"{path}: cannot be written: {reason}", hint="choose another --out") from error
    finally:
        if partial is not None and os.path.exists(partial):
            os.unlink(partial)
