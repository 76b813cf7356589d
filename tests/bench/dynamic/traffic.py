"""The control traffic of nodes in the city, simulated: `python -m tests.bench dynamic.traffic`.

Control messages are all that does not carry a task or a result: offers and reports of rounds, acknowledgements, reports
of queues and probes. They are counted on each direction of each link; the share is that of the link's rate. The city
without tasks has one task at its end; nodes are at rest after four slots without tasks.

Agents' CPU time can only be measured live: `city.idle` without tasks and `city.overhead` under load.
"""

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from testbed.run.planning import plan_run
from testbed.simulation.simulator import SimulatedRun
from testbed.trace.workload import Arrival
from tests.bench.dynamic.scenarios import TOPOLOGIES
from tests.bench.dynamic.watching import counted_traffic, watched
from tests.bench.simulations import spread
from tests.bench.table import AMOUNT, SHARE, Row, main, row

FROM_S, UNTIL_S = 30.0, 60.0  # counted
POLICIES = ("dto-ee", "dto-ee-static", "dto-ee-2c", "shortest-expected-delay")
LOADS = ("without tasks", "at steady load")


class Ask(NamedTuple):
    """A run of the city."""

    policy: str
    load: str


class Figures(NamedTuple):
    """The control traffic of a direction of a link: mean, and the busiest one."""

    messages_per_s: float
    byte_per_s: float
    most_byte_per_s: float
    share: float  # of the link's rate, 0..1
    most_share: float
    all_messages_per_s: float  # of the whole network


def traffic_of(ask: Ask) -> Figures:
    """Simulate the city, and count messages between `FROM_S` and `UNTIL_S`."""
    with tempfile.TemporaryDirectory() as folder, counted_traffic() as traffic:
        plan = plan_run(TOPOLOGIES / "city.yaml", policy=ask.policy, duration_s=UNTIL_S, out=Path(folder, "run"))
        if ask.load == LOADS[0]:
            device = plan.scenario.devices[0].name
            plan = replace(plan, arrivals=[Arrival(time_s=UNTIL_S, device=device, sample=0)])
        directions = 2 * len(plan.scenario.links)
        found: list[Figures] = []

        def look(_: SimulatedRun, at_s: float) -> None:
            if at_s < UNTIL_S:
                traffic.clear()
                return
            span_s = UNTIL_S - FROM_S
            byte_per_s = [count / span_s for count in traffic.sent_bytes.values()] or [0.0]
            shares = [count / span_s / leg.byte_per_s for leg, count in traffic.sent_bytes.items()] or [0.0]
            messages = sum(traffic.messages.values()) / span_s
            found.append(
                Figures(messages / directions, sum(byte_per_s) / directions, max(byte_per_s),
                        sum(shares) / directions, max(shares), messages)
            )  # fmt: skip

        watched(plan, look, every_s=FROM_S)
    return found[-1]


def rows() -> Iterator[Row]:
    """The traffic of each policy, without tasks and at steady load; the flagship's beside the former behaviour's."""
    asks = [Ask(policy, load) for load in LOADS for policy in POLICIES]
    found = dict(zip(asks, spread(traffic_of, asks), strict=True))
    for ask, figures in found.items():
        yield from _rows(ask, figures, found)


def _rows(ask: Ask, figures: Figures, found: Mapping[Ask, Figures]) -> Iterator[Row]:
    where, former = f"city {ask.load}, {ask.policy}", found[Ask("dto-ee-static", ask.load)]
    most = former.byte_per_s if ask.policy == "dto-ee" else None
    yield row(f"{where}: control messages on a link", figures.messages_per_s, "/s", possible=AMOUNT)
    yield row(f"{where}: control bytes on a link", figures.byte_per_s, "B/s", most=most, possible=AMOUNT)
    yield row(f"{where}: control bytes on the busiest link", figures.most_byte_per_s, "B/s", possible=AMOUNT)
    yield row(f"{where}: share of a link's rate", figures.share, "", possible=SHARE)
    yield row(f"{where}: share of a link's rate, most", figures.most_share, "", possible=SHARE)
    yield row(f"{where}: control messages in all", figures.all_messages_per_s, "/s", possible=AMOUNT)


if __name__ == "__main__":
    main(rows, __doc__)
