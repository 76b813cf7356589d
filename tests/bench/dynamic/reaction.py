"""Reaction of nodes to a server that slows to a third, simulated: `python -m tests.bench dynamic.reaction`.

The figure is the time until the probability in force towards the slow server has halved, against the one just before
the change. It is the mean over the server's offloaders, weighted with the tasks that leave them. The clock starts at
the end of the first late service: before that nobody can know. A late service takes at least `LATE` times as long as at
full speed.

Beside it stands what is asked for: two sweeps and the interval between two reports of the server. A sweep is one round
from the devices to the last stage and back, by the links' delays alone.
"""

import statistics
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from testbed.record.reading import read_lines
from testbed.record.run_directory import TASKS
from testbed.record.task_line import TaskLine
from testbed.run.plan import Plan
from testbed.run.planning import plan_run
from testbed.simulation.simulator import SimulatedRun
from tests.bench.city.sweep import Chains
from tests.bench.dynamic.scenarios import TOPOLOGIES
from tests.bench.dynamic.watching import row_in_force, watched
from tests.bench.simulations import spread
from tests.bench.table import POSITIVE, Row, main, row

SEEDS = 50
FIRST_SEED = 301
EVERY_S = 0.02  # resolution of the time until the probability has halved
LATE = 1.2
SWEEPS = 2
SLOWED = (("quickstart", "near-1"), ("slowdown", "hall-1"), ("slowdown", "plant-1"), ("slowdown", "cloud-1"))
POLICIES = ("dto-ee", "dto-ee-static")


class Ask(NamedTuple):
    """A run in which servers slow down."""

    topology: str
    policy: str
    seed: int


class Reaction(NamedTuple):
    """The reaction to one slow server in one run [s]; `halved_s` is infinite if its share never halved."""

    server: str
    halved_s: float
    wanted_s: float  # two sweeps and a report interval


def reactions(ask: Ask) -> list[Reaction]:
    """Simulate a run, and return the reaction to each server of `SLOWED` in it."""
    servers = [server for topology, server in SLOWED if topology == ask.topology]
    with tempfile.TemporaryDirectory() as folder:
        plan = plan_run(TOPOLOGIES / f"{ask.topology}.yaml", policy=ask.policy, seed=ask.seed, out=Path(folder, "run"))
        shares: dict[str, list[tuple[float, float]]] = {server: [] for server in servers}
        reports_s: dict[str, float] = {}

        def look(course: SimulatedRun, at_s: float) -> None:
            for server in servers:
                shares[server].append((at_s, share_towards(course, plan, server)))
                reports_s[server] = _report_s(course, plan, server)

        watched(plan, look, every_s=EVERY_S)
        tasks = list(read_lines(plan.run_directory / TASKS, TaskLine))
    sweep_s = sweep(plan)
    found = []
    for server in servers:
        slowed_s = _slowed_s(plan, server)
        known_s = first_late_s(tasks, server, slowed_s)
        if known_s is not None:
            halved_s = halved_after_s(shares[server], slowed_s, known_s)
            found.append(Reaction(server, halved_s, SWEEPS * sweep_s + reports_s[server]))
    return found


def share_towards(course: SimulatedRun, plan: Plan, server: str) -> float:
    """The mean probability in force towards a server over its offloaders, weighted with the tasks that leave them."""
    total = weights = 0.0
    for name, receivers in plan.scenario.offload_to.items():
        core = course.nodes[name].core
        if server in receivers and core is not None:
            weight = core.routing.leaving_per_s or 1.0
            probability = row_in_force(core.routing)[list(core.routing.receivers).index(server)]
            total, weights = total + weight * float(probability), weights + weight
    return total / weights if weights else 0.0


def _report_s(course: SimulatedRun, plan: Plan, server: str) -> float:
    """The time between two reports of a server to its offloaders; a slot, if its policy wants no others [s]."""
    core = course.nodes[server].core
    every_s = None if core is None else core.routing.policy.status_every_s
    return plan.scenario.slot_s if every_s is None else every_s


def _slowed_s(plan: Plan, server: str) -> float:
    """The time at which a server first loses capacity [s]."""
    return min(event.at_s for event in plan.scenario.events if server in event.capacities_flop_per_s)


def sweep(plan: Plan) -> float:
    """The time of a round by the links' delays alone: median over the devices [s]."""
    chains = Chains(plan)
    return statistics.median(chains.after(dict.fromkeys(chains.begins_s, 1)).values())


def first_late_s(tasks: Sequence[TaskLine], server: str, slowed_s: float) -> float | None:
    """The end of a server's first late service after `slowed_s` [s]; None if there was none."""
    services = sorted(
        (hop.finished_s, hop.finished_s - hop.started_s)
        for task in tasks for way in task.ways for hop in way if hop.node == server
    )  # fmt: skip
    usual_s = statistics.median(took_s for end_s, took_s in services if end_s <= slowed_s)
    late = [end_s for end_s, took_s in services if end_s > slowed_s and took_s > LATE * usual_s]
    return late[0] if late else None


def halved_after_s(shares: Sequence[tuple[float, float]], slowed_s: float, known_s: float) -> float:
    """The time from `known_s` until the share is at most half of that before `slowed_s`; infinite if it never is.

    Args:
        shares: time [s] and share, in the order of time.
        slowed_s: when the server slowed down [s].
        known_s: when this could first be known [s].
    """
    before = [share for at_s, share in shares if at_s <= slowed_s][-1]
    halved = [at_s for at_s, share in shares if at_s > slowed_s and share <= before / 2]
    return max(halved[0] - known_s, 0.0) if halved else float("inf")


def rows(seeds: int = SEEDS) -> Iterator[Row]:
    """The median reaction to each slow server under the flagship and under dto-ee-static."""
    topologies = list(dict.fromkeys(topology for topology, _ in SLOWED))
    for policy in POLICIES:
        asks = [Ask(name, policy, FIRST_SEED + number) for name in topologies for number in range(seeds)]
        found = spread(reactions, asks)
        for name, server in SLOWED:
            mine = [one for ask, each in zip(asks, found, strict=True) for one in each
                    if (ask.topology, one.server) == (name, server)]  # fmt: skip
            yield from _rows(f"{name}, {server} slows to a third, {policy}", mine, judged=policy == POLICIES[0])


def _rows(where: str, found: Sequence[Reaction], *, judged: bool) -> Iterator[Row]:
    halved_s = sorted(one.halved_s for one in found)
    wanted_s = statistics.median(one.wanted_s for one in found)
    never = sum(one.halved_s == float("inf") for one in found)
    median_s = statistics.median(halved_s)
    yield row(f"{where}: runs", len(found), "runs", possible=POSITIVE)
    if never:
        yield row(f"{where}: probability never halved", never, f"of {len(found)} runs")
    lacks = "it is not halved in half of the runs" if median_s == float("inf") else None
    yield row(f"{where}: probability halved after, median", median_s, "s", most=wanted_s if judged else None,
              invalid=lacks, rival=f"{wanted_s:.2f} s: two sweeps and a report interval")  # fmt: skip
    quarter_s = halved_s[(3 * len(halved_s)) // 4]
    if quarter_s != float("inf"):
        yield row(f"{where}: probability halved after, upper quartile", quarter_s, "s")
    yield row(f"{where}: two sweeps and a report interval", wanted_s, "s", possible=POSITIVE)


if __name__ == "__main__":
    main(rows, __doc__)
