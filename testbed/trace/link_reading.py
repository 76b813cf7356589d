"""Reading and checking network traces.

Two formats are read:

- mahimahi packet deliveries: a line is the whole millisecond at which one packet of 1500 bytes can be delivered. Times
  do not fall, several packets in one millisecond are several lines, and the trace repeats after its last time.
- A time series (CSV): a header, then rows of numbers. Columns are `time_s`, and at least one of `rate_mbit_per_s`,
  `delay_ms` (or `delay_s`), `jitter_ms` (or `jitter_s`) and `loss` (0..1). A row holds until the next one, the last row
  as long as the one before it. Times rise and count from the first row.
"""

import math
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path
from typing import BinaryIO, Literal

from node_agent.errors import InputError
from testbed.sizes import SEGMENT_BYTES
from testbed.trace.error import TraceError
from testbed.trace.files import BYTE_ORDER_MARK, bare_suffix, unpacked
from testbed.trace.link_trace import MOST_DELAY_S, MOST_MBIT_PER_S, LinkTrace, exact_s
from testbed.wording import shortened

TraceFormat = Literal["mahimahi", "csv"]

MAX_BYTES = 16 << 20
MAX_STEPS = 200_000
MAX_LINE_BYTES = 4096
MAX_TIME_S = 1e7
EVERY_S = 0.1
LEAST_STEP_MS = 10

_SUFFIXES: Mapping[str, TraceFormat] = {
    ".csv": "csv", ".mahi": "mahimahi", ".mahimahi": "mahimahi", ".up": "mahimahi", ".down": "mahimahi",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of a time series: the field of the trace, the factor to its base unit, the greatest value allowed."""

    name: str
    field: str
    factor: float
    most: float


_COLUMNS: Mapping[str, _Column] = {
    column.name: column
    for column in (
        _Column("time_s", "time_s", 1.0, 1e12),  # room for seconds since 1970
        _Column("rate_mbit_per_s", "rate_mbit_per_s", 1.0, MOST_MBIT_PER_S),
        _Column("delay_ms", "delay_s", 1e-3, MOST_DELAY_S * 1e3),
        _Column("delay_s", "delay_s", 1.0, MOST_DELAY_S),
        _Column("jitter_ms", "jitter_s", 1e-3, MOST_DELAY_S * 1e3),
        _Column("jitter_s", "jitter_s", 1.0, MOST_DELAY_S),
        _Column("loss", "loss", 1.0, 0.99),
    )
}
_CSV_HINT = "a header such as time_s,rate_mbit_per_s,delay_ms; then rows of numbers whose times rise"
_WORKLOAD_HINT = "give it to run --trace; links follow mahimahi packet deliveries or a time series (CSV)"
_MAHIMAHI_HINT = "each line is the millisecond at which a packet can be delivered; times do not fall"


def whole_step_s(every_s: float) -> float:
    """Return a step length [s], exact to the millisecond.

    Raises:
        InputError: it is not a whole number of milliseconds, or below LEAST_STEP_MS.
    """
    step_ms = every_s * 1000
    if not step_ms >= LEAST_STEP_MS or abs(step_ms - round(step_ms)) > 1e-6:
        message = f"a step takes a whole number of milliseconds, {LEAST_STEP_MS} or more, not {step_ms:g}"
        raise InputError(message, hint="for example 100 ms")
    return round(step_ms) / 1000


def read_bytes(path: Path | str) -> bytes:
    """Return a trace file's content. Raises InputError if it cannot be read, TraceError if it is too long."""
    with unpacked(path, hint="give the path of a network trace") as file:
        return rest_of(file, b"", path)


def rest_of(file: BinaryIO, head: bytes, path: Path | str) -> bytes:
    """Return the content of an open trace file, of which `head` has been read. Raises TraceError if it is too long."""
    content = head + file.read(MAX_BYTES + 1 - len(head))
    if len(content) > MAX_BYTES:
        raise TraceError([f"{path}: longer than {MAX_BYTES >> 20} MiB"], hint="use a part of it")
    return content


def parse_link_trace(
    content: bytes, source: str, form: TraceFormat | None = None, *, every_s: float | None = None
) -> LinkTrace:
    """Parse the network trace in a file's content.

    Args:
        content: the bytes of the file.
        source: the file's name, for messages and to find the format.
        form: the format; None means by the file's name or content.
        every_s: step length [s], a whole number of milliseconds. None means 0.1 s for mahimahi, and the rows as they
            are for a time series.

    Raises:
        TraceError: the content is not such a trace; it names the first problem as file:line.
        InputError: `every_s` is no step length.
    """
    every_s = None if every_s is None else whole_step_s(every_s)
    _refuse_workload(content, source)
    if form is None:
        form = guess_format(content, source)
    if form == "mahimahi":
        return _read_mahimahi(content, source, EVERY_S if every_s is None else every_s)
    trace = _read_csv(content, source)
    if every_s is None:
        return trace
    if trace.length_s / every_s > MAX_STEPS:
        raise _too_many_steps(source, len(trace.starts_s))
    return trace.averaged(every_s)


def format_of_name(name: str) -> TraceFormat | None:
    """Return the format that a file's suffix stands for, apart from .gz; None for other suffixes."""
    return _SUFFIXES.get(bare_suffix(name))


def guess_format(content: bytes, source: str) -> TraceFormat:
    """Return the format of a file, by its name or content. Raises TraceError if neither decides."""
    _refuse_workload(content, source)
    first = _first_line(content)
    found = format_of_name(source) or format_of_line(first)
    if found is not None:
        return found
    raise TraceError(
        [f"{source}:1: neither mahimahi packet deliveries nor a time series"] if first else [f"{source}:1: empty"],
        hint=f"{_MAHIMAHI_HINT}; a time series begins with time_s,rate_mbit_per_s, and a workload trace with {{",
    )


def _refuse_workload(content: bytes, source: str) -> None:
    if _first_line(content)[:1] == b"{":
        raise TraceError([f"{source}:1: a workload trace, not a network trace"], hint=_WORKLOAD_HINT)


def _first_line(content: bytes) -> bytes:
    return content.removeprefix(BYTE_ORDER_MARK).lstrip()[:MAX_LINE_BYTES].split(b"\n", 1)[0].strip()


def format_of_line(line: bytes) -> TraceFormat | None:
    """Return the format of a network trace by its first line: a number, or names of columns; None if neither."""
    if line.isdigit():
        return "mahimahi"
    return "csv" if any(cell.strip().decode(errors="replace") in _COLUMNS for cell in line.split(b",")) else None


def _read_mahimahi(content: bytes, source: str, every_s: float) -> LinkTrace:
    """Count packets per interval (begin, end], a packet at 0 ms in the first; the last packet ends the trace.

    Intervals longer than usual are cut at lulls, as in `LinkTrace.averaged`.
    """
    every_ms = round(every_s * 1000)
    times_ms = array("Q")
    last_ms = 0
    for number, word in _lines(content, source):
        if not word.isdigit():
            message = f"{source}:{number}: not a whole number of milliseconds: {_shown(word)}"
            raise TraceError([message], hint=_MAHIMAHI_HINT)
        at_ms = int(word) if len(word) <= 12 else 10**12
        if at_ms > MAX_TIME_S * 1000:
            message = f"{source}:{number}: {_shown(word)} ms is beyond {MAX_TIME_S:.0e} s"
            raise TraceError([message], hint=_MAHIMAHI_HINT)
        if at_ms < last_ms:
            message = f"{source}:{number}: times fall: {at_ms} ms follows {last_ms} ms{_cut_off(content, number)}"
            raise TraceError([message], hint=_MAHIMAHI_HINT)
        last_ms = at_ms
        if -(-at_ms // every_ms) > MAX_STEPS:
            raise _too_many_steps(source, number)
        times_ms.append(at_ms)
    if not times_ms:
        raise TraceError([f"{source}:1: empty"], hint=_MAHIMAHI_HINT)
    if last_ms == 0:
        raise TraceError([f"{source}:1: the trace has no length: all packets come at 0 ms"], hint=_MAHIMAHI_HINT)
    edges_ms = set(range(0, last_ms, every_ms))
    usual_ms = round(EVERY_S * 1000)
    if every_ms > usual_ms:
        for earlier_ms, later_ms in pairwise(chain((0,), times_ms)):
            begin_ms, end_ms = -(-earlier_ms // usual_ms) * usual_ms, (later_ms - 1) // usual_ms * usual_ms
            if begin_ms < end_ms:
                edges_ms |= {begin_ms, end_ms}
        if len(edges_ms) > 2 * MAX_STEPS:
            raise _too_many_steps(source, 1)
    starts_ms = sorted(edges_ms)
    until = [0, *(bisect_right(times_ms, edge_ms) for edge_ms in starts_ms[1:]), len(times_ms)]
    # A single division of whole numbers, so that equal rates are equal to the last digit for any step length.
    rates = [
        (after - before) * SEGMENT_BYTES * 8 / ((end_ms - begin_ms) * 1000)
        for (begin_ms, end_ms), (before, after) in zip(pairwise((*starts_ms, last_ms)), pairwise(until), strict=True)
    ]
    return LinkTrace(tuple(start / 1000 for start in starts_ms), last_ms / 1000, tuple(rates))


def _read_csv(content: bytes, source: str) -> LinkTrace:
    lines = _lines(content, source)
    number, header = next(lines, (1, b""))
    if not header:
        raise TraceError([f"{source}:1: empty"], hint=_CSV_HINT)
    columns = _columns([cell.strip().decode(errors="replace") for cell in header.split(b",")], f"{source}:{number}")
    series: dict[str, list[float]] = {field: [] for field in columns}
    times_s = series["time_s"]
    for number, line in lines:
        where = f"{source}:{number}"
        cells = line.split(b",")
        if len(cells) != len(columns):
            message = f"{where}: {len(cells)} values for {len(columns)} columns{_cut_off(content, number)}"
            raise TraceError([message], hint=_CSV_HINT)
        named = zip(columns.values(), cells, strict=True)
        row = {column.field: _number(column, cell, where) for column, cell in named}
        if times_s and not row["time_s"] > times_s[-1]:
            message = f"{where}: times must rise: {row['time_s']:g} s follows {times_s[-1]:g} s"
            raise TraceError([message], hint=_CSV_HINT)
        if row.get("jitter_s", 0.0) > row.get("delay_s", math.inf):
            message = f"{where}: the jitter ({row['jitter_s']:g} s) exceeds the delay ({row['delay_s']:g} s)"
            raise TraceError([message], hint="lower the jitter")
        for field, value in row.items():
            series[field].append(value)
        if len(times_s) > MAX_STEPS:
            raise _too_many_steps(source, number)
    if len(times_s) < 2:
        what = "no row" if not times_s else "only one row: how long it holds is unknown"
        raise TraceError([f"{source}:{number}: {what}"], hint=_CSV_HINT)
    starts_s = tuple(exact_s(time_s - times_s[0]) for time_s in times_s)
    if any(later <= earlier for earlier, later in pairwise(starts_s)) or starts_s[-1] > MAX_TIME_S:
        message = f"{source}:{number}: steps of less than a nanosecond, or a trace of more than {MAX_TIME_S:.0e} s"
        raise TraceError([message], hint=_CSV_HINT)
    told = {field: tuple(values) for field, values in series.items() if field != "time_s"}
    return LinkTrace(starts_s, exact_s(2 * starts_s[-1] - starts_s[-2]), **told)


def _columns(names: Sequence[str], where: str) -> dict[str, _Column]:
    """Return the columns of a header in order, by the field that they fill."""
    columns: dict[str, _Column] = {}
    for name in names:
        column = _COLUMNS.get(name)
        if column is None:
            shown = name[:40] if name.isprintable() else "unprintable"
            raise TraceError([f"{where}: unknown column {shown!r}"], hint=f"known are {', '.join(_COLUMNS)}")
        if column.field in columns:
            raise TraceError([f"{where}: two columns for {column.field}"], hint="keep one of them")
        columns[column.field] = column
    if "time_s" not in columns or len(columns) == 1:
        missing = "rate_mbit_per_s" if "time_s" in columns else "time_s"
        raise TraceError([f"{where}: there is no column {missing}"], hint=_CSV_HINT)
    return columns


def _number(column: _Column, cell: bytes, where: str) -> float:
    """Return a cell's value in the base unit."""
    text = cell.strip()
    try:
        # Python's float also accepts underscores and infinity, which a trace does not mean.
        value = math.nan if b"_" in text else float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise TraceError([f"{where}: {column.name} must be a number, not {_shown(text)}"], hint=_CSV_HINT)
    if value < 0 and column.field != "time_s":
        raise TraceError([f"{where}: {column.name} must not be negative: {_shown(text)}"], hint=_CSV_HINT)
    if abs(value) > column.most:
        raise TraceError([f"{where}: {column.name} may be {column.most:g} at most, not {_shown(text)}"], hint=_CSV_HINT)
    return value * column.factor


def _cut_off(content: bytes, line: int) -> str:
    """Return the addition to an error message if `line` is the last one and has no end."""
    last = content.count(b"\n") + 1
    return " (the file is cut off)" if line == last and not content.endswith(b"\n") else ""


def _lines(content: bytes, source: str) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of a file with their numbers, stripped; empty lines may stand at the end only."""
    empty = 0
    begin = 0
    number = 0
    content = content.removeprefix(BYTE_ORDER_MARK)
    while begin < len(content):
        number += 1
        end = content.find(b"\n", begin)
        end = len(content) if end < 0 else end
        if end - begin > MAX_LINE_BYTES:
            raise TraceError([f"{source}:{number}: longer than {MAX_LINE_BYTES} bytes"], hint="is it a text file?")
        line = content[begin:end].strip()
        begin = end + 1
        if b"\0" in line:
            raise TraceError([f"{source}:{number}: not text"], hint="a network trace is a text file")
        if not line:
            empty = empty or number
            continue
        if empty:
            raise TraceError([f"{source}:{empty}: empty line"], hint="remove it")
        yield number, line


def _too_many_steps(source: str, line: int) -> TraceError:
    hint = "use longer steps (every 1 s), or a part of the trace"
    return TraceError([f"{source}:{line}: more than {MAX_STEPS} steps"], hint=hint)


def _shown(word: bytes) -> str:
    return repr(shortened(word.decode(errors="replace"), 40))
