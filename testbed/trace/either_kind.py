"""Reading a trace of either kind, workload or network: its bytes decide, read once, since the file may be a pipe."""

from collections.abc import Iterator
from pathlib import Path

from testbed.trace.files import BYTE_ORDER_MARK, opened
from testbed.trace.link_reading import format_of_line, format_of_name, parse_link_trace, rest_of
from testbed.trace.link_trace import LinkTrace
from testbed.trace.workload import MAX_LINE_BYTES, Arrival, read_lines

_HINT = "give the path of a trace; `trace generate` and `trace generate-link` make some"


def read_any(path: Path | str, *, every_s: float | None = None) -> list[Arrival] | LinkTrace:
    """Read a workload, or a network trace in steps of `every_s`, from a file.

    Raises:
        TraceError: the file is neither, or a faulty trace.
        InputError: the file cannot be read.
    """
    with opened(path, hint=_HINT) as file:
        head = [file.readline(MAX_LINE_BYTES)]
        while head[-1] and not _bare(head[-1]) and len(head) < MAX_LINE_BYTES:
            head.append(file.readline(MAX_LINE_BYTES))
        if not is_workload(_bare(head[-1]), str(path)):
            return parse_link_trace(rest_of(file, b"".join(head), path), str(path), every_s=every_s)

        def lines() -> Iterator[bytes]:
            yield from (line for line in head if line)
            while line := file.readline(MAX_LINE_BYTES):
                yield line

        return read_lines(lines(), str(path))


def _bare(line: bytes) -> bytes:
    return line.removeprefix(BYTE_ORDER_MARK).strip()


def is_workload(line: bytes, name: str) -> bool:
    """True if a file looks like a workload, not like a network trace.

    Its first non-empty `line` decides, or, if that is neither, its `name`.
    """
    if line[:1] == b"{" or format_of_line(line) is not None:
        return line[:1] == b"{"
    return format_of_name(name) is None and name.endswith(".jsonl")
