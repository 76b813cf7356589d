"""Opening the files that a user names, to read them or to replace them as a whole."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from node_agent.errors import InputError

BYTE_ORDER_MARK = b"\xef\xbb\xbf"  # which some programs put before UTF-8 text


def nameable(path: Path | str) -> Path:
    """The path, to be opened. Raises InputError if no file can have it: Python would only raise a bare ValueError."""
    if "\0" in str(path):
        message = f"{str(path)!r} cannot be read or written: no file has a null byte in its name"
        raise InputError(message, hint="give the path of a file")
    return Path(path)


@contextmanager
def opened(path: Path | str, *, hint: str) -> Iterator[BinaryIO]:
    """A file to read from. Raises InputError with the hint if it cannot be opened or read."""
    try:
        with nameable(path).open("rb") as file:
            yield file
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"{path}: cannot be read: {reason}", hint=hint) from error


@contextmanager
def replacing(path: Path | str) -> Iterator[BinaryIO]:
    """A file to write to, which takes the place of `path` at once when all is written. Raises InputError if it fails.

    A link keeps pointing at the new file; what is no regular file is not replaced.
    """
    partial: str | None = None
    try:
        target = nameable(path).resolve()
        if target.exists() and not target.is_file():
            raise InputError(f"{path}: not a regular file", hint="name a file that may be replaced")
        handle, partial = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        with os.fdopen(handle, "wb") as file:
            yield file
            os.fchmod(file.fileno(), 0o644)  # mkstemp lets nobody else read it; a trace is meant to be shared
        os.replace(partial, target)
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"{path}: cannot be written: {reason}", hint="choose another --out") from error
    finally:
        if partial is not None and os.path.exists(partial):
            os.unlink(partial)
