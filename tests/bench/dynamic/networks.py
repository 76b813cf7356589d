"""Plans of dto-ee on random networks against the best ones, simulated: `python -m tests.bench dynamic.networks`.

Networks of two to five stages are drawn and loaded to the same share in each stage, at thresholds of 0.8, which stay.
Nothing changes during a run. Up to a load of `PLANNED` the flow model of `optimum` evaluates the rows in force at the
end, for the arrival rates that the devices had measured by then. They are compared with the best rows for these rates.
Above, the mean delay of the run is compared with that of the best plan, played against the same tasks
(`played`); where no plan can serve the tasks that happened to arrive, only the lost ones count.
"""

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from node_agent.dtoee.staged import Rows
from node_agent.models import load_bundle
from testbed.optimum.bound import bound_for
from testbed.optimum.flow_model import FlowModel, flow_model
from testbed.optimum.threshold_search import best_flows, confirmed, evaluate
from testbed.record.reading import read_lines
from testbed.record.run_directory import DECISIONS, TASKS
from testbed.record.task_line import TaskLine
from testbed.run.plan import Plan
from testbed.run.planning import plan_run
from testbed.simulation.simulator import SimulatedRun
from tests.bench.dynamic.watching import row_in_force, watched
from tests.bench.simulations import spread
from tests.bench.table import AMOUNT, Row, main, row

LOADS = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95)
PLANNED = 0.7
MOST_ABOVE, MOST_ABOVE_PLAYED = 1.0, 5.0  # %
CUTS = {2: ("glyphs", (3, 5)), 3: ("glyphs", (2, 3, 5)), 4: ("glyphs", (2, 3, 4, 5)),
        5: ("glyphs-deep", (2, 3, 4, 5, 7))}  # fmt: skip
NETWORKS = 8  # of each load, as many of each number of stages
FIRST_SEED = 501
THRESHOLD = 0.8
POLICY = f"dto-ee:threshold={THRESHOLD:g},adapt_thresholds=false"
DURATION_S, SLOT_S, WARM_UP_S = 100.0, 5.0, 20.0
DENSITY = 0.8  # share of the pairs of neighbouring stages that are linked


class Ask(NamedTuple):
    """A network to be drawn."""

    seed: int
    stages: int
    load: float


class Found(NamedTuple):
    """The figures of one network.

    Attributes:
        above: share of the mean delay above that of the best plan, or of `played`, 0.01 for 1 %; None without a plan.
        lost: lost tasks.
    """

    above: float | None
    lost: int


def topology(ask: Ask) -> str:
    """The text of a random network whose servers are all loaded to `ask.load`, if tasks are spread by speed."""
    rng = np.random.default_rng([ask.seed, ask.stages])
    name, cut = CUTS[ask.stages]
    model = load_bundle(name)
    exits, _ = model.exit_table(cut).outcome([THRESHOLD] * (ask.stages - 1))
    reaching = 1 - np.concatenate([[0.0], np.cumsum(exits)[:-1]])
    rates = rng.uniform(0.6, 1.8, int(rng.integers(6, 13)))
    layers = [[f"d{number}" for number in range(len(rates))]]
    lines = [f"  d{number}: {{rate: {rate:.4f} /s}}" for number, rate in enumerate(rates)]
    servers = []
    for stage, profile in enumerate(model.profiles(cut, "float16"), start=1):
        speeds = rng.uniform(1, 3, int(rng.integers(2, 6)))
        work_flop_per_s = rates.sum() * reaching[stage - 1] * profile.flop
        layers.append([f"s{stage}x{number}" for number in range(len(speeds))])
        servers += [f"  {server}: {{stage: {stage}, capacity: {share * work_flop_per_s / ask.load / 1e9:.6f} GFLOP/s}}"
                    for server, share in zip(layers[-1], speeds / speeds.sum(), strict=True)]  # fmt: skip
    return "\n".join([
        f"name: random-{ask.stages}", f"model: {{name: {name}, cut: {list(cut)}, activation: float16}}",
        f"policy: '{POLICY}'", f"slot: {SLOT_S:g} s", f"duration: {DURATION_S:g} s", f"warm_up: {WARM_UP_S:g} s",
        f"seed: {ask.seed}", "devices:", *lines, "servers:", *servers, "links:", *_links(layers, rng), "",
    ])  # fmt: skip


def _links(layers: Sequence[Sequence[str]], rng: Generator) -> Iterator[str]:
    """A line for each link: `DENSITY` of the pairs, and at least one link at each node."""
    for senders, receivers in pairwise(layers):
        linked = rng.uniform(size=(len(senders), len(receivers))) < DENSITY
        linked[np.arange(len(senders)), rng.integers(len(receivers), size=len(senders))] = True
        linked[rng.integers(len(senders), size=len(receivers)), np.arange(len(receivers))] = True
        for i, j in np.argwhere(linked):
            rate, delay = rng.uniform(10, 60), rng.uniform(2, 30)
            yield f"  - {{from: {senders[i]}, to: {receivers[j]}, rate: {rate:.1f} Mbit/s, delay: {delay:.2f} ms}}"


def found_on(ask: Ask) -> Found:
    """Simulate a network, and hold its plan, or its delay, against the best one."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "random.yaml")
        path.write_text(topology(ask), encoding="utf-8")
        plan = plan_run(path, out=Path(folder, "run"))
        in_force: dict[str, dict[str, float]] = {}

        def look(course: SimulatedRun, _: float) -> None:
            for name, node in course.nodes.items():
                if node.core is not None and node.core.routing.receivers:
                    row_now = row_in_force(node.core.routing).tolist()
                    in_force[name] = dict(zip(node.core.routing.receivers, row_now, strict=True))

        watched(plan, look, every_s=DURATION_S)
        tasks = list(read_lines(plan.run_directory / TASKS, TaskLine))
        rates_per_s = measured_rates(plan.run_directory / DECISIONS)
    lost = sum(task.status == "lost" for task in tasks)
    if ask.load <= PLANNED:
        return Found(above_best(plan, in_force, rates_per_s), lost)
    played = bound_for(plan.scenario, plan.model, arrivals=plan.arrivals, thresholds=[THRESHOLD]).played
    if played is None:
        return Found(None, lost)
    counted = [task.completed_s - task.created_s for task in tasks
               if task.completed_s is not None and task.created_s >= WARM_UP_S]  # fmt: skip
    return Found(float(np.mean(counted)) / played.mean_delay_s - 1, lost)


def measured_rates(decisions: Path) -> dict[str, float]:
    """The arrival rate [task/s] with which each node decided last, by its name."""
    lines = map(json.loads, decisions.read_text(encoding="utf-8").splitlines())
    return {line["node"]: line["arrival_rate_per_s"] for line in lines}


def above_best(plan: Plan, in_force: Mapping[str, Mapping[str, float]], rates_per_s: Mapping[str, float]) -> float:
    """The mean delay of these rows over that of the best ones, less 1, in the flow model with these arrival rates."""
    choice = plan.scenario.model
    profiles = plan.model.profiles(choice.cut, choice.activation)
    model = flow_model(plan.scenario, profiles, plan.model.exit_table(choice.cut))
    rates = np.array([rates_per_s[name] for name in model.names[0]])
    model = replace(model, network=replace(model.network, device_rate_per_s=rates))
    thresholds = model.network.uniform_thresholds(*[THRESHOLD] * (plan.scenario.stages - 1))
    ours = evaluate(model, thresholds, rows_of(model, in_force))
    best = confirmed(best_flows(model, thresholds))
    return ours.mean_delay_s / min(best.mean_delay_s, ours.mean_delay_s) - 1


def rows_of(model: FlowModel, in_force: Mapping[str, Mapping[str, float]]) -> Rows:
    """The rows of all nodes as the arrays of a flow model; `in_force` has them by node and receiver."""
    found = []
    for stage, tier in enumerate(model.network.tiers):
        senders, receivers = model.names[stage], model.names[stage + 1]
        array = np.zeros(tier.receivers.shape)
        for i, sender in enumerate(senders):
            for k, j in enumerate(tier.receivers[i]):
                array[i, k] = in_force[sender].get(receivers[j], 0.0) if tier.exists[i, k] else 0.0
        found.append(array / array.sum(axis=1, keepdims=True))
    return tuple(found)


def rows(networks: int = NETWORKS) -> Iterator[Row]:
    """The figures of `networks` networks at each load."""
    stages = list(CUTS)
    asks = [
        Ask(FIRST_SEED + number, stages[number % len(stages)], load) for load in LOADS for number in range(networks)
    ]
    found = spread(found_on, asks)
    for load in LOADS:
        mine = [one for ask, one in zip(asks, found, strict=True) if ask.load == load]
        above = [one.above * 100 for one in mine if one.above is not None]
        where = f"{networks} random networks, load {load:g}"
        if load <= PLANNED:
            yield row(f"{where}: settled plans above the best, median", float(np.median(above)), "%")
            yield row(f"{where}: settled plans above the best, most", max(above), "%", most=MOST_ABOVE)
        elif above:
            yield row(f"{where}: mean delay above played, mean", float(np.mean(above)), "%", most=MOST_ABOVE_PLAYED,
                      possible=(-100.0, float("inf")), samples=above)  # fmt: skip
            yield row(f"{where}: mean delay above played, most", max(above), "%")
        yield row(f"{where}: lost", sum(one.lost for one in mine), "tasks", most=0, possible=AMOUNT)


if __name__ == "__main__":
    main(rows, __doc__)
