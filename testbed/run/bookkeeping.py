"""Bookkeeping of a live or simulated run: the ends of its tasks and the records of its nodes."""

from collections.abc import Mapping, Sequence, Set
from typing import Protocol, assert_never

from node_agent.records import (
    DEVICE_DOWN,
    DecisionRecord,
    EventRecord,
    Ready,
    Record,
    RepeatRecord,
    SampleRecord,
    TaskRecord,
    lost_task,
)
from testbed.breakdown.fairness import fairness_fields
from testbed.breakdown.parts import PartSums
from testbed.breakdown.splitter import Splitter
from testbed.energy.energy_line import EnergyLine
from testbed.energy.meter import EnergyMeter
from testbed.record.backlog import Tasks, overload
from testbed.record.summary import summarise
from testbed.record.task_line import TaskLine, Way, way_of
from testbed.run.observer import RunObserver
from testbed.scenario import DRAIN_S, ChangingRun, Event, Scenario
from testbed.trace.workload import Arrival

STILL_S = 30.0  # after this time without an end of a task, the run ends


class Lines(Protocol):
    """Takes the lines of a run: `Recorder` writes them to files."""

    def task(self, record: TaskRecord) -> TaskLine:
        """Take the end of a task; return its line."""

    def decision(self, record: DecisionRecord) -> None:
        """Take a node's decision."""

    def sample(self, record: SampleRecord) -> None:
        """Take a node's state."""

    def event(self, record: EventRecord) -> None:
        """Take an event."""

    def energy(self, line: EnergyLine) -> None:
        """Take the energy of a node or a link."""


class Bookkeeping:
    """Ends every offered task exactly once, and passes every record to the recorder and the observer."""

    def __init__(
        self, scenario: Scenario, arrivals: Sequence[Arrival], recorder: Lines, observer: RunObserver,
        splitter: Splitter | None = None,
    ) -> None:  # fmt: skip
        """`arrivals` is the whole workload; a task's id is its index there. Without a `splitter`, no delay is split."""
        self._scenario = scenario
        self._arrivals = arrivals
        self._recorder = recorder
        self._observer = observer
        self._splitter = splitter
        self._parts = PartSums()  # of the counted tasks
        self._ended: set[int] = set()
        self._last_end_s = 0.0
        self._down: set[str] = set()  # nodes whose agent has been killed
        self._all_offered = False
        self.stopped_s = float("inf")  # when the run was cut short
        self.tasks: list[TaskLine] = []  # without their ways, which take too much memory in a long run
        self.service_lateness_s: list[float] = []  # of each task, in the order of `tasks`
        self.duplicates = 0
        self.repeats: dict[int, list[Way]] = {}  # by task id: ways of results after the first
        self.agents_cpu_s = 0.0
        self._energy = EnergyMeter(scenario) if scenario.states_energy else None

    def take(self, record: Record, now_s: float) -> None:
        """Take a record from a node at `now_s` [emulated s]."""
        match record:
            case TaskRecord():
                self.end_task(record, now_s)
            case RepeatRecord(task_id, hops):
                self.repeats.setdefault(task_id, []).append(way_of(hops))
            case DecisionRecord():
                self._recorder.decision(record)
                self._observer.decision(record)
            case SampleRecord():
                self.duplicates += record.duplicates
                self.agents_cpu_s += record.cpu_s
                self._recorder.sample(record)
                if self._energy is not None:
                    self._recorder.energy(self._energy.sampled(record))
                self._observer.sample(record)
            case EventRecord():
                self.note(record)
            case Ready():
                pass  # not recorded
            case _:
                assert_never(record)

    def end_task(self, record: TaskRecord, now_s: float) -> None:
        """Record the end of a task; ignore it if the task has already ended."""
        if record.id in self._ended:
            return
        self._ended.add(record.id)
        self._last_end_s = now_s
        line = self._recorder.task(record)
        self.tasks.append(line.without_ways())
        self.service_lateness_s.append(line.service_lateness_s)
        self._observer.task(line)
        self._split(line)

    def _split(self, line: TaskLine) -> None:
        """Split the delay of a task that has ended, while its way is known."""
        if self._splitter is None or line.completed_s is None:
            return
        split = self._splitter.split(line)
        if split is None:
            return
        parts = split.parts
        self._observer.split(line.completed_s, parts)
        if line.created_s >= self._scenario.warm_up_s:
            self._parts.add(parts)

    def tell_traces(self) -> None:
        """Record at time zero which links follow which network traces."""
        directed = {link.ends for link in self._scenario.links if link.down_trace is not None}
        for file, links in self._scenario.followers.items():
            one_way = not directed.isdisjoint((links[0], links[0][::-1]))
            first, more = (" -> " if one_way else " - ").join(links[0]), len(links) - 1
            which = f"{first} and {more} more follow" if more else f"{first} follows"
            self.note(EventRecord(0.0, None, "link-trace", f"{which} {file}"))

    def injected(self, event: Event, now_s: float) -> None:
        """Record an event of the scenario. Steps of network traces are skipped: they are too many."""
        if self._energy is not None:
            self._energy.changed(event)
        if not event.traced:
            self.note(EventRecord(now_s, *event.told()))

    def note(self, record: EventRecord) -> None:
        """Record something that was injected or went wrong."""
        self._recorder.event(record)
        self._observer.event(record)

    def is_down(self, node: str) -> bool:
        """True if the node's agent was killed and not started again."""
        return node in self._down

    def went_down(self, node: str, now_s: float) -> None:
        """Note that a node's agent was killed. A device's tasks end with it: only the device receives their results."""
        self._down.add(node)
        if self._energy is not None:
            self._energy.went_down(node, now_s)
        self._lose_tasks_of({node}, now_s)

    def came_up(self, node: str, now_s: float) -> None:
        """Note that a node's agent was started again. A device then reports the tasks that it missed."""
        self._down.discard(node)
        if self._energy is not None:
            self._energy.came_up(node, now_s)

    def battery_due_s(self, now_s: float) -> float | None:
        """Return when `drain` has to be called next, if devices only idle from `now_s` on [s]; None for never."""
        return None if self._energy is None else self._energy.next_empty_s(now_s)

    def drain(self, run: ChangingRun, now_s: float) -> None:
        """Take the devices out of a run whose batteries are used up at `now_s` [s], and record it."""
        for device in self._energy.emptied(now_s) if self._energy is not None else ():
            assert self._energy is not None
            for part in self._energy.parts(device):
                run.switch(part, up=False)
            detail = f"its {self._energy.battery_j(device):g} J are used up: agent killed"
            self.note(EventRecord(now_s, device, "battery-empty", detail))

    def bars(self, event: Event, now_s: float) -> bool:
        """True if an event would bring up a node whose battery is empty; this is recorded, and must not happen."""
        barred = [node for node, up in event.switched.items() if up and self._energy and self._energy.is_empty(node)]
        for node in barred:
            self.note(EventRecord(now_s, node, "battery-empty", "agent not started: its battery is used up"))
        return bool(barred)

    def finished(self, now_s: float) -> bool:
        """True if the run has nothing left to wait for: all tasks have ended, or no task ends any more.

        After the workload, this ends the tasks of devices that are still down.
        """
        if now_s < self._scenario.duration_s:
            return False
        if not self._all_offered:
            self._all_offered = True
            self._lose_tasks_of(self._down, now_s)
        if len(self._ended) == len(self._arrivals):
            return True
        return now_s > max(self._scenario.duration_s + DRAIN_S, self._last_end_s + STILL_S)

    def _lose_tasks_of(self, devices: Set[str], now_s: float) -> None:
        """End the open tasks that the workload gave these devices until now."""
        if not devices:
            return
        for task_id, arrival in enumerate(self._arrivals):
            if arrival.time_s > now_s:
                return
            if arrival.device in devices and task_id not in self._ended:
                lost = lost_task(task_id, arrival.device, arrival.sample, arrival.time_s, DEVICE_DOWN)
                self.end_task(lost, now_s)

    def close(self, now_s: float) -> None:
        """End all tasks that are still open, as lost.

        In a run that was cut short, tasks after `stopped_s` were never offered: they are skipped.
        """
        for task_id, arrival in enumerate(self._arrivals):
            if task_id in self._ended or arrival.time_s > self.stopped_s:
                continue
            if arrival.device in self._down:
                reason = DEVICE_DOWN
            elif self.stopped_s < float("inf"):
                reason = "the run was cut short"
            else:
                reason = "still under way when the run ended"
            self.end_task(lost_task(task_id, arrival.device, arrival.sample, arrival.time_s, reason), now_s)
        if self._energy is not None:
            self._energy.stop(self.stopped_s)
            for line in self._energy.closing_lines(now_s):
                self._recorder.energy(line)

    def summary(self, fidelity: Mapping[str, object], setup_s: Mapping[str, float]) -> dict[str, object]:
        """Return the content of summary.json; see `testbed.record.summary` for its fields.

        `setup_s` holds the time from the start until each part of the set-up was ready [real s].
        """
        scenario = self._scenario
        figures = summarise(
            self.tasks,
            policy=scenario.policy.label,
            theta_s=scenario.theta_s,
            warm_up_s=scenario.warm_up_s,
            duplicates=self.duplicates,
            stages=scenario.stages,
            fidelity=fidelity,
            utility_of=scenario.utility,
            group_of=scenario.group_of,
            energy_cost_s=self._energy_cost_s(),
        )
        figures |= self._overload()
        figures |= {"parts_s": dict(self._parts.means()) or None, "fairness": self._fairness()}
        if self._energy is not None:
            figures["energy"] = self._energy.figures(self.tasks)
        return {**figures, "seed": scenario.seed, "topology": scenario.name, "setup_s": dict(setup_s)}

    def _fairness(self) -> Mapping[str, object]:
        counted = (task for task in self.tasks if task.created_s >= self._scenario.warm_up_s)
        return fairness_fields((task.device, task.delay_s) for task in counted if task.delay_s is not None)

    def _energy_cost_s(self) -> float:
        """Return the mean delay that the energy of a task is worth [s]; 0 without a price."""
        per_task_j = None if self._energy is None else self._energy.per_task_j(self.tasks)
        return 0.0 if per_task_j is None else self._scenario.energy_price_s_per_j * per_task_j

    def _overload(self) -> dict[str, object]:
        """Return `overloaded` and `outstanding_s`; both are None if the run was cut short."""
        if self.stopped_s < float("inf"):
            return {"overloaded": None, "outstanding_s": None}
        overloaded, outstanding_s = overload(Tasks.of(self.tasks), self._scenario.duration_s)
        return {"overloaded": overloaded, "outstanding_s": outstanding_s}
