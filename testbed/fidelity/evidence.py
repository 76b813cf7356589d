"""The evidence of how a run was carried out: the figures on which `assessment` rests its verdict.

Network figures are real seconds and rates, as measured; all others are in emulated seconds, unless stated otherwise.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import Self

from testbed.host.load import HostUse
from testbed.network import MeasuredPath, NetworkStatistics, WatchedPath
from testbed.scenario import ComputeMode, Direction, Link, LinkShape, Scenario

# A task is touched if this machine made it later than this share of its own delay, and later than TOUCHED_S, the limit
# of user-space emulation. Decision 057: a task counts as delayed by the machine from 2 % of its own delay
# (docs/decisions/057-touched-tasks.md).
TOUCHED_SHARE = 0.02
TOUCHED_S = 0.001
# Lateness of changes is counted in classes a fifth apart: fine enough for a verdict, and few even in a long run.
CLASSES_AN_OCTAVE = 4
LEAST_CLASS_S = 1e-5


class TaskTally:
    """The delay that this machine added to the tasks that count (completed, created after the warm-up)."""

    def __init__(self) -> None:
        self.completed = self.touched = 0
        self.added_s = self.delay_s = 0.0
        self.replay_lateness_s: list[float] = []  # by task

    def add(self, *, replay_lateness_s: float, service_lateness_s: float, delay_s: float) -> None:
        """Count a task.

        Args:
            replay_lateness_s: lateness of its offer against the workload [s].
            service_lateness_s: lateness of its services, in all [s].
            delay_s: its delay [s].
        """
        added_s = max(0.0, replay_lateness_s) + service_lateness_s
        self.completed += 1
        self.touched += added_s > max(TOUCHED_S, TOUCHED_SHARE * delay_s)
        self.added_s += added_s
        self.delay_s += delay_s
        self.replay_lateness_s.append(replay_lateness_s)

    @property
    def touched_share(self) -> float | None:
        """The share of the completed tasks that this machine made late; None without tasks."""
        return self.touched / self.completed if self.completed else None

    @property
    def added_share(self) -> float | None:
        """The delay that this machine added, as a share of the delay of all tasks; None without delay."""
        return self.added_s / self.delay_s if self.delay_s > 0 else None


class ChangeTally:
    """The lateness of the scenario's changes; its size does not grow with their number."""

    def __init__(self) -> None:
        self.injected = 0
        self.skipped = 0  # steps of network traces that were skipped because the next one was already due
        self.worst_s: float | None = None
        self._classes: Counter[int] = Counter()

    def add(self, late_s: float) -> None:
        """Count a change that came into force `late_s` after its time."""
        self.injected += 1
        self.worst_s = max(late_s, self.worst_s or 0.0)
        self._classes[max(0, math.ceil(CLASSES_AN_OCTAVE * math.log2(max(late_s, LEAST_CLASS_S) / LEAST_CLASS_S)))] += 1

    def lateness_s(self, share: float) -> float | None:
        """Return the lateness [s] that this share of the changes did not exceed, to a fifth; None without changes."""
        below = 0
        for number in sorted(self._classes):
            below += self._classes[number]
            if below >= share * self.injected:
                return min(self.worst_s or 0.0, LEAST_CLASS_S * 2 ** (number / CLASSES_AN_OCTAVE))
        return None

    @property
    def skipped_share(self) -> float | None:
        """The skipped changes as a share of all that were due; None if none was due."""
        due = self.injected + self.skipped
        return self.skipped / due if due else None


@dataclass(frozen=True, slots=True)
class LinkOutlook:
    """The changes and losses of a scenario's links; a link is named by its ends, in no order."""

    changing: frozenset[frozenset[str]] = frozenset()
    losing: frozenset[frozenset[str]] = frozenset()  # links that should lose frames at some time
    loss: Mapping[frozenset[str], float] = field(default_factory=dict)  # the greatest loss of each of those
    step_s: float | None = None  # step length of the trace with the shortest steps; None if no link follows a trace

    @classmethod
    def of(cls, scenario: Scenario) -> Self:
        """Collect the outlook from a scenario's links and events."""
        changed = [(ends, shape) for event in scenario.events for ends, shape in event.shapes.items()]
        steps_s: dict[Direction, list[float]] = defaultdict(list)
        for event in scenario.events:
            if event.traced:
                steps_s[next(iter(event.shapes))].append(event.at_s)
        lengths_s = [median(b - a for a, b in pairwise((0.0, *times_s))) for times_s in steps_s.values()]
        shaped = [(link.ends, shape) for link in scenario.links for shape in link.shapes]
        shaped += changed
        return cls(
            changing=frozenset(frozenset(ends) for ends, _ in changed),
            losing=frozenset(frozenset(ends) for ends, shape in shaped if shape.loss > 0),
            loss=_most_loss(shaped),
            step_s=min(lengths_s, default=None),
        )

    def changes(self, path: Sequence[str]) -> bool:
        """True if any link of this path changes."""
        return any(frozenset(ends) in self.changing for ends in pairwise(path))

    def loss_of(self, path: Sequence[str]) -> float:
        """Return the greatest share of frames that this path should lose."""
        return 1 - math.prod(1 - self.loss.get(frozenset(ends), 0.0) for ends in pairwise(path))

    def loses(self, path: Sequence[str]) -> bool:
        """True if any link of this path loses frames."""
        return any(frozenset(ends) in self.losing for ends in pairwise(path))


def _most_loss(shaped: Iterable[tuple[tuple[str, str], LinkShape]]) -> dict[frozenset[str], float]:
    most: dict[frozenset[str], float] = {}
    for ends, shape in shaped:
        if shape.loss > 0:
            most[frozenset(ends)] = max(shape.loss, most.get(frozenset(ends), 0.0))
    return most


@dataclass(slots=True)
class NodeLoad:
    """The work and punctuality of one node's agent; a device serves nothing, but has deadlines, too."""

    capacity_flop_per_s: float | None = None  # as stated at the start; None for a device
    work_flop: float = 0.0  # of the tasks that it served
    due_s: float = 0.0  # time that they should have taken at its capacity of the time
    served_s: float = 0.0  # time that they took
    compute_cpu_s: float = 0.0  # CPU time inside its sub-model [real s]
    served: int = 0
    overruns: int = 0
    deadlines: int = 0
    late_timers: int = 0  # more than 1 ms late, of real or of emulated time, whichever is longer
    worst_timer_s: float = 0.0
    silence_s: float = 0.0  # the longest time without a report while it was up

    @property
    def stated_flop_per_s(self) -> float | None:
        """The stated capacity, averaged over the work where it changed during the run."""
        return self.work_flop / self.due_s if self.due_s > 0 else self.capacity_flop_per_s

    @property
    def varied(self) -> bool:
        """True if part of the work was due at another capacity than that of the start."""
        first, stated = self.capacity_flop_per_s, self.stated_flop_per_s
        return first is not None and stated is not None and not math.isclose(first, stated, rel_tol=1e-6)

    @property
    def served_flop_per_s(self) -> float | None:
        """The capacity at which it really served."""
        return self.work_flop / self.served_s if self.served_s > 0 else None

    @property
    def host_flop_per_s(self) -> float | None:
        """The speed of this machine's processor in its sub-model [FLOP per real second of CPU time]."""
        return self.work_flop / self.compute_cpu_s if self.compute_cpu_s > 0 else None


@dataclass(frozen=True, slots=True)
class Evidence:
    """The evidence on a run, finished or in progress; `measured` holds the links before it, all else the run itself."""

    time_scale: float = 1.0
    compute: ComputeMode = "paced"
    tasks: TaskTally = field(default_factory=TaskTally)
    servers: Mapping[str, NodeLoad] = field(default_factory=dict)
    devices: Mapping[str, NodeLoad] = field(default_factory=dict)
    links: Sequence[Link] = ()  # as at the scenario's start
    outlook: LinkOutlook = field(default_factory=LinkOutlook)
    changes: ChangeTally = field(default_factory=ChangeTally)
    measured: Sequence[MeasuredPath] = ()
    watched: Sequence[WatchedPath] = ()
    network: NetworkStatistics | None = None
    host: HostUse = field(default_factory=HostUse)
    agents_cpu_s: float | None = None  # [real s]
    service_time_ratio_p50: float | None = None  # measured over stated, by server and slot

    @property
    def deadlines(self) -> int:
        """The number of timers that fired, over all agents."""
        return sum(load.deadlines for load in self._loads)

    @property
    def late_timers(self) -> int:
        """The number of timers that fired more than 1 ms late, over all agents."""
        return sum(load.late_timers for load in self._loads)

    @property
    def worst_timer_s(self) -> float:
        """The lateness of the latest timer [s]."""
        return max((load.worst_timer_s for load in self._loads), default=0.0)

    @property
    def overruns(self) -> int:
        """The number of tasks whose real work took longer than their emulated time."""
        return sum(load.overruns for load in self._loads)

    @property
    def silences_s(self) -> Mapping[str, float]:
        """The longest time [s] without a report while a node was up, by node."""
        return {name: load.silence_s for each in (self.servers, self.devices) for name, load in each.items()}

    @property
    def _loads(self) -> Sequence[NodeLoad]:
        return (*self.servers.values(), *self.devices.values())
