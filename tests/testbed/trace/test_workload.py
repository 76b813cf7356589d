"""Workload traces: valid and faulty files, and the statistics of generated ones."""

import json
import os
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node_agent.errors import InputError
from testbed.scenario import Scenario
from testbed.topology import load_topology, resolve_text
from testbed.trace import workload
from testbed.trace.error import MAX_PROBLEMS, TraceError
from testbed.trace.inspection.workload_summary import summarise
from testbed.trace.workload import Arrival, check_trace, generate, read_trace, write_trace

ROOT = Path(__file__).parents[3]


def scenario_of(
    devices: str = "cam: {count: 4, rate: 3 /s}", *, arrivals: str = "poisson", events: str = "", duration: str = "60 s"
) -> Scenario:
    """A scenario with these devices in front of one server."""
    names = [part.split(":")[0].strip() for part in devices.split("},")]
    return resolve_text(
        f"""
name: one
model: {{name: glyphs, cut: [5]}}
policy: dto-ee
seed: 11
arrivals: {arrivals}
devices: {{{devices}}}
servers: {{server: {{stage: 1, capacity: 1 GFLOP/s}}}}
links: [{{from: [{", ".join(names)}], to: server, rate: 1 Gbit/s, delay: 1 ms}}]
duration: {duration}
events: [{events}]
"""
    )


GOOD_LINE = '{"time_s": 0.5, "device": "cam-1", "sample": 17}\n'


def problems_of(path: Path, text: str | bytes) -> tuple[str, ...]:
    """Return the problems of a trace file with this text, without its folder."""
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(TraceError) as caught:
        read_trace(path)
    assert caught.value.exit_code == 3
    assert caught.value.hint
    return tuple(problem.removeprefix(f"{path.parent}/") for problem in caught.value.problems)


@given(
    st.lists(
        st.tuples(st.floats(0, 1e6), st.from_regex(r"[a-z][a-z0-9-]{0,20}", fullmatch=True), st.integers(0, 10**6)),
        max_size=30,
    )
)
@settings(deadline=None)
def test_what_is_written_reads_back(rows: list[tuple[float, str, int]]) -> None:
    arrivals = [Arrival(*row) for row in sorted(rows)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "t.jsonl")
        write_trace(path, arrivals)
        assert read_trace(path) == arrivals


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD_LINE + GOOD_LINE[:20], "t.jsonl:2: the last line is cut off"),
        (GOOD_LINE + "oops\n", "t.jsonl:2: not JSON"),
        (GOOD_LINE + "\n" + GOOD_LINE, "t.jsonl:2: empty line"),
        ("{oops}\n", "t.jsonl:1: not JSON: JSON is malformed"),
        ('{"time_s": 0.5, "device": "cam-1"}\n', "t.jsonl:1: object missing required field `sample`"),
        (GOOD_LINE.replace("}", ', "label": 1}'), "t.jsonl:1: object contains unknown field `label`"),
        (GOOD_LINE.replace("0.5", "-0.5"), "t.jsonl:1: expected `float` >= 0"),
        (GOOD_LINE.replace("0.5", "1e999"), "t.jsonl:1: "),
        (GOOD_LINE.replace("0.5", "NaN"), "t.jsonl:1: not JSON"),
        (GOOD_LINE.replace("0.5", '"0.5"'), "t.jsonl:1: expected `float`, got `str`"),
        (GOOD_LINE.replace("17", "1.5"), "t.jsonl:1: expected `int`, got `float`"),
        (GOOD_LINE.replace("17", "-1"), "t.jsonl:1: expected `int` >= 0"),
        (GOOD_LINE.replace("17", "9" * 400), "t.jsonl:1: "),
        (GOOD_LINE.replace('"cam-1"', "3"), "t.jsonl:1: expected `str`, got `int`"),
        (GOOD_LINE.replace("0.5", "0.6") + GOOD_LINE, "t.jsonl:2: not sorted: 0.5 s follows 0.6 s"),
        (GOOD_LINE.replace('"sample"', '"time_s": 0.7, "sample"'), "t.jsonl:1: `time_s` is stated twice: keep one"),
        (GOOD_LINE.replace("}", r', "s\u0061mple": 18}'), "t.jsonl:1: `sample` is stated twice: keep one"),
        (GOOD_LINE.replace("0.5", "2e7"), "t.jsonl:1: 2e+07 s is beyond 1e+07 s"),
        ("[1]\n", "t.jsonl:1: expected `object`, got `array`"),
        ("x" * 10_000, "t.jsonl:1: longer than 4096 bytes"),
        (b'{"time_s": 0.5, "device": "\xff", "sample": 1}\n', "t.jsonl:1: "),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, text: str | bytes, said: str) -> None:
    (problem,) = problems_of(tmp_path / "t.jsonl", text)
    assert problem.startswith(said)


@pytest.mark.parametrize(
    ("text", "said", "advised"),
    [
        (
            '{"time_s": 1.7e9, "device": "cam-1", "sample": 1}\n' * 50,
            "t.jsonl:1: 1700000000 looks like a date (seconds since 1970); times count from the run's start",
            "subtract the first task's time",
        ),
        (
            '{"time_s": 1700000000123, "device": "cam-1", "sample": 1}\n' * 50,
            "t.jsonl:1: 1700000000123 looks like a date (fractions of a second since 1970); times count",
            "subtract the first task's time from all, in seconds",
        ),
        (
            "".join(f"{ms}\n" for ms in range(90)),
            "t.jsonl:1: a network trace (mahimahi packet deliveries), not a workload",
            "trace: FOLDER/t.jsonl under links",
        ),
        (
            "time_s,rate_mbit_per_s\n" + "1,2\n" * 90,
            "t.jsonl:1: a network trace (a time series), not a workload",
            "trace: FOLDER/t.jsonl under links",
        ),
        (
            "# A topology.\nname: small\nmodel: {name: glyphs, cut: [3, 5]}\ndevices:\n  cam: {rate: 2 /s}\n" * 9,
            "t.jsonl: not a workload trace (a YAML file, such as a topology)",
            "a line is {",
        ),
        (
            "TIMESTAMP,ContextTokens\n" + "2023-11-16 18:17:03.97996,4808\n" * 50,
            "t.jsonl: not a workload trace (no line of it is a JSON object)",
            "sorted by time; `dtoee-testbed trace import` makes one",
        ),
    ],
)
def test_what_is_no_workload_at_all_is_said_once(tmp_path: Path, text: str, said: str, advised: str) -> None:
    (problem,) = problems_of(tmp_path / "t.jsonl", text)
    assert problem.startswith(said)
    with pytest.raises(TraceError) as caught:
        read_trace(tmp_path / "t.jsonl")
    assert advised.replace("FOLDER", str(tmp_path)) in caught.value.hint


def test_a_colon_in_a_name_is_no_repeated_key(tmp_path: Path) -> None:
    (tmp_path / "t").write_text(GOOD_LINE.replace("cam-1", "a:b:c"))
    assert read_trace(tmp_path / "t") == [Arrival(0.5, "a:b:c", 17)]


def test_all_bad_lines_are_reported_up_to_a_limit(tmp_path: Path) -> None:
    text = "oops\n" + GOOD_LINE + "{}\n"
    assert [problem.split(": ")[0] for problem in problems_of(tmp_path / "t", text)] == ["t:1", "t:3"]
    assert len(problems_of(tmp_path / "t", "{oops\n" * 10_000)) == MAX_PROBLEMS + 1
    with pytest.raises(TraceError, match="… and more"):
        read_trace(tmp_path / "t")


def test_more_tasks_than_a_run_takes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "t").write_text(GOOD_LINE * 6)
    monkeypatch.setattr(workload, "MAX_ARRIVALS", 6)
    assert len(read_trace(tmp_path / "t")) == 6
    monkeypatch.setattr(workload, "MAX_ARRIVALS", 5)
    with pytest.raises(TraceError, match="more than 5 tasks, too many for a run") as caught:
        read_trace(tmp_path / "t")
    assert "trace import" in caught.value.hint


@pytest.mark.parametrize("name", ["t.jsonl", "t.jsonl.gz"])
def test_a_packed_trace_is_known_by_its_first_bytes(tmp_path: Path, name: str) -> None:
    arrivals = [Arrival(n / 4, "cam-1", n) for n in range(1000)]
    write_trace(tmp_path / name, arrivals)
    (tmp_path / "other").write_bytes((tmp_path / name).read_bytes())
    assert read_trace(tmp_path / "other") == arrivals
    assert (tmp_path / name).read_bytes()[:2] == (b"\x1f\x8b" if name.endswith(".gz") else b'{"')


def test_a_last_line_without_a_line_feed_counts(tmp_path: Path) -> None:
    (tmp_path / "t").write_text(GOOD_LINE.rstrip("\n"))
    assert read_trace(tmp_path / "t") == [Arrival(0.5, "cam-1", 17)]


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "t").write_bytes(b'\xef\xbb\xbf{"time_s": 0.5, "device": "cam-1", "sample": 17}\n')
    assert read_trace(tmp_path / "t") == [Arrival(0.5, "cam-1", 17)]


def test_an_unreadable_file_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_trace(tmp_path / "absent")
    with pytest.raises(InputError, match="cannot be read"):
        read_trace(tmp_path)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "t"
    write_trace(path, [Arrival(0.0, "a", 1)])

    def broken() -> "list[Arrival]":
        raise RuntimeError("no more")
        yield  # type: ignore[unreachable]

    with pytest.raises(RuntimeError):
        write_trace(path, broken())
    assert read_trace(path) == [Arrival(0.0, "a", 1)]
    assert os.listdir(tmp_path) == ["t"]
    assert path.stat().st_mode & 0o777 == 0o644
    with pytest.raises(InputError, match="cannot be written"):
        write_trace(tmp_path / "absent" / "t", [])
    with pytest.raises(InputError, match="not a regular file"):
        write_trace("/dev/null", [])


def test_a_trace_must_suit_the_scenario() -> None:
    scenario = scenario_of()
    check_trace([Arrival(0.0, "cam-1", 0), Arrival(60.0, "cam-4", 9)], scenario, 10)
    with pytest.raises(TraceError) as caught:
        check_trace(
            [Arrival(0.0, "cam-5", 0), Arrival(1.0, "cam-1", 10), Arrival(61.0, "cam-1", 1)], scenario, 10, source="t"
        )
    assert caught.value.problems == (
        "t:1: the topology has no device 'cam-5' (did you mean cam-4?)",
        "t:2: sample 10 does not exist; the model has 10 samples",
        "t:3: 61 s lies beyond the duration of 60 s",
    )
    with pytest.raises(TraceError, match="offers no task"):
        check_trace([], scenario, 10)
    with pytest.raises(TraceError) as caught:
        check_trace([Arrival(59.0 + each, "cam-1", 0) for each in range(30)], scenario, 10, source="t")
    assert caught.value.problems == ("t:3: 61 s lies beyond the duration of 60 s",)
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("run all of it with --duration '88 s', or keep a part of it: ")
    assert caught.value.hint.endswith(" --window 0..60 --out PART")
    with pytest.raises(TraceError) as caught:
        check_trace([Arrival(0.0, "x", 0)] * 10_000, scenario, 10)
    assert len(caught.value.problems) == MAX_PROBLEMS + 1


def times_of(arrivals: list[Arrival], device: str) -> np.ndarray:
    return np.array([arrival.time_s for arrival in arrivals if arrival.device == device])


@pytest.mark.parametrize("process", ["poisson", "bursty"])
def test_arrivals_are_sorted_inside_the_duration_and_repeatable(process: str) -> None:
    scenario = scenario_of(arrivals=process)
    arrivals = generate(scenario, sample_count=100)
    assert arrivals == generate(scenario, process=process, duration_s=60.0, seed=11, sample_count=100)
    assert arrivals != generate(scenario, seed=12, sample_count=100)
    times = [arrival.time_s for arrival in arrivals]
    assert times == sorted(times)
    assert min(times) >= 0
    assert max(times) < 60
    check_trace(arrivals, scenario, 100)


@pytest.mark.parametrize("process", ["poisson", "bursty"])
def test_a_device_keeps_its_arrivals_when_others_come_or_go(process: str) -> None:
    alone = generate(scenario_of("cam: {count: 2, rate: 3 /s}"), process=process, sample_count=50)
    crowd = generate(scenario_of("tv: {rate: 9 /s}, cam: {count: 5, rate: 3 /s}"), process=process, sample_count=50)
    for device in ("cam-1", "cam-2"):
        assert (times_of(alone, device) == times_of(crowd, device)).all()
    assert len(times_of(crowd, "cam-1")) > 100
    assert (times_of(crowd, "cam-1")[:50] != times_of(crowd, "cam-2")[:50]).all()


def test_every_sample_is_used_equally_often_and_in_a_new_order() -> None:
    arrivals = generate(scenario_of(), sample_count=100)
    uses = Counter(arrival.sample for arrival in arrivals)
    assert set(uses) == set(range(100))
    assert max(uses.values()) - min(uses.values()) <= 1
    decks = [[arrival.sample for arrival in arrivals[start : start + 100]] for start in (0, 100)]
    assert sorted(decks[0]) == sorted(decks[1]) == list(range(100))
    assert decks[0] != decks[1]


def test_poisson_arrivals_have_the_stated_rate_and_exponential_gaps() -> None:
    from scipy import stats

    arrivals = generate(scenario_of("cam: {count: 1, rate: 3 /s}"), duration_s=5000.0, sample_count=10)
    times = times_of(arrivals, "cam-1")
    assert len(times) == pytest.approx(15_000, abs=4 * 15_000**0.5)
    assert stats.kstest(np.diff(times), "expon", args=(0, 1 / 3)).pvalue > 1e-3
    # Independent gaps: the correlation of neighbours is normal around 0 with deviation 1/sqrt(n).
    gaps = np.diff(times)
    assert abs(np.corrcoef(gaps[:-1], gaps[1:])[0, 1]) < 4 / len(gaps) ** 0.5
    dispersion = summarise(arrivals, window_s=2.0)["all"]["dispersion"]
    assert dispersion == pytest.approx(1.0, abs=4 * (2 / 2500) ** 0.5)


def test_bursty_arrivals_have_the_stated_mean_and_dispersion() -> None:
    from scipy import stats

    duration_s, rate = 40_000.0, 3.0
    arrivals = generate(
        scenario_of("cam: {count: 1, rate: 3 /s}"), process="bursty", duration_s=duration_s, sample_count=10
    )
    limit = 1 + 3.2 * rate  # as documented beside the parameters
    expected = duration_s * rate
    assert len(arrivals) == pytest.approx(expected, abs=4 * (expected * limit) ** 0.5)
    # In windows of t the excess is 3.2 rate (1 - (1 - exp(-r t)) / (r t)) with r = 1/2 s + 1/8 s = 0.625 /s.
    window_s = 20.0
    turned = 0.625 * window_s
    in_window = 1 + 3.2 * rate * (1 - (1 - np.exp(-turned)) / turned)
    dispersion = summarise(arrivals, window_s=window_s)["all"]["dispersion"]
    assert dispersion == pytest.approx(in_window, rel=0.15)
    gaps = np.diff(times_of(arrivals, "cam-1"))
    assert stats.kstest(gaps, "expon", args=(0, 1 / rate)).pvalue < 1e-6


SURGE = (
    "{at: 40 %, device: cam, rate: x3}, {at: 45 %, server: server, capacity: x2}, {at: 70 %, device: cam, rate: 1 /s}"
)


@pytest.mark.parametrize("process", ["poisson", "bursty"])
def test_rates_follow_the_rate_changes(process: str) -> None:
    scenario = scenario_of(
        "cam: {count: 1, rate: 2 /s}, tv: {rate: 2 /s}", arrivals=process, events=SURGE, duration="10000 s"
    )
    arrivals = generate(scenario, sample_count=10)
    for begin_s, end_s, rate in ((0, 4000, 2.0), (4000, 7000, 6.0), (7000, 10_000, 1.0)):
        for device, expected in (("cam-1", rate), ("tv", 2.0)):
            times = times_of(arrivals, device)
            count = int(((times >= begin_s) & (times < end_s)).sum())
            mean = expected * (end_s - begin_s)
            dispersion = 1.0 if process == "poisson" else 1 + 3.2 * expected
            assert count == pytest.approx(mean, abs=4 * (mean * dispersion) ** 0.5), (device, begin_s)


def test_every_piece_of_a_changing_poisson_stream_is_poisson() -> None:
    from scipy import stats

    scenario = scenario_of("cam: {count: 1, rate: 3 /s}", events=SURGE, duration="5000 s")
    times = times_of(generate(scenario, sample_count=10), "cam-1")
    for begin_s, end_s, rate in ((0, 2000, 3.0), (2000, 3500, 9.0), (3500, 5000, 1.0)):
        gaps = np.diff(times[(times >= begin_s) & (times < end_s)])
        assert stats.kstest(gaps, "expon", args=(0, 1 / rate)).pvalue > 1e-3


@pytest.mark.parametrize("process", ["poisson", "bursty"])
def test_a_rate_change_touches_nothing_else(process: str) -> None:
    devices = "cam: {count: 2, rate: 3 /s}, tv: {rate: 9 /s}"
    calm = generate(scenario_of(devices), process=process, sample_count=50)
    double, triple = (
        generate(scenario_of(devices, arrivals=process, events=event), sample_count=50)
        for event in ("{at: 40 s, device: cam-1, rate: x2}", "{at: 40 s, device: cam-1, rate: 9 /s}")
    )
    # To the last bit: other devices keep their arrivals, and the device itself those that do not depend on the factor.
    for device in ("cam-2", "tv"):
        assert (times_of(calm, device) == times_of(double, device)).all()
    before = [times[times < 40] for times in (times_of(double, "cam-1"), times_of(triple, "cam-1"))]
    assert len(before[0]) > 50
    assert (before[0] == before[1]).all()
    assert len(times_of(triple, "cam-1")) > len(times_of(double, "cam-1")) > len(times_of(calm, "cam-1"))


@pytest.mark.parametrize("process", ["poisson", "bursty"])
def test_rate_changes_outside_the_duration_do_not_count(process: str) -> None:
    changing = scenario_of("cam: {count: 1, rate: 3 /s}", events="{at: 50 s, device: cam, rate: x5}")
    calm = scenario_of("cam: {count: 1, rate: 3 /s}")
    shorter = [generate(scenario, process=process, duration_s=50.0, sample_count=10) for scenario in (changing, calm)]
    assert shorter[0] == shorter[1]
    # In a longer workload the last rate goes on.
    times = times_of(generate(changing, process=process, duration_s=5000.0, sample_count=10), "cam-1")
    dispersion = 1.0 if process == "poisson" else 1 + 3.2 * 15
    assert (times >= 60).sum() == pytest.approx(15 * 4940, abs=4 * (15 * 4940 * dispersion) ** 0.5)


def test_a_change_at_the_very_start_sets_the_rate() -> None:
    scenario = scenario_of("cam: {count: 1, rate: 1 /s}", events="{at: 0 %, device: cam, rate: 20 /s}")
    assert len(generate(scenario, sample_count=10)) == pytest.approx(1200, abs=4 * 1200**0.5)


def test_the_expected_number_of_tasks_counts_rate_changes() -> None:
    flood = "{at: 50 %, device: cam-1, rate: 1e6 /s}"
    with pytest.raises(InputError, match=r"about 3e\+07 tasks are too many"):
        generate(scenario_of(events=flood), sample_count=10)
    ebb = "{at: 0 s, device: cam, rate: 1 /s}"
    assert len(generate(scenario_of("cam: {count: 1, rate: 1e6 /s}", events=ebb), sample_count=10)) < 120


def test_impossible_wishes_are_refused() -> None:
    scenario = scenario_of()
    for wish in ({"duration_s": 0.0}, {"duration_s": float("nan")}, {"duration_s": 1e8}, {"sample_count": 0}):
        with pytest.raises(InputError):
            generate(scenario, **{"sample_count": 10, **wish})
    with pytest.raises(InputError, match="tasks are too many"):
        generate(scenario, duration_s=1e7, sample_count=10)


def test_a_summary_counts_by_hand() -> None:
    arrivals = [Arrival(0.1, "b-10", 1), Arrival(0.2, "b-2", 1), Arrival(1.5, "b-2", 2), Arrival(4.0, "b-2", 3)]
    summary = summarise(arrivals, window_s=1.0)
    assert list(summary["devices"]) == ["b-2", "b-10"]
    assert (summary["span_s"], summary["samples"]) == (4.0, 3)
    assert summary["devices"]["b-2"]["tasks"] == 3
    assert summary["devices"]["b-2"]["rate_per_s"] == 0.75
    # Counts of b-2 in the four seconds: 1, 1, 0, 1 (the last window includes its end): mean 3/4, variance 1/4.
    assert summary["devices"]["b-2"]["dispersion"] == pytest.approx(1 / 3)
    assert summarise([], window_s=1.0)["all"] == {"tasks": 0, "rate_per_s": 0.0, "dispersion": None}
    assert summarise(arrivals[:2], window_s=1.0)["all"]["dispersion"] is None


@pytest.mark.parametrize("process", ["poisson", "bursty"])
def test_the_shipped_traces_are_what_the_command_makes(process: str) -> None:
    from node_agent.models import load_bundle

    scenario = load_topology(ROOT / "topologies" / "quickstart.yaml").resolve()
    shipped = read_trace(ROOT / "traces" / f"quickstart-{process}.jsonl")
    count = load_bundle(scenario.model.name).sample_count
    check_trace(shipped, scenario, count)
    assert shipped == generate(scenario, process=process, duration_s=60.0, sample_count=count)
    first = (ROOT / "traces" / f"quickstart-{process}.jsonl").read_text().splitlines()[0]
    assert list(json.loads(first)) == ["time_s", "device", "sample"]
