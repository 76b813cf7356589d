"""A trace file whose first line decides how it is read. It is read once, since it may be a pipe."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from testbed.trace.files import BYTE_ORDER_MARK, bare_suffix, unpacked
from testbed.trace.link_reading import format_of_line, format_of_name, rest_of

MAX_HEAD_BYTES = 1 << 20  # of a line; a table of counts per minute has long ones
_MOST_EMPTY_LINES = 4096
_HINT = "give the path of a trace; `trace generate` and `trace generate-link` make some"


@dataclass(frozen=True, slots=True)
class PeekedFile:
    """An open trace file, of which the lines up to the first non-empty one are known.

    Attributes:
        source: the file's name, for messages.
        first: its first non-empty line, stripped; empty if there is none.
    """

    source: str
    first: bytes
    _file: BinaryIO
    _head: tuple[bytes, ...]

    @property
    def first_line(self) -> int:
        """The number of the first non-empty line, from 1."""
        return max(1, len(self._head))

    def lines(self, most_bytes: int) -> Iterator[bytes]:
        """Yield all lines, from the beginning; those of more than `most_bytes` in parts."""
        yield from self._head
        while line := self._file.readline(most_bytes):
            yield line

    def content(self) -> bytes:
        """Return the bytes of a network trace, from the beginning. Raises TraceError if it is too long."""
        return rest_of(self._file, b"".join(self._head), self.source)


@contextmanager
def peeked(path: Path | str, *, hint: str = _HINT) -> Iterator[PeekedFile]:
    """Open a trace file, packed by gzip or not. Raises InputError if it cannot be read, with the hint."""
    with unpacked(path, hint=hint) as file:
        head = [file.readline(MAX_HEAD_BYTES)]
        while head[-1] and not _bare(head[-1]) and len(head) < _MOST_EMPTY_LINES:
            head.append(file.readline(MAX_HEAD_BYTES))
        yield PeekedFile(str(path), _bare(head[-1]), file, tuple(filter(None, head)))


def is_workload(line: bytes, name: str) -> bool:
    """True if a file looks like a workload in the testbed's own form, not like a network trace.

    Its first non-empty `line` decides, or, if that is neither, its `name`.
    """
    if line[:1] == b"{" or format_of_line(line) is not None:
        return line[:1] == b"{"
    return format_of_name(name) is None and bare_suffix(name) == ".jsonl"


def _bare(line: bytes) -> bytes:
    return line.removeprefix(BYTE_ORDER_MARK).strip()
