"""The capacity of single queues agrees with the closed form of M/D/1."""

import pytest

from testbed.assertions import parse_assertion
from testbed.capacity import CapacityAsk, capacity
from testbed.cells.batch import Options
from tests.testbed.capacity.queues import Queue

QUEUES = [
    (Queue(100.0, load=0.3, devices=1, delay_ms=0.0, tasks=4000), 0.015),  # above x1
    (Queue(20.0, load=0.6, devices=4, delay_ms=0.0, tasks=4000), 0.065),  # below x1
    (Queue(50.0, load=0.2, devices=2, delay_ms=10.0, tasks=3000), 0.06),  # waiting of one service behind 20 ms of links
]


@pytest.mark.parametrize(("queue", "bound_s"), QUEUES)
def test_the_capacity_of_a_queue_is_that_of_m_d_1(tmp_path, queue, bound_s):
    ask = CapacityAsk(["uniform"], [parse_assertion(f"mean < {bound_s} s")], 3)
    found = capacity(queue.write(tmp_path), ask, Options(simulate=True), out=tmp_path / "out")
    (one,) = found.table
    assert one.state == "found"
    assert one.load.mean == pytest.approx(queue.factor_at(bound_s), rel=0.05)
    assert one.offered_per_s == pytest.approx(one.load.mean * queue.load * queue.service_per_s)
    assert found.offered_per_s == pytest.approx(queue.load * queue.service_per_s)
    assert one.load.low <= one.load.mean <= one.load.high
    for seed in one.seeds:
        assert seed.holds_at < seed.capacity < seed.misses_at <= 1.0251 * seed.holds_at
