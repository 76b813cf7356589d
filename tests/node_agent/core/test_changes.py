"""Estimators that distinguish a change from chance."""

import random
import statistics

import pytest

from node_agent.core.changes import WatchedArrivalRate, WatchedServiceTime


class TestServiceTime:
    def test_the_first_late_service_of_a_steady_server_shows_its_new_rate(self):
        service = WatchedServiceTime(10.0)
        for _ in range(50):
            service.observe(0.1)
        service.observe(0.3)
        assert service.rate_per_s() == pytest.approx(1 / 0.3)
        assert service.variability == 0

    def test_a_server_that_is_fast_again_is_noticed_as_soon(self):
        service = WatchedServiceTime(10.0)
        for duration_s in [0.3] * 40 + [0.1]:
            service.observe(duration_s)
        assert service.rate_per_s() == pytest.approx(10.0)

    def test_a_small_lasting_change_is_found_within_some_tasks(self):
        service = WatchedServiceTime(10.0)
        for duration_s in [0.1] * 60 + [0.11] * 8:
            service.observe(duration_s)
        assert service.rate_per_s() == pytest.approx(1 / 0.11, rel=0.01)

    @pytest.mark.parametrize("seed", range(5))
    def test_the_mean_of_many_varying_times_is_known_better_than_a_quarter_weight_knows_it(self, seed):
        draw = random.Random(seed)
        service = WatchedServiceTime(10.0)
        errors = []
        for turn in range(4000):
            service.observe(draw.gauss(0.1, 0.02))
            if turn > 100:
                errors.append(0.1 * service.rate_per_s() - 1)
        # Of 64 times a standard error of 2.5 % is left; a weight of a quarter leaves 7.6 %. Some changes are chance.
        assert statistics.pstdev(errors) < 0.045
        assert service.variability == pytest.approx(0.04, rel=0.6)

    def test_exponential_times_have_a_variability_of_one(self):
        draw = random.Random(1)
        service = WatchedServiceTime(10.0)
        found = []
        for turn in range(5000):
            service.observe(draw.expovariate(10.0))
            if turn > 100:
                found.append(service.variability)
        assert statistics.fmean(found) == pytest.approx(1, abs=0.25)

    def test_a_measurement_while_idle_replaces_the_estimate(self):
        service = WatchedServiceTime(10.0)
        service.observe(0.2)
        service.reset(0.05)
        assert service.rate_per_s() == pytest.approx(20.0)


def feed(rate: WatchedArrivalRate, draw: random.Random, per_s: float, now_s: float, until_s: float) -> float:
    """Let tasks arrive at random; return the time of the last one."""
    while (now_s := now_s + draw.expovariate(per_s)) < until_s:
        rate.arrived(now_s)
    return until_s


class TestArrivalRate:
    @pytest.mark.parametrize(("factor", "most_s"), [(3.0, 3.0), (1 / 3, 10.0)])
    def test_a_change_is_noticed_and_measured_anew(self, factor, most_s):
        late, found = [], []
        for seed in range(40):
            draw, rate = random.Random(seed), WatchedArrivalRate(4.0, 12.0)
            rate.begin(0.0)
            feed(rate, draw, 4.0, 0.0, 30.0)
            rate.update(30.0)
            rate.changed = False
            now_s = 30.0
            while not rate.changed and now_s < 60:
                feed(rate, draw, 4.0 * factor, now_s, now_s + 0.5)
                now_s += 0.5
                rate.update(now_s)
            late.append(now_s - 30.0)
            feed(rate, draw, 4.0 * factor, now_s, now_s + 20.0)
            found.append(rate.update(now_s + 20.0))
        assert statistics.median(late) <= most_s
        assert statistics.fmean(found) == pytest.approx(4.0 * factor, rel=0.15)

    def test_chance_alone_seldom_counts_as_a_change(self):
        alarms = 0
        for seed in range(20):
            draw, rate = random.Random(seed), WatchedArrivalRate(4.0, 12.0)
            rate.begin(0.0)
            now_s = 0.0
            for _ in range(100):
                now_s = feed(rate, draw, 4.0, now_s, now_s + 3.0)
                rate.update(now_s)
                alarms += rate.changed
                rate.changed = False
        assert alarms < 20 * 300 / 60  # less than one a minute

    def test_silence_is_noticed_without_an_arrival(self):
        rate = WatchedArrivalRate(4.0, 12.0)
        rate.begin(0.0)
        for turn in range(1, 41):
            rate.arrived(turn / 4)
        assert rate.update(10.0) == pytest.approx(4.0)
        assert rate.update(20.0) < 0.5
        assert rate.changed

    def test_it_starts_from_the_declared_rate(self):
        rate = WatchedArrivalRate(4.0, 12.0)
        rate.begin(5.0)
        assert rate.per_s == 4.0
        assert rate.update(5.5) == pytest.approx(4.0, rel=0.05)
