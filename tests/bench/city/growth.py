"""Growth of set-up time, processor time and memory with the network: 10, 20, 40, 80, 160 nodes (needs root, 4 minutes).

`python -m tests.bench.city.growth [--json FILE]`. All networks have the city's shape: three stages, 15 servers to 50
devices, and every node as busy as in any other. Each is run twice for a few seconds, with few tasks and with more:
the difference is what a task costs, and what is left is what a node costs that has nothing to do but its rounds.
An exponent is the slope of a straight line through the logarithms: 1 for what grows as the nodes do.

Linear and other parts:

- Every node is linked to at most 3 of the next stage, so that links grow as nodes do. In the city itself each device is
  linked to all 6 servers of its stage; were the number of servers to grow as well, links, and with them set-up, probes
  and messages of rounds, would grow with the square of the nodes.
- Routes grow with the square: every node has one to every other, 25,440 at 160 nodes, of 8 us each. So does the time in
  which they are computed (one tree of shortest paths a node). At 160 nodes both take a quarter of a second.
- Connections that carry answers grow with servers times devices: every server behind the first stage answers every
  device. They cost memory, not time.
- The set-up of small networks is that of the model, which is loaded meanwhile: 2 s whatever the size. So its exponent
  is well below 1 until the network takes longer than the model.
- Small networks have little to agree on (at 10 nodes one server a stage): their slots end after fewer rounds. So the
  cost of nodes without tasks has an exponent above its goal, nearly all of it below 40 nodes.
- The cost of a task is the difference of two runs, and small beside the cost of either: it scatters by several ms.
"""

import itertools
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from testbed.run.planning import plan_run
from tests.bench.city.memory import Weigher
from tests.bench.city.runs import completed
from tests.bench.table import POSITIVE, Row, main, row

SIZES = (10, 20, 40, 80, 160)
STAGE_SHARES = (6 / 65, 5 / 65, 4 / 65)  # of all nodes, as in the city
REACH = (1.0, 0.78, 0.37)  # the share of tasks that come to a stage (thresholds 0.8)
WORK_GFLOP = (0.01435, 0.00865, 0.02583)
LOAD = 0.4
DEGREE = 3
FEW_PER_S, MANY_PER_S = 0.05, 0.4  # tasks of each device
DURATION_S = 8.0
WEIGHED_AFTER_S = 5.0
MOST_EXPONENT = 1.2  # of what the whole network takes
MOST_EXPONENT_EACH = 0.2  # of what should not grow
SCATTERED = 0.5  # what should not grow does not shrink either: below minus this, its values are chance


@dataclass(frozen=True, slots=True)
class Grown:
    """The costs of a network with `nodes` nodes."""

    nodes: int
    setup_s: float
    idle_cpu_s: float  # of all agents and the relay, in a second without tasks
    task_cpu_s: float  # of all, a task
    pss_mib: float  # of all agents


def rows() -> Iterator[Row]:
    """Each figure at each size, then its exponent."""
    grown = []
    for size in SIZES:
        grown.append(found := grow(size))
        for what, value, unit in (
            ("set-up", found.setup_s, "s"),
            ("CPU without tasks, a node", found.idle_cpu_s / size * 1e3, "ms/s"),
            ("CPU a task", found.task_cpu_s * 1e3, "ms"),
            ("memory (PSS) of all agents", found.pss_mib, "MiB"),
            ("memory (PSS), an agent", found.pss_mib / size, "MiB"),
        ):
            yield row(f"growth: {size} nodes: {what}", value, unit, possible=POSITIVE)
    sizes = [each.nodes for each in grown]
    for name, values, most in (
        ("set-up", [each.setup_s for each in grown], MOST_EXPONENT),
        ("CPU without tasks, all nodes", [each.idle_cpu_s for each in grown], MOST_EXPONENT),
        ("CPU a task", [each.task_cpu_s for each in grown], MOST_EXPONENT_EACH),
        ("memory of all agents", [each.pss_mib for each in grown], MOST_EXPONENT),
    ):
        possible = (-SCATTERED, np.inf) if most == MOST_EXPONENT_EACH else (0.0, np.inf)
        yield row(f"growth: exponent of nodes, {name}", exponent(sizes, values), "", most=most, possible=possible)


def exponent(sizes: Sequence[int], values: Sequence[float]) -> float | None:
    """The slope of log(value) over log(size); None where a value is not above 0, so that it has no logarithm."""
    if not all(value > 0 for value in values):
        return None
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def topology(size: int, rate_per_s: float) -> str:
    """A network of this many nodes; its servers are made for MANY_PER_S."""
    stages = [max(1, round(size * share)) for share in STAGE_SHARES]
    devices = size - sum(stages)
    lines = [
        "name: growth", "model: {name: glyphs, cut: [2, 3, 5], activation: float16}", "policy: dto-ee", "slot: 5 s",
        f"duration: {DURATION_S:g} s", "warm_up: 1 s", "seed: 1", "devices:",
        f"  device: {{count: {devices}, rate: {rate_per_s} /s}}", "servers:",
    ]  # fmt: skip
    tiers = [[f"device-{n}" for n in range(1, devices + 1)]]
    for stage, (count, reach, work) in enumerate(zip(stages, REACH, WORK_GFLOP, strict=True), start=1):
        tiers.append([f"s{stage}n{n}" for n in range(1, count + 1)])
        capacity = devices * MANY_PER_S * reach * work / LOAD / count
        lines += [f"  {name}: {{stage: {stage}, capacity: {capacity:.5f} GFLOP/s}}" for name in tiers[-1]]
    lines.append("links:")
    for senders, receivers in itertools.pairwise(tiers):
        for place, sender in enumerate(senders):
            chosen = sorted({receivers[(place + step) % len(receivers)] for step in range(DEGREE)})
            lines.append(f"  - {{from: {sender}, to: [{', '.join(chosen)}], rate: 5..100 Mbit/s, delay: 2..60 ms}}")
    return "\n".join(lines) + "\n"


def grow(size: int) -> Grown:
    """Both runs of one size."""
    few, few_mib = _run(size, FEW_PER_S)
    many, many_mib = _run(size, MANY_PER_S)
    few_cpu_s, many_cpu_s = (run["fidelity"]["agents_cpu_s"] + run["fidelity"]["relay_cpu_s"] for run in (few, many))
    few_tasks, many_tasks = few["tasks"]["offered"], many["tasks"]["offered"]
    if many_tasks <= few_tasks:
        raise RuntimeError(f"{many_tasks} tasks are no more than {few_tasks}: what a task costs is not known")
    task_cpu_s = (many_cpu_s - few_cpu_s) / (many_tasks - few_tasks)
    idle_cpu_s = (few_cpu_s - few_tasks * task_cpu_s) / DURATION_S
    setup_s = min(run["setup_s"]["agents"] for run in (few, many))
    return Grown(size, setup_s, idle_cpu_s, task_cpu_s, max(few_mib, many_mib))


def _run(size: int, rate_per_s: float) -> tuple[dict[str, Any], float]:
    """The summary of one run, and the weight of its agents."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "topology.yaml"
        path.write_text(topology(size, rate_per_s))
        weigher = Weigher(WEIGHED_AFTER_S)
        summary = completed(plan_run(path, out=Path(folder) / "run"), weigher)
        agents_mib, _ = weigher.weights_mib()
        if len(agents_mib) != size:
            raise RuntimeError(f"{len(agents_mib)} agents of {size} could be weighed")
        return summary, sum(agents_mib)


if __name__ == "__main__":
    main(rows, __doc__, timed=True)
