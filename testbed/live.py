"""The part of a run in which time passes: collect what agents tell, inject the scenario's events, count tasks."""

import signal
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from node_agent.agent import AgentConfig
from node_agent.errors import TestbedError
from node_agent.records import (
    DecisionRecord,
    EventRecord,
    Ready,
    Record,
    SampleRecord,
    SetCapacity,
    Start,
    TaskRecord,
    lost_task,
)
from testbed.compute import CpuCgroup
from testbed.control_room import ControlRoom
from testbed.interrupts import Interrupts
from testbed.launcher import Launcher
from testbed.network import EmulatedNetwork
from testbed.observer import RunObserver
from testbed.recorder import Recorder
from testbed.scenario import CapacityChange, Event, LinkChange, NodeChange, Scenario
from testbed.summary import COUNTED_FIELDS
from testbed.trace.workload import Arrival

START_LEAD_S = 0.25  # real time between the command to start and time zero
DRAIN_S = 90.0  # how long results are waited for after the end of the workload, and on while some still come
STILL_S = 30.0  # without any end of a task
CHECK_EVERY_S = 1.0
LISTEN_S = 0.05


class RunFailed(TestbedError):
    """The run could not go on."""


class LiveRun:
    """One run between its first message and its last."""

    def __init__(
        self,
        scenario: Scenario,
        arrivals: Sequence[Arrival],
        *,
        network: EmulatedNetwork,
        launcher: Launcher,
        room: ControlRoom,
        recorder: Recorder,
        observer: RunObserver,
        configs: dict[str, AgentConfig],
        cgroups: dict[str, CpuCgroup],
        quota: Callable[[str, float], float],
    ) -> None:
        """`quota` gives the share of a CPU that stands for a capacity of a server [FLOP/s]."""
        self._scenario = scenario
        self._arrivals = arrivals
        self._network = network
        self._launcher = launcher
        self._room = room
        self._recorder = recorder
        self._observer = observer
        self._configs = configs
        self._cgroups = cgroups
        self._quota = quota
        self._corrections: dict[str, float] = {}  # of a server's share of the CPU, by what it measures
        self._events: deque[Event] = deque(scenario.events)
        self._epoch_s: float | None = None
        self._down: set[str] = set()
        self._ended: set[int] = set()
        self._ready: dict[str, tuple[str, ...]] = {}
        self._checked_s = 0.0
        self._last_end_s = 0.0
        self._stopped_s = float("inf")
        self.tasks: list[dict[str, Any]] = []
        self.duplicates = 0
        self.overruns = 0
        self.slowness: list[float] = []  # measured service time over the stated one, by server and slot
        self.agents_cpu_s = 0.0

    @property
    def now_s(self) -> float:
        """Emulated time; before the start, negative infinity."""
        if self._epoch_s is None:
            return float("-inf")
        return (time.monotonic() - self._epoch_s) / self._scenario.time_scale

    def wait_ready(self, timeout_s: float) -> None:
        """Until every agent has measured its links.

        Raises:
            RunFailed: an agent ended or did not get ready, or its receivers did not answer.
        """
        deadline_s = time.monotonic() + timeout_s
        while len(self._ready) < len(self._configs):
            self._take(self._room.listen(LISTEN_S))
            self._note_deaths()
            if time.monotonic() > deadline_s:
                missing = sorted(set(self._configs) - set(self._ready))
                message = f"not ready within {timeout_s:.0f} s: {', '.join(missing)}"
                raise RunFailed(message, hint=self._launcher.where())
        lost = [f"{node} -> {', '.join(peers)}" for node, peers in self._ready.items() if peers]
        if lost:
            raise RunFailed(f"no answer over the emulated network: {'; '.join(lost)}", hint="see events.jsonl")

    def run(self, interrupts: Interrupts) -> str:
        """Until all tasks have ended; returns why it ended: completed or interrupted."""
        self._epoch_s = time.monotonic() + START_LEAD_S
        for node in self._configs:
            self._room.tell(node, Start(self._epoch_s))
        self._observer.started(self._scenario, len(self._arrivals))
        try:
            while not self._finished():
                if interrupts.wanted:
                    self._stopped_s = self.now_s
                    return "interrupted"
                self._take(self._room.listen(self._patience_s()))
                self._inject_due()
                self._note_deaths()
                self._check_network()
                self._observer.tick(self.now_s)
        except TestbedError:
            self._stopped_s = self.now_s
            raise
        return "completed"

    def take_rest(self) -> None:
        """What agents tell while they end; that they miss one another by then is no news."""
        records = self._room.listen(0.0)
        self._take([record for record in records if not isinstance(record, EventRecord)])

    def close_accounts(self) -> None:
        """Tell the end of every task whose device has not: each offered task ends exactly once.

        What a run that was cut short had not come to was never offered.
        """
        for task_id, arrival in enumerate(self._arrivals):
            if task_id in self._ended or arrival.time_s > self._stopped_s:
                continue
            if arrival.device in self._down:
                reason = "its device was down"
            elif self._stopped_s < float("inf"):
                reason = "the run was cut short"
            else:
                reason = "still under way when the run ended"
            self._end_task(lost_task(task_id, arrival.device, arrival.sample, arrival.time_s, reason))

    def _finished(self) -> bool:
        if self.now_s < self._scenario.duration_s:
            return False
        if len(self._ended) == len(self._arrivals):
            return True
        if self.now_s > max(self._scenario.duration_s + DRAIN_S, self._last_end_s + STILL_S):
            return True
        return bool(self._down) and all(
            task_id in self._ended or arrival.device in self._down for task_id, arrival in enumerate(self._arrivals)
        )

    def _patience_s(self) -> float:
        if not self._events:
            return LISTEN_S
        return min(LISTEN_S, max(0.0, (self._events[0].at_s - self.now_s) * self._scenario.time_scale))

    def _take(self, records: list[Record]) -> None:
        for record in records:
            match record:
                case TaskRecord():
                    self._end_task(record)
                case DecisionRecord():
                    self._note_speed(record)
                    self._recorder.decision(record)
                    self._observer.decision(record)
                case SampleRecord():
                    self.duplicates += record.duplicates
                    self.overruns += record.overruns
                    self.agents_cpu_s += record.cpu_s
                    self._recorder.sample(record)
                    self._observer.sample(record)
                case EventRecord():
                    self._note(record)
                case Ready(node, unreachable):
                    self._ready[node] = unreachable
                    if self._epoch_s is not None:  # it came up during the run
                        self._room.tell(node, Start(self._epoch_s))

    def _note_speed(self, record: DecisionRecord) -> None:
        """Compare a server's measured speed with the stated one; under quota, correct its share of the CPU by it.

        What a task costs this machine depends on caches and on how the kernel slices the quota, so that a share fixed
        before the run is off by a factor of about two.
        """
        config = self._configs[record.node]
        if not record.service_rate_per_s:
            return
        ratio = config.capacity_flop_per_s / config.work_flop / record.service_rate_per_s
        self.slowness.append(ratio)
        if record.node in self._cgroups:
            corrected = self._corrections.get(record.node, 1.0) * min(2.0, max(0.5, ratio))
            self._corrections[record.node] = min(8.0, max(0.125, corrected))
            self._set_quota(record.node, config.capacity_flop_per_s)

    def _set_quota(self, server: str, capacity_flop_per_s: float) -> None:
        share = self._quota(server, capacity_flop_per_s) * self._corrections.get(server, 1.0)
        self._cgroups[server].set_quota(min(1.0, share))

    def _end_task(self, record: TaskRecord) -> None:
        if record.id in self._ended:
            return
        self._ended.add(record.id)
        self._last_end_s = self.now_s
        line = self._recorder.task(record)
        self.tasks.append({name: line[name] for name in COUNTED_FIELDS})
        self._observer.task(line)

    def _note(self, record: EventRecord) -> None:
        self._recorder.event(record)
        self._observer.event(record)

    def _inject_due(self) -> None:
        while self._events and self._events[0].at_s <= self.now_s:
            event = self._events.popleft()
            node, kind, detail = self._inject(event)
            self._note(EventRecord(self.now_s, node, kind, detail))

    def _inject(self, event: Event) -> tuple[str | None, str, str]:
        match event:
            case LinkChange(_, ends, shape):
                self._network.change_link(ends, shape)
                what = f"{shape.rate_mbit_per_s:g} Mbit/s, {shape.delay_s * 1e3:g} ms"
                return None, "link-change", f"{' - '.join(ends)}: {what}"
            case CapacityChange(_, server, capacity):
                if server in self._cgroups:
                    self._set_quota(server, capacity)
                # A server that is down, or goes down, comes back with the capacity it would have by then.
                changed = msgspec.structs.replace(self._configs[server], capacity_flop_per_s=capacity)
                self._configs[server] = changed
                self._room.tell(server, SetCapacity(capacity))
                return server, "capacity-change", f"{capacity / 1e9:g} GFLOP/s"
            case NodeChange(_, node, up):
                if up and node in self._down:
                    self._down.discard(node)
                    config = msgspec.structs.replace(self._configs[node], epoch_monotonic_s=self._epoch_s)
                    self._launcher.spawn([(config, self._network.namespace_path(node))])
                elif not up and node not in self._down:
                    self._down.add(node)
                    self._launcher.kill(node)
                return node, "node-up" if up else "node-down", "agent started" if up else "agent killed"

    def _note_deaths(self) -> None:
        for notice in self._launcher.ended():
            why = self._launcher.why()
            how = f"by {signal.Signals(-notice.status).name}" if notice.status < 0 else f"with status {notice.status}"
            self._note(EventRecord(max(0.0, self.now_s), notice.node, "agent-died", f"{how} {why}".strip()))
            raise RunFailed(f"the agent of {notice.node} ended unexpectedly, {how}", hint=self._launcher.where())

    def _check_network(self) -> None:
        if time.monotonic() - self._checked_s > CHECK_EVERY_S:
            self._checked_s = time.monotonic()
            self._network.check()

