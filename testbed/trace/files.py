"""Opening files that a user names, to read them or to replace them as a whole."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from node_agent.errors import InputError

BYTE_ORDER_MARK = b"\xef\xbb\xbf"  # some programs put it before UTF-8 text


def nameable(path: Path | str) -> Path:
    """Return the path, ready to be opened. Raises InputError for a null byte, where Python raises a bare ValueError."""
    if "\0" in str(path):
        message = f"{str(path)!r} cannot be read or written: a file name cannot contain a null byte"
        raise InputError(message, hint="give the path of a file")
    return Path(path)


@contextmanager
def opened(path: Path | str, *, hint: str) -> Iterator[BinaryIO]:
    """Open a file for reading, in binary. Raises InputError with the hint if it cannot be opened or read."""
    try:
        with nameable(path).open("rb") as file:
            yield file
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"{path}: cannot be read: {reason}", hint=hint) from error


@contextmanager
def replacing(path: Path | str) -> Iterator[BinaryIO]:
    """Open a file for writing, in binary; it replaces `path` in one step when everything is written.

    A symbolic link at `path` stays, and its target is replaced.

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
            yield file
            os.fchmod(file.fileno(), 0o644)  # mkstemp makes it private; traces are meant to be shared
        os.replace(partial, target)
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"{path}: cannot be written: {reason}", hint="choose another --out") from error
    finally:
        if partial is not None and os.path.exists(partial):
            os.unlink(partial)
