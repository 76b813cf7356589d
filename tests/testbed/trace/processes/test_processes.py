"""Arrival processes against their closed forms: mean rate, shape, dispersion; and how they are stated."""

import math
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node_agent.errors import InputError
from testbed.scenario import ArrivalProcess, Scenario
from testbed.topology import resolve_text
from testbed.topology.topology_file import TopologyError
from testbed.trace.inspection.workload_summary import summarise
from testbed.trace.processes.bursty import Bursty
from testbed.trace.processes.diurnal import Diurnal
from testbed.trace.processes.flash_crowd import FlashCrowd
from testbed.trace.processes.mmpp import Mmpp
from testbed.trace.processes.parameters import Moment
from testbed.trace.processes.ramp import Ramp
from testbed.trace.processes.registry import PROCESSES, process_from
from testbed.trace.processes.shaped import MOST_AT_ONCE, Shaped
from testbed.trace.workload import Arrival, generate

SHAPED = (
    "diurnal", "diurnal:period=7 s,peak=x2,at=3 s", "diurnal:peak=x1.2,at=0 %", "flash-crowd",
    "flash-crowd:at=20 s,peak=x40,rise=0 s,decay=3 s", "flash-crowd:at=0 %,peak=x3,rise=50 %,decay=200 s",
    "ramp", "ramp:first=x3,last=x0,begin=5 s,end=40 s", "ramp:first=x0,last=x1,end=900 s",
)  # fmt: skip
ALL = (*SHAPED, "poisson", "bursty", "mmpp", "mmpp:states=x0/x1/x9,dwell=5 s/2 s/500 ms")


def scenario_of(arrivals: str = "poisson", *, count: int = 1, events: str = "", duration: str = "60 s") -> Scenario:
    return resolve_text(
        f"""
name: one
model: {{name: glyphs, cut: [5]}}
policy: dto-ee
seed: 11
arrivals: {arrivals}
devices: {{cam: {{count: {count}, rate: 3 /s}}}}
servers: {{server: {{stage: 1, capacity: 1 GFLOP/s}}}}
links: [{{from: cam, to: server, rate: 1 Gbit/s, delay: 1 ms}}]
duration: {duration}
events: [{events}]
"""
    )


def draw(process: ArrivalProcess, rate_per_s: float, duration_s: float, seed: int = 5) -> np.ndarray:
    return process.times_s(np.random.default_rng(seed), [(0.0, rate_per_s)], duration_s)


@pytest.mark.parametrize("text", SHAPED)
@pytest.mark.parametrize("duration_s", [60.0, 613.0])
def test_the_area_of_a_curve_is_its_integral(text: str, duration_s: float) -> None:
    process = process_from(text)
    assert isinstance(process, Shaped)
    at_s = np.linspace(0, duration_s, 400_001)
    height = process.height(at_s, duration_s)
    assert height.min() >= 0
    assert height.max() <= process.greatest(duration_s) + 1e-12
    areas = np.concatenate([[0], np.cumsum((height[1:] + height[:-1]) / 2 * np.diff(at_s))])
    for place in (0, 1, 1000, 133_333, 222_222, 400_000):
        found = process.area(float(at_s[place]), duration_s)
        assert found == pytest.approx(areas[place], rel=1e-3, abs=1e-3 * duration_s)


@pytest.mark.parametrize("text", ALL)
def test_the_mean_rate_over_the_run_is_the_stated_one(text: str) -> None:
    process, rate_per_s, duration_s, repeats = process_from(text), 40.0, 300.0, 20
    counts = [len(draw(process, rate_per_s, duration_s, seed)) for seed in range(repeats)]
    dispersion = float(process.dispersion(np.array([rate_per_s]), duration_s)[0])
    deviation = math.sqrt(rate_per_s * duration_s * dispersion / repeats)
    assert np.mean(counts) == pytest.approx(rate_per_s * duration_s, abs=4 * deviation)
    assert process.mean_factor(0, duration_s, duration_s) == pytest.approx(1.0)


@pytest.mark.parametrize("text", SHAPED)
def test_times_follow_the_curve(text: str) -> None:
    """The Kolmogorov-Smirnov test against the normalised area."""
    from scipy import stats

    process, duration_s = process_from(text), 100.0
    assert isinstance(process, Shaped)
    times_s = draw(process, 100.0, duration_s)
    assert (np.diff(times_s) >= 0).all()
    assert 0 <= times_s[0] <= times_s[-1] < duration_s
    whole = process.area(duration_s, duration_s)
    distribution = np.vectorize(lambda at_s: process.area(at_s, duration_s) / whole)
    assert stats.kstest(times_s, distribution).pvalue > 1e-3
    other = process_from("ramp:first=x0,last=x1" if "x0,last=x1" not in text else "poisson")
    assert stats.kstest(draw(other, 100.0, duration_s), distribution).pvalue < 1e-6


@pytest.mark.parametrize("text", SHAPED)
def test_shaped_arrivals_are_poisson_within_a_short_time(text: str) -> None:
    """Counts in one short window vary over seeds as Poisson counts do."""
    process, rate_per_s = process_from(text), 60.0
    counts = []
    for seed in range(300):
        times_s = draw(process, rate_per_s, 100.0, seed)
        counts.append(int(((times_s >= 18) & (times_s < 24)).sum()))
    mean = rate_per_s * 6 * process.mean_factor(18, 24, 100.0)
    assert np.mean(counts) == pytest.approx(mean, abs=4 * math.sqrt(mean / 300) + 1e-9)
    if mean > 1:
        assert np.var(counts, ddof=1) / np.mean(counts) == pytest.approx(1, abs=4 * math.sqrt(2 / 300))


def test_the_curves_by_hand() -> None:
    day = Diurnal(Moment(24.0, relative=False), 1.5)
    assert day.height(np.array([0.0, 6.0, 12.0, 24.0]), 48.0) == pytest.approx([0.5, 1.0, 1.5, 0.5])
    crowd = FlashCrowd(Moment(10.0, relative=False), 5.0, Moment(2.0, relative=False), Moment(4.0, relative=False))
    assert crowd.height(np.array([9.9, 11.0, 12.0, 16.0]), 60.0) == pytest.approx([1, 3, 5, 1 + 4 / math.e])
    ramp = Ramp(1.0, 3.0, Moment(0.25, relative=True), Moment(0.75, relative=True))
    assert ramp.height(np.array([0.0, 25.0, 50.0, 75.0, 100.0]), 100.0) == pytest.approx([1, 1, 2, 3, 3])
    assert ramp.mean_factor(75.0, 100.0, 100.0) == pytest.approx(3 / 2)


def test_candidates_are_drawn_in_turns_when_there_are_many() -> None:
    process = process_from("flash-crowd:at=1 s,rise=0 s,decay=1 s,peak=x500")
    times_s = draw(process, 20_000.0, 20.0)
    assert 20_000 * 20 * process.greatest(20.0) > 50 * MOST_AT_ONCE / 10
    assert len(times_s) == pytest.approx(400_000, abs=4 * math.sqrt(400_000))
    assert (np.diff(times_s) >= 0).all()


@pytest.mark.parametrize(
    "process", [Mmpp(), Mmpp((0.0, 1.0, 9.0), (5.0, 2.0, 0.5)), Mmpp((1.0, 1.0, 1.0, 2.0), (1.0, 2.0, 3.0, 4.0))]
)
def test_the_dispersion_of_mmpp_is_that_of_its_closed_form(process: Mmpp) -> None:
    duration_s, rate_per_s = 60_000.0, 5.0
    times_s = draw(process, rate_per_s, duration_s)
    for window_s in (0.5, 5.0, 40.0):
        counts = np.bincount((times_s / window_s).astype(int), minlength=int(duration_s / window_s))
        expected = process.dispersion(np.array([rate_per_s]), window_s)[0]
        assert counts.var() / counts.mean() == pytest.approx(expected, rel=0.12)
    assert process.dispersion(np.array([rate_per_s]), 40.0)[0] > 1.1


def test_bursty_is_an_mmpp_of_two_states() -> None:
    twin = Mmpp((0.5, 3.0), (8.0, 2.0))
    for window_s in (0.1, 3.0, 500.0):
        rates = np.array([0.5, 3.0, 20.0])
        assert twin.dispersion(rates, window_s) == pytest.approx(Bursty().dispersion(rates, window_s))
    assert twin.factors == pytest.approx([0.5, 3.0])


def times_of(arrivals: list[Arrival], device: str) -> list[float]:
    return [arrival.time_s for arrival in arrivals if arrival.device == device]


@pytest.mark.parametrize("name", PROCESSES)
def test_each_device_has_a_stream_of_its_own(name: str) -> None:
    alone, crowd = (generate(scenario_of(name, count=count), sample_count=50) for count in (2, 5))
    for device in ("cam-1", "cam-2"):
        assert times_of(alone, device) == times_of(crowd, device)
    streams = [np.array(times_of(crowd, f"cam-{number}")) for number in range(1, 6)]
    assert len({tuple(stream) for stream in streams}) == 5
    assert crowd != generate(scenario_of(name, count=5), seed=12, sample_count=50)
    # Counts of two devices in seconds are independent once the common course of the rate is taken off.
    process = process_from(name)
    course = np.array([3 * process.mean_factor(second, second + 1, 60) for second in range(60)])
    rest = [np.bincount(stream.astype(int), minlength=60) - course for stream in streams[:2]]
    assert abs(np.corrcoef(*rest)[0, 1]) < 4 / math.sqrt(60)


@pytest.mark.parametrize("name", ["diurnal", "flash-crowd", "ramp", "mmpp"])
def test_rate_changes_multiply(name: str) -> None:
    event = "{at: 50 %, device: cam, rate: x4}"
    scenario = scenario_of(name, events=event, duration="20000 s")
    times_s = np.array(times_of(generate(scenario, sample_count=10), "cam-1"))
    process = scenario.arrivals
    for begin_s, end_s, rate in ((0, 10_000, 3.0), (10_000, 20_000, 12.0)):
        mean = rate * (end_s - begin_s) * process.mean_factor(begin_s, end_s, 20_000)
        dispersion = float(process.dispersion(np.array([rate]), 10_000.0)[0])
        counted = int(((times_s >= begin_s) & (times_s < end_s)).sum())
        assert counted == pytest.approx(mean, abs=4 * math.sqrt(mean * dispersion))


def test_the_figures_of_a_trace_show_the_process() -> None:
    found = {
        name: summarise(generate(scenario_of(name, duration="3000 s"), sample_count=10), window_s=1.0)
        for name in ("poisson", "flash-crowd", "mmpp")
    }
    assert found["poisson"]["gaps"]["variation"] == pytest.approx(1, abs=0.05)
    assert found["mmpp"]["windows"]["10"] > 4  # type: ignore[operator]
    assert found["flash-crowd"]["windows"]["100"] > 20  # type: ignore[operator]


# Statements -------------------------------------------------------------------------------------------------------


def test_a_process_is_stated_as_text_or_as_a_mapping() -> None:
    for text, entry in (
        ("poisson", {"process": "poisson"}),
        ("flash-crowd:at=20 s,peak=x8", {"process": "flash-crowd", "at": "20 s", "peak": "x8"}),
        ("mmpp:states=x0.5/x3,dwell=4 s/1 s", {"process": "mmpp", "states": ["x0.5", "x3"], "dwell": ["4 s", "1 s"]}),
        ("ramp: first = x0 , last = x2", {"process": "ramp", "first": "x0", "last": "x2"}),
    ):
        assert process_from(text) == process_from(entry)
    assert process_from("diurnal:period=50 %") == Diurnal(Moment(0.5, relative=True))
    assert process_from(Bursty()) == Bursty()


@pytest.mark.parametrize(
    ("stated", "said", "advised"),
    [
        ("bursts", "there is no arrival process 'bursts'", "did you mean bursty?"),
        ("?", "there is no arrival process '?'", "known are poisson, bursty"),
        ("poisson:peak=x2", "poisson has no parameter 'peak'", "leave it out"),
        ("diurnal:peek=x2", "diurnal has no parameter 'peek'", "known are period, peak, at"),
        ("diurnal:peak=x3", "peak: x3 is out of bounds", "flash-crowd or mmpp"),
        ("diurnal:peak=2", "peak: '2' is not a factor", "write it as x2.5"),
        ("diurnal:peak", "'peak' is no KEY=VALUE", "peak=x8"),
        ("diurnal:peak=x1.5,peak=x1.6", "peak is stated twice", "keep one"),
        ("diurnal:period=0 s", "period: 0 s is no length: it must be above zero", "20 s"),
        ("flash-crowd:at=20", "at: 20 has no unit", ""),
        ("flash-crowd:peak=x1", "peak: x1 is no peak", "peak: x5"),
        ("ramp:first=x0,last=x0", "first and last are both x0", ""),
        ("mmpp:states=x1,dwell=1 s", "states and dwell need 2 to 16 entries each", ""),
        ("mmpp:states=x1/x2/x3", "not 3 and 2", ""),
        ("mmpp:states=x0/x0", "a state needs a factor above x0", ""),
        ("mmpp:dwell=1 us/1 s", "is too short", "dwell: [8 s, 2 s]"),
        ({"peak": "x2"}, "does not name its process", "process: flash-crowd"),
        ({"process": "mmpp", "states": 5}, "states: '5' is no list", "write a list"),
        (7, "'7' is no arrival process", ""),
    ],
)
def test_wrong_statements_say_how_to_mend_them(stated: object, said: str, advised: str) -> None:
    with pytest.raises(InputError) as caught:
        process_from(stated)
    assert said in str(caught.value)
    assert advised in caught.value.hint
    assert "\n" not in str(caught.value)


KEYS = st.sampled_from(["peak", "at", "states", "dwell", "period", "rise", "first"])
STATED = st.builds("{}:{}={}".format, st.sampled_from(list(PROCESSES)), KEYS, st.text("x0123456789.%/ s", max_size=12))


@given(st.one_of(st.text(max_size=60), STATED))
@settings(deadline=None, max_examples=300)
def test_any_text_is_a_process_or_an_input_error(text: str) -> None:
    with suppress(InputError):
        process = process_from(text)
        process.check(60.0)
        assert (draw(process, 0.1, 60.0) < 60).all()


@pytest.mark.parametrize(
    ("arrivals", "said"),
    [
        ("diurnl", "there is no arrival process 'diurnl'"),
        ("{process: diurnal, peak: x9}", "peak: x9 is out of bounds"),
        ("[poisson]", "is no arrival process"),
    ],
)
def test_a_topology_says_where_its_arrivals_are_wrong(arrivals: str, said: str) -> None:
    with pytest.raises(TopologyError) as caught:
        scenario_of(arrivals)
    assert said in str(caught.value)
    assert str(caught.value).startswith("topology.yaml:6:")


@pytest.mark.parametrize(
    ("arrivals", "said"),
    [
        ("{process: flash-crowd, at: 70 s}", "the crowd comes at 70 s, but the run ends at 60 s"),
        ("{process: ramp, begin: 50 %, end: 30 s}", "the ramp goes from 30 s to 30 s"),
        ("{process: mmpp, dwell: [1 ms, 1 ms]}", ""),
    ],
)
def test_a_process_that_does_not_suit_the_duration_is_refused(arrivals: str, said: str) -> None:
    scenario = scenario_of(arrivals)
    if said:
        with pytest.raises(InputError, match=said):
            generate(scenario, sample_count=10)
    else:
        with pytest.raises(InputError, match="too short for 1e"):
            generate(scenario, duration_s=1e6, sample_count=10)


def test_the_expected_number_of_tasks_follows_the_curve() -> None:
    """A rate of 1e6 /s in the first tenth would be too many tasks, unless the ramp has hardly begun by then."""
    event = "{at: 10 %, device: cam-1, rate: 1 /s}, {at: 0 %, device: cam-1, rate: 1e6 /s}"
    with pytest.raises(InputError, match="tasks are too many"):
        generate(scenario_of("{process: ramp, first: x3, last: x0}", events=event), duration_s=100.0, sample_count=10)
    ramp = "{process: ramp, first: x0, last: x1, begin: 9 %}"
    assert len(generate(scenario_of(ramp, events=event), duration_s=100.0, sample_count=10)) < 200_000
