"""Collects the evidence of a live run while it goes on, and reports the state of the emulation."""

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
STATE_CPU_SHARE = 0.002  # of one core: with hundreds of links a state costs more, and comes less often
RAREST_STATE_S = 5.0
UNSTEADY_S = 2.5  # after a change, a node's samples mix both capacities for this long [emulated s]
COUNTERS_EVERY_S = 10.0  # reading the network's counters interrupts the relay, or calls tc [real s]


class EvidenceCollector:
    """Watches the network, the machine and the agents' records, from `start` to `stop`."""

    def __init__(
        self,
        scenario: Scenario,
        network: EmulatedNetwork,
        bookkeeping: Bookkeeping,
        measured: Sequence[MeasuredPath],
        agents: Callable[[], Mapping[str, int]] = dict,
    ) -> None:
        """`measured` are the paths measured before the run; `agents` returns the agents' process ids by name."""
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
        # By server: (time of a change, capacity from then on), in order of time.
        self._capacities = {s.name: [(float("-inf"), s.capacity_flop_per_s)] for s in scenario.servers}
        self._unsteady_from_s: dict[str, float] = {}  # by node: when its speed last changed, or it last came up
        self._heard_s: dict[str, float] = {}  # by node that is up: time of its last sample
        self._stalls: list[Stall] = []  # of agents
        self._agents = agents
        self._stopped = StoppedProcesses(self._processes)
        self._epoch_s = 0.0
        self._slowness: list[float] = []  # measured service time over the stated one, by server and slot
        self._meter: HostMeter | None = None
        self._watch: DelayWatch | None = None
        self._before: NetworkStatistics | None = None
        self._next_state_s = self._next_counters_s = 0.0
        # As of the last look; `stop` looks a last time.
        self._counters: NetworkStatistics | None = None
        self._host = HostUse()
        self._watched: Sequence[WatchedPath] = ()

    def start(self) -> None:
        """Begin to watch, just before time zero. Raises NetworkError if the network is dead."""
        self._network.forget_lateness()  # quantiles of set-up and run could not be separated later
        self._before = self._network.statistics()
        self._watch = self._network.watch()
        self._meter = HostMeter()
        self._heard_s = dict.fromkeys(self._loads, 0.0)
        now_s = time.monotonic()
        self._next_state_s = self._next_counters_s = now_s + STATE_EVERY_S

    def begin(self, epoch_s: float) -> None:
        """Set time zero of the run to `epoch_s` [s on CLOCK_MONOTONIC]."""
        self._epoch_s = epoch_s

    @property
    def stalls(self) -> list[Stall]:
        """The known intervals in which an agent, a parent or the relay did not run [emulated s]."""
        of_relay = self._counters.stalls_s if self._counters is not None else ()
        scale = self._scenario.time_scale
        told = [[(at_s - self._epoch_s) / scale for at_s in span] for span in of_relay]
        return [*self._stalls, *self._stopped.stalls, *(Stall(RELAY, from_s, until_s) for from_s, until_s in told)]

    def _processes(self) -> Mapping[str, int]:
        relay = self._network.relay_pid
        return self._agents() if relay is None else {**self._agents(), RELAY: relay}

    @property
    def relayed(self) -> bool:
        """True if a relay in user space delays the frames."""
        return self._network.relay_pid is not None

    def stop(self) -> None:
        """Look a last time and stop watching. May be called twice, and before `start`."""
        watch, self._watch = self._watch, None
        if watch is not None:
            try:
                self._look(watch, counters=True)
            finally:
                watch.close()

    def beat(self, now_s: float) -> FidelityState | None:
        """Watch the network, and look at the whole emulation once a second (less often if a look costs much).

        Call this several times a second, after taking all records that had arrived by `now_s` [emulated s]: a node
        without a record since is silent.

        Returns:
            The state of the emulation after a look; None between looks.
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

    def sampled(self, record: SampleRecord) -> None:
        """Take a node's sample.

        Speed is judged by the capacity at the sample's time. It is not judged just after a change of capacity, because
        the tasks of that interval were served at both speeds; a long service may have begun before the change.
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
        if record.node in self._servers and not from_s <= record.time_s <= from_s + UNSTEADY_S + record.served_s:
            load.compute_cpu_s += record.compute_cpu_s
            load.served += record.served
            load.work_flop += record.work_flop
            load.due_s += record.work_flop / self._capacity_flop_per_s(record.node, record.time_s)
            load.served_s += record.served_s

    def capacity_changed(self, server: str, now_s: float, capacity_flop_per_s: float) -> None:
        """Note a server's new capacity [FLOP/s], in force since `now_s` [emulated s]."""
        self._capacities[server].append((now_s, capacity_flop_per_s))
        self._unsteady_from_s[server] = now_s

    def injected(self, event: Event, now_s: float) -> None:
        """Note that an event is in force at `now_s`. Changes of rates are skipped: the workload trace holds them."""
        if not event.rates_per_s:
            self._changes.add(max(0.0, now_s - event.at_s))

    def skipped(self) -> None:
        """Count a step of a network trace that was skipped because the next one was due."""
        self._changes.skipped += 1

    def went_down(self, node: str) -> None:
        """Stop expecting samples from a node."""
        self._heard_s.pop(node, None)

    def came_up(self, node: str, now_s: float) -> None:
        """Expect samples from a node again, which is ready at `now_s`."""
        self._heard_s[node] = self._unsteady_from_s[node] = now_s

    def decided(self, slowness: float) -> None:
        """Take a server's `slowness`: its measured service time over the stated one."""
        self._slowness.append(slowness)

    def report(self) -> FidelityReport:
        """Return the verdict on the run so far."""
        return assess(self._evidence())

    def verdict(self, findings: Findings) -> FidelityReport:
        """Return the verdict on a run that is over, with the findings of its comparison with the expectation."""
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
                self._counters = None  # the network has died; the end of the run reports it

    def _note_silence(self, node: str, now_s: float) -> None:
        load = self._loads[node]
        load.silence_s = max(load.silence_s, now_s - self._heard_s[node])

    def _capacity_flop_per_s(self, server: str, at_s: float) -> float:
        return next(capacity for from_s, capacity in reversed(self._capacities[server]) if from_s <= at_s)

    def _evidence(self) -> Evidence:
        seen, known = self._tasks_seen, self._bookkeeping
        for task, service_lateness_s in zip(known.tasks[seen:], known.service_lateness_s[seen:], strict=True):
            # The tasks that the summary's figures count.
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
    """Subtract the counters of `before` from those of `now`. Other fields are those of `now`."""
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
