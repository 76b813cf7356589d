"""The pace of the watch."""

from collections import Counter

import pytest

from testbed.fidelity.assessment import FEWEST_EARLY_PROBES, FEWEST_PROBES
from testbed.network.paths import Path
from testbed.network.watch import ENOUGH, MOST_AT_ONCE, DelayWatch
from testbed.scenario import LinkShape

pytestmark = pytest.mark.timing

BEAT_S = 0.1


class Counting:
    """A prober that sends nothing, and records the paths of the probes."""

    def __init__(self):
        self.paths = []

    def send(self, *_, path, **__):
        self.paths.append(path)

    def arrivals(self, timeout_s):
        del timeout_s
        return iter(())


class Watched:
    """A watch over a number of paths, on a clock that the test advances."""

    def __init__(self, paths):
        self.now_s = 1000.0
        self.prober = Counting()
        ways = [Path((f"a{number}", "b"), (0,)) for number in range(paths)]
        self.watch = DelayWatch(ways, {0: LinkShape(10.0, 0.001)}, self.prober, lambda: self.now_s)

    def sent_in(self, span_s, beat_s=BEAT_S):
        """The number of probes sent in this span, beat by beat."""
        before = len(self.prober.paths)
        for _ in range(round(span_s / beat_s)):
            self.now_s += beat_s
            self.watch.beat()
        return len(self.prober.paths) - before


@pytest.mark.parametrize(
    ("paths", "early_s", "early_per_s", "late_per_s"), [(20, 10, 20, 20), (200, 10, 200, 30), (700, 24, 300, 30)]
)
def test_many_paths_are_probed_quickly_until_each_has_enough_then_slowly(paths, early_s, early_per_s, late_per_s):
    watched = Watched(paths)
    assert watched.sent_in(early_s / 2) == pytest.approx(early_s / 2 * early_per_s, abs=1)
    watched.sent_in(early_s / 2 + 1)
    assert min(Counter(watched.prober.paths).values()) >= ENOUGH
    assert watched.sent_in(60) == pytest.approx(60 * late_per_s, abs=1)
    assert watched.prober.paths == [turn % paths for turn in range(len(watched.prober.paths))]


def test_enough_is_enough_for_a_verdict():
    assert max(FEWEST_PROBES, FEWEST_EARLY_PROBES) <= ENOUGH


@pytest.mark.parametrize(("paths", "most"), [(40, 40), (700, MOST_AT_ONCE)])
def test_a_pause_is_not_made_up_for(paths, most):
    watched = Watched(paths)
    watched.sent_in(1)
    assert watched.sent_in(60, beat_s=60) == most
    assert watched.sent_in(1) == pytest.approx(min(paths, 300), abs=1)
    assert watched.prober.paths == [turn % paths for turn in range(len(watched.prober.paths))]


def test_probes_that_may_still_arrive_do_not_count():
    watched = Watched(3)
    watched.sent_in(5)
    assert [path.lost for path in watched.watch.watched()] == [path.probes for path in watched.watch.watched()] != [0]
    sent = Counter(watched.prober.paths)
    assert sum(sent.values()) - sum(path.probes for path in watched.watch.watched()) == pytest.approx(6, abs=1)
