"""On simulated runs every part is the one that the simulator itself notes at its links and processors."""

from pathlib import Path

import pytest

from testbed.breakdown.splitter import Splitter
from testbed.record.reading import read_lines, read_recorded
from testbed.record.task_line import TaskLine
from tests.testbed import small
from tests.testbed.breakdown.probed import alone_s, probes
from tests.testbed.simulated import simulate

TOPOLOGIES = Path(__file__).parents[3] / "topologies"
NUMBERS_BYTES = 10  # numbers in a header may be shorter or longer than typical ones
US = 1e-6
HEAVY = small.SMALL.replace("rate: 5 /s", "rate: 9 /s")
LOSSY = HEAVY.replace("rate: 20 Mbit/s, delay: 10 ms", "rate: 20 Mbit/s, delay: 10 ms, loss: 2 %")
JITTERY = HEAVY.replace("delay: 10 ms", "delay: 10 ms, jitter: 4 ms").replace(
    "delay: 5 ms", "delay: 5 ms, jitter: 1 ms"
)
SWITCHED = HEAVY.replace(
    "  - {from: [near-1, near-2], to: core, rate: 30 Mbit/s, delay: 5 ms}",
    "  - {from: [near-1, near-2], to: hub, rate: 8 Mbit/s, delay: 5 ms}\n"
    "  - {from: hub, to: far, rate: 10 Mbit/s, delay: 2 ms}\n"
    "  - {from: far, to: core, rate: 3 Mbit/s, delay: 1 ms}\nswitches: [hub, far]",
)
CHANGING = (
    SWITCHED
    + """
events:
  - {at: 3.01 s, link: [far, core], rate: 1 Mbit/s, delay: 9 ms}
  - {at: 3.3 s, link: [near-1, hub], rate: 2 Mbit/s, delay: 1 ms}
  - {at: 4.0 s, link: [cam-1, near-1], rate: 1 Mbit/s}
  - {at: 4.1 s, link: [far, core], rate: 20 Mbit/s, delay: 1 ms}
  - {at: 5.0 s, link: [cam-1, near-1], rate: 20 Mbit/s, delay: 2 ms}
  - {at: 5.5 s, server: near-1, capacity: x0.5}
"""
)
FAILING = (
    HEAVY
    + """
events:
  - {at: 3 s, node: near-1, state: down}
  - {at: 5 s, node: near-1, state: up}
"""
)


def shipped(name: str) -> str:
    text = (TOPOLOGIES / f"{name}.yaml").read_text()
    return text.replace("traces/", f"{TOPOLOGIES.parent}/traces/").replace(
        f"../{TOPOLOGIES.parent}", f"{TOPOLOGIES.parent}"
    )


CASES = {
    "small": (HEAVY, None), "lossy": (LOSSY, None), "jittery": (JITTERY, None), "switched": (SWITCHED, None),
    "changing": (CHANGING, None), "failing": (FAILING, None),
    "quickstart": (shipped("quickstart"), 12.0), "campus": (shipped("campus"), 12.0),
    "doorbells": (shipped("doorbells"), 12.0), "linkdrop": (shipped("linkdrop"), 12.0),
    "commute": (shipped("commute"), 8.0),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_each_part_is_the_calendars(tmp_path, case):
    text, duration_s = CASES[case]
    with probes() as truth:
        outcome = simulate(tmp_path, text, duration_s=duration_s)
    scenario = read_recorded(outcome.run_directory).scenario()
    splitter = Splitter.of(scenario, scenario.model.open())
    byte_s = max(8e-6 / shape.rate_mbit_per_s for link in scenario.links for shape in link.shapes)
    byte_s = max([byte_s, *(8e-6 / s.rate_mbit_per_s for event in scenario.events for s in event.shapes.values())])
    chance = any(s.loss or s.jitter_s for link in scenario.links for s in link.shapes)
    restarts = [event.at_s for event in scenario.events if True in event.switched.values()]
    changed = [event.at_s for event in scenario.events if event.shapes]
    compared = alone = waited_for_receiver = 0
    for line in read_lines(outcome.run_directory / "tasks.jsonl", TaskLine):
        split = splitter.split(line)
        if line.delay_s is None:
            assert split is None
            continue
        assert min(split.parts) >= 0
        assert sum(split.parts) == pytest.approx(line.delay_s, abs=1e-9)
        assert split.parts.machine_s == 0
        for hop, record in zip(split.hops, line.hops, strict=True):
            known = [each for each in truth.hops[line.id, hop.sender, hop.node] if each.arrived_s is not None]
            true = max((each for each in known if each.arrived_s <= record.received_s), key=lambda one: one.arrived_s)
            held_s = record.received_s - true.arrived_s  # by a node that has come up and still measures its links
            assert held_s == 0 or any(0 <= true.arrived_s - up_s < 0.2 > record.received_s - up_s for up_s in restarts)
            assert (record.started_s, record.finished_s) in truth.services[hop.node]
            assert hop.queueing_s == pytest.approx(record.started_s - true.arrived_s - held_s, abs=1e-12)
            assert hop.service_s == pytest.approx(record.finished_s - record.started_s, abs=1e-12)
            assert abs(true.size_bytes - hop.size_bytes) <= NUMBERS_BYTES
            took_s = true.arrived_s - true.sent_s
            near = {"abs": NUMBERS_BYTES * len(splitter.links.legs(hop.sender, hop.node)) * byte_s + 1e-9}
            steady = not any(true.sent_s <= at_s <= true.arrived_s for at_s in changed)
            if true.sent_s > hop.sent_s:  # it waited for its receiver
                assert true.sent_s in restarts
                if not chance:
                    assert hop.down_s == pytest.approx(true.sent_s - hop.sent_s + true.waited_s + held_s, **near)
                assert hop.link_wait_s == 0
                waited_for_receiver += 1
            elif not chance and steady and not held_s:  # all that is not waiting is transfer
                assert hop.link_wait_s == pytest.approx(true.waited_s, **near)
                assert hop.transfer_s == pytest.approx(took_s - true.waited_s, **near)
                compared += 1
            if not steady or alone < 60:
                idle_s = alone_s(scenario, hop.sender, hop.node, true)
                assert hop.transfer_s == pytest.approx(min(idle_s, record.received_s - hop.sent_s), **near)
                alone += 1
    assert alone >= 40
    assert compared > 50 or chance
    assert waited_for_receiver or case != "failing"
