"""Duration of DTO-EE's rounds on the city, against the sum of the delays they must cross (needs root).

In a round every server waits for all its offloaders before it passes the flow on, and every node waits for all its
receivers before it reports. So a sweep lasts as long as its slowest chain device -> stage 1 -> 2 -> 3 -> 2 -> 1 ->
device. A device that gets its answers early starts its next round early.

The sum of link delays that rounds must cross is therefore computed link by link. Each device begins when its slot does
(one device after the other, `NodeConfig.slot_phase_s`) and plays as many rounds as it has played. A node acts when its
last message has arrived. A message takes the configured one-way delay of its link, nothing else.

The measured time of a device runs from its beginning to its decision, which it takes with the last report of its last
round (decisions.jsonl). The figure is the quotient of the two. Above one it holds transmission, relay, kernel, ZeroMQ,
waiting for a processor, and the nodes' own work. The rival is the same figure in virtual time, where messages are
transmitted but work takes no time.
"""

import json
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from testbed.live.agent_configs import stated_costs
from testbed.run.node_configs import node_configs
from testbed.run.observer import SilentObserver
from testbed.run.plan import Plan
from testbed.run.planning import plan_run
from testbed.simulation.simulator import Simulation
from tests.bench.city.runs import CITY, completed
from tests.bench.table import POSITIVE, Row, main, row

DURATION_S = 15.0
MOST = 1.2
QUOTIENT = (0.95, float("inf"))  # no message is quicker than its link but for the emulation's own error


class Chains:
    """The time at which rounds would end if messages took their links' delays and nothing else took any time."""

    def __init__(self, plan: Plan) -> None:
        scenario, model = plan.scenario, plan.scenario.model
        delay_of = {frozenset(link.ends): link.shape.delay_s for link in scenario.links}
        costs = stated_costs(plan.model, model)
        configs = node_configs(scenario, costs.profiles, costs.input_forms)
        # Per tier, from the devices on: (offloader, receiver, delay).
        self._tiers: dict[int, list[tuple[str, str, float]]] = defaultdict(list)
        for offloader, receivers in scenario.offload_to.items():
            for receiver in receivers:
                link = (offloader, receiver, delay_of[frozenset((offloader, receiver))])
                self._tiers[configs[offloader].stage].append(link)
        self.begins_s = {name: config.slot_phase_s for name, config in configs.items() if config.is_device}
        """When each device's slots begin, after the first one's [s]."""

    def round(self, begun_s: Mapping[str, float]) -> dict[str, float]:
        """The time of each device's last report, if these devices, and no others, made their offers at `begun_s`."""
        ready_s, playing = dict(begun_s), set(begun_s)
        for _, links in sorted(self._tiers.items()):  # the offers, from stage to stage
            ready_s = _last([(to, ready_s[by] + delay) for by, to, delay in links if by in ready_s])
            playing |= ready_s.keys()
        for _, links in sorted(self._tiers.items(), reverse=True):  # the reports
            ready_s = _last([(by, ready_s[to] + delay) for by, to, delay in links if by in playing and to in playing])
        return ready_s

    def after(self, rounds: Mapping[str, int]) -> dict[str, float]:
        """The time from each device's own beginning to the last report of its last round [s]."""
        found: dict[str, float] = {}
        ready_s, played = self.begins_s, 0
        while playing := {name for name in ready_s if rounds.get(name, 0) > played}:
            ready_s = self.round({name: ready_s[name] for name in playing})
            played += 1
            found |= {name: at_s - self.begins_s[name] for name, at_s in ready_s.items()}
        return found


def _last(arrivals: list[tuple[str, float]]) -> dict[str, float]:
    latest: dict[str, float] = {}
    for name, at_s in arrivals:
        latest[name] = max(at_s, latest.get(name, 0.0))
    return latest


def quotients(plan: Plan) -> list[float]:
    """Of every device and slot of a finished run: the time its rounds took, over the delays they had to cross."""
    chains, found = Chains(plan), []
    slots: dict[int, dict[str, tuple[int, float]]] = defaultdict(dict)  # slot -> device -> rounds, when decided
    for line in (plan.run_directory / "decisions.jsonl").read_text().splitlines():
        decision = json.loads(line)
        if decision["node"] in chains.begins_s:
            slots[decision["slot"]][decision["node"]] = decision["rounds"], decision["time_s"]
    for slot, decided in slots.items():
        due_s = chains.after({name: rounds for name, (rounds, _) in decided.items()})
        for name, (_, at_s) in decided.items():
            found.append((at_s - slot * plan.scenario.slot_s - chains.begins_s[name]) / due_s[name])
    return found


def rows() -> Iterator[Row]:
    """The quotient, live, against virtual time."""
    with tempfile.TemporaryDirectory() as folder:
        simulated, live = (
            plan_run(CITY, duration_s=DURATION_S, out=Path(folder, name)) for name in ("simulated", "live")
        )
        Simulation(simulated, SilentObserver()).run()
        virtual = quotients(simulated)
        completed(live, SilentObserver())
        real = quotients(live)
    if not virtual or not real:
        raise RuntimeError(f"{len(real)} rounds live and {len(virtual)} in virtual time: there is nothing to hold")
    figures = (("median", 50, MOST), ("95th percentile", 95, MOST), ("worst device and slot", 100, None))
    for name, share, most in figures:
        told = f"{np.percentile(virtual, share):.2f} in virtual time"
        figure = float(np.percentile(real, share))
        yield row(f"a sweep over the sum of its link delays, {name}", figure, "", most=most, rival=told,
                  possible=QUOTIENT)  # fmt: skip
    chains = Chains(live)
    crossed_s = statistics.median(chains.after(dict.fromkeys(chains.begins_s, 1)).values())
    yield row("a sweep: the sum of its link delays, median device", crossed_s, "s", possible=POSITIVE)


if __name__ == "__main__":
    main(rows, __doc__, timed=True)
