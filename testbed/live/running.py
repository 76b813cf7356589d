"""The part of a live run in which time passes: collect the agents' records, inject events, count tasks."""

import signal
import time
from collections.abc import Callable, Mapping
from typing import assert_never

import msgspec

from node_agent.errors import TestbedError
from node_agent.process.agent import AgentConfig
from node_agent.records import (
    Command,
    DecisionRecord,
    EventRecord,
    Ready,
    Record,
    RepeatRecord,
    SampleRecord,
    SetCapacity,
    Start,
    Stop,
    TaskRecord,
)
from testbed.host.cpu_quota import CpuCgroup, QuotaGovernor
from testbed.live.due_events import DueEvents
from testbed.live.evidence_collector import EvidenceCollector
from testbed.live.launcher import Launcher
from testbed.live.telemetry import Telemetry
from testbed.network import EmulatedNetwork
from testbed.run.bookkeeping import Bookkeeping
from testbed.run.interrupts import Interrupts
from testbed.run.observer import RunObserver
from testbed.scenario import LinkShape, Scenario
from testbed.topology.followed_traces import too_many_changes

# Real time between the command to start and time zero. The last agent must receive the command before time zero.
START_LEAD_S = 0.1
START_LEAD_EACH_S = 0.001  # for each agent
CHECK_EVERY_S = 1.0
LISTEN_S = 0.05
# Decision 062: records are taken ten times a second (docs/decisions/062-records-are-taken-in-beats.md).
BEAT_S = 0.1
DEATH_NEWS_S = 1.0  # real time within which a parent reports an agent that no longer takes commands
INJECT_S = 0.02  # most real time for injecting before telemetry, Ctrl-C and dead agents are handled


class RunFailed(TestbedError):
    """The run cannot continue."""


class LiveRun:
    """A live run from its agents' start to their last records."""

    def __init__(
        self,
        scenario: Scenario,
        *,
        offered: int,
        network: EmulatedNetwork,
        launcher: Launcher,
        telemetry: Telemetry,
        bookkeeping: Bookkeeping,
        collector: EvidenceCollector,
        observer: RunObserver,
        configs: dict[str, AgentConfig],
        cgroups: dict[str, CpuCgroup],
        quota: Callable[[str, float], float],
        steady_flop: Mapping[str, float],
    ) -> None:
        """Watch over a run whose agents are starting.

        Args:
            offered: the number of tasks.
            quota: returns the share of a CPU for a server and a capacity [FLOP/s].
            steady_flop: the work of a task [FLOP], by server; servers whose work differs between samples are missing.
            others: the parts of the run.
        """
        self._scenario = scenario
        self._offered = offered
        self._network = network
        self._launcher = launcher
        self._telemetry = telemetry
        self._bookkeeping = bookkeeping
        self._collector = collector
        self._observer = observer
        self._configs = configs
        self._steady_flop = steady_flop
        self._governor = QuotaGovernor(
            cgroups,
            quota,
            {server: configs[server].capacity_flop_per_s for server in cgroups},
        )
        self._agenda = DueEvents(scenario.events, collector.skipped)
        self._epoch_s: float | None = None
        self._ready: dict[str, tuple[str, ...]] = {}  # agents that are ready: peers that did not answer
        self._ended_s: float | None = None  # when `stop` was called
        self._unstopped: set[str] = set()  # nodes that have not received `Stop` yet
        self._checked_s = 0.0

    @property
    def now_s(self) -> float:
        """Emulated time since time zero [s]; minus infinity before `run`."""
        if self._epoch_s is None:
            return float("-inf")
        return (time.monotonic() - self._epoch_s) / self._scenario.time_scale

    def wait_ready(self, timeout_s: float) -> None:
        """Wait until every agent has measured its links, at most `timeout_s` [real s].

        Raises:
            RunFailed: an agent ended, is not ready in time, or its receivers did not answer.
        """
        deadline_s = time.monotonic() + timeout_s
        while len(self._ready) < len(self._configs):
            self._take(self._telemetry.listen(LISTEN_S))
            self._observer.progress("agents ready", len(self._ready), len(self._configs))
            self._note_deaths()
            if time.monotonic() > deadline_s:
                missing = sorted(set(self._configs) - set(self._ready))
                message = f"not ready within {timeout_s:.0f} s: {', '.join(missing)}"
                raise RunFailed(message, hint=self._launcher.where())
        lost = [f"{node} -> {', '.join(peers)}" for node, peers in self._ready.items() if peers]
        if lost:
            raise RunFailed(f"no answer over the emulated network: {'; '.join(lost)}", hint="see events.jsonl")

    def run(self, interrupts: Interrupts) -> str:
        """Run until all tasks have ended, or until Ctrl-C.

        Returns:
            "completed" or "interrupted".

        Raises:
            RunFailed: an agent ended or takes no more commands.
            TestbedError: the network or an event failed.
        """
        self._collector.start()
        self._epoch_s = time.monotonic() + START_LEAD_S + START_LEAD_EACH_S * len(self._configs)
        self._collector.begin(self._epoch_s)
        try:
            for node in self._configs:
                self._tell(node, Start(self._epoch_s))
            self._observer.started(self._scenario, self._offered)
            self._bookkeeping.tell_traces()
            self._warn_of_changes()
            while not self._bookkeeping.finished(self.now_s):
                if interrupts.wanted:
                    self._bookkeeping.stopped_s = self.now_s
                    return "interrupted"
                time.sleep(self._patience_s())
                self._inject_due()  # first: taking the waiting records may take a while
                self._take(self._telemetry.listen(0.0))
                self._bookkeeping.drain(self, self.now_s)
                self._note_deaths()
                self._check_network()
                if (state := self._collector.beat(self.now_s)) is not None:
                    self._observer.fidelity(state)
                self._observer.tick(self.now_s)
        except TestbedError:
            self._bookkeeping.stopped_s = self.now_s
            raise
        finally:
            self._collector.stop()
        return "completed"

    def stop(self) -> None:
        """Send `Stop` to all agents that are ready; `take_rest` sends it to those that get ready later."""
        self._ended_s = self.now_s
        self._unstopped = {node for node in self._ready if not self._telemetry.tell(node, Stop())}

    def take_rest(self) -> None:
        """Take what agents report while they end; drop complaints about missing peers, which are expected by then."""
        assert self._ended_s is not None
        self._unstopped = {node for node in self._unstopped if not self._telemetry.tell(node, Stop())}
        for record in self._telemetry.listen(0.0):
            if not isinstance(record, EventRecord) or record.time_s <= self._ended_s:
                self._take([record])

    def note_left(self) -> None:
        """Record an event for each agent that still runs: its last records are missing."""
        for node in self._launcher.running():
            if node in self._ready:
                detail = "it did not end when asked to: its last interval is missing"
                self._bookkeeping.note(EventRecord(max(0.0, self.now_s), node, "agent-not-stopped", detail))

    def _tell(self, node: str, command: Command) -> None:
        """Send a command to an agent that is ready.

        Raises:
            RunFailed: the agent takes no commands, most likely because it has ended.
        """
        deadline_s = time.monotonic() + DEATH_NEWS_S
        while not self._telemetry.tell(node, command):
            self._note_deaths()
            if time.monotonic() > deadline_s:
                message = f"the agent of {node} takes no more commands ({type(command).__name__} was the last)"
                raise RunFailed(message, hint=self._launcher.where())
            time.sleep(LISTEN_S)

    def _patience_s(self) -> float:
        times_s = self._agenda.next_at_s(), self._bookkeeping.battery_due_s(self.now_s)
        next_s = min([at_s for at_s in times_s if at_s is not None], default=float("inf"))
        return min(BEAT_S, max(0.0, (next_s - self.now_s) * self._scenario.time_scale))

    def _take(self, records: list[Record]) -> None:
        for record in records:
            self._bookkeeping.take(record, self.now_s)
            match record:
                case DecisionRecord():
                    self._note_speed(record)
                case SampleRecord():
                    self._governor.observe(record)
                    self._collector.sampled(record)
                case Ready(node, unreachable):
                    self._ready[node] = unreachable
                    if self._ended_s is not None:
                        self._unstopped.add(node)
                    elif self._epoch_s is not None:  # it came up during the run
                        self._brief(node, self._epoch_s)
                case TaskRecord() | RepeatRecord() | EventRecord():
                    pass  # only for the bookkeeping
                case _:
                    assert_never(record)

    def _brief(self, node: str, epoch_s: float) -> None:
        """Start an agent that came up during the run. Its capacity comes first: it may have changed since the fork."""
        config = self._configs[node]
        if not config.node.is_device:
            self._tell(node, SetCapacity(config.capacity_flop_per_s))
        self._tell(node, Start(epoch_s))
        self._collector.came_up(node, self.now_s)

    def _note_speed(self, record: DecisionRecord) -> None:
        """Pass a server's measured service time over the stated one to the collector."""
        work_flop = self._steady_flop.get(record.node)
        if record.service_rate_per_s and work_flop is not None:
            stated_per_s = self._configs[record.node].capacity_flop_per_s / work_flop
            self._collector.decided(stated_per_s / record.service_rate_per_s)

    def _inject_due(self) -> None:
        enough_s = time.monotonic() + INJECT_S
        while time.monotonic() < enough_s and (event := self._agenda.take(self.now_s)) is not None:
            if self._bookkeeping.bars(event, self.now_s):
                continue
            event.apply(self)
            self._collector.injected(event, self.now_s)
            self._bookkeeping.injected(event, self.now_s)

    def _warn_of_changes(self) -> None:
        warning = too_many_changes(self._scenario)
        if warning is not None:
            self._bookkeeping.note(EventRecord(0.0, None, "too-lively", warning))

    # The methods that events call: see `ChangingRun`.

    def change_link(self, ends: tuple[str, str], shape: LinkShape, *, sender: str | None = None) -> None:
        """Change a link; the change is in force when this returns."""
        self._network.change_link(ends, shape, sender=sender)

    def set_capacity(self, server: str, capacity_flop_per_s: float) -> None:
        """Change a server's capacity. A server that is not ready receives it when it is."""
        self._governor.set_capacity(server, capacity_flop_per_s, self.now_s)
        changed = msgspec.structs.replace(self._configs[server], capacity_flop_per_s=capacity_flop_per_s)
        self._configs[server] = changed
        self._collector.capacity_changed(server, self.now_s, capacity_flop_per_s)
        if server in self._ready:
            self._tell(server, SetCapacity(capacity_flop_per_s))

    def switch(self, node: str, *, up: bool) -> None:
        """Start or kill a node's agent. Records that a killed agent had sent count."""
        down = self._bookkeeping.is_down(node)
        if up and down:
            self._bookkeeping.came_up(node, self.now_s)
            config = msgspec.structs.replace(
                self._configs[node], epoch_monotonic_s=self._epoch_s, life=self._telemetry.life(node)
            )
            self._launcher.spawn([(config, self._network.namespace_path(node))])
        elif not up and not down:
            self._launcher.kill(node)
            self._telemetry.renew(node)  # a late `Ready` of this agent must not count for the next one
            self._ready.pop(node, None)
            self._take(self._telemetry.listen(0.0))
            self._bookkeeping.went_down(node, self.now_s)
            self._collector.went_down(node)

    def _note_deaths(self) -> None:
        for notice in self._launcher.ended():
            why = self._launcher.why()
            how = f"by {signal.Signals(-notice.status).name}" if notice.status < 0 else f"with status {notice.status}"
            self._bookkeeping.note(EventRecord(max(0.0, self.now_s), notice.node, "agent-died", f"{how} {why}".strip()))
            raise RunFailed(f"the agent of {notice.node} ended unexpectedly, {how}", hint=self._launcher.where())

    def _check_network(self) -> None:
        if time.monotonic() - self._checked_s > CHECK_EVERY_S:
            self._checked_s = time.monotonic()
            self._network.check()
