"""Reading of files that may be hostile: never more at once than a chunk, never beyond the stated end."""

import gzip
import io
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from node_agent.errors import InputError
from node_agent.models.images.image_set import refusal
from node_agent.models.npz_archive import CHUNK_BYTES, MOST_DEFLATE_RATIO

GZIP_MAGIC = b"\x1f\x8b"
AGAIN = "download or copy the file again"


@contextmanager
def reading(path: Path, hint: str = AGAIN) -> Iterator[None]:
    """Turn every failure to read `path` into an InputError that names it."""
    try:
        yield
    except InputError:
        raise
    except (OSError, EOFError, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise refusal(path, " ".join(reason.split()) or "it cannot be read", hint) from error


@contextmanager
def opened(path: Path, hint: str = AGAIN) -> Iterator[io.BufferedReader]:
    """Open a file.

    Raises:
        InputError: it is missing or no regular file, or reading it fails while it is open.
    """
    with reading(path, hint):
        if os.path.exists(path) and not os.path.isfile(path):  # a pipe would never end
            raise refusal(path, "it is no regular file", hint)
        with path.open("rb") as file:
            yield file


@contextmanager
def unpacked(path: Path) -> Iterator[tuple[io.BufferedIOBase, int]]:
    """Open a plain or gzip-compressed file; yield its content, and the most bytes that this can have.

    Raises:
        InputError: as `opened` does.
    """
    with opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        if file.peek(2)[:2] != GZIP_MAGIC:
            yield file, size
            return
        with gzip.GzipFile(fileobj=file, mode="rb") as content:
            yield content, size * MOST_DEFLATE_RATIO


def rows_of(
    stream: io.BufferedIOBase, path: Path, count: int, row_bytes: int
) -> Iterator[tuple[int, npt.NDArray[np.uint8]]]:
    """Yield `count` rows in chunks [k, row_bytes], each with the number of its first row.

    A chunk's memory is used again for the next one.

    Raises:
        InputError: the stream ends before the last row.
    """
    buffer = np.empty((min(count, max(1, CHUNK_BYTES // row_bytes)), row_bytes), dtype=np.uint8)
    first = 0
    while first < count:
        rows = buffer[: count - first]
        got = _fill(stream, rows.data.cast("B"))
        if got < rows.nbytes:
            raise refusal(path, f"it ends early, after {first + got // row_bytes} of {count} images", AGAIN)
        yield first, rows
        first += len(rows)


def _fill(stream: io.BufferedIOBase, view: memoryview) -> int:
    """Fill `view` as far as the stream reaches, and return how many bytes that was."""
    got = 0
    while got < len(view):
        try:
            count = stream.readinto1(view[got:])
        except EOFError:  # a compressed stream that was cut off
            break
        if not count:
            break
        got += count
    return got


def expect_end(stream: io.BufferedIOBase, path: Path, count: int) -> None:
    """Raise InputError if the stream goes on after its `count` images; at most one byte more is decompressed."""
    if stream.read(1):
        raise refusal(path, f"it goes on after the {count} images that it states", AGAIN)
