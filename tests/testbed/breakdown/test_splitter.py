"""The split of one task's delay: every span between its times has its part."""

import pytest
from hypothesis import given
from hypothesis import strategies as some
from msgspec import structs

from node_agent.wire import Handover
from testbed.breakdown.parts import PART_NAMES, PartSums
from testbed.breakdown.splitter import Splitter
from testbed.record.task_line import HopLine, TaskLine
from testbed.topology import load_topology
from tests.testbed import small

BYTES_TO_NEAR = 1024


@pytest.fixture(scope="module")
def splitter(tmp_path_factory):
    file = tmp_path_factory.mktemp("topology") / "topology.yaml"
    file.write_text(small.SMALL)
    scenario = load_topology(file).resolve()
    return Splitter.of(scenario, scenario.model.open())


def line(**fields) -> TaskLine:
    usual = {
        "id": 3, "device": "cam-1", "sample": 0, "label": 1, "prediction": 1, "correct": True, "exit_stage": 2,
        "created_s": 10.0, "completed_s": 11.0, "delay_s": 1.0, "status": "completed", "attempts": 1,
        "offers": (Handover("near-1", 10.0, taken=True),), "lateness_s": 0.0, "forced_exit": False, "reason": None,
        "hops": (HopLine("near-1", 10.1, 10.2, 10.35, 10.35, 0.0), HopLine("core", 10.5, 10.5, 10.8, 10.8, 0.0)),
    }  # fmt: skip
    return TaskLine(**{**usual, **fields})


def test_every_span_has_its_part(splitter):
    split = splitter.split(line())
    near, core = split.hops
    idle_s = splitter.links.transfer_s("cam-1", "near-1", near.size_bytes, 10.0)
    assert near.size_bytes > BYTES_TO_NEAR
    assert idle_s == pytest.approx(0.010 + near.size_bytes * 8 / 20e6)
    assert (near.transfer_s, near.link_wait_s) == pytest.approx((idle_s, 0.1 - idle_s))
    assert (near.queueing_s, near.service_s) == pytest.approx((0.1, 0.15))
    assert core.transfer_s + core.link_wait_s == pytest.approx(0.15)
    parts = split.parts
    assert dict(zip(PART_NAMES, parts, strict=True))["return"] == pytest.approx(0.2)
    assert (parts.machine_s, parts.retries_s) == (0, 0)
    assert sum(parts) == pytest.approx(1.0, abs=1e-12)


def test_what_this_machine_was_late_by_is_a_part_of_its_own(splitter):
    """With the first offer, in a service, and in sending what was served."""
    hops = (HopLine("near-1", 10.2, 10.2, 10.35, 10.37, 0.04), HopLine("core", 10.5, 10.5, 10.8, 10.8, 0.0))
    split = splitter.split(line(lateness_s=0.05, offers=(Handover("near-1", 10.05, taken=True),), hops=hops))
    assert split.late_s == pytest.approx(0.05)
    assert split.hops[0].late_s == pytest.approx(0.04 + 0.02)
    assert split.hops[0].service_s == pytest.approx(0.11)
    assert split.parts.machine_s == pytest.approx(0.11)
    assert sum(split.parts) == pytest.approx(1.0, abs=1e-12)


def test_offers_and_handovers_that_came_to_nothing_are_retries(splitter):
    offers = (Handover("near-2", 10.0), Handover("near-1", 10.05, taken=True))
    hops = (
        HopLine("near-1", 10.1, 10.2, 10.3, 10.45, 0.0, (Handover("core", 10.31),)),
        HopLine("core", 10.5, 10.5, 10.8, 10.8, 0.0),
    )
    split = splitter.split(line(offers=offers, hops=hops))
    assert split.retries_s == pytest.approx(0.05)
    assert split.hops[0].sent_s == 10.05
    assert split.hops[0].retries_s == pytest.approx(0.14)
    assert split.parts.retries_s == pytest.approx(0.19)
    assert split.parts.machine_s == pytest.approx(0.01)


def test_a_hop_that_was_quicker_than_an_idle_one_is_all_transfer(splitter):
    hops = (HopLine("near-1", 10.001, 10.2, 10.3, 10.3, 0.0), HopLine("core", 10.5, 10.5, 10.8, 10.8, 0.0))
    hop = splitter.split(line(hops=hops)).hops[0]
    assert (hop.transfer_s, hop.link_wait_s) == (pytest.approx(0.001), 0)


def test_lines_that_lack_times(splitter):
    """Without offers, a task offered once was sent when it was created; of another one nobody knows."""
    assert splitter.split(line(offers=())).parts == pytest.approx(splitter.split(line()).parts)
    assert splitter.split(line(offers=(), attempts=2)) is None
    assert splitter.split(line(hops=())) is None
    assert splitter.split(line(status="lost", completed_s=None, delay_s=None, hops=())) is None


times = some.floats(9.0, 12.0, allow_nan=False)


@given(times, times, times, times, times, times, some.floats(0, 5), some.floats(-1, 1))
def test_whatever_the_clocks_say_parts_are_not_negative_and_sum_to_the_delay(
    splitter, offered, received, started, finished, failed, sent, late_s, lateness_s
):
    hop = HopLine("near-1", received, started, finished, sent, late_s, (Handover("core", failed),))
    odd = structs.replace(line(), hops=(hop, *line().hops[1:]), offers=(Handover("near-1", offered, taken=True),),
                          lateness_s=lateness_s)  # fmt: skip
    parts = splitter.split(odd).parts
    assert min(parts) >= 0
    assert sum(parts) == pytest.approx(odd.delay_s, abs=1e-9)


def test_sums(splitter):
    sums = PartSums()
    assert dict(sums.means()) == {}
    for _ in range(3):
        sums.add(splitter.split(line()).parts)
    assert dict(sums.means()) == pytest.approx(dict(zip(PART_NAMES, splitter.split(line()).parts, strict=True)))
