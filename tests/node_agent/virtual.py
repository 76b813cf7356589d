"""A network of node cores in virtual time: every protocol case in milliseconds, without sockets, clocks or torch."""

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from node_agent.core.config import NodeConfig, Timeouts
from node_agent.core.events import ComputeFinished, Event, PlanningFinished, Received, Send, TimerFired, TimerKey
from node_agent.core.machine import NodeCore, ServerCore
from node_agent.dtoee.exit_table import ExitTable
from node_agent.policies import make_policy
from node_agent.problem import Place, Problem
from node_agent.process.driver import Driver, make_core
from node_agent.records import DecisionRecord, EventRecord, Ready, Record, TaskRecord
from node_agent.wire import InputForm, Result, Tensor, TensorForm, decode, encode

IMAGE = TensorForm("uint8", (1, 8, 8))
ACTIVATION = TensorForm("float32", (1, 4, 8, 8))
DEAD = float("inf")
MEASURING_S = 4.0  # nodes measure their links before time 0, when the clock is below zero [s]


def broad(_a: str, _b: str, size: int) -> float:
    """Return the time of a message [s], by the bytes of its tensor: budgets of control messages do not matter."""
    return 0.01 if size else 0.0099


def synthetic_table(stages: int, rows: int = 400, seed: int = 3) -> ExitTable:
    """Return a table of exits whose accuracy grows with depth and whose confidence is roughly calibrated."""
    rng = np.random.default_rng(seed)
    ease = rng.uniform(0, 1, (rows, 1)) + np.linspace(-0.1, 0.35, stages)
    confidence = np.clip(ease + rng.normal(0, 0.05, (rows, stages)), 0.05, 0.999)
    correct = rng.uniform(size=(rows, stages)) < np.clip(ease, 0.1, 0.98)
    return ExitTable(confidence, correct)


class VirtualNode(Driver):
    """A node of the virtual world."""

    def __init__(self, world: "World", config: NodeConfig) -> None:
        super().__init__(config.name)
        self._world = world
        self._config = config
        self._awaited: dict[str | TimerKey, int] = {}  # timers, end of service, end of planning: the number that counts
        self.switch_on()

    def switch_on(self) -> None:
        self.come_up(make_core(self._config, self._world.table))

    @property
    def _behind_s(self) -> float:
        return self._world.behind_s.get(self.name, 0.0)

    def _now_s(self) -> float:
        return self._world.now_s - self._behind_s

    def _input_of(self, sample: int) -> Tensor:  # noqa: ARG002 - all images are alike
        return Tensor(IMAGE, bytes(IMAGE.byte_count))

    def _send(self, send: Send) -> bool:
        world = self._world
        size = send.tensor.form.byte_count if send.tensor is not None else 0
        frames = [bytes(frame) for frame in encode(send.message, send.tensor)]
        delay_s = world.link_s(self.name, send.peer, size)
        if delay_s < DEAD:
            world.at(world.now_s + delay_s, lambda: world.give(send.peer, Received(self.name, *decode(frames))))
        return True

    def _start_compute(self, tensor: Tensor, now_s: float) -> None:  # noqa: ARG002 - its task says which sample it is
        self._await("compute", now_s + self._world.service_s[self.name], self._answer)

    def _stop_compute(self) -> None:
        self._awaited.pop("compute", None)

    def _plan(self, problem: Problem, now_s: float) -> None:
        assert self.core is not None
        policy = self.core.routing.policy
        answer = PlanningFinished(policy.plan(problem, self._world.table))
        self._await("plan", now_s + policy.planning_s(problem), lambda: answer)

    def _set_timer(self, key: TimerKey, at_s: float) -> None:
        self._await(key, max(at_s, self._now_s()), lambda: TimerFired(key))

    def _cancel_timer(self, key: TimerKey) -> None:
        self._awaited.pop(key, None)

    def _forget_timers(self) -> None:
        self._awaited.clear()

    def _publish(self, record: Record) -> None:
        self._world.take(record)

    def _await(self, key: str | TimerKey, at_s: float, event: Callable[[], Event]) -> None:
        number = self._awaited[key] = next(self._world.numbers)
        self._world.at(at_s + self._behind_s, lambda: self._happen(key, number, event))

    def _happen(self, key: str | TimerKey, number: int, event: Callable[[], Event]) -> None:
        if self._awaited.get(key) == number:
            del self._awaited[key]
            self.handle(event())

    def _answer(self) -> ComputeFinished:
        world, stage = self._world, self._config.stage
        assert isinstance(self.core, ServerCore)
        serving = self.core.tasks._serving
        row = world.row_of[serving.task.task_id] if serving else 0
        activation = None if stage == world.stages else Tensor(ACTIVATION, bytes(ACTIVATION.byte_count))
        correct = int(world.table.correct[row, stage - 1])
        return ComputeFinished(correct, float(world.table.confidence[row, stage - 1]), activation, overrun=False)


@dataclass
class World:
    """Nodes, the links between them, and one clock."""

    servers: dict[str, tuple[int, float]]  # name -> stage, service rate
    devices: dict[str, float]  # name -> arrival rate
    link_s: Callable[[str, str, int], float] = lambda _a, _b, size: 0.01 if size else 0.005  # by tensor bytes
    policy: str = "dto-ee-static"
    parameters: dict = field(default_factory=dict)
    theta_s: float = 2.0
    slot_s: float = 3.0
    seed: int = 1
    timeouts: Timeouts = field(default_factory=Timeouts)
    bounds_s: dict[str, float] = field(default_factory=dict)  # of devices, on the predicted delay
    debug: bool = True  # check every node's state after each event, and keep its story
    behind_s: dict[str, float] = field(default_factory=dict)  # clocks of nodes that start later than the others
    plan: list[tuple[float, Callable[["World"], None]]] = field(default_factory=list)  # what happens when

    def __post_init__(self) -> None:
        self.stages = max(stage for stage, _ in self.servers.values())
        self.table = synthetic_table(self.stages)
        self.now_s = 0.0
        self.service_s = {name: 1 / rate for name, (_, rate) in self.servers.items()}
        self.records: list = []
        self.drivers: dict[str, VirtualNode] = {}
        self.row_of: dict[int, int] = {}  # task -> table row
        self.numbers = itertools.count()
        self._queue: list = []
        self._started = False
        self._random = random.Random(self.seed)
        by_stage = [list(self.devices)]
        central = make_policy(self.policy, self.parameters, theta_s=self.theta_s).central
        by_stage += [[n for n, (s, _) in self.servers.items() if s == h] for h in range(1, self.stages + 1)]
        onward = [*(tuple(names) for names in by_stage[1:]), ()]
        places = {name: Place(stage, onward[stage]) for stage, names in enumerate(by_stage) for name in names}
        coordinator = by_stage[-1][0] if central else None
        inputs = (None, InputForm(IMAGE), *(InputForm(ACTIVATION) for _ in by_stage[2:]), None)  # by stage
        for stage, names in enumerate(by_stage):
            for rank, name in enumerate(names):
                config = NodeConfig(
                    name=name,
                    stage=stage,
                    stages=self.stages,
                    offloaders=tuple(by_stage[stage - 1]) if stage else (),
                    receivers=tuple(by_stage[stage + 1]) if stage < self.stages else (),
                    rank=rank,
                    peers_in_stage=len(names),
                    declared_rate_per_s=self.devices[name] if stage == 0 else self.servers[name][1],
                    slot_s=self.slot_s,
                    policy=self.policy,
                    parameters=self.parameters,
                    theta_s=self.theta_s,
                    seed=self.seed,
                    input_form=inputs[stage],
                    onward_form=inputs[stage + 1],
                    devices=tuple(self.devices) if stage > 1 else (),
                    coordinator=coordinator,
                    places=places if name == coordinator else {},
                    timeouts=self.timeouts,
                    delay_bound_s=self.bounds_s.get(name),
                    bounded=self._bounded(stage, by_stage),
                    story=self.debug,
                    debug=self.debug,
                )
                self.drivers[name] = VirtualNode(self, config)

    def _bounded(self, stage: int, by_stage: list[list[str]]) -> tuple[str, ...]:
        """Return the offloaders of a server that forward tasks of devices with a bound, or are such devices."""
        if not self.bounds_s or stage == 0:
            return ()
        return tuple(name for name in by_stage[stage - 1] if stage > 1 or name in self.bounds_s)

    @property
    def nodes(self) -> dict[str, NodeCore]:
        """State machines of the nodes that are up, by name."""
        return {name: driver.core for name, driver in self.drivers.items() if driver.core is not None}

    def at(self, time_s: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (time_s, next(self.numbers), action))

    def give(self, name: str, received: Received) -> None:
        self.drivers[name].receive(received)

    def take(self, record: Record) -> None:
        """Keep a record that a node has published. A node that comes up during the run starts once it is ready."""
        self.records.append(record)
        if self._started and isinstance(record, Ready):
            self.at(self.now_s, self.drivers[record.node].start)

    def kill(self, *names: str) -> None:
        for name in names:
            self.drivers[name].go_down()

    def revive(self, name: str) -> None:
        """Bring a node up as after a power cut: its process starts again and remembers nothing."""
        self.drivers[name].switch_on()
        self.drivers[name].measure_links()

    def set_speed(self, name: str, rate_per_s: float) -> None:
        self.service_s[name] = 1 / rate_per_s

    def run(self, duration_s: float, *, drain_s: float = 200.0, tasks: bool = True) -> list[TaskRecord]:
        self.now_s = -MEASURING_S
        for driver in self.drivers.values():
            driver.measure_links()
        self._run_until(0.0)
        assert {r.node for r in self.of(Ready) if not r.unreachable} == set(self.drivers)
        self._queue.clear()
        self._started = True
        for at_s, action in self.plan:
            self.at(at_s, partial(action, self))
        for driver in self.drivers.values():
            driver.start()
        for name, rate in self.devices.items() if tasks else ():
            at_s = self._random.expovariate(rate)
            while at_s < duration_s:
                self._schedule(name, at_s)
                at_s += self._random.expovariate(rate)
        offered = len(self.row_of)
        self._run_until(duration_s)
        while len(self.tasks) < offered and self.now_s < duration_s + drain_s:
            self._run_until(self.now_s + 1.0)
        return self.tasks

    def _schedule(self, name: str, at_s: float) -> None:
        task_id = len(self.row_of)
        row = self.row_of[task_id] = self._random.randrange(len(self.table.confidence))
        self.at(at_s, lambda: self.drivers[name].offer(task_id, row, at_s))

    def _run_until(self, time_s: float) -> None:
        while self._queue and self._queue[0][0] <= time_s:
            self.now_s, _, action = heapq.heappop(self._queue)
            action()
        self.now_s = max(self.now_s, time_s)

    def of(self, kind: type) -> list:
        return [record for record in self.records if isinstance(record, kind)]

    @property
    def tasks(self) -> list[TaskRecord]:
        return self.of(TaskRecord)

    @property
    def decisions(self) -> list[DecisionRecord]:
        return self.of(DecisionRecord)

    @property
    def events(self) -> list[EventRecord]:
        return self.of(EventRecord)

    @property
    def all_completed(self) -> bool:
        """True if there were tasks, and each has been completed."""
        return {task.status for task in self.tasks} == {"completed"}

    def mean_delay_s(self) -> float:
        return float(np.mean([t.completed_s - t.created_s for t in self.tasks if t.completed_s is not None]))


def three_stages(**options) -> World:
    servers = {"a1": (1, 30.0), "a2": (1, 15.0), "a3": (1, 20.0)}
    servers |= {"b1": (2, 30.0), "b2": (2, 15.0), "c1": (3, 20.0), "c2": (3, 12.0)}
    return World(servers, {f"d{i}": 4.0 for i in range(1, 6)}, **options)


__all__ = ["DEAD", "Result", "World", "broad", "synthetic_table", "three_stages"]
