"""A network of node cores in virtual time: every protocol case in milliseconds, without sockets, clocks or torch."""

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from node_agent.core.config import NodeConfig, Timeouts
from node_agent.core.events import (
    CancelTimer,
    ComputeFinished,
    LinksWanted,
    PlanningFinished,
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
from node_agent.core.machine import DeviceCore, NodeCore, ServerCore
from node_agent.dtoee.exit_table import ExitTable
from node_agent.policies import make_policy
from node_agent.problem import Place
from node_agent.records import DecisionRecord, EventRecord, Ready, TaskRecord
from node_agent.wire import Result, Tensor, TensorForm, decode, encode

IMAGE = TensorForm("uint8", (1, 8, 8))
ACTIVATION = TensorForm("float32", (1, 4, 8, 8))
DEAD = float("inf")


def synthetic_table(stages: int, rows: int = 400, seed: int = 3) -> ExitTable:
    """Exits that grow better with depth, and know roughly how sure they may be."""
    rng = np.random.default_rng(seed)
    ease = rng.uniform(0, 1, (rows, 1)) + np.linspace(-0.1, 0.35, stages)
    confidence = np.clip(ease + rng.normal(0, 0.05, (rows, stages)), 0.05, 0.999)
    correct = rng.uniform(size=(rows, stages)) < np.clip(ease, 0.1, 0.98)
    return ExitTable(confidence, correct)


@dataclass
class World:
    """Nodes, the links between them, and one clock."""

    servers: dict[str, tuple[int, float]]  # name -> stage, service rate
    devices: dict[str, float]  # name -> arrival rate
    link_s: Callable[[str, str, int], float] = lambda _a, _b, size: 0.01 if size else 0.005  # by tensor bytes
    policy: str = "dto-ee"
    parameters: dict = field(default_factory=dict)
    theta_s: float = 2.0
    slot_s: float = 3.0
    seed: int = 1
    timeouts: Timeouts = field(default_factory=Timeouts)
    plan: list[tuple[float, Callable[["World"], None]]] = field(default_factory=list)  # what happens when

    def __post_init__(self) -> None:
        self.stages = max(stage for stage, _ in self.servers.values())
        self.table = synthetic_table(self.stages)
        self.now_s = 0.0
        self.service_s = {name: 1 / rate for name, (_, rate) in self.servers.items()}
        self.dead: set[str] = set()
        self.records: list = []
        self.nodes: dict[str, NodeCore] = {}
        self._configs: dict[str, NodeConfig] = {}
        self._queue: list = []
        self._order = itertools.count()
        self._timers: dict[tuple[str, tuple], int] = {}
        self._computing: dict[str, int] = {}
        self._row: dict[int, int] = {}  # task -> table row
        self._random = random.Random(self.seed)
        by_stage = [list(self.devices)]
        central = make_policy(self.policy, self.parameters, theta_s=self.theta_s).central
        by_stage += [[n for n, (s, _) in self.servers.items() if s == h] for h in range(1, self.stages + 1)]
        onward = [*(tuple(names) for names in by_stage[1:]), ()]
        places = {name: Place(stage, onward[stage]) for stage, names in enumerate(by_stage) for name in names}
        coordinator = by_stage[-1][0] if central else None
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
                    input_form=None if stage == 0 else (IMAGE if stage == 1 else ACTIVATION),
                    onward_form=IMAGE if stage == 0 else (ACTIVATION if stage < self.stages else None),
                    devices=tuple(self.devices) if stage > 1 else (),
                    coordinator=coordinator,
                    places=places if name == coordinator else {},
                    timeouts=self.timeouts,
                    debug=True,
                )
                self._configs[name] = config
                self.nodes[name] = self._core(name)

    def _core(self, name: str) -> NodeCore:
        config = self._configs[name]
        return DeviceCore(config) if config.is_device else ServerCore(config, self.table)

    def at(self, time_s: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (time_s, next(self._order), action))

    def give(self, name: str, event) -> None:
        if name in self.dead:
            return
        for effect in self.nodes[name].handle(event, self.now_s):
            self._perform(name, effect)

    def _perform(self, name: str, effect) -> None:
        match effect:
            case Send(peer, _, message, tensor):
                size = tensor.form.byte_count if tensor is not None else 0
                frames = [bytes(frame) for frame in encode(message, tensor)]
                delay_s = self.link_s(name, peer, size)
                if delay_s < DEAD:
                    self.at(self.now_s + delay_s, lambda: self.give(peer, Received(name, *decode(frames))))
            case SetTimer(key, at_s):
                number = next(self._order)
                self._timers[name, key] = number
                self.at(max(at_s, self.now_s), lambda: self._fire(name, key, number))
            case CancelTimer(key):
                self._timers.pop((name, key), None)
            case StartCompute(tensor):
                self._computing[name] = number = next(self._order)
                self.at(self.now_s + self.service_s[name], lambda: self._end_service(name, number))
            case StopCompute():
                del self._computing[name]
            case StartPlanning(problem):
                planner = self.nodes[name].routing.policy
                answer = PlanningFinished(planner.plan(problem, self.table))
                self.at(self.now_s + planner.planning_s(problem), lambda: self.give(name, answer))
            case Publish(record):
                self.records.append(record)

    def _fire(self, name: str, key: tuple, number: int) -> None:
        if self._timers.get((name, key)) == number:
            del self._timers[name, key]
            self.give(name, TimerFired(key))

    def _end_service(self, name: str, number: int) -> None:
        if self._computing.get(name) == number:
            del self._computing[name]
            self.give(name, self._answer(name))

    def _answer(self, name: str) -> ComputeFinished:
        stage = self.servers[name][0]
        serving = self.nodes[name].tasks._serving
        row = self._row[serving.task.task_id] if serving else 0
        activation = None if stage == self.stages else Tensor(ACTIVATION, bytes(ACTIVATION.byte_count))
        correct = int(self.table.correct[row, stage - 1])
        return ComputeFinished(correct, float(self.table.confidence[row, stage - 1]), activation, overrun=False)

    def kill(self, *names: str) -> None:
        self.dead.update(names)

    def revive(self, name: str) -> None:
        """As after a power cut: the process starts anew and remembers nothing."""
        self.dead.discard(name)
        self.nodes[name] = self._core(name)
        self._computing.pop(name, None)
        self._timers = {key: number for key, number in self._timers.items() if key[0] != name}
        self.give(name, LinksWanted())
        self.give(name, RunStarted())

    def set_speed(self, name: str, rate_per_s: float) -> None:
        self.service_s[name] = 1 / rate_per_s

    def run(self, duration_s: float, *, drain_s: float = 200.0, tasks: bool = True) -> list[TaskRecord]:
        for name in self.nodes:
            self.give(name, LinksWanted())
        self._run_until(4.0)
        assert {r.node for r in self.of(Ready) if not r.unreachable} == set(self.nodes) - self.dead
        self._queue.clear()
        self.now_s = 0.0
        for at_s, action in self.plan:
            self.at(at_s, lambda action=action: action(self))
        for name in self.nodes:
            self.give(name, RunStarted())
        for name, rate in self.devices.items() if tasks else ():
            at_s = self._random.expovariate(rate)
            while at_s < duration_s:
                self._schedule(name, at_s)
                at_s += self._random.expovariate(rate)
        offered = len(self._row)
        self._run_until(duration_s)
        while len(self.tasks) < offered and self.now_s < duration_s + drain_s:
            self._run_until(self.now_s + 1.0)
        return self.tasks

    def _schedule(self, name: str, at_s: float) -> None:
        task_id = len(self._row)
        self._row[task_id] = self._random.randrange(len(self.table.confidence))
        tensor = Tensor(IMAGE, bytes(IMAGE.byte_count))
        self.at(at_s, lambda: self.give(name, TaskArrived(task_id, self._row[task_id], at_s, tensor)))

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
        """Whether there were tasks, and each has been completed."""
        return {task.status for task in self.tasks} == {"completed"}

    def mean_delay_s(self) -> float:
        return float(np.mean([t.completed_s - t.created_s for t in self.tasks if t.status == "completed"]))


def three_stages(**options) -> World:
    servers = {"a1": (1, 30.0), "a2": (1, 15.0), "a3": (1, 20.0)}
    servers |= {"b1": (2, 30.0), "b2": (2, 15.0), "c1": (3, 20.0), "c2": (3, 12.0)}
    return World(servers, {f"d{i}": 4.0 for i in range(1, 6)}, **options)


__all__ = ["DEAD", "Result", "World", "synthetic_table", "three_stages"]
