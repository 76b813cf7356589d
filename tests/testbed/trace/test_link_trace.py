"""Network traces: reading both formats, errors with their place, averaging, writing and synthesis."""

import math
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from node_agent.errors import InputError
from testbed.sizes import SEGMENT_BYTES
from testbed.trace import link_reading
from testbed.trace.error import TraceError
from testbed.trace.inspection.examining import ExaminedWorkload, examine
from testbed.trace.link_reading import guess_format, parse_link_trace, read_bytes
from testbed.trace.link_synthesis import Fading, synthesise
from testbed.trace.link_trace import LinkTrace
from testbed.trace.link_writing import figures, left_out, write_link_trace
from testbed.trace.outages import outage_rate_mbit_per_s
from testbed.trace.peeked import is_workload
from testbed.trace.workload import read_trace

PACKET_MBIT = SEGMENT_BYTES * 8e-6


def read_link_trace(path: Path | str, every_s: float | None = None) -> LinkTrace:
    """The trace in a file."""
    return parse_link_trace(read_bytes(path), str(path), every_s=every_s)


def volume_mbit(trace: LinkTrace) -> float:
    assert trace.rate_mbit_per_s is not None
    return math.fsum(rate * length for rate, length in zip(trace.rate_mbit_per_s, trace.lengths_s(), strict=True))


def test_packet_deliveries_become_rates() -> None:
    # Two packets in (0, 100] ms, one of them at the edge; none in the next interval; one in the last, shorter one.
    trace = parse_link_trace(b"30\n100\n250\n", "t")
    assert trace.starts_s == (0.0, 0.1, 0.2)
    assert trace.length_s == 0.25
    assert trace.rate_mbit_per_s == pytest.approx((2 * PACKET_MBIT / 0.1, 0.0, PACKET_MBIT / 0.05))
    assert trace.delay_s is None


def test_several_packets_may_come_in_one_millisecond_and_at_its_begin() -> None:
    trace = parse_link_trace(b"0\n0\r\n5\n5\n5\n\n", "t", every_s=0.01)
    assert (trace.length_s, trace.rate_mbit_per_s) == (0.005, pytest.approx((5 * PACKET_MBIT / 0.005,)))


def test_a_time_series_is_a_step_function() -> None:
    text = b"time_s, rate_mbit_per_s, delay_ms, jitter_ms, loss\n10,5,20,1,0\n12.5,0,30,2,0.1\n13,7.5,20,0,0\n"
    trace = parse_link_trace(text, "t.csv")
    assert trace == LinkTrace(
        (0.0, 2.5, 3.0), 3.5, (5.0, 0.0, 7.5), (0.02, 0.03, 0.02), (0.001, 0.002, 0.0), (0.0, 0.1, 0.0)
    )
    assert [trace.at(time_s) for time_s in (0.0, 2.49, 2.5, 3.4)] == [0, 0, 1, 2]


def test_delays_alone_are_a_trace() -> None:
    trace = parse_link_trace(b"\xef\xbb\xbftime_s,delay_s\n0,0.1\n1,0.2\n", "t.csv")
    assert (trace.rate_mbit_per_s, trace.delay_s) == (None, (0.1, 0.2))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "t.csv:1: empty"),
        (b"\n\n", "t.csv:1: empty"),
        (b"time_s,rate_mbit_per_s\n", "t.csv:1: no row"),
        (b"time_s,rate_mbit_per_s\n0,1\n", "t.csv:2: only one row"),
        (b"time_s,rate\n0,1\n", "t.csv:1: unknown column 'rate'"),
        (b"rate_mbit_per_s,loss\n0,1\n", "t.csv:1: there is no column time_s"),
        (b"time_s\n0\n1\n", "t.csv:1: there is no column rate_mbit_per_s"),
        (b"time_s,delay_s,delay_ms\n", "t.csv:1: two columns for delay_s"),
        (b"time_s,time_s\n", "t.csv:1: two columns for time_s"),
        (b"time_s,rate_mbit_per_s\n0,1\n1,fast\n", "t.csv:3: rate_mbit_per_s must be a number, not 'fast'"),
        (b"time_s,rate_mbit_per_s\n0,1\n1,\n", "t.csv:3: rate_mbit_per_s must be a number, not ''"),
        (b"time_s,rate_mbit_per_s\n0,nan\n1,2\n", "t.csv:2: rate_mbit_per_s must be a number"),
        (b"time_s,rate_mbit_per_s\n0,inf\n1,2\n", "t.csv:2: rate_mbit_per_s must be a number"),
        (b"time_s,rate_mbit_per_s\n0,1_0\n1,2\n", "t.csv:2: rate_mbit_per_s must be a number"),
        (b"time_s,rate_mbit_per_s\n0,1\n1,-2\n", "t.csv:3: rate_mbit_per_s must not be negative"),
        (b"time_s,rate_mbit_per_s\n0,1\n1,1e6\n", "t.csv:3: rate_mbit_per_s may be 100000 at most"),
        (b"time_s,delay_ms\n0,1\n1,60001\n", "t.csv:3: delay_ms may be 60000 at most"),
        (b"time_s,delay_ms,loss\n0,1,0\n1,1,1\n", "t.csv:3: loss may be 0.99 at most"),
        (b"time_s,delay_ms,jitter_ms\n0,9,0\n1,1,2\n", "t.csv:3: the jitter (0.002 s) exceeds the delay (0.001 s)"),
        (b"time_s,rate_mbit_per_s\n0,1\n0,2\n", "t.csv:3: times must rise: 0 s follows 0 s"),
        (b"time_s,rate_mbit_per_s\n5,1\n4,2\n", "t.csv:3: times must rise: 4 s follows 5 s"),
        (b"time_s,rate_mbit_per_s\n0,1\n1e-12,2\n", "t.csv:3: steps of less than a nanosecond"),
        (b"time_s,rate_mbit_per_s\n0,1\n1e9,2\n", "t.csv:3: steps of less than a nanosecond, or a trace of more"),
        (b"time_s,rate_mbit_per_s\n0,1\n1e300,2\n", "t.csv:3: time_s may be 1e+12 at most"),
        (b"time_s,rate_mbit_per_s\n0,1\n1", "t.csv:3: 1 values for 2 columns (the file is cut off)"),
        (b"time_s,rate_mbit_per_s\n0,1,2\n", "t.csv:2: 3 values for 2 columns"),
        (b"time_s,rate_mbit_per_s\n0,1\n\n2,3\n", "t.csv:3: empty line"),
        (b"time_s,rate_mbit_per_s\n0,1\0\n", "t.csv:2: not text"),
        (b"time_s,rate_mbit_per_s\n0,\xff\n", "t.csv:2: rate_mbit_per_s must be a number"),
        (b"time_s,\x1b[31mred\n", "t.csv:1: unknown column 'unprintable'"),
        (b"time_s," + b"x" * 5000, "t.csv:1: longer than 4096 bytes"),
        (b"5\n6\n", "t.csv:1: unknown column '5'"),
        (b"", "t.mahi:1: empty"),
        (b"0\n0\n", "t.mahi:1: the trace has no length"),
        (b"5\n-6\n", "t.mahi:2: not a whole number of milliseconds: '-6'"),
        (b"5\n6.5\n", "t.mahi:2: not a whole number of milliseconds: '6.5'"),
        (b"5\nsix\n", "t.mahi:2: not a whole number of milliseconds: 'six'"),
        (b"5\n6 7\n", "t.mahi:2: not a whole number of milliseconds: '6 7'"),
        (b"time_s,rate_mbit_per_s\n", "t.mahi:1: not a whole number"),
        ("5\n²\n".encode(), "t.mahi:2: not a whole number"),
        (b"5\n4\n", "t.mahi:2: times fall: 4 ms follows 5 ms"),
        (b"100\n120\n12", "t.mahi:3: times fall: 12 ms follows 120 ms (the file is cut off)"),
        (b"5\n\n6\n", "t.mahi:2: empty line"),
        (b"5\n" + b"9" * 50 + b"\n", "t.mahi:2: '" + "9" * 39 + "…' ms is beyond"),
        (b"5\n" + b"9" * 5000, "t.mahi:2: longer than 4096 bytes"),
        (b"5\n9999999999\n", "t.mahi:2: more than 200000 steps"),
        (b"\x7fELF\0\0", "t.mahi:1: not text"),
        (b"\x89PNG\r\n\0", "t:1: neither mahimahi packet deliveries nor a time series"),
        (b"", "t:1: empty"),
        (b'{"time_s": 1, "device": "cam", "sample": 1}\n', "t:1: a workload trace"),
    ],
)
def test_what_is_wrong_is_told_in_one_line_with_its_place(content: bytes, said: str) -> None:
    with pytest.raises(TraceError) as caught:
        parse_link_trace(content, said.split(":", 1)[0])
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)
    assert str(caught.value).isprintable()
    assert caught.value.exit_code == 3


def test_memory_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TraceError, match="/dev/zero: longer than 16 MiB"):
        read_link_trace("/dev/zero")
    monkeypatch.setattr(link_reading, "MAX_STEPS", 3)
    rows = b"time_s,rate_mbit_per_s\n" + b"".join(b"%d,1\n" % second for second in range(4))
    with pytest.raises(TraceError, match="t:5: more than 3 steps"):
        parse_link_trace(rows, "t")
    with pytest.raises(TraceError, match="more than 3 steps"):
        parse_link_trace(rows[:-4], "t", every_s=0.5)
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_link_trace(tmp_path / "absent")
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        read_link_trace(tmp_path)


@pytest.mark.parametrize("every_s", [0.0, 0.009, 0.0105, -1.0, math.nan])
def test_impossible_steps_are_refused(every_s: float) -> None:
    with pytest.raises(InputError, match="whole number of milliseconds"):
        parse_link_trace(b"5\n6\n", "t", every_s=every_s)


@given(st.binary(max_size=200), st.sampled_from(["t", "t.csv", "t.mahi"]))
@settings(max_examples=200, deadline=None)
def test_no_file_makes_it_fail_otherwise(content: bytes, name: str) -> None:
    with suppress(TraceError):
        trace = parse_link_trace(content, name)
        assert trace.starts_s[0] == 0
        assert all(length > 0 for length in trace.lengths_s())


def test_the_format_is_told_by_name_or_content() -> None:
    assert guess_format(b"1\n", "x.CSV") == "csv"
    assert guess_format(b"time_s", "x.down") == "mahimahi"
    assert guess_format(b"12\n13\n", "x.txt") == "mahimahi"
    assert guess_format(b"time_s,delay_s\n", "x.txt") == "csv"
    for line, workload in ((b"12", False), (b"time_s,", False), (b'{"time_s"', True), (b"", False), (b"?", False)):
        assert is_workload(line, "t") == workload
    for name, workload in (("t.jsonl", True), ("t.csv", False), ("t.txt", False)):  # the bytes do not decide
        assert is_workload(b"?", name) == workload


# Averages ---------------------------------------------------------------------------------------------------------

rates = st.lists(st.floats(0, 200).map(lambda rate: round(rate, 3)), min_size=2, max_size=30)


def test_a_byte_order_mark_and_the_order_of_columns_do_not_hide_the_format(tmp_path: Path) -> None:
    file = tmp_path / "trace.txt"
    for content, form in (
        (b"\xef\xbb\xbf10\n20\n", "mahimahi"),
        (b"\xef\xbb\xbftime_s,rate_mbit_per_s\n0,1\n1,2\n", "csv"),
        (b"rate_mbit_per_s, time_s\n1,0\n2,1\n", "csv"),
        (b"\xef\xbb\xbfloss,rate_mbit_per_s,time_s\r\n0,1,0\n0,2,1\n", "csv"),
    ):
        file.write_bytes(content)
        assert guess_format(content, "trace.txt") == form
        assert isinstance(examine(file), LinkTrace)
        assert read_link_trace(file).rate_mbit_per_s is not None
    file.write_text('{"time_s": 0.1, "device": "cam", "sample": 1}\n')
    for name, form in (("t.csv", None), ("t.mahi", None), ("t", None), ("t", "csv"), ("t", "mahimahi")):
        with pytest.raises(TraceError, match=r"t[.a-z]*:1: a workload trace, not a network trace") as caught:
            parse_link_trace(file.read_bytes(), name, form)
        assert "give it to run --trace" in caught.value.hint
    found = examine(file)
    assert isinstance(found, ExaminedWorkload)
    assert list(found.gathered.summary()["devices"]) == ["cam"]
    for name in ("no such file", "a\0b"):
        with pytest.raises(InputError, match="cannot be read"):
            examine(name)


@pytest.mark.parametrize("lead", ["", "\n \n", "\ufeff"])
@pytest.mark.parametrize("kind", ["packets", "series", "workload"])
def test_a_trace_is_read_once_and_told_by_its_bytes(tmp_path: Path, kind: str, lead: str) -> None:
    """As from a pipe: bytes that have been read cannot be read again."""
    lines = {
        "packets": "".join(f"{ms}\n" for ms in range(1, 100_000, 3)),
        "series": "time_s,rate_mbit_per_s\n" + "".join(f"{second},{second % 7}\n" for second in range(20_000)),
        "workload": "".join(f'{{"time_s": {n / 100}, "device": "cam", "sample": {n}}}\n' for n in range(5000)),
    }
    content = (lead + lines[kind]).encode()
    (tmp_path / "file").write_bytes(content)
    reader, writer = os.pipe()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(_write_all, writer, content)
        outcomes = [_outcome(f"/dev/fd/{reader}"), _outcome(tmp_path / "file")]
        os.close(reader)
    assert outcomes[0] == outcomes[1]
    if not lead.strip("\ufeff"):
        assert isinstance(outcomes[0], dict if kind == "workload" else LinkTrace)
    for name in ("t.csv", "t.mahi", "t.jsonl"):  # also with the suffix of another kind
        (tmp_path / name).write_bytes(lines["workload"].encode())
        assert isinstance(examine(tmp_path / name), ExaminedWorkload)


def _write_all(handle: int, content: bytes) -> None:
    with os.fdopen(handle, "wb") as file:
        file.write(content)


def _outcome(path: Path | str) -> object:
    try:
        found = examine(path)
        return found if isinstance(found, LinkTrace) else found.gathered.summary()
    except TraceError as error:
        return str(error).replace(str(path), "")


@pytest.mark.parametrize(
    ("fading", "duration_s", "every_s"),
    [
        (Fading(1e5, variability=5.0), 120.0, 0.1),
        (Fading(8.0, delay_s=30.0, delay_variability=5.0), 120.0, 0.1),
        (Fading(8.0, outage_s=1e5), 1e7, 1e4),
    ],
)
def test_what_is_made_up_can_be_read_again(tmp_path: Path, fading: Fading, duration_s: float, every_s: float) -> None:
    trace = synthesise(fading, duration_s=duration_s, every_s=every_s, seed=1)
    write_link_trace(tmp_path / "t.csv", trace, "csv")
    assert read_link_trace(tmp_path / "t.csv").rate_mbit_per_s == trace.rate_mbit_per_s


@given(rates, st.data())
@settings(deadline=None)
def test_an_average_keeps_length_and_volume(values: list[float], data: st.DataObject) -> None:
    lengths_ms = data.draw(st.lists(st.integers(1, 2000), min_size=len(values), max_size=len(values)))
    starts = [sum(lengths_ms[:index]) / 1000 for index in range(len(values))]
    trace = LinkTrace(tuple(starts), sum(lengths_ms) / 1000, tuple(values), tuple(values))
    every_s = data.draw(st.integers(10, 3000)) / 1000
    average = trace.averaged(every_s)
    assert average.length_s == trace.length_s
    assert all(length <= every_s + 1e-6 for length in average.lengths_s())
    assert {round(number * every_s, 9) for number in range(int(trace.length_s / every_s))} <= set(average.starts_s)
    assert volume_mbit(average) == pytest.approx(volume_mbit(trace), abs=1e-9)
    assert average.delay_s == average.rate_mbit_per_s
    assert average.rate_mbit_per_s is not None
    assert min(values) - 1e-9 <= min(average.rate_mbit_per_s) <= max(average.rate_mbit_per_s) <= max(values) + 1e-9


@given(st.lists(st.tuples(st.integers(2, 80), st.integers(1, 80)), min_size=1, max_size=6), st.integers(100, 30_000))
@settings(deadline=None)
def test_an_average_keeps_outages(pieces: list[tuple[int, int]], every_ms: int) -> None:
    """Pieces with a packet every 10 ms and pieces without, in tenths of a second; as packets and as a time series."""
    packets: list[int] = []
    rows, at_ms = ["time_s,rate_mbit_per_s"], 0
    for full, out in (*pieces, (5, 0)):
        packets += range(at_ms + 10, at_ms + full * 100 + 1, 10)
        rows += [f"{(at_ms + n * 100) / 1000},{PACKET_MBIT / 0.01}" for n in range(full)]
        rows += [f"{(at_ms + n * 100) / 1000},0" for n in range(full, full + out)]
        at_ms += (full + out) * 100
    series = "\n".join(rows).encode()
    for content, name in (("".join(f"{ms}\n" for ms in packets).encode(), "t.mahi"), (series, "t.csv")):
        usual, average = (parse_link_trace(content, name, every_s=every_s) for every_s in (0.1, every_ms / 1000))
        assert volume_mbit(average) == pytest.approx(volume_mbit(usual))
        # Packets are 10 ms apart, so the ends of a lull of packets may be off by as much.
        off_s = 0.02 if name == "t.mahi" else 1e-6
        longest_s, total_s = max(out for _, out in pieces) / 10, sum(out for _, out in pieces) / 10
        assert figures(average)["longest_outage_s"] == pytest.approx(longest_s, abs=off_s)
        share = figures(average)["outage_share"]
        assert share is not None
        assert share * average.length_s == pytest.approx(total_s, abs=off_s * len(pieces))


def test_an_average_weighs_by_time() -> None:
    trace = parse_link_trace(b"time_s,delay_ms\n0,10\n3,50\n4,10\n", "t.csv", every_s=2.0)
    assert trace.delay_s == pytest.approx((0.010, 0.030, 0.010))
    assert trace.length_s == 5


# Writing ----------------------------------------------------------------------------------------------------------


@given(values=rates, every_ms=st.integers(10, 900), last=st.floats(0.1, 1))
@settings(deadline=None, max_examples=50)
def test_a_time_series_reads_back_equal(tmp_path_factory, values: list[float], every_ms: int, last: float) -> None:
    starts = tuple(index * every_ms / 1000 for index in range(len(values)))
    length_s = round(starts[-1] + last * every_ms / 1000, 6)
    trace = LinkTrace(starts, length_s, tuple(values), tuple(value / 10 for value in values))
    path = tmp_path_factory.mktemp("w") / "t.csv"
    write_link_trace(path, trace, "csv")
    back = read_link_trace(path)
    assert back.length_s == pytest.approx(trace.length_s, abs=1e-8)
    assert back.starts_s[: len(starts)] == pytest.approx(starts, abs=1e-8)
    for index, value in enumerate(values):
        assert (back.rate_mbit_per_s[index], back.delay_s[index]) == (value, value / 10)
    assert volume_mbit(back) == pytest.approx(volume_mbit(trace), rel=1e-6, abs=1e-6)


@given(values=rates, every_ms=st.integers(10, 900))
@settings(deadline=None, max_examples=50)
def test_conversion_to_packets_keeps_volume_and_length(tmp_path_factory, values: list[float], every_ms: int) -> None:
    starts = tuple(index * every_ms / 1000 for index in range(len(values)))
    trace = LinkTrace(starts, len(values) * every_ms / 1000, tuple(values))
    assume(volume_mbit(trace) < 500)
    path = tmp_path_factory.mktemp("w") / "t.mahi"
    write_link_trace(path, trace, "mahimahi")
    times = [int(line) for line in path.read_text().split()]
    assert times == sorted(times)
    assert times[-1] == len(values) * every_ms
    assert volume_mbit(trace) / PACKET_MBIT - 1e-3 <= len(times) <= volume_mbit(trace) / PACKET_MBIT + 1 + 1e-3
    back = read_link_trace(path, every_s=every_ms / 1000)
    assert back.length_s == trace.length_s
    # A packet comes when it is complete, so at most one slips into the next interval; the last may get one more.
    edges_s = (*back.starts_s, back.length_s)
    for step, wanted in enumerate(values):
        begin_s, end_s = step * every_ms / 1000, (step + 1) * every_ms / 1000
        inside_s = [max(0.0, min(end_s, until_s) - max(begin_s, at_s)) for at_s, until_s in pairwise(edges_s)]
        volume = math.fsum(rate * part_s for rate, part_s in zip(back.rate_mbit_per_s, inside_s, strict=True))
        found = volume / (end_s - begin_s)
        assert abs(found - wanted) <= 2.01 * PACKET_MBIT / (every_ms / 1000) + 1e-6


def test_packets_read_written_as_series_and_read_again_are_the_same(tmp_path: Path) -> None:
    trace = synthesise(Fading(3.0, outage_share=0.2), duration_s=20, every_s=0.1, seed=5)
    write_link_trace(tmp_path / "a.mahi", trace, "mahimahi")
    packets = read_link_trace(tmp_path / "a.mahi")
    write_link_trace(tmp_path / "b.csv", packets, "csv")
    series = read_link_trace(tmp_path / "b.csv")
    write_link_trace(tmp_path / "c.mahi", series, "mahimahi")
    assert series == packets
    assert read_link_trace(tmp_path / "c.mahi") == packets


@pytest.mark.parametrize(
    ("trace", "name", "said"),
    [
        (LinkTrace((0.0, 1.0), 2.0, (1.0, 2e5)), "t.csv", r"t\.csv:3: rate_mbit_per_s may be 100000 at most"),
        (LinkTrace((0.0, 1.0), 2.0, None, (1.0, 61.0)), "t.csv", r"t\.csv:3: delay_s may be 60 at most"),
        (LinkTrace((0.0, 2e7), 4e7, (1.0, 2.0)), "t.csv", "a trace of more than 1e\\+07 s"),
        (LinkTrace((0.0, 1e7), 2e7, (0.0, 0.0)), "t.mahi", r"t\.mahi:1: '20000000000' ms is beyond 1e\+07 s"),
        (LinkTrace((0.0,), 9e6, (2_000_000 * PACKET_MBIT / 9e6,)), "t.mahi", "longer than 16 MiB"),
    ],
)
def test_what_could_not_be_read_again_is_not_written(tmp_path: Path, trace: LinkTrace, name: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        write_link_trace(tmp_path / name, trace, "csv" if name.endswith("csv") else "mahimahi")
    assert not list(tmp_path.iterdir())


def test_long_packet_deliveries_are_written_although_they_need_longer_steps(tmp_path: Path) -> None:
    write_link_trace(tmp_path / "t.mahi", LinkTrace((0.0,), 1e5, (0.001,)), "mahimahi")
    with pytest.raises(TraceError, match="more than 200000 steps"):
        read_link_trace(tmp_path / "t.mahi")
    assert volume_mbit(read_link_trace(tmp_path / "t.mahi", every_s=1.0)) == pytest.approx(100, abs=PACKET_MBIT)


def test_no_file_has_a_null_byte_in_its_name(tmp_path: Path) -> None:
    trace = LinkTrace((0.0, 1.0), 2.0, (1.0, 2.0))
    for use in (examine, read_link_trace, read_trace, lambda path: write_link_trace(path, trace, "csv")):
        with pytest.raises(InputError, match=r"a\\x00b' cannot be read or written: a file name cannot") as caught:
            use(str(tmp_path / "a\0b"))
        assert str(caught.value).isprintable()


def test_what_cannot_be_written_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "t.mahi").write_text("5\n")
    delays = LinkTrace((0.0, 1.0), 2.0, None, (0.1, 0.2))
    with pytest.raises(InputError, match="without rates"):
        write_link_trace(tmp_path / "t.mahi", delays, "mahimahi")
    with pytest.raises(InputError, match="packets are too many"):
        write_link_trace(tmp_path / "t.mahi", LinkTrace((0.0,), 1e5, (1e3,)), "mahimahi")
    assert (tmp_path / "t.mahi").read_text() == "5\n"
    with pytest.raises(InputError, match="cannot be written"):
        write_link_trace(tmp_path / "no" / "t.csv", delays, "csv")
    assert left_out(delays, "mahimahi") == ("delay",)
    assert left_out(delays, "csv") == ()


# Figures, and the least rate of an outage -------------------------------------------------------------------------


def test_figures_weigh_by_time_and_count_outages() -> None:
    text = b"time_s,rate_mbit_per_s,delay_ms,loss\n0,10,10,0\n5,0,30,0.5\n6,0.001,30,0.5\n7,4,10,0\n8,0,10,0\n"
    found = figures(parse_link_trace(text, "t.csv"))
    assert found["duration_s"] == 9
    assert found["mean_rate_mbit_per_s"] == pytest.approx((50 + 0.001 + 4) / 9)
    assert (found["least_rate_mbit_per_s"], found["greatest_rate_mbit_per_s"]) == (0, 10)
    assert found["outage_share"] == pytest.approx(3 / 9)
    assert found["longest_outage_s"] == pytest.approx(2)
    assert found["mean_delay_s"] == pytest.approx((7 * 0.01 + 2 * 0.03) / 9)
    assert found["mean_loss"] == pytest.approx(1 / 9)
    assert figures(parse_link_trace(b"time_s,delay_s\n0,1\n1,2\n", "t"))["outage_share"] is None


def test_the_least_rate_is_a_packet_in_a_step() -> None:
    assert outage_rate_mbit_per_s(0.1) == pytest.approx(PACKET_MBIT / 0.1)
    assert outage_rate_mbit_per_s(0.25) == pytest.approx(PACKET_MBIT / 0.25)
    assert outage_rate_mbit_per_s(0.01) == outage_rate_mbit_per_s(0.1)
    assert outage_rate_mbit_per_s(3600) == outage_rate_mbit_per_s(1)


# Synthetic traces -------------------------------------------------------------------------------------------------


def test_a_made_up_link_has_the_figures_asked_for() -> None:
    fading = Fading(6.0, variability=0.5, coherence_s=1.0, outage_share=0.1, outage_s=0.5, delay_s=0.04)
    trace = synthesise(fading, duration_s=10_000, every_s=0.1, seed=1)
    found = figures(trace)
    assert trace.rate_mbit_per_s is not None
    up = [rate for rate in trace.rate_mbit_per_s if rate > 0]
    mean = math.fsum(up) / len(up)
    deviation = math.sqrt(math.fsum((rate - mean) ** 2 for rate in up) / len(up))
    assert mean == pytest.approx(6.0, rel=0.05)
    assert deviation / mean == pytest.approx(0.5, rel=0.1)
    assert found["outage_share"] == pytest.approx(0.1, rel=0.15)
    assert found["mean_delay_s"] == pytest.approx(0.04, rel=0.05)
    later = math.fsum((a - mean) * (b - mean) for a, b in zip(up, up[10:], strict=False)) / len(up) / deviation**2
    assert later == pytest.approx(math.exp(-1), abs=0.1)  # after the coherence time


def test_a_made_up_link_hangs_on_its_seed_alone() -> None:
    one, same, other = (synthesise(Fading(5.0), duration_s=5, every_s=0.1, seed=seed) for seed in (1, 1, 2))
    assert one == same
    assert one != other
    assert one.delay_s is None
    assert synthesise(Fading(5.0, variability=0), duration_s=5, every_s=0.1, seed=1).rate_mbit_per_s == (5.0,) * 50


@pytest.mark.parametrize(
    ("fading", "duration_s", "said"),
    [
        (Fading(5.0), 0.1, "has 1 steps"),
        (Fading(5.0), 1e6, "steps"),
        (Fading(5.0, outage_share=0.95), 10.0, "outage share"),
        (Fading(5.0, outage_share=0.1, outage_s=0.05), 10.0, "shorter than a step"),
        (Fading(2e5), 10.0, "too high for a trace"),
        (Fading(5.0, delay_s=100.0), 10.0, "too long for a trace"),
    ],
)
def test_impossible_links_are_refused(fading: Fading, duration_s: float, said: str) -> None:
    with pytest.raises(InputError, match=said):
        synthesise(fading, duration_s=duration_s, every_s=0.1, seed=1)
