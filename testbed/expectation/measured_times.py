"""What decisions were made of: service and link times as nodes measured them, against what they should have been."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from node_agent.records import DecisionRecord
from testbed.expectation.steps import Lateness
from testbed.expectation.world import ExactWorld

RECENT_S = 3.0  # slots: transfers from before that tell nothing of a link any more
RECENT_TASKS = 5  # as many weigh two thirds in a node's own estimate


@dataclass(frozen=True, slots=True)
class Measured:
    """How far off nodes were in one slot: shares of the price of a task (links), and of the service time (speed).

    Means over the nodes that decided, weighted by the tasks that came to them. `worst` is the node that was off most.
    """

    slot: int
    links_off: float
    speed_off: float
    worst: str


def measured_off(world: ExactWorld, decisions: Iterable[DecisionRecord], late: Sequence[Lateness]) -> list[Measured]:
    """By slot, how far off the times were that the decisions were made of."""
    transfers: dict[tuple[str, ...], list[Lateness]] = defaultdict(list)
    for step in sorted((step for step in late if step.step == "transfer"), key=lambda step: step.at_s):
        transfers[step.path].append(step)
    by_slot: dict[int, list[tuple[float, float, float, str]]] = defaultdict(list)
    for record in decisions:
        links_off = _links_off(world, record, transfers)
        speed_off = 0.0
        if record.service_rate_per_s:
            speed_off = abs(world.service_rate_per_s(record.node, record.time_s) / record.service_rate_per_s - 1)
        by_slot[record.slot].append((record.arrival_rate_per_s, links_off, speed_off, record.node))
    found = []
    for slot, each in sorted(by_slot.items()):
        total = sum(weight for weight, *_ in each) or 1.0
        found.append(
            Measured(
                slot,
                links_off=sum(weight * links for weight, links, _, _ in each) / total,
                speed_off=sum(weight * speed for weight, _, speed, _ in each) / total,
                worst=max(each, key=lambda one: one[0] * (one[1] + one[2]))[3],
            )
        )
    return found


def _links_off(world: ExactWorld, record: DecisionRecord, transfers: dict[tuple[str, ...], list[Lateness]]) -> float:
    """Of the price of a task, weighted by where the tasks go."""
    off = 0.0
    for receiver, share in record.offload.items():
        measured_s, price_s = record.link_s.get(receiver), record.prices.get(receiver)
        if share > 0 and measured_s is not None and price_s:
            path = (record.node, receiver)
            seen = transfers.get(path, [])
            upto = bisect_right(seen, record.time_s, key=lambda step: step.at_s)
            oldest_s = record.time_s - RECENT_S * world.scenario.slot_s
            recent = [step.expected_s for step in seen[max(0, upto - RECENT_TASKS) : upto] if step.at_s > oldest_s]
            if recent:
                off += share * abs(measured_s - sum(recent) / len(recent)) / price_s
    return off
