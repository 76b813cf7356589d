"""Links of a topology that follow network traces: what they compile to, and what is refused."""

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.scenario import LinkShape, Scenario
from testbed.topology import TopologyError, followed_traces, followers, load_topology_text
from testbed.topology.event_kinds.link_shape import LinkChange
from testbed.topology.slowest_hop import longest_hop_s
from testbed.trace.following import mean_shape, traced_courses, usual_delay_s
from testbed.trace.link_reading import parse_link_trace
from testbed.trace.link_writing import figures
from testbed.trace.outages import outage_rate_mbit_per_s

TEXT = """\
name: small
model: {name: glyphs, cut: [3, 5]}
policy: dto-ee
duration: 10 s
devices:
  cam: {count: 3, rate: 2 /s}
servers:
  near: {stage: 1, capacity: 0.5 GFLOP/s}
  core: {stage: 2, capacity: 2 GFLOP/s}
links:
  - LINK
  - {from: near, to: core, rate: 10 Mbit/s, delay: 5 ms}
"""
RATES = "time_s,rate_mbit_per_s\n0,8\n1,4\n2,4\n3,0\n"  # 4 s
FULL = "time_s,rate_mbit_per_s,delay_ms,jitter_ms,loss\n0,8,10,1,0\n1,4,30,2,0.1\n"  # 2 s


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "rates.csv").write_text(RATES)
    (tmp_path / "full.csv").write_text(FULL)
    (tmp_path / "packets.down").write_text("".join(f"{ms}\n" for ms in range(10, 1001, 10)))
    return tmp_path


def scenario_of(folder: Path, link: str, rest: str = "", **options) -> Scenario:
    topology = load_topology_text(TEXT.replace("LINK", f"{{from: cam, to: near, {link}}}") + rest, folder=str(folder))
    return topology.resolve(**options)


def problems_of(folder: Path, link: str, rest: str = "") -> list[tuple[str, str]]:
    """`line:column: message`, with DIR for the folder, and hint of every problem, each in one line."""
    with pytest.raises(TopologyError) as caught:
        scenario_of(folder, link, rest)
    assert caught.value.exit_code == 3
    found = caught.value.problems
    told = [str(problem).removeprefix("topology.yaml:").replace(str(folder), "DIR") for problem in found]
    assert all("\n" not in message for message in told)
    return [(message, problem.hint) for message, problem in zip(told, found, strict=True)]


def course_of(scenario: Scenario, *ends: str) -> list[tuple[float, LinkShape]]:
    return list(traced_courses(scenario)[ends])


def test_a_link_follows_its_trace_from_the_first_moment_on(folder: Path) -> None:
    scenario = scenario_of(folder, "delay: 2 ms, queue: 50, trace: rates.csv")
    link = scenario.links[0]
    none = outage_rate_mbit_per_s(1.0)
    assert (link.trace, link.shape) == ("rates.csv", LinkShape(8.0, 0.002, queue_packets=50))
    course = course_of(scenario, "cam-1", "near")
    # Equal steps are one; the trace begins anew after 4 s, and ends with the run.
    assert [(at_s, shape.rate_mbit_per_s) for at_s, shape in course] == [
        (0.0, 8.0), (1.0, 4.0), (3.0, none), (4.0, 8.0), (5.0, 4.0), (7.0, none), (8.0, 8.0), (9.0, 4.0)
    ]  # fmt: skip
    assert all(shape.delay_s == 0.002 and shape.queue_packets == 50 for _, shape in course)
    assert len([event for event in scenario.events if event.at_s < 10]) == 3 * 7
    assert all(isinstance(event, LinkChange) and event.traced for event in scenario.events)
    assert [event.at_s for event in scenario.events] == sorted(event.at_s for event in scenario.events)
    assert scenario.incidents == ()
    assert scenario.link_changes_per_s == pytest.approx(2.1)
    assert scenario.followers == {"rates.csv": (("cam-1", "near"), ("cam-2", "near"), ("cam-3", "near"))}
    assert scenario.links[-1].trace is None


def test_offset_repeat_scale_and_steps(folder: Path) -> None:
    once = scenario_of(
        folder, "delay: 2 ms, trace: {file: rates.csv, format: csv, offset: 500 ms, repeat: false, scale: 0.5}"
    )
    none = outage_rate_mbit_per_s(1.0)
    assert [(at_s, shape.rate_mbit_per_s) for at_s, shape in course_of(once, "cam-2", "near")] == [
        (0.0, 4.0), (0.5, 2.0), (2.5, none)
    ]  # fmt: skip
    late = scenario_of(folder, "delay: 2 ms, trace: {file: rates.csv, offset: 7.5 s, every: 2 s}")
    assert [(at_s, shape.rate_mbit_per_s) for at_s, shape in course_of(late, "cam-2", "near")] == [
        (0.0, none), (0.5, 6.0), (2.5, 4.0), (3.5, none), (4.5, 6.0), (6.5, 4.0), (7.5, none), (8.5, 6.0)
    ]  # fmt: skip


def test_a_trace_may_tell_everything(folder: Path) -> None:
    scenario = scenario_of(folder, "trace: full.csv")
    shapes = [shape for _, shape in course_of(scenario, "cam-1", "near")][:3]
    assert shapes == [LinkShape(8.0, 0.01, 0.001, 0.0), LinkShape(4.0, 0.03, 0.002, 0.1), shapes[0]]


@pytest.mark.parametrize("content", ["1\n", "".join(f"{ms}\n" for ms in range(1, 151)), "2\n4\n4\n5\n5\n5\n"])
def test_a_trace_that_changes_nothing_makes_no_change(folder: Path, content: str) -> None:
    """A constant link as mahimahi's own example has it, in one step or in several, for a billion laps."""
    (folder / "constant.mahi").write_text(content)
    scenario = scenario_of(folder, "delay: 2 ms, trace: constant.mahi", duration_s=1e6)
    assert scenario.events == ()
    times_ms = list(map(int, content.split()))
    assert scenario.links[0].shape.rate_mbit_per_s == pytest.approx(11.584 * len(times_ms) / times_ms[-1])


@st.composite
def cut_traces(draw) -> tuple[str, str, str]:
    """A time series, the same one cut into finer steps, and options of a link that follows it."""
    values = st.tuples(
        st.sampled_from([0.0, 0.001, 0.02, 0.05, 0.11, 2.0, 7.3]), st.sampled_from([10.0, 30.0]),
        st.sampled_from([0.0, 2.0]), st.sampled_from([0.0, 0.1]),
    )  # fmt: skip
    rows = draw(st.lists(values, min_size=2, max_size=8))
    tenths = draw(st.lists(st.integers(1, 12), min_size=len(rows), max_size=len(rows)))
    tenths[-1] = tenths[-2]  # as the last row holds for as long as the one before
    whole, fine, at = [], [], 0
    for number, (row, length) in enumerate(zip(rows, tenths, strict=True)):
        cells = ",".join(map(str, row))
        whole.append(f"{at / 10},{cells}")
        last = number + 1 == len(rows)
        pieces = {0, *(range(length) if last else draw(st.sets(st.integers(0, length - 1))))}
        fine += [f"{(at + piece) / 10},{cells}" for piece in sorted(pieces)]
        at += length
    options = draw(
        st.fixed_dictionaries(
            {"scale": st.sampled_from([0.5, 1, 3]), "repeat": st.sampled_from(["true", "false"])},
            optional={
                "offset": st.integers(0, at * 100 - 1).map(lambda ms: f"{ms} ms"),
                "every": st.sampled_from(["50 ms", "300 ms", "1 s"]),
            },
        )
    )
    header = "time_s,rate_mbit_per_s,delay_ms,jitter_ms,loss\n"
    told = ", ".join(f"{key}: {value}" for key, value in options.items())
    return header + "\n".join(whole) + "\n", header + "\n".join(fine) + "\n", told


@given(cut_traces(), st.integers(1, 40))
@settings(deadline=None, max_examples=150)
def test_how_a_trace_is_cut_into_steps_changes_nothing(tmp_path_factory, cut: tuple[str, ...], seconds: int) -> None:
    whole, fine, options = cut
    folder = tmp_path_factory.mktemp("cut")
    found = []
    for content in (whole, fine):
        (folder / "t.csv").write_text(content)
        found.append(scenario_of(folder, f"trace: {{file: t.csv, {options}}}", duration_s=float(seconds)))
        inspected = figures(parse_link_trace(content.encode(), "t.csv"))
        found.append({key: round(value or 0.0, 9) for key, value in inspected.items() if key != "steps"})
    assert found[:2] == found[2:]


def test_an_outage_carries_a_packet_a_second_however_short_its_steps(folder: Path) -> None:
    packets = "".join(f"{ms}\n" for ms in (*range(1, 2001), *range(7001, 9001)))
    (folder / "gap.mahi").write_text(packets)
    scenario = scenario_of(folder, "delay: 2 ms, trace: {file: gap.mahi, offset: 500 ms}")
    assert [(at_s, shape.rate_mbit_per_s) for at_s, shape in course_of(scenario, "cam-1", "near")] == [
        (0.0, 11.584), (1.5, outage_rate_mbit_per_s(5.0)), (6.5, 11.584)
    ]  # fmt: skip
    assert outage_rate_mbit_per_s(5.0) == pytest.approx(0.011584)


def test_packets_are_told_by_the_name_and_steps_are_merged(folder: Path) -> None:
    scenario = scenario_of(folder, "delay: 2 ms, trace: packets.down")
    assert scenario.links[0].shape.rate_mbit_per_s == pytest.approx(100 * 1448 * 8e-6)
    assert len(course_of(scenario, "cam-1", "near")) <= 2  # ten packets in each 0.1 s


def test_every_link_of_a_group_draws_its_own_offset(folder: Path) -> None:
    link = "delay: 2 ms, trace: {file: rates.csv, offset: 0..4 s}"
    scenario = scenario_of(folder, link)
    firsts = {tuple(course_of(scenario, f"cam-{number}", "near"))[1][0] for number in (1, 2, 3)}
    assert len(firsts) == 3
    assert scenario_of(folder, link) == scenario
    assert scenario_of(folder, link, seed=2).events != scenario.events


@given(offset_ms=st.integers(0, 9000), duration_s=st.integers(1, 30))
@settings(deadline=None, max_examples=30)
def test_at_any_time_the_link_is_as_the_trace_says(tmp_path_factory, offset_ms: int, duration_s: int) -> None:
    folder = tmp_path_factory.mktemp("t")
    (folder / "r.csv").write_text(RATES)
    link = f"delay: 2 ms, trace: {{file: r.csv, offset: {offset_ms} ms}}"
    course = course_of(scenario_of(folder, link, duration_s=float(duration_s)), "cam-1", "near")
    told = [8.0, 4.0, 4.0, outage_rate_mbit_per_s(1.0)]
    for tenth in range(duration_s * 10):
        at_s = tenth / 10 + 0.0501  # off the edges
        wanted = told[int((at_s + offset_ms / 1000) % 4)]
        assert [shape for since_s, shape in course if since_s <= at_s][-1].rate_mbit_per_s == wanted
    assert all(earlier[1] != later[1] for earlier, later in pairwise(course))


@pytest.mark.parametrize(
    ("link", "said", "advised"),
    [
        ("trace: rates.csv", "11:5: `delay` is missing: the trace has none", "state the link's delay"),
        ("rate: 5 Mbit/s, delay: 2 ms, trace: rates.csv", "the trace already states `rate`", "remove `rate`"),
        ("jitter: 1 ms, trace: full.csv", "the trace already states `jitter`", "remove `jitter`"),
        ("delay: 2 ms, trace: no.csv", "network trace DIR/no.csv: cannot be read: No such file", "path"),
        ("delay: 2 ms, trace: .", "network trace DIR: cannot be read: Is a directory", "path"),
        ("delay: 2 ms, trace: bad.csv", "network trace bad.csv:3: rate_mbit_per_s must not be negative", "header"),
        ("delay: 2 ms, trace: {file: rates.csv, format: mahimahi}", "network trace rates.csv:1: not a whole", ""),
        ("delay: 2 ms, trace: {file: rates.csv, format: pcap}", "`format` must be 'mahimahi' or 'csv'", ""),
        ("delay: 2 ms, trace: {file: rates.csv, every: 5 ms}", "`every`: a step takes a whole number", "100 ms"),
        ("delay: 2 ms, trace: {file: rates.csv, every: 0.5}", "`every`: 0.5 has no unit", ""),
        ("delay: 2 ms, trace: {file: rates.csv, scale: 0}", "`scale` must be above 0, not 0", ""),
        ("delay: 2 ms, trace: {file: rates.csv, loop: true}", "unknown key `loop`", "known keys here: file, for"),
        ("delay: 2 ms, trace: {every: 1 s}", "`file` is missing", "file: drive.csv"),
        ("delay: 2 ms, trace: 3", "`trace` must be a mapping", ""),
        ("delay: 2 ms, trace: ''", "`trace` must not be empty", ""),
        ("delay: 2 ms, trase: rates.csv", "unknown key `trase`", "did you mean `trace`?"),
        ("rate: 5 Mbit/s", "11:5: `delay` is missing", "delay: 5 ms"),
        (
            "delay: 2 ms, trace: {file: rates.csv, offset: 0..5 s, repeat: false}",
            "the offset may lie beyond the trace's end (4 s)", "let the trace repeat",
        ),
        ("delay: 1 ms, jitter: 2 ms, trace: rates.csv", "the jitter (2 ms) can exceed the delay (1 ms)", "lower"),
        ("jitter: 5 ms, trace: delays.csv", "the jitter (5 ms) would exceed the delay (1 ms)", "mend the trace"),
    ],
)  # fmt: skip
def test_what_is_refused(folder: Path, link: str, said: str, advised: str) -> None:
    (folder / "bad.csv").write_text("time_s,rate_mbit_per_s\n0,1\n1,-2\n")
    (folder / "delays.csv").write_text("time_s,rate_mbit_per_s,delay_ms\n0,1,9\n1,1,1\n")
    messages = problems_of(folder, link)
    assert any(said in message and advised in hint for message, hint in messages), messages


def test_events_do_not_touch_a_link_with_a_trace(folder: Path) -> None:
    rest = "events:\n  - {at: 5 s, link: [cam-1, near], rate: x0.5}\n  - {at: 5 s, link: [near, core], rate: x0.5}\n"
    with pytest.raises(TopologyError, match=r"cam-1 - near follows rates\.csv: events do not") as caught:
        scenario_of(folder, "delay: 2 ms, trace: rates.csv", rest)
    assert [problem.line for problem in caught.value.problems] == [14]
    rest = "events:\n  - {at: 5 s, link: [near, core], rate: x0.5}\n"
    scenario = scenario_of(folder, "delay: 2 ms, trace: rates.csv", rest)
    assert scenario.incidents == (LinkChange(5.0, ("near", "core"), LinkShape(5.0, 0.005)),)
    assert not scenario.incidents[0].traced


def test_the_number_of_changes_and_of_bytes_is_bounded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = "delay: 2 ms, trace: rates.csv"
    with pytest.raises(TopologyError, match="make up to 2250000 changes") as caught:
        scenario_of(folder, link, duration_s=1e6)
    assert caught.value.hint == "state a shorter duration"  # no step holds an outage and what lies around it
    (folder / "rates.csv").write_text(RATES.replace("3,0", "3,1"))
    with pytest.raises(TopologyError, match="11:47: the links' traces make up to 2250000 changes") as caught:
        scenario_of(folder, link, duration_s=1e6)
    assert "every: 5 s" in caught.value.hint  # longer than the trace, whose mean then holds
    scenario_of(folder, "delay: 2 ms, trace: {file: rates.csv, every: 5 s}", duration_s=1e6)
    rows = "".join(f"{n / 10},{n % 7 + 1}\n" for n in range(9000))
    (folder / "long.csv").write_text("time_s,rate_mbit_per_s\n" + rows)
    with pytest.raises(TopologyError, match="make up to 1500000 changes") as caught:
        scenario_of(folder, "delay: 2 ms, trace: long.csv", duration_s=5e4)
    assert "every: 500 ms" in caught.value.hint
    scenario_of(folder, "delay: 2 ms, trace: {file: long.csv, every: 500 ms}", duration_s=5e4)
    monkeypatch.setattr(followers, "MAX_TOTAL_BYTES", 30)
    with pytest.raises(TopologyError, match=r"rates\.csv: more than 0 MiB of traces in all"):
        scenario_of(folder, link)


@pytest.mark.parametrize(("links", "time_scale", "step"), [(25, 1, "100 ms"), (2000, 1, "5 s"), (2000, 4, "1 s")])
def test_the_steps_that_a_live_run_is_advised_are_long_enough(links: int, time_scale: float, step: str) -> None:
    assert followed_traces.sensible_step(links, time_scale) == f"every: {step}"


def test_only_the_steps_of_the_run_are_counted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(followed_traces, "MAX_CHANGES", 36)  # of three links
    (folder / "long.csv").write_text("time_s,rate_mbit_per_s\n" + "".join(f"{n},{n % 7 + 1}\n" for n in range(9000)))
    for trace in ("long.csv", "{file: long.csv, offset: 8990 s}", "{file: rates.csv, offset: 1000000 s}"):
        scenario = scenario_of(folder, f"delay: 2 ms, trace: {trace}", duration_s=11.0)
        within = [event for event in scenario.events if isinstance(event, LinkChange) and event.at_s < 11]
        assert 3 * 7 <= len(within) <= len(scenario.events) <= 36
    with pytest.raises(TopologyError, match="make up to 39 changes"):
        scenario_of(folder, "delay: 2 ms, trace: long.csv", duration_s=13.5)


def test_links_follow_their_traces_while_tasks_drain(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, ends_out = (scenario_of(folder, "delay: 2 ms, trace: rates.csv", duration_s=end_s) for end_s in (200.0, 3.5))
    after = [event for event in ends_out.events if event.at_s >= 3.5]
    assert isinstance(after[0], LinkChange)
    assert (after[0].at_s, after[0].shape.rate_mbit_per_s) == (4.0, 8.0)  # the outage ends, although the run is over
    assert ends_out.events == tuple(event for event in whole.events if event.at_s < 3.5 + 90)
    # It is none of the run's figures.
    assert ends_out.link_changes_per_s == 2 * 3 / 3.5
    assert [at_s for at_s, _ in course_of(ends_out, "cam-1", "near")] == [0.0, 1.0, 3.0]
    assert ends_out.incidents == ()
    # There is less of it where the changes would be too many; 3 in 4 s on each of three links.
    monkeypatch.setattr(followed_traces, "MAX_CHANGES", 100)
    short = scenario_of(folder, "delay: 2 ms, trace: rates.csv", duration_s=3.5)
    assert 3.5 + 22.5 - 2 <= short.events[-1].at_s < 3.5 + 22.5 + 45
    assert len(short.events) <= 100


@pytest.mark.parametrize("laps", [*range(1, 40), 12345])
def test_an_offset_of_whole_laps_begins_at_the_first_step(folder: Path, laps: int) -> None:
    (folder / "short.csv").write_text("time_s,rate_mbit_per_s\n0,1\n0.1,5\n")  # 0.2 s
    link = f"delay: 2 ms, trace: {{file: short.csv, offset: {laps * 200} ms}}"
    course = course_of(scenario_of(folder, link, duration_s=1.0), "cam-1", "near")
    first = [(at_s, shape.rate_mbit_per_s) for at_s, shape in course[:5]]
    assert first == [(0, 1), (0.1, 5), (0.2, 1), (0.3, 5), (0.4, 1)]


@pytest.mark.parametrize(
    ("link", "rest", "said"),
    [
        ("rate: 1 Tbit/s, delay: 2 ms", "", "11:33: no link can be emulated at 1 Tbit/s: 100"),
        ("rate: 20 bit/s, delay: 2 ms", "", "11:33: no link can be emulated at"),
        ("rate: 1..100001 Mbit/s, delay: 2 ms", "", "11:33: no link"),
        ("rate: 50 Gbit/s, delay: 2 ms", "time_scale: 0.1\n", "11:33: no link can be emulated at 50 Gbit/s"),
        ("rate: 1 kbit/s, delay: 2 ms", "time_scale: 100\n", "11:33: no link can be emulated at 1 kbit/s"),
        ("delay: 2 ms, trace: {file: rates.csv, scale: 1e6}", "", "11:47: the link cam-1 - near at 0 s: no link can"),
        ("delay: 2 ms, trace: rates.csv", "time_scale: 200\n", "11:47: the link cam-1 - near at 3 s: no link can"),
        (
            "rate: 5 Mbit/s, delay: 2 ms",
            "events:\n  - {at: 5 s, link: [cam-1, near], rate: x100000}\n",
            "14:42: the link cam-1 - near: no link can be emulated at 500 Gbit/s",
        ),
        ("rate: 5 Mbit/s, delay: 1..61 s", "", "11:50: a delay of 61 s: a link may have 60 s at most"),
    ],
)
def test_what_no_link_can_have_is_refused_at_its_place(folder: Path, link: str, rest: str, said: str) -> None:
    assert any(message.startswith(said) for message, _ in problems_of(folder, link, rest))


def test_steps_within_a_microsecond_leave_the_last_of_them(folder: Path) -> None:
    (folder / "dense.csv").write_text("time_s,rate_mbit_per_s\n0,1\n0.0000002,2\n0.0000004,3\n2,4\n")
    course = course_of(scenario_of(folder, "delay: 2 ms, trace: dense.csv", duration_s=3.0), "cam-1", "near")
    assert [(at_s, shape.rate_mbit_per_s) for at_s, shape in course] == [(0.0, 3.0), (2.0, 4.0)]


def test_a_hundred_thousand_rows_are_followed_for_a_short_run(folder: Path) -> None:
    rows = "".join(f"{n / 10:.1f},{n % 7 + 1}\n" for n in range(100_000))
    (folder / "long.csv").write_text("time_s,rate_mbit_per_s\n" + rows)
    scenario = scenario_of(folder, "delay: 2 ms, trace: {file: long.csv, offset: 0..10000 s}", duration_s=20.0)
    assert 3 * 199 <= sum(event.at_s < 20 for event in scenario.events) <= 3 * 200
    assert len(scenario.events) <= 3 * 1100


def test_the_bounds_of_a_rate_are_possible(folder: Path) -> None:
    for rate, time_scale in (("100 bit/s", 1), ("100 Gbit/s", 1), ("1 Tbit/s", 10), ("1 bit/s", 0.01)):
        scenario = scenario_of(folder, f"rate: {rate}, delay: 2 ms", f"time_scale: {time_scale}\n")
        assert scenario.links[0].trace is None


@pytest.mark.parametrize("trace", ['"a\\0b"', '{file: "a\\0b"}', '"a\\eb"'])
def test_a_trace_whose_name_no_file_can_have_is_refused(folder: Path, trace: str) -> None:
    with pytest.raises(TopologyError, match=r"11:\d+: .*control characters are not allowed"):
        scenario_of(folder, f"delay: 2 ms, trace: {trace}")


def test_a_trace_is_read_once(folder: Path) -> None:
    text = TEXT.replace("LINK", "{from: cam, to: near, delay: 2 ms, trace: rates.csv}")
    topology = load_topology_text(text, folder=str(folder))
    before = topology.resolve()
    (folder / "rates.csv").unlink()
    assert topology.resolve() == before
    assert topology.traces == {"rates.csv": RATES.encode()}


def test_means_weigh_by_time_and_brief_delays_do_not_count(folder: Path) -> None:
    fast, slow, spike = LinkShape(10.0, 0.01), LinkShape(2.0, 0.03), LinkShape(1.0, 5.0)
    course = [(0.0, fast), (6.0, slow), (9.7, spike)]
    mean = mean_shape(course, 5.0, 9.0)
    assert (mean.rate_mbit_per_s, mean.delay_s) == (pytest.approx(4.0), pytest.approx(0.025))
    assert mean_shape(course, 0.0, 6.0) == fast
    assert mean_shape(course, 9.8, 10.0) == spike
    assert usual_delay_s(course, 10.0) == 0.03
    assert usual_delay_s(course, 12.0) == 5.0

    (folder / "spike.csv").write_text("time_s,rate_mbit_per_s,delay_ms\n0,5,20\n9.8,5,4000\n9.9,5,4000\n")
    scenario = scenario_of(folder, "trace: spike.csv")
    assert longest_hop_s(scenario) == pytest.approx(0.02)


# Two traces, one for each direction --------------------------------------------------------------------------------

UP, DOWN = "time_s,rate_mbit_per_s\n0,2\n1,1\n", "time_s,rate_mbit_per_s,delay_ms\n0,20,40\n3,10,60\n"


@pytest.fixture
def pair(folder: Path) -> Path:
    (folder / "up.csv").write_text(UP)
    (folder / "down.csv").write_text(DOWN)
    return folder


def test_each_direction_follows_its_own_trace(pair: Path) -> None:
    """Up is what the `from` end sends. What one trace does not tell is stated for its direction."""
    scenario = scenario_of(pair, "delay: 5 ms, trace: {up: up.csv, down: {file: down.csv, scale: 2}}")
    link = scenario.links[0]
    assert (link.ends, link.trace, link.down_trace) == (("cam-1", "near"), "up.csv", "down.csv")
    assert link.shapes == (LinkShape(2.0, 0.005), LinkShape(40.0, 0.040))
    up, down = course_of(scenario, "cam-1", "near"), course_of(scenario, "near", "cam-1")
    assert up[:3] == [(0.0, LinkShape(2.0, 0.005)), (1.0, LinkShape(1.0, 0.005)), (2.0, LinkShape(2.0, 0.005))]
    assert down[:3] == [(0.0, LinkShape(40.0, 0.04)), (3.0, LinkShape(20.0, 0.06)), (6.0, LinkShape(40.0, 0.04))]
    assert {event.sender for event in scenario.events if set(event.ends) == {"cam-1", "near"}} == {"cam-1", "near"}
    assert scenario.incidents == ()
    assert scenario.followers == {
        "up.csv": (("cam-1", "near"), ("cam-2", "near"), ("cam-3", "near")),
        "down.csv": (("near", "cam-1"), ("near", "cam-2"), ("near", "cam-3")),
    }
    alike = scenario_of(pair, "delay: 5 ms, trace: {up: up.csv, down: up.csv}")
    assert course_of(alike, "cam-1", "near") == course_of(alike, "near", "cam-1") == up


def test_up_goes_from_the_from_end_whatever_it_is(pair: Path) -> None:
    text = TEXT.replace("LINK", "{from: near, to: cam, delay: 5 ms, trace: {up: up.csv, down: down.csv}}")
    scenario = load_topology_text(text, folder=str(pair)).resolve()
    assert course_of(scenario, "near", "cam-1")[0] == (0.0, LinkShape(2.0, 0.005))
    assert course_of(scenario, "cam-1", "near")[0] == (0.0, LinkShape(20.0, 0.040))


def test_both_directions_of_a_link_begin_at_one_moment_of_a_recording(pair: Path) -> None:
    (pair / "down.csv").write_text(UP)
    trace = "{up: {file: up.csv, offset: 0..2 s}, down: {file: down.csv, offset: 0..2 s}}"
    scenario = scenario_of(pair, f"delay: 5 ms, trace: {trace}")
    courses = [course_of(scenario, f"cam-{number}", "near") for number in (1, 2, 3)]
    assert courses == [course_of(scenario, "near", f"cam-{number}") for number in (1, 2, 3)]
    assert len({course[1][0] for course in courses}) == 3


@pytest.mark.parametrize(
    ("link", "said", "advised"),
    [
        ("trace: {up: up.csv, down: down.csv}", "`delay` is missing: the trace up.csv has none", "state"),
        ("delay: 5 ms, trace: {up: down.csv, down: down.csv}", "the trace already states `delay`", "remove `delay`"),
        ("delay: 5 ms, trace: {up: up.csv}", "`down` is missing", "state both"),
        ("delay: 5 ms, trace: {up: up.csv, down: down.csv, every: 1 s}", "unknown key `every`", "up, down"),
        ("delay: 5 ms, trace: {up: up.csv, down: {file: down.csv, loop: 1}}", "unknown key `loop`", "file, format"),
        ("delay: 5 ms, trace: {up: up.csv, down: no.csv}", "network trace DIR/no.csv: cannot be read", "path"),
        ("delay: 5 ms, trace: {up: up.csv, down: 3}", "`down` must be a mapping", ""),
        (
            "delay: 5 ms, trace: {up: up.csv, down: {file: down.csv, offset: 7 s, repeat: false}}",
            "the offset may lie beyond the trace's end (6 s)", "let the trace repeat",
        ),
    ],
)  # fmt: skip
def test_what_is_refused_of_two_traces(pair: Path, link: str, said: str, advised: str) -> None:
    messages = problems_of(pair, link)
    assert any(said in message and advised in hint for message, hint in messages), messages
