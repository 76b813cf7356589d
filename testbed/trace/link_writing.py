"""Writing network traces in the formats that `link_reading` reads, and their figures."""

import math
from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import TypedDict

from node_agent.errors import InputError
from testbed.trace.files import replacing
from testbed.trace.link_reading import EVERY_S, MAX_BYTES, MAX_STEPS, TraceFormat, parse_link_trace
from testbed.trace.link_trace import SEGMENT_MBIT, LinkTrace
from testbed.trace.outages import least_rates_mbit_per_s

MOST_PACKETS = MAX_BYTES // 8


class LinkTraceFigures(TypedDict):
    """A link trace in numbers; rates, delays and loss are None if the trace does not state them.

    Means are weighted by time. `outage_share` is the share of the time in which the rate is below the least emulated
    one.
    """

    duration_s: float
    steps: int
    mean_rate_mbit_per_s: float | None
    least_rate_mbit_per_s: float | None
    greatest_rate_mbit_per_s: float | None
    outage_share: float | None
    longest_outage_s: float | None
    mean_delay_s: float | None
    greatest_delay_s: float | None
    mean_loss: float | None


def figures(trace: LinkTrace) -> LinkTraceFigures:
    """Return the figures of a link trace that `trace inspect` prints."""
    lengths_s = trace.lengths_s()

    def mean(series: tuple[float, ...] | None) -> float | None:
        if series is None:
            return None
        return math.fsum(value * length_s for value, length_s in zip(series, lengths_s, strict=True)) / trace.length_s

    rates, delays = trace.rate_mbit_per_s, trace.delay_s
    outages = None if rates is None else list(_outages_s(trace, rates))
    return LinkTraceFigures(
        duration_s=trace.length_s,
        steps=len(trace.starts_s),
        mean_rate_mbit_per_s=mean(rates),
        least_rate_mbit_per_s=None if rates is None else min(rates),
        greatest_rate_mbit_per_s=None if rates is None else max(rates),
        outage_share=None if outages is None else math.fsum(outages) / trace.length_s,
        longest_outage_s=None if outages is None else max(outages, default=0.0),
        mean_delay_s=mean(delays),
        greatest_delay_s=None if delays is None else max(delays),
        mean_loss=mean(trace.loss),
    )


def _outages_s(trace: LinkTrace, rates: tuple[float, ...]) -> Iterator[float]:
    """Yield the length of each outage [s]."""
    lasted_s = 0.0
    least = least_rates_mbit_per_s(trace, rates)
    for rate, length_s, least_rate in zip(rates, trace.lengths_s(), least, strict=True):
        if rate < least_rate:
            lasted_s += length_s
        elif lasted_s:
            yield lasted_s
            lasted_s = 0.0
    if lasted_s:
        yield lasted_s


def write_link_trace(path: Path | str, trace: LinkTrace, form: TraceFormat) -> None:
    """Write a trace; a file of that name is replaced in one step when everything is written.

    A time series loses nothing. Mahimahi packet deliveries keep only the rate, and its volume up to one packet. A rest
    of a packet at the end counts as a packet, and the trace always ends with one, which marks its length.

    Raises:
        InputError: the trace cannot be written, not in this format, or could not be read again.
    """
    content = b"".join(_csv_lines(trace) if form == "csv" else _mahimahi_lines(trace))
    _check_readable(content, str(path), form, trace.length_s)
    with replacing(path) as file:
        file.write(content)


def _check_readable(content: bytes, source: str, form: TraceFormat, length_s: float) -> None:
    """Raise InputError if the reader would refuse the content.

    Decision 053: a written trace is read back before it replaces a file
    (docs/decisions/053-traces-are-read-back-before-writing.md).
    """
    hint = "use longer steps, a part of the trace, or lower rates and delays"
    if len(content) > MAX_BYTES:
        raise InputError(f"{source}: not written: it would be longer than {MAX_BYTES >> 20} MiB", hint=hint)
    every_s = math.ceil(max(EVERY_S, length_s / MAX_STEPS) * 1000) / 1000 if form == "mahimahi" else None
    try:
        parse_link_trace(content, source, form, every_s=every_s)
    except InputError as error:
        raise InputError(f"not written, since it could not be read again: {error}", hint=hint) from error


def left_out(trace: LinkTrace, form: TraceFormat) -> tuple[str, ...]:
    """Return the names of what a format does not keep of a trace."""
    if form == "csv":
        return ()
    told = {"delay": trace.delay_s, "jitter": trace.jitter_s, "loss": trace.loss}
    return tuple(name for name, series in told.items() if series is not None)


def _csv_lines(trace: LinkTrace) -> Iterator[bytes]:
    names = ("rate_mbit_per_s", "delay_s", "jitter_s", "loss")
    told = [name for name in names if getattr(trace, name) is not None]
    columns: list[tuple[float, ...]] = [getattr(trace, name) for name in told]
    starts_s, rows = list(trace.starts_s), list(zip(*columns, strict=True))
    last_s = trace.length_s - starts_s[-1]
    if len(starts_s) == 1 or not math.isclose(last_s, starts_s[-1] - starts_s[-2], rel_tol=1e-9):
        # To a reader, the last row holds as long as the one before: two halves keep its true length.
        starts_s.append(starts_s[-1] + last_s / 2)
        rows.append(rows[-1])
    yield (",".join(("time_s", *told)) + "\n").encode()
    for start_s, row in zip(starts_s, rows, strict=True):
        yield (",".join(f"{value!r}" for value in (start_s, *row)) + "\n").encode()


def _mahimahi_lines(trace: LinkTrace) -> Iterator[bytes]:
    rates = trace.rate_mbit_per_s
    if rates is None:
        raise InputError("a trace without rates has no mahimahi form", hint="write a time series: --format csv")
    volumes = [rate * length_s / SEGMENT_MBIT for rate, length_s in zip(rates, trace.lengths_s(), strict=True)]
    until = [0.0, *accumulate(volumes)]  # packets that can be delivered by the begin of each step, and by the end
    packets = math.ceil(until[-1] - 1e-6)
    if packets > MOST_PACKETS:
        raise InputError(
            f"{packets} packets are too many for a mahimahi trace", hint=f"at most {MOST_PACKETS}: use a part of it"
        )
    length_ms = max(1, math.ceil(trace.length_s * 1000 - 1e-6))
    last_ms = 0
    for packet in range(1, packets + 1):
        step = min(len(rates), bisect_left(until, packet - 1e-9)) - 1
        rate_per_s = rates[step] / SEGMENT_MBIT
        at_s = trace.starts_s[step] + (packet - until[step]) / rate_per_s if rate_per_s else trace.length_s
        last_ms = max(last_ms, min(length_ms, math.ceil(at_s * 1000 - 1e-6)))
        if packet == packets and until[-1] < packets - 1e-6:
            last_ms = length_ms
        yield b"%d\n" % last_ms
    if last_ms < length_ms:
        yield b"%d\n" % length_ms
