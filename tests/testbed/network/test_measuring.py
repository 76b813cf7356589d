"""Probes before and during a run: their paths, times and results."""

import itertools
import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.network.commands import bit_per_s
from testbed.network.layout import NetworkPlan
from testbed.network.measure import (
    FRAMES_IN_ALL,
    Departure,
    arrival_rate_mbit_per_s,
    chosen_trains,
    measure,
    timetable,
    travel,
)
from testbed.network.paths import Path, covering, neighbour_paths
from testbed.network.probe import ProbeArrival
from testbed.network.watch import MOST_KEPT, Times
from testbed.scenario import LinkShape

from .scenarios import FAST, scenario

pytestmark = pytest.mark.timing

SHAPES = {0: LinkShape(10.0, 0.010, jitter_s=0.003), 1: LinkShape(40.0, 0.002, jitter_s=0.004, loss=0.1)}


def star(leaves):
    names = [f"n{index}" for index in range(leaves)]
    return NetworkPlan(scenario(names, {(name, "sw"): FAST for name in names}, switches=["sw"]))


def steps(path):
    return set(zip(path.links, path.ends, strict=False))


def test_what_a_path_asks_of_a_packet():
    path = Path(("a", "sw", "b"), (0, 1))
    assert path.delay_s(SHAPES) == pytest.approx(0.012)
    assert path.jitter_s(SHAPES) == pytest.approx(0.005)
    assert path.rate_mbit_per_s(SHAPES) == 10.0
    assert path.lossy(SHAPES)
    expected_s = 1514 * 8 / bit_per_s(SHAPES[0]) + 1514 * 8 / bit_per_s(SHAPES[1])
    assert path.transmission_s(1500, SHAPES) == pytest.approx(expected_s)


def test_paths_name_the_switches_between():
    plan = star(3)
    assert Path(("n0", "sw", "n2"), (0, 2)) in neighbour_paths(plan)
    assert len(neighbour_paths(plan)) == 6


@pytest.mark.parametrize("leaves", [2, 3, 8, 9, 40])
def test_few_paths_cover_a_switch(leaves):
    paths = neighbour_paths(star(leaves))
    chosen = covering(paths)
    assert set().union(*map(steps, chosen)) == set().union(*map(steps, paths))
    assert len(chosen) <= leaves + 2


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(0.001, 0.05)), max_size=30))
def test_no_two_share_a_link_at_once(wanted):
    nodes = {"a": 0, "b": 1, "c": 2}
    paths = [Path((one, "sw", other), (nodes[one], nodes[other])) for one, other in itertools.permutations(nodes, 2)]
    held_s = [seconds for _, seconds in wanted]
    entries = [(path, number, 1, 64, seconds) for number, (path, seconds) in enumerate(wanted)]
    departures = timetable(paths, entries, 0.0001)
    assert sorted(each.number for each in departures) == list(range(len(wanted)))
    for one, other in itertools.combinations(departures, 2):
        if steps(paths[one.path]) & steps(paths[other.path]):
            assert other.at_s >= one.at_s + held_s[one.number] - 1e-12


def arrivals(train, *, late=0, gap=1.0, missing=()):
    """Arrivals of a train that left at once, but waited `late` ns before its third packet; spaced by `gap` gaps."""
    sent_ns, gap_ns, came = 10**18, train.gap_s * 1e9 * gap, []
    for number in range(train.count):
        sent_ns += 8_000 + (late if number == 2 else 0)
        if number not in missing:
            came.append(ProbeArrival(0, number, sent_ns, 10**18 + int(10_000_000 + len(came) * gap_ns)))
    return came


@pytest.mark.parametrize("rate", [0.05, 5.0, 20.0, 100.0, 130.0])
def test_the_rate_of_a_train_is_that_of_its_spacing(rate):
    path, shapes = Path(("a", "b"), (0,)), {0: LinkShape(rate, 0.005)}
    (train,) = chosen_trains([path], shapes)
    assert (train.count - 1) * train.gap_s >= 0.00499
    assert arrival_rate_mbit_per_s(arrivals(train), train) == pytest.approx(rate, rel=2e-3)
    assert arrival_rate_mbit_per_s(arrivals(train, gap=1.25), train) == pytest.approx(rate / 1.25, rel=2e-3)
    assert arrival_rate_mbit_per_s(arrivals(train, missing={1}), train) == pytest.approx(rate, rel=2e-3)
    assert arrival_rate_mbit_per_s(arrivals(train)[:4], train) is None
    # The third packet left when the link had sent the first two: it may have waited for it.
    assert arrival_rate_mbit_per_s(arrivals(train, late=int(2.1e9 * train.gap_s)), train) is None


@pytest.mark.parametrize("shape", [LinkShape(200.0, 0.005), LinkShape(1e4, 0.005), LinkShape(50.0, 0.005, 0, 0, 2)])
def test_links_too_fast_or_with_too_short_a_queue_get_no_train(shape):
    assert chosen_trains([Path(("a", "b"), (0,))], {0: shape}) == []


def test_trains_of_a_large_network_are_full_ones_and_spread_over_it():
    paths = [Path((f"a{index}", "b"), (index,)) for index in range(1400)]
    trains = chosen_trains(paths, {index: LinkShape(100.0, 0.005) for index in range(1400)})
    assert all((train.count - 1) * train.gap_s >= 0.00499 for train in trains)
    assert sum(train.count for train in trains) <= FRAMES_IN_ALL
    chosen = [train.path for train in trains]
    assert len(chosen) > 100
    assert max(later - earlier for earlier, later in itertools.pairwise([0, *chosen, 1399])) < 15


class Wires:
    """A prober without a network: probes arrive a millisecond later, except the first `lost`; time is real."""

    def __init__(self, lost=0):
        self.lost, self.sent, self.coming = lost, 0, []

    def send(self, *_, path, number, **__):
        self.sent += 1
        if self.sent > self.lost:
            now_ns = time.time_ns()
            self.coming.append(ProbeArrival(path, number, now_ns, now_ns + 1_000_000))

    def arrivals(self, timeout_s):
        if not self.coming:
            time.sleep(timeout_s)
        coming, self.coming = self.coming, []
        yield from coming


@pytest.mark.parametrize("loss", [0.0, 0.1])
def test_a_path_that_is_silent_at_first_is_tried_again(loss):
    shapes = {0: LinkShape(1e3, 0.001, loss=loss)}  # too fast for a train
    wires = Wires(lost=5)
    (found,) = measure([Path(("a", "b"), (0,))], shapes, wires)
    assert found.measured_delay_s == pytest.approx(0.001, abs=1e-5)
    assert (found.probes_sent, found.probes_lost) == (5, 0)
    assert wires.sent == 10


def test_silence_is_no_surprise_where_most_gets_lost():
    wires = Wires(lost=1000)
    (found,) = measure([Path(("a", "b"), (0,))], {0: LinkShape(1e3, 0.001, loss=0.7)}, wires)
    assert (found.measured_delay_s, found.probes_lost) == (None, 5)
    assert wires.sent == 5


def test_stragglers_do_not_count():
    path, shapes = Path(("a", "b"), (0,)), {0: LinkShape(1e3, 0.001)}
    wires = Wires()
    wires.coming.append(ProbeArrival(0, 99, 0, 10**12))
    assert [each.number for each in travel(wires, [path], [Departure(0.0, 0, 20, 3, 58)], shapes)] == [20, 21, 22]


def test_a_train_that_is_off_is_sent_again_and_the_better_one_counts():
    path, shapes = Path(("a", "b"), (0,)), {0: LinkShape(20.0, 0.001)}
    (train,) = chosen_trains([path], shapes)

    class Uneven(Wires):
        trains, slow = 0, (2.0,)

        def send(self, *_, path, number, packet_bytes):
            if packet_bytes != train.packet_bytes:
                super().send(path=path, number=number)
                return
            if not self.coming:
                self.begin_ns, self.trains = time.time_ns(), self.trains + 1
            gap_ns = train.gap_s * 1e9 * self.slow[min(self.trains, len(self.slow)) - 1]
            received_ns = self.begin_ns + int(gap_ns * len(self.coming))
            self.coming.append(ProbeArrival(path, number, self.begin_ns, received_ns))

    for slow, expected, trains in (((1.0,), 20.0, 1), ((2.0, 1.0), 20.0, 2), ((2.0, 3.0), 10.0, 2)):
        wires = Uneven()
        wires.slow = slow
        (found,) = measure([path], shapes, wires)
        assert found.measured_rate_mbit_per_s == pytest.approx(expected, rel=2e-3)
        assert wires.trains == trains


@given(st.lists(st.floats(-1.0, 1.0, width=32), min_size=1, max_size=300))
def test_quantiles_of_few_times_are_exact(values):
    times = Times()
    for value in values:
        times.add(value)
    assert times.count == len(values)
    assert times.quantile(1) == sorted(values)[len(values) // 10]
    assert times.quantile(5) == sorted(values)[len(values) // 2]


def test_quantiles_of_many_times_need_bounded_memory():
    times, values = Times(), list(range(20_000))
    random.Random(1).shuffle(values)
    for value in values:
        times.add(value)
    assert len(times._kept) < MOST_KEPT
    assert times.count == 20_000
    assert times.quantile(1) == pytest.approx(2_000, abs=800)  # five deviations of some 600 kept
    assert times.quantile(5) == pytest.approx(10_000, abs=2100)


@pytest.mark.root
def test_links_are_measured(build):
    links = {("a", "b"): LinkShape(20.0, 0.008), ("a", "sw"): LinkShape(5.0, 0.002)}
    links[("sw", "c")] = LinkShape(10.0, 0.003)
    network = build(scenario(["a", "b", "c"], links, switches=["sw"]))
    told = []
    found = {path.path: path for path in network.measure_links(lambda *progress: told.append(progress))}
    assert [each for each in told if each[1] == each[2]] == [("delays measured", 4, 4), ("rates measured", 4, 4)]
    assert set(found) == {("a", "b"), ("b", "a"), ("a", "sw", "c"), ("c", "sw", "a")}
    for path in found.values():
        switched = len(path.path) == 3
        assert (path.delay_s, path.rate_mbit_per_s) == pytest.approx((0.005, 5.0) if switched else (0.008, 20.0))
        assert path.measured_delay_s == pytest.approx(path.delay_s, abs=0.0008)
        assert path.measured_rate_mbit_per_s == pytest.approx(path.rate_mbit_per_s, rel=0.1)
        assert path.probes_lost == 0
    assert {path.path for path in network.measured} == set(found)


@pytest.mark.root
def test_a_watch_sees_delays_and_losses(build):
    network = build(scenario(["a", "b"], {("a", "b"): LinkShape(20.0, 0.004)}))
    watch = network.watch()
    try:
        for beat in range(36):
            if beat == 12:
                network.change_link(("a", "b"), LinkShape(20.0, 0.010))
            watch.beat()
            time.sleep(0.05)
        for path in watch.watched():
            assert path.probes >= 1  # their number depends on the scheduling of this process
            assert path.lost == 0
            assert abs(path.excess_p10_s) < 0.002  # one of two probes may be late on a busy machine
    finally:
        watch.close()
        watch.close()
    assert {path.path for path in watch.watched()} == {("a", "b"), ("b", "a")}
    watch.beat()


@pytest.mark.root
def test_each_direction_has_its_own_figures(build, backend):
    network = build(scenario(["a", "b", "c"], {("a", "b"): FAST, ("b", "c"): LinkShape(100.0, 0.002, loss=0.1)}))
    before = {link.ends: link for link in network.statistics().links}
    assert list(before) == [("a", "b"), ("b", "a"), ("b", "c"), ("c", "b")]
    for _ in range(8):
        network.measure_links()
    after = {link.ends: link for link in network.statistics().links}
    for ends, link in after.items():
        assert link.frames >= before[ends].frames + 8 * 5
        assert link.bytes > 60 * link.frames
        assert (link.lost > 0) == ("c" in ends)  # some 350 frames each way
        assert link.dropped == 0
        if backend == "netem":
            assert (link.late, link.worst_lateness_s) == (None, None)
        else:
            assert 0 <= link.lateness_p50_s <= link.lateness_p99_s <= link.worst_lateness_s
    assert sum(link.frames for link in after.values()) == network.statistics().frames_relayed
    network.forget_lateness()
    assert {link.lateness_p99_s for link in network.statistics().links} == {None}
    assert network.statistics().frames_late == 0
    assert sum(link.frames for link in after.values()) == network.statistics().frames_relayed
