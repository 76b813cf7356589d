"""Gathers the evidence of a run while it goes on, and tells how the emulation stands."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import median

from node_agent.records import EventRecord, SampleRecord
from testbed.expectation import RELAY, Findings, Stall
from testbed.expectation.verdict import judge
from testbed.fidelity.assessment import assess
from testbed.fidelity.evidence import ChangeTally, Evidence, LinkOutlook, NodeLoad, TaskTally
from testbed.fidelity.report import FidelityReport, FidelityState
from testbed.host.load import HostMeter, HostUse
from testbed.live.stopped_processes import StoppedProcesses
from testbed.network import DelayWatch, EmulatedNetwork, MeasuredPath, NetworkError, NetworkStatistics, WatchedPath
from testbed.run.bookkeeping import Bookkeeping
from testbed.scenario import Event, Scenario

STATE_EVERY_S = 1.0  # real time between two states
STATE_CPU_SHARE = 0.002  # of one core: with some hundred links a state takes milliseconds, and comes less often
RAREST_STATE_S = 5.0
UNSTEADY_S = 2.5  # emulated time after a change in which a node's next samples tell of both capacities
COUNTERS_EVERY_S = 10.0  # asking for the network's counters costs the relay a moment, or a call of tc


class EvidenceCollector:
    """Watches the network, the machine and what the agents tell, from `start` to `stop`."""

    def __init__(
        self,
        scenario: Scenario,
        network: EmulatedNetwork,
        bookkeeping: Bookkeeping,
        measured: Sequence[MeasuredPath],
        agents: Callable[[], Mapping[str, int]] = dict,
    ) -> None:
        """`measured` are the links before the run; `agents` gives the processes of nodes and of their parents."""
        self._scenario = scenario
        self._network = network
        self._bookkeeping = bookkeeping
        self._measured = measured
        self._tasks = TaskTally()
        self._tasks_seen = 0
        self._servers = {s.name: NodeLoad(capacity_flop_per_s=s.capacity_flop_per_s) for s in scenario.servers}
        self._devices = {device.name: NodeLoad() for device in scenario.devices}
        self._loads = {**self._servers, **self._devices}
        self._outlook = LinkOutlook.of(scenario)
        self._changes = ChangeTally()
        # From when on a server had which capacity, in the order of time.
        self._capacities = {s.name: [(float("-inf"), s.capacity_flop_per_s)] for s in scenario.servers}
        self._unsteady_from_s: dict[str, float] = {}  # when a server's speed changed last, or it came up anew
        self._heard_s: dict[str, float] = {}  # when each node that is up told of itself last
        self._stalls: list[Stall] = []  # of agents
        self._agents = agents
        self._stopped = StoppedProcesses(self._processes)
        self._epoch_s = 0.0
        self._slowness: list[float] = []  # measured service time over the stated one, by server and slot
        self._meter: HostMeter | None = None
        self._watch: DelayWatch | None = None
        self._before: NetworkStatistics | None = None
        self._next_state_s = self._next_counters_s = 0.0
        # As last looked at; these stay as they were when the run ended.
        self._counters: NetworkStatistics | None = None
        self._host = HostUse()
        self._watched: Sequence[WatchedPath] = ()

    def start(self) -> None:
        """Time zero: from here on, what happens belongs to the run. Raises NetworkError if the network is dead."""
        self._network.forget_lateness()  # quantiles of set-up and run cannot be told apart later
        self._before = self._network.statistics()
        self._watch = self._network.watch()
        self._meter = HostMeter()
        self._heard_s = dict.fromkeys(self._loads, 0.0)
        now_s = time.monotonic()
        self._next_state_s = self._next_counters_s = now_s + STATE_EVERY_S

    def begin(self, epoch_s: float) -> None:
        """Time zero is at `epoch_s` of CLOCK_MONOTONIC."""
        self._epoch_s = epoch_s

    @property
    def stalls(self) -> list[Stall]:
        """When processes did not run though they had to, as far as they told [emulated s]."""
        of_relay = self._counters.stalls_s if self._counters is not None else ()
        scale = self._scenario.time_scale
        told = [[(at_s - self._epoch_s) / scale for at_s in span] for span in of_relay]
        return [*self._stalls, *self._stopped.stalls, *(Stall(RELAY, from_s, until_s) for from_s, until_s in told)]

    def _processes(self) -> Mapping[str, int]:
        relay = self._network.relay_pid
        return self._agents() if relay is None else {**self._agents(), RELAY: relay}

    @property
    def relayed(self) -> bool:
        """Whether a relay in user space delays the frames."""
        return self._network.relay_pid is not None

    def stop(self) -> None:
        """The run is over: what happens from here on does not count. May be called twice, and before `start`."""
        watch, self._watch = self._watch, None
        if watch is not None:
            try:
                self._look(watch, counters=True)
            finally:
                watch.close()

    def beat(self, now_s: float) -> FidelityState | None:
        """Let time pass, several times a second; how the emulation stands, once a second (less often if it costs much).

        All that nodes had told by `now_s` has been taken: who has not been heard of is silent.
        """
        if self._watch is None or self._meter is None:
            return None
        self._watch.beat()
        real_s = time.monotonic()
        if real_s < self._next_state_s:
            return None
        began_cpu_s = time.thread_time()
        counters = real_s >= self._next_counters_s
        if counters:
            self._next_counters_s = real_s + COUNTERS_EVERY_S
        for node in self._heard_s:
            self._note_silence(node, now_s)
        for name in self._stopped.look(now_s):
            agent = name in self._loads
            what = f"the agent of {name}" if agent else name
            detail = f"{what} stands still: something has stopped it"
            self._bookkeeping.note(EventRecord(max(0.0, now_s), name if agent else None, "process-stopped", detail))
        self._look(self._watch, counters=counters)
        state = FidelityState(self.report(), self._meter.lately())
        enough_s = (time.thread_time() - began_cpu_s) / STATE_CPU_SHARE
        self._next_state_s = real_s + min(max(STATE_EVERY_S, enough_s), RAREST_STATE_S)
        return state

    def sampled(self, record: SampleRecord, *, work_flop: float) -> None:
        """A node has told its state; one task is so much work for it.

        It is judged by the capacity of the time of which it tells. Speed is not judged around a change of capacity:
        what was served then had some of both.
        """
        load = self._loads[record.node]
        load.deadlines += record.deadlines
        load.late_timers += record.late_timers
        load.worst_timer_s = max(load.worst_timer_s, record.worst_timer_s)
        load.overruns += record.overruns
        self._stalls += [Stall(record.node, from_s, until_s) for from_s, until_s in record.stalls]
        if record.node in self._heard_s:
            self._note_silence(record.node, record.time_s)
            self._heard_s[record.node] = record.time_s
        from_s = self._unsteady_from_s.get(record.node, float("-inf"))
        if record.node in self._servers and not from_s <= record.time_s <= from_s + UNSTEADY_S:
            work_done_flop = record.served * work_flop
            load.compute_cpu_s += record.compute_cpu_s
            load.served += record.served
            load.work_flop += work_done_flop
            load.due_s += work_done_flop / self._capacity_flop_per_s(record.node, record.time_s)
            load.busy_s += record.busy_s

    def capacity_changed(self, server: str, now_s: float, capacity_flop_per_s: float) -> None:
        """A server computes at another speed from now on."""
        self._capacities[server].append((now_s, capacity_flop_per_s))
        self._unsteady_from_s[server] = now_s

    def injected(self, event: Event, now_s: float) -> None:
        """An event of the scenario has come into force by now; rates are in the trace of tasks, and never late."""
        if not event.rates_per_s:
            self._changes.add(max(0.0, now_s - event.at_s))

    def skipped(self) -> None:
        """A step of a network trace was left out, as the next one was due."""
        self._changes.skipped += 1

    def went_down(self, node: str) -> None:
        """A node is to be silent from now on."""
        self._heard_s.pop(node, None)

    def came_up(self, node: str, now_s: float) -> None:
        """A node that was down is ready again."""
        self._heard_s[node] = self._unsteady_from_s[node] = now_s

    def decided(self, slowness: float) -> None:
        """A server measured its service time as so many times the stated one."""
        self._slowness.append(slowness)

    def report(self) -> FidelityReport:
        """The verdict on the run so far."""
        return assess(self._evidence())

    def verdict(self, findings: Findings) -> FidelityReport:
        """The verdict on a run that is over, held against its expectation."""
        return judge(self._evidence(), findings)

    def _look(self, watch: DelayWatch, *, counters: bool) -> None:
        assert self._meter is not None
        assert self._before is not None
        self._host = self._meter.so_far()
        self._watched = watch.watched()
        if counters:
            try:
                self._counters = since(self._before, self._network.statistics())
            except NetworkError:
                self._counters = None  # it has died, which the run's end tells

    def _note_silence(self, node: str, now_s: float) -> None:
        load = self._loads[node]
        load.silence_s = max(load.silence_s, now_s - self._heard_s[node])

    def _capacity_flop_per_s(self, server: str, at_s: float) -> float:
        return next(capacity for from_s, capacity in reversed(self._capacities[server]) if from_s <= at_s)

    def _evidence(self) -> Evidence:
        seen, known = self._tasks_seen, self._bookkeeping
        for task, service_lateness_s in zip(known.tasks[seen:], known.service_lateness_s[seen:], strict=True):
            # Those that the figures of the summary are about.
            if task.delay_s is not None and task.created_s >= self._scenario.warm_up_s:
                self._tasks.add(
                    replay_lateness_s=task.lateness_s,
                    service_lateness_s=service_lateness_s,
                    delay_s=task.delay_s,
                )
        self._tasks_seen = len(self._bookkeeping.tasks)
        return Evidence(
            time_scale=self._scenario.time_scale,
            compute=self._scenario.compute,
            tasks=self._tasks,
            servers=self._servers,
            devices=self._devices,
            links=self._scenario.links,
            outlook=self._outlook,
            changes=self._changes,
            measured=self._measured,
            watched=self._watched,
            network=self._counters,
            host=self._host,
            agents_cpu_s=self._bookkeeping.agents_cpu_s,
            service_time_ratio_p50=median(self._slowness) if self._slowness else None,
        )


def since(before: NetworkStatistics, now: NetworkStatistics) -> NetworkStatistics:
    """What was counted between the two."""
    earlier = {link.ends: link for link in before.links}
    return replace(
        now,
        frames_relayed=now.frames_relayed - before.frames_relayed,
        frames_late=now.frames_late - before.frames_late,
        frames_lost=now.frames_lost - before.frames_lost,
        frames_dropped=now.frames_dropped - before.frames_dropped,
        relay_cpu_s=now.relay_cpu_s - before.relay_cpu_s,
        links=tuple(
            replace(
                link,
                frames=link.frames - first.frames,
                bytes=link.bytes - first.bytes,
                lost=link.lost - first.lost,
                dropped=link.dropped - first.dropped,
                late=None if link.late is None or first.late is None else link.late - first.late,
            )
            for link in now.links
            for first in [earlier[link.ends]]
        ),
    )
