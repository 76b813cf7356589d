"""The part of a run in which time passes: collect what agents tell, inject the scenario's events, count tasks."""

import signal
import time
from collections import deque
from collections.abc import Callable

import msgspec

from node_agent.agent import AgentConfig
from node_agent.errors import TestbedError
from node_agent.records import (
    DecisionRecord,
    EventRecord,
    Ready,
    Record,
    SetCapacity,
    Start,
)
from testbed.accounts import Accounts, told_of
from testbed.compute import CpuCgroup
from testbed.control_room import ControlRoom
from testbed.interrupts import Interrupts
from testbed.launcher import Launcher
from testbed.network import EmulatedNetwork
from testbed.observer import RunObserver
from testbed.scenario import CapacityChange, Event, LinkChange, NodeChange, RateChange, Scenario

START_LEAD_S = 0.25  # real time between the command to start and time zero
CHECK_EVERY_S = 1.0
LISTEN_S = 0.05


class RunFailed(TestbedError):
    """The run could not go on."""


class LiveRun:
    """One run between its first message and its last."""

    def __init__(
        self,
        scenario: Scenario,
        *,
        offered: int,
        network: EmulatedNetwork,
        launcher: Launcher,
        room: ControlRoom,
        accounts: Accounts,
        observer: RunObserver,
        configs: dict[str, AgentConfig],
        cgroups: dict[str, CpuCgroup],
        quota: Callable[[str, float], float],
    ) -> None:
        """`offered` tasks will come; `quota` gives the share of a CPU for a capacity of a server [FLOP/s]."""
        self._scenario = scenario
        self._offered = offered
        self._network = network
        self._launcher = launcher
        self._room = room
        self._accounts = accounts
        self._observer = observer
        self._configs = configs
        self._cgroups = cgroups
        self._quota = quota
        self._corrections: dict[str, float] = {}  # of a server's share of the CPU, by what it measures
        self._events: deque[Event] = deque(scenario.events)
        self._epoch_s: float | None = None
        self._ready: dict[str, tuple[str, ...]] = {}
        self._checked_s = 0.0
        self.slowness: list[float] = []  # measured service time over the stated one, by server and slot

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
        self._observer.started(self._scenario, self._offered)
        try:
            while not self._accounts.finished(self.now_s):
                if interrupts.wanted:
                    self._accounts.stopped_s = self.now_s
                    return "interrupted"
                self._take(self._room.listen(self._patience_s()))
                self._inject_due()
                self._note_deaths()
                self._check_network()
                self._observer.tick(self.now_s)
        except TestbedError:
            self._accounts.stopped_s = self.now_s
            raise
        return "completed"

    def take_rest(self) -> None:
        """What agents tell while they end; that they miss one another by then is no news."""
        records = self._room.listen(0.0)
        self._take([record for record in records if not isinstance(record, EventRecord)])

    def _patience_s(self) -> float:
        if not self._events:
            return LISTEN_S
        return min(LISTEN_S, max(0.0, (self._events[0].at_s - self.now_s) * self._scenario.time_scale))

    def _take(self, records: list[Record]) -> None:
        for record in records:
            self._accounts.take(record, self.now_s)
            match record:
                case DecisionRecord():
                    self._note_speed(record)
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

    def _inject_due(self) -> None:
        while self._events and self._events[0].at_s <= self.now_s:
            event = self._events.popleft()
            self._inject(event)
            self._accounts.note(EventRecord(self.now_s, *told_of(event)))

    def _inject(self, event: Event) -> None:
        match event:
            case LinkChange(_, ends, shape):
                self._network.change_link(ends, shape)
            case CapacityChange(_, server, capacity):
                if server in self._cgroups:
                    self._set_quota(server, capacity)
                # A server that is down, or goes down, comes back with the capacity it would have by then.
                changed = msgspec.structs.replace(self._configs[server], capacity_flop_per_s=capacity)
                self._configs[server] = changed
                self._room.tell(server, SetCapacity(capacity))
            case RateChange():
                pass  # the arrivals of the trace hold it
            case NodeChange(_, node, up):
                down = self._accounts.is_down(node)
                if up and down:
                    self._accounts.came_up(node)
                    config = msgspec.structs.replace(self._configs[node], epoch_monotonic_s=self._epoch_s)
                    self._launcher.spawn([(config, self._network.namespace_path(node))])
                elif not up and not down:
                    self._launcher.kill(node)
                    self._take(self._room.listen(0.0))  # what it had told counts
                    self._accounts.went_down(node, self.now_s)

    def _note_deaths(self) -> None:
        for notice in self._launcher.ended():
            why = self._launcher.why()
            how = f"by {signal.Signals(-notice.status).name}" if notice.status < 0 else f"with status {notice.status}"
            self._accounts.note(EventRecord(max(0.0, self.now_s), notice.node, "agent-died", f"{how} {why}".strip()))
            raise RunFailed(f"the agent of {notice.node} ended unexpectedly, {how}", hint=self._launcher.where())

    def _check_network(self) -> None:
        if time.monotonic() - self._checked_s > CHECK_EVERY_S:
            self._checked_s = time.monotonic()
            self._network.check()

