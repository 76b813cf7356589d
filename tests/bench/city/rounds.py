"""The CPU time of a round of dto-ee-static at a node of the city: `python -m tests.bench.city.rounds` (needs root).

First the nodes' own work: all 65 cores play rounds with each other, slot after slot, each ended as the policy ends it.
Every message is encoded and decoded as on the wire, and takes its link's delay on a clock that moves; timers are set
and cancelled as an agent does; tasks arrive, or the devices would rest, and get no further. A node's part of a round
(for a device: six reports in, six offers out) is measured as CPU time of this thread, wave by wave, so that other load
on the machine hardly counts; shown are medians over rounds of the mean over the nodes of a kind. Sockets, the poll loop
and ZeroMQ's threads are left out.

A second figure has all costs of a round for a device's process, these included. The city runs live under that policy
and under a policy of one round a slot, with the same tasks. The additional CPU time of the devices' processes is spread
over their additional rounds.
"""

import json
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import assert_never

from node_agent.core.config import NodeConfig
from node_agent.core.events import (
    CancelTimer,
    Event,
    Publish,
    Received,
    RunStarted,
    Send,
    SetTimer,
    StartCompute,
    StartPlanning,
    StopCompute,
    TaskArrived,
    TimerFired,
)
from node_agent.core.machine import NodeCore
from node_agent.process.driver import make_core
from node_agent.process.timer import Timers
from node_agent.wire import Tensor, decode, encode
from testbed.live.agent_configs import stated_costs
from testbed.run.node_configs import node_configs
from testbed.run.observer import SilentObserver
from testbed.run.planning import plan_run
from tests.bench.city.runs import CITY, completed
from tests.bench.table import POSITIVE, Row, main, row

ROUNDS, SETTLING = 120, 20  # the first ones are not counted: thresholds are all alike there
MOST_US = 200.0
POLICY = "dto-ee-static"  # plays its rounds at the beginning of each slot
LIVE_S, LIVE_SETTLED_S = 25.0, 5.0  # the first slot is not counted: connections are made, libraries are read
PARTS = ("decoding", "the core", "encoding and timers")

Frames = list[bytes | bytearray | memoryview]
Spent = dict[int, list[float]]  # stage -> CPU time of these parts [us]


class City:
    """The cores of all nodes, which take turns: everybody handles what has come, then everybody sends.

    A wave lasts as long as the slowest link needs; a message was there when its own link had carried it.
    """

    def __init__(self) -> None:
        plan = plan_run(CITY, policy=POLICY, make_directory=False)
        scenario, model = plan.scenario, plan.scenario.model
        costs, table = stated_costs(plan.model, model), plan.model.exit_table(model.cut)
        self.configs = node_configs(scenario, costs.profiles, costs.input_forms)
        self._slot_s = scenario.slot_s
        self._cores: dict[str, NodeCore] = {name: make_core(config, table) for name, config in self.configs.items()}
        self._timers = {name: Timers() for name in self._cores}
        self._mail: dict[str, list[tuple[str, Frames]]] = defaultdict(list)
        self._delay_s = {frozenset(link.ends): link.shape.delay_s for link in scenario.links}
        self._wave_s = max(self._delay_s.values())
        self._now_s, self._slot = 0.0, -1
        for name in self._cores:
            self._give(name, [RunStarted()])

    def _give(self, name: str, events: list[Event]) -> tuple[float, float]:
        """Have a node handle events; when it had, and when all that it wants then was done [CPU ns]."""
        core, timers = self._cores[name], self._timers[name]
        effects = [effect for event in events for effect in core.handle(event, self._now_s)]
        handled_ns = time.thread_time_ns()
        for effect in effects:
            match effect:
                case Send(peer, "control", message, tensor):
                    self._mail[peer].append((name, encode(message, tensor)))
                case SetTimer(key, at_s):
                    timers.set(key, at_s)
                case CancelTimer(key):
                    timers.cancel(key)
                case Send() | StartCompute() | StopCompute() | StartPlanning() | Publish():
                    pass  # tasks get no further, and what a round costs does not depend on the rest
                case _:
                    assert_never(effect)
        return handled_ns, time.thread_time_ns()

    def _begin_slot(self) -> None:
        """All have decided: the devices go on to the next slot."""
        self._slot += 1
        self._now_s = self._slot * self._slot_s
        for name, config in self.configs.items():
            if config.is_device:
                self._give(name, [TimerFired(("slot", self._slot))])
                assert config.onward_form is not None
                form = config.onward_form.usual
                tasks = range(round(config.declared_rate_per_s * self._slot_s))
                image = Tensor(form, bytes(form.byte_count))
                self._give(name, [TaskArrived(task, 0, self._now_s, image) for task in tasks])

    def round(self) -> Spent:
        """Play until the devices have answered the reports of a round; what it cost the nodes of each stage."""
        spent: Spent = defaultdict(lambda: [0.0] * len(PARTS))
        if not self._mail:
            self._begin_slot()
        while 0 not in spent:
            mail, self._mail = self._mail, defaultdict(list)
            sent_s, self._now_s = self._now_s, self._now_s + self._wave_s
            for name, messages in mail.items():
                there_s = [sent_s + self._delay_s[frozenset((name, peer))] for peer, _ in messages]
                began_ns = time.thread_time_ns()
                received: list[Event] = [
                    Received(peer, *decode(frames), at_s)
                    for (peer, frames), at_s in zip(messages, there_s, strict=True)
                ]
                decoded_ns = time.thread_time_ns()
                handled_ns, done_ns = self._give(name, received)
                times_ns = (began_ns, decoded_ns, handled_ns, done_ns)
                of_stage = spent[self.configs[name].stage]
                for part in range(len(PARTS)):
                    of_stage[part] += (times_ns[part + 1] - times_ns[part]) / 1e3
        return spent

    def kinds(self) -> Mapping[int, tuple[str, int]]:
        """Of each stage: what its nodes are, and how many there are."""
        of_stage: dict[int, list[NodeConfig]] = defaultdict(list)
        for config in self.configs.values():
            of_stage[config.stage].append(config)
        return {stage: (_kind(configs[0]), len(configs)) for stage, configs in of_stage.items()}


def _kind(config: NodeConfig) -> str:
    neighbours = [f"{len(names)} {what}" for names, what in ((config.offloaders, "offloaders"),
                  (config.receivers, "receivers")) if names]  # fmt: skip
    node = "a device" if config.is_device else f"a server of stage {config.stage}"
    return f"a round at {node}, {' and '.join(neighbours)}"


def devices_cpu_s(policy: str, folder: Path) -> tuple[float, int]:
    """CPU time of all devices' processes in a live run, and the rounds that they have played, once it has settled."""
    plan = plan_run(CITY, policy=policy, duration_s=LIVE_S, out=folder / policy)
    completed(plan, SilentObserver())
    devices = {device.name for device in plan.scenario.devices}
    samples = map(json.loads, (plan.run_directory / "timeseries.jsonl").read_text().splitlines())
    cpu_s = sum(s["cpu_s"] for s in samples if s["node"] in devices and s["time_s"] > LIVE_SETTLED_S)
    decisions = map(json.loads, (plan.run_directory / "decisions.jsonl").read_text().splitlines())
    return cpu_s, sum(d["rounds"] for d in decisions if d["node"] in devices and d["time_s"] > LIVE_SETTLED_S)


def rows() -> Iterator[Row]:
    """CPU time of a round for every kind of node, and of a device's process; the goal is on the devices' own work."""
    city = City()
    played = [city.round() for _ in range(ROUNDS)][SETTLING:]
    for stage, (kind, count) in sorted(city.kinds().items()):
        parts_us = [statistics.median(spent[stage][part] / count for spent in played) for part in range(len(PARTS))]
        total_us = statistics.median(sum(spent[stage]) / count for spent in played)
        told = ", ".join(f"{name} {part_us:.0f} us" for name, part_us in zip(PARTS, parts_us, strict=True))
        yield row(kind, total_us, "us", most=MOST_US if stage == 0 else None, rival=told, possible=POSITIVE)
    with tempfile.TemporaryDirectory() as folder:
        (cpu_s, rounds), (without_s, slots) = (
            devices_cpu_s(policy, Path(folder)) for policy in (POLICY, "computing-first")
        )
    round_us = (cpu_s - without_s) / (rounds - slots) * 1e6 if rounds > slots else None
    yield row("a round at a device's process, live, all threads", round_us, "us", possible=POSITIVE)


if __name__ == "__main__":
    main(rows, __doc__, timed=True)
