"""Recovery after events: for courses of delay with known answers, and on a simulated run."""

import dataclasses
from pathlib import Path

import msgspec
import numpy as np
import pytest

from node_agent.errors import InputError
from testbed.compare.recovery import (
    DelayCourse,
    Happening,
    Tasks,
    happenings,
    measure,
    pooled,
    read_course,
    recoveries,
)
from testbed.run.observer import SilentObserver
from testbed.run.planning import plan_run
from testbed.scenario import LinkShape
from testbed.simulation.simulator import Simulation
from testbed.topology.event_kinds.device_rate import RateChange
from testbed.topology.event_kinds.link_shape import LinkChange
from testbed.topology.event_kinds.node_state import NodeChange
from testbed.topology.event_kinds.server_capacity import CapacityChange
from tests.testbed.record.task_lines import task_line
from tests.testbed.recorded import recoveries_of_run

ROOT = Path(__file__).parents[3]
EVENT = Happening(100.0, "something")


def course(delay, *, end_s=200.0, rate_per_s=50.0, noise=0.0, lost=(), seed=1):
    """Evenly created tasks; `delay` maps their time of creation to their delay [s]."""
    created_s = np.arange(0, end_s, 1 / rate_per_s)
    random = np.random.default_rng(seed)
    delays_s = np.vectorize(delay, otypes=[float])(created_s)
    delays_s = delays_s * random.gamma(1 / noise**2, noise**2, created_s.size) if noise else delays_s
    return DelayCourse(created_s, delays_s, np.array(lost, dtype=float))


def one(found):
    (recovery,) = found
    return recovery


def step(peak_s, until_s, settled_s=0.3, before_s=0.2):
    return lambda at_s: before_s if at_s < 100 else peak_s if at_s < until_s else settled_s


def test_a_step_that_ends_after_twelve_seconds():
    found = one(measure(course(step(1.5, 112.0)), [EVENT], begin_s=10.0, end_s=200.0))
    assert (found.at_s, found.what, found.until_s, found.window_s) == (100.0, "something", 200.0, 2.0)
    assert found.before_s == pytest.approx(0.2)
    assert found.peak_s == pytest.approx(1.5)
    assert found.settled_s == pytest.approx(0.3)
    assert found.tolerance_s == pytest.approx(0.2 * 0.3 + 0.001)
    # The first window with a mean up to 0.361 holds (0.361 - 0.3) / 1.2 = 5 % of the step: the grid's step is 0.25 s.
    assert found.recovered_after_s == pytest.approx(12.0, abs=0.25)
    assert found.paid_task_s == pytest.approx(50 * 12 * (1.5 - 0.3), rel=0.03)
    assert found.paid_per_task_s == pytest.approx(1.2, rel=0.01)
    assert found.mean_s == pytest.approx((12 * 1.5 + 88 * 0.3) / 100)
    assert found.extra_task_s == pytest.approx(50 * (12 * 1.3 + 88 * 0.1))


@pytest.mark.parametrize("noise", [0.0, 0.5])
@pytest.mark.parametrize("time_constant_s", [3.0, 8.0])
def test_an_exponential_return(time_constant_s, noise):
    peak_s, settled_s = 2.0, 0.25

    def delay(at_s):
        back = np.exp(-(at_s - 100) / time_constant_s)
        return 0.2 if at_s < 100 else settled_s + (peak_s - settled_s) * back

    found = one(measure(course(delay, noise=noise, rate_per_s=200), [EVENT], begin_s=10.0, end_s=200.0))
    # The window's mean is e times its start's excess over the settled level; it must come down to the tolerance.
    factor = time_constant_s / 2.0 * (1 - np.exp(-2.0 / time_constant_s))
    expected_s = time_constant_s * np.log((peak_s - settled_s) * factor / found.tolerance_s)
    assert found.recovered_after_s == pytest.approx(expected_s, abs=0.25 if not noise else 2.0)
    excess = 200 * (peak_s - settled_s) * time_constant_s * (1 - np.exp(-found.recovered_after_s / time_constant_s))
    assert found.paid_task_s == pytest.approx(excess, rel=0.03)
    assert found.settled_s == pytest.approx(settled_s, rel=0.03)


def test_no_effect_recovers_at_once():
    found = one(measure(course(lambda _: 0.2, noise=0.7), [EVENT], begin_s=10.0, end_s=200.0))
    assert found.recovered_after_s == 0.0
    assert found.paid_task_s == found.paid_per_task_s == 0.0


def test_delay_that_goes_on_growing_does_not_recover():
    def growing(at_s):
        return 0.2 if at_s < 100 else 0.2 + 0.1 * (at_s - 100)

    found = one(measure(course(growing), [EVENT], begin_s=10.0, end_s=200.0))
    assert found.recovered_after_s is found.paid_task_s is found.paid_per_task_s is None
    assert found.peak_s == pytest.approx(10.1, rel=0.02)
    assert found.mean_s == pytest.approx(5.2, rel=0.01)


def test_a_peak_that_lasts_until_the_end_does_not_recover():
    found = one(measure(course(step(1.5, 190.0)), [EVENT], begin_s=10.0, end_s=200.0))
    assert found.recovered_after_s is None


def test_a_relapse_counts():
    def twice(at_s):
        return 1.0 if 100 <= at_s < 105 or 120 <= at_s < 125 else 0.2

    assert one(measure(course(twice), [EVENT], begin_s=10.0, end_s=200.0)).recovered_after_s == pytest.approx(25, abs=1)


def test_a_worse_level_is_told_although_it_is_reached_at_once():
    found = one(measure(course(step(0.9, 100.0, settled_s=0.9)), [EVENT], begin_s=10.0, end_s=200.0))
    assert found.recovered_after_s == 0.0
    assert (found.before_s, found.settled_s, found.mean_s) == pytest.approx((0.2, 0.9, 0.9))
    assert (found.paid_task_s, found.extra_task_s) == (0.0, pytest.approx(50 * 100 * 0.7))


def test_ordinary_noise_is_no_relapse():
    """The answer stays the same, within a window, for many draws of noise as wide as the delays of a queue."""
    answers = [
        one(measure(course(step(2.0, 110.0), noise=1.0, seed=seed), [EVENT], begin_s=10.0, end_s=200.0))
        for seed in range(40)
    ]
    times_s = [answer.recovered_after_s for answer in answers if answer.recovered_after_s is not None]
    assert np.median(times_s) == pytest.approx(10.0, abs=1.0)
    assert sum(abs(time_s - 10) <= 2 for time_s in times_s) >= 34


def test_each_stretch_ends_with_the_next_event():
    events = [Happening(100.0, "worse"), Happening(150.0, "better")]

    def delay(at_s):
        return 0.2 if at_s < 100 else 1.0 if at_s < 106 else 0.4 if at_s < 150 else 0.2

    worse, better = measure(course(delay), events, begin_s=10.0, end_s=200.0)
    assert (worse.until_s, better.until_s) == (150.0, 200.0)
    assert (worse.before_s, worse.settled_s) == pytest.approx((0.2, 0.4))
    assert (better.before_s, better.settled_s) == pytest.approx((0.4, 0.2))
    assert worse.recovered_after_s == pytest.approx(6, abs=0.5)
    assert better.recovered_after_s == 0.0


def test_too_few_tasks_or_too_short_a_stretch_tell_nothing():
    nothing = one(measure(course(lambda _: 0.2, rate_per_s=0.05), [EVENT], begin_s=10.0, end_s=200.0))
    assert nothing.settled_s is nothing.before_s is nothing.recovered_after_s is None
    short = one(measure(course(lambda _: 0.2), [Happening(190.0, "late")], begin_s=10.0, end_s=200.0))
    assert short.tolerance_s is short.recovered_after_s is None
    assert (short.peak_s, short.settled_s) == pytest.approx((0.2, 0.2))
    shorter = one(measure(course(lambda _: 0.2), [Happening(199.0, "late")], begin_s=10.0, end_s=200.0))
    assert shorter.window_s is shorter.peak_s is None
    none = one(measure(pooled([]), [EVENT], begin_s=10.0, end_s=200.0))
    assert (none.mean_s, none.lost) == (None, 0)


def test_the_window_suits_the_rate():
    slow = one(measure(course(lambda _: 0.2, rate_per_s=2.0), [EVENT], begin_s=10.0, end_s=200.0))
    assert slow.window_s == pytest.approx(15.0)


def test_pooled_runs_share_the_windows_and_the_price():
    single = course(step(1.5, 112.0))
    run = Tasks(single.created_s, single.created_s + single.delay_s, [None] * single.created_s.size)
    three = one(measure(pooled([run, run, run]), [EVENT], begin_s=10.0, end_s=200.0))
    alone = one(measure(single, [EVENT], begin_s=10.0, end_s=200.0))
    assert dataclasses.astuple(three)[2:] == pytest.approx(dataclasses.astuple(alone)[2:])


def test_lost_tasks_are_told_per_run_and_have_no_delay():
    created_s = np.arange(0, 200, 0.1)
    completed_s = created_s + 0.2
    completed_s[(created_s > 100) & (created_s < 101.05)] = np.inf
    found = one(measure(pooled([Tasks(created_s, completed_s, [None] * 2000)] * 2), [EVENT], begin_s=0, end_s=200))
    assert found.lost == 10
    assert found.mean_s == pytest.approx(0.2)


def test_refused_tasks_are_told_per_run_apart_from_lost_ones():
    created_s = np.arange(0, 200, 0.1)
    refused_s = np.array([50.0, 99.9, 100.0, 150.0, 199.0, 200.0])
    run = Tasks(created_s, created_s + 0.2, [None] * 2000, refused_s)
    found = one(measure(pooled([run, run]), [EVENT], begin_s=0, end_s=200))
    assert (found.lost, found.refused) == (0, 3)
    assert found.mean_s == pytest.approx(0.2)


def test_events_of_one_instant_are_one():
    shape = LinkShape(5.0, 0.02)
    events = [
        CapacityChange(10.0, "near", 0.1e9),
        NodeChange(10.0, "far", up=False),
        LinkChange(20.0, ("a", "b"), shape),
        RateChange(30.0, "cam-1", 4.0),
        RateChange(30.0, "cam-2", 4.0),
        CapacityChange(30.0, "near", 0.2e9),
    ]
    assert [(found.at_s, found.what) for found in happenings(events)] == [
        (10.0, "near: 0.1 GFLOP/s, far down"),
        (20.0, "a - b: 5 Mbit/s, 20 ms"),
        (30.0, "2 rate changes, 1 capacity change"),
    ]


SLOWDOWN = """
name: slowdown
model: {name: glyphs, cut: [5]}
policy: computing-first
slot: 5 s
duration: 120 s
warm_up: 5 s
devices:
  cam: {count: 4, rate: 5 /s}
servers:
  only: {stage: 1, capacity: 2 GFLOP/s}
links:
  - {from: cam, to: only, rate: 100 Mbit/s, delay: 2 ms}
events:
  - {at: 40 s, server: only, capacity: x0.1}
  - {at: 50 s, server: only, capacity: x1}
"""


def test_a_server_that_floods_and_drains(tmp_path):
    """A queue that nearly stops for ten seconds has a recovery that can be computed by hand.

    A task costs 49 MFLOP, 24.4 ms. Of some 200 tasks in ten seconds, 40 are served. The others' 3.9 s of work drain at
    1 - 20/s * 24.4 ms = 0.51 a second, in 7.6 s; meanwhile delay falls from 3.9 s along a straight line.
    """
    (tmp_path / "topology.yaml").write_text(SLOWDOWN)
    plan = plan_run(tmp_path / "topology.yaml", out=tmp_path / "run", seed=4)
    Simulation(plan, SilentObserver()).run()
    flooded, drained = recoveries_of_run(tmp_path / "run")
    assert recoveries(read_course(tmp_path / "run"), plan.scenario) == (flooded, drained)
    assert (flooded.at_s, flooded.until_s, drained.until_s) == (40.0, 50.0, 120.0)
    assert flooded.what == "only: 0.2 GFLOP/s"
    assert flooded.tolerance_s is flooded.recovered_after_s is None  # ten seconds are too short
    assert drained.settled_s == pytest.approx(flooded.before_s, rel=0.35)
    assert drained.recovered_after_s == pytest.approx(7.6, rel=0.3)
    assert drained.paid_task_s == pytest.approx(20 * 7.6 * 3.9 / 2, rel=0.4)


def test_what_is_no_run_directory(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_course(tmp_path)
    (tmp_path / "tasks.jsonl").write_bytes(msgspec.json.encode(task_line()) + b'\n{"id')
    with pytest.raises(InputError, match=r"tasks\.jsonl:2: not as this version records it"):
        read_course(tmp_path)
