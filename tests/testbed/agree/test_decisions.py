"""Differences of decisions, and certified gaps: computed by hand, and on simulated runs."""

import pytest

from node_agent.records import DecisionRecord
from testbed.agree.decisions import compare_decisions, gap_figures
from testbed.agree.recorded_pair import Recorded, read_pair
from tests.testbed import small
from tests.testbed.agree.sides import UNIFORM, make_repeat, sides_of, slower


def decision(node, slot, offload=None, threshold=None, gap=None):
    return DecisionRecord(
        time_s=2.0 * slot, node=node, slot=slot, rounds=1, offload=offload or {}, threshold=threshold, prices={},
        gap=gap, arrival_rate_per_s=1.0, service_rate_per_s=None,
    )  # fmt: skip


def run(*decisions):
    return Recorded([], list(decisions))


def test_by_hand():
    live = run(
        decision("cam", 0, {"a": 0.5, "b": 0.5}), decision("cam", 1, {"a": 0.7, "b": 0.3}),
        decision("cam", 2, {"a": 1.0}),
        decision("a", 0, {"core": 1.0}, threshold=0.8), decision("a", 1, {"core": 1.0}, threshold=0.6),
        decision("core", 0), decision("core", 1),
    )  # fmt: skip
    simulated = run(
        decision("cam", 0, {"a": 0.6, "b": 0.4}), decision("cam", 1, {"a": 0.4, "b": 0.6}),
        decision("a", 0, {"core": 1.0}, threshold=0.7), decision("a", 1, {"core": 1.0}, threshold=0.65),
        decision("core", 0), decision("core", 1),
    )  # fmt: skip
    found = compare_decisions([(live, simulated)])
    cam, a, core = (next(one for one in found.nodes if one.node == name) for name in ("cam", "a", "core"))
    assert (cam.slots, cam.thresholds, core.probabilities, core.thresholds) == (2, None, None, None)
    assert cam.probabilities.apart.estimate.mean == pytest.approx((0.1 + 0.3) / 2)
    # Live: 0.2, then a rises by 0.3 and b falls by as much. Simulated: 0.2.
    assert cam.probabilities.live_moves == pytest.approx((0.2 + 0.3) / 2)
    assert cam.probabilities.simulated_moves == pytest.approx(0.2)
    assert a.probabilities.apart.estimate.mean == 0.0
    assert a.thresholds.apart.estimate.mean == pytest.approx((0.1 + 0.05) / 2)
    assert (a.thresholds.live_moves, a.thresholds.simulated_moves) == pytest.approx((0.2, 0.05))
    assert (found.every.node, found.every.slots) == ("all", 6)
    assert found.every.probabilities.apart.estimate.mean == pytest.approx((0.1 + 0.3 + 0 + 0) / 4)
    assert found.every.thresholds.apart.estimate.mean == pytest.approx(0.075)
    assert found.every.probabilities.apart.basis is None, "two slots are too few"


def test_a_node_that_decided_on_one_side_only_is_left_out():
    found = compare_decisions([(run(decision("cam", 0, {"a": 1.0})), run(decision("other", 0, {"a": 1.0})))])
    assert (found.nodes, found.every.slots, found.every.probabilities) == ((), 0, None)


def test_gaps_by_hand():
    """The first three slots are young; the gap of the fourth counts in the other figure only."""

    def gaps(*rows):
        return run(*(decision(f"cam-{place}", slot, gap=gap) for slot, row in enumerate(rows)
                     for place, gap in enumerate(row)), decision("server", 0))  # fmt: skip

    live = gaps([0.3, 0.1], [0.2, 0.2], [0.1, 0.3], [0.02, 0.02])
    simulated = gaps([0.1, 0.1], [0.1, 0.1], [0.1, 0.1], [0.02, 0.02])
    figures = gap_figures([(live, simulated)])
    first, every = figures["gap_first_slots"], figures["gap"]
    assert (first.live, first.simulated) == (pytest.approx(0.2), pytest.approx(0.1))
    assert (first.difference.mean, first.ratio.mean) == (pytest.approx(0.1), pytest.approx(2.0))
    assert (every.live, every.simulated) == (pytest.approx(1.24 / 8), pytest.approx(0.64 / 8))
    none = gap_figures([(run(decision("cam", 0)), run(decision("cam", 0)))])
    assert (none["gap"].live, none["gap_first_slots"].difference) == (None, None)


def test_the_first_slots_interval_is_over_devices():
    """Six devices that differ by 0.1 to 0.6: three slots are too few blocks, so devices are the blocks."""
    live = run(*(decision(f"cam-{number}", slot, gap=0.1 * number) for slot in range(9) for number in range(1, 7)))
    simulated = run(*(decision(f"cam-{number}", slot, gap=0.05) for slot in range(9) for number in range(1, 7)))
    figures = gap_figures([(live, simulated)])
    first = figures["gap_first_slots"]
    assert (first.basis, first.units) == ("devices", 6)
    assert first.difference.mean == pytest.approx(0.3)
    assert 0.05 < first.difference.low < 0.3 < first.difference.high < 0.55
    assert (figures["gap"].basis, figures["gap"].units) == ("slots", 9)


def test_the_same_run_twice_decides_alike_and_a_slower_server_is_seen(tmp_path):
    dto_ee = small.SMALL.replace("duration: 8 s", "duration: 24 s").replace("policy: dto-ee", "policy: dto-ee-static")
    same, _ = make_repeat(tmp_path / "same", dto_ee)
    found = compare_decisions([read_pair(*(side.path for side in sides_of(same)))])
    assert found.every.probabilities.apart.estimate.mean == 0.0
    assert found.every.thresholds.apart.estimate.mean == 0.0
    assert found.every.probabilities.live_moves == found.every.probabilities.simulated_moves
    slow, _ = make_repeat(tmp_path / "slow", dto_ee, live=slower(1.5))
    found = compare_decisions([read_pair(*(side.path for side in sides_of(slow)))])
    cams = [one for one in found.nodes if one.node.startswith("cam")]
    assert len(cams) == 2
    assert all(one.probabilities.apart.estimate.mean > 0.1 for one in cams), "they send less to near-1"
    assert all(one.probabilities.apart.basis == "slots" for one in cams)


def test_policies_that_certify_nothing_have_gaps_of_zero(tmp_path):
    cell, _ = make_repeat(tmp_path, UNIFORM)
    figures = gap_figures([read_pair(*(side.path for side in sides_of(cell)))])
    assert (figures["gap"].live, figures["gap"].simulated, figures["gap"].ratio) == (0.0, 0.0, None)
