"""A run in virtual time: the same nodes, topology, trace, events and run directory as a live run, without root.

The network (`testbed.simulation.links`) and the service times are simulated. The sub-models' answers to all evaluation
samples were recorded in advance. The nodes run the same code as in live runs.

Fields of `fidelity` in the summary.json of a simulation:

    simulated: true.
    network_backend: "simulated".
    actions: number of entries in the calendar, a measure of the simulation's size.
    oracle: true if offloaders knew every queue as it was, see `testbed.simulation.oracle`.
    links_outside_validation: the links for which the simulation was not validated, see
        `testbed.simulation.transfers.outside_validation`.
"""

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from node_agent.core.machine import NodeCore
from node_agent.records import Ready, Record, SampleRecord, TaskRecord
from testbed.breakdown.splitter import Splitter
from testbed.record.run_directory import Recorder, sub_model_facts
from testbed.run.bookkeeping import Bookkeeping
from testbed.run.interrupts import Interrupts
from testbed.run.node_configs import node_configs
from testbed.run.observer import RunObserver, SilentObserver
from testbed.run.plan import Outcome, Plan
from testbed.scenario import Event, LinkShape
from testbed.simulation.failure import NodeFailed, SimulationFailed
from testbed.simulation.links import Links
from testbed.simulation.nodes import SimulatedNode, World, as_made
from testbed.simulation.oracle import Oracle, check_fresh
from testbed.simulation.processor import Answers, Processor, ServiceTime, paced
from testbed.simulation.transfers import outside_validation
from testbed.sizes import largest_task_bytes
from testbed.virtual_time import Calendar, Entry

ACTIONS_AT_ONCE = 2000  # between two checks for Ctrl-C
LOOK_EVERY_S = 0.5  # emulated time between two checks whether the run is over
TELL_EVERY_S = 0.1  # real time between two ticks for the observer


class Simulation:
    """Carries out a plan in virtual time. Equal plans give equal records, to the last digit."""

    def __init__(
        self, plan: Plan, observer: RunObserver, *, service_time: ServiceTime = paced, stories: bool = False,
        oracle: bool = False,
    ) -> None:  # fmt: skip
        """Prepare a simulation; use an instance for one run only.

        Args:
            plan: the run.
            observer: receives the progress.
            service_time: returns a task's service time [s] from the server's name and work / capacity [s].
            stories: nodes keep their last events and effects even without `plan.debug`.
            oracle: offloaders know every queue as it is, which no live node can; see `testbed.simulation.oracle`.

        Raises:
            InputError: `oracle` is set, but the plan's policy does not bring queues up to date.
        """
        self._oracle = oracle
        if oracle:
            check_fresh(plan.scenario.policy)
        self._stories = stories or plan.debug
        self._plan = plan
        self._observer = observer
        self._service_time = service_time
        self._bookkeeping: Bookkeeping | None = None
        self._agenda = Calendar()

    def run(self) -> Outcome:
        """Run to the end. Ctrl-C ends the run early and keeps its records.

        Raises:
            NodeFailed: a node's own code failed; agents.log in the run directory holds its last events.
            TestbedError: the run failed for another reason. In both cases the records are kept.
        """
        try:
            return self._run()
        except NodeFailed as failure:
            told = failure if self._stories else self._played_again() or failure
            failure.log(self._plan.run_directory / "agents.log", told)
            raise

    def _played_again(self) -> NodeFailed | None:
        """Repeat the run with stories and return its failure; None if it does not fail again (a policy may draw)."""
        self._observer.phase("simulating again, to record what led to the failure")
        with TemporaryDirectory() as folder:
            plan = replace(self._plan, run_directory=Path(folder), claim=None)
            try:
                Simulation(
                    plan, SilentObserver(), service_time=self._service_time, stories=True, oracle=self._oracle
                ).run()
            except NodeFailed as failure:
                return failure
        return None

    def _run(self) -> Outcome:
        plan = self._plan
        began_s = time.monotonic()
        with Interrupts() as interrupts:
            interrupts.deferred = True
            recorder = plan.recorder(flush_lines=False)
            reason = "failed"
            summary: dict[str, object] | None = None
            try:
                reason = self._carry_out(recorder, interrupts)
            except Exception as error:
                reason = f"failed: {error or type(error).__name__}"
                raise
            finally:
                if self._bookkeeping is not None:
                    fidelity = {
                        "simulated": True,
                        "network_backend": "simulated",
                        "actions": self._agenda.entered,
                        "oracle": self._oracle,
                        "links_outside_validation": list(outside_validation(plan.scenario, self._largest_bytes)),
                    }
                    summary = plan.completed(self._bookkeeping.summary(fidelity, {}))
                recorder.manifest["simulated_in_s"] = round(time.monotonic() - began_s, 3)
                recorder.finish(summary, reason)
                plan.release()
        return Outcome(plan.run_directory, summary, reason)

    @property
    def _largest_bytes(self) -> int:
        """Size of the largest task message [bytes]."""
        choice = self._plan.scenario.model
        return largest_task_bytes(self._plan.model.input_forms(choice.cut, choice.activation))

    def _carry_out(self, recorder: Recorder, interrupts: Interrupts) -> str:
        plan, scenario = self._plan, self._plan.scenario
        self._observer.phase(f"simulating {len(scenario.node_names)} nodes, {len(scenario.links)} links")
        profiles = plan.model.profiles(scenario.model.cut, scenario.model.activation)
        recorder.describe(
            backends={"network": "simulated", "compute": "simulated"},
            sub_models=sub_model_facts(profiles),
        )
        bookkeeping = self._bookkeeping = Bookkeeping(
            scenario, plan.arrivals, recorder, self._observer, Splitter.of(scenario, plan.model)
        )
        course = SimulatedRun(
            plan, self._agenda, bookkeeping, self._service_time, stories=self._stories, oracle=self._oracle
        )
        with _without_collections():
            course.measure_links()
            self._observer.started(scenario, len(plan.arrivals))
            bookkeeping.tell_traces()
            course.start()
            try:
                completed = self._pass_time(course, bookkeeping, interrupts)
                course.end()
            finally:
                bookkeeping.close(self._agenda.now_s)
        return "completed" if completed else "interrupted"

    def _pass_time(self, course: "SimulatedRun", bookkeeping: Bookkeeping, interrupts: Interrupts) -> bool:
        """Let virtual time pass until all tasks have ended; return False if Ctrl-C came first."""
        told_s = time.monotonic()
        while not bookkeeping.finished(self._agenda.now_s):
            if interrupts.wanted:
                bookkeeping.stopped_s = self._agenda.now_s
                return False
            self._agenda.run(self._agenda.now_s + LOOK_EVERY_S, ACTIONS_AT_ONCE)
            if self._plan.debug:
                course.validate()
            if time.monotonic() - told_s > TELL_EVERY_S:
                told_s = time.monotonic()
                self._observer.tick(self._agenda.now_s)
        return True


class SimulatedRun:
    """Puts the nodes, the workload and the events of a plan into the agenda, and applies the events."""

    def __init__(
        self, plan: Plan, agenda: Calendar, bookkeeping: Bookkeeping, service_time: ServiceTime = paced, *,
        stories: bool = False, oracle: bool = False, prepare: Callable[[NodeCore], None] = as_made,
    ) -> None:  # fmt: skip
        """Prepare the run; `prepare` is called with each new state machine of a node, before its first event."""
        scenario = plan.scenario
        self._scenario = scenario
        self._arrivals = plan.arrivals
        self._agenda = agenda
        self._bookkeeping = bookkeeping
        self._started = False
        self._battery: Entry | None = None  # when the next battery is used up
        self._unready = set(scenario.node_names)
        cut, activation = scenario.model.cut, scenario.model.activation
        profiles = plan.model.profiles(cut, activation)
        forms = plan.model.input_forms(cut, activation)
        costs = plan.model.sample_costs(cut, activation)
        answers = Answers(plan.model.scores(cut), forms, [float(profile.flop) for profile in profiles], costs)
        changing = [frozenset(ends) for event in scenario.events for ends in event.shapes]
        self._links = Links(scenario, agenda, changing)
        self.nodes: dict[str, SimulatedNode] = {}
        if oracle:
            prepare = Oracle(self.nodes, agenda).prepare
        world = World(agenda, self._links, answers, plan.model.exit_table(cut), self.nodes, self, prepare)
        capacity_of = {server.name: server.capacity_flop_per_s for server in scenario.servers}
        for name, config in node_configs(scenario, profiles, forms, story=stories, debug=plan.debug).items():
            processor = None
            if not config.is_device:
                processor = Processor(
                    name, config.stage, capacity_flop_per_s=capacity_of[name],
                    answers=answers, agenda=agenda, service_time=service_time,
                )  # fmt: skip
            self.nodes[name] = SimulatedNode(world, config, processor)

    def measure_links(self) -> None:
        """Start all nodes and let them measure their links, before time zero.

        Raises:
            SimulationFailed: nodes cannot reach their receivers.
        """
        patience_s = next(iter(self.nodes.values())).config.timeouts.probe_s
        self._agenda.now_s = -2 * patience_s
        for node in self.nodes.values():
            node.switch_on()  # all receive before the first one sends
        for node in self.nodes.values():
            node.measure_links()
        while not self._agenda.run(0.0, ACTIONS_AT_ONCE):
            pass
        if self._unready:
            raise SimulationFailed(f"no answer over the simulated network: {', '.join(sorted(self._unready))}")

    def start(self) -> None:
        """Start the nodes at time zero, and enter the workload and the events into the agenda."""
        self._started = True
        for event in self._scenario.events:
            self._agenda.at(event.at_s, self._inject, event)
        if self._arrivals:
            self._agenda.at(self._arrivals[0].time_s, self._offer, 0)
        for node in self.nodes.values():
            node.start()
        self._await_battery()

    def end(self) -> None:
        """Let all nodes report their last interval."""
        for node in self.nodes.values():
            node.end()

    def validate(self) -> None:
        """Raise InvalidState or NodeFailed if agenda, links or nodes contradict themselves.

        Nodes also check their own state after each event.
        """
        self._agenda.validate()
        self._links.validate()
        for node in self.nodes.values():
            node.validate()

    def told(self, record: Record) -> None:
        """Take a record of a node; stop the agenda if it ended the last task."""
        now_s = self._agenda.now_s
        if isinstance(record, Ready):
            if self._started:  # it came up during the run
                self._agenda.at(now_s, self._start_node, (record.node, self.nodes[record.node].life))
            elif record.unreachable:
                peers = ", ".join(record.unreachable)
                raise SimulationFailed(f"no answer over the simulated network: {record.node} -> {peers}")
            else:
                self._unready.discard(record.node)
            return
        self._bookkeeping.take(record, now_s)
        if isinstance(record, SampleRecord):
            self._await_battery()
        if isinstance(record, TaskRecord) and self._bookkeeping.finished(now_s):
            self._agenda.stop()

    def _start_node(self, ready: tuple[str, int]) -> None:
        name, life = ready
        node = self.nodes[name]
        if node.up and not node.started and node.life == life:  # it may have gone down, and come up again, since
            node.start()

    def _offer(self, task_id: int) -> None:
        arrival = self._arrivals[task_id]
        if task_id + 1 < len(self._arrivals):
            self._agenda.at(self._arrivals[task_id + 1].time_s, self._offer, task_id + 1)
        self.nodes[arrival.device].offer(task_id, arrival.sample, arrival.time_s)

    def _await_battery(self) -> None:
        """Enter into the agenda when the next battery is used up, by what is known now."""
        if self._battery is not None:
            self._agenda.strike(self._battery)
            self._battery = None
        if (due_s := self._bookkeeping.battery_due_s(self._agenda.now_s)) is not None:
            self._battery = self._agenda.at(due_s, self._drain, None)

    def _drain(self, _: None) -> None:
        self._battery = None
        self._bookkeeping.drain(self, self._agenda.now_s)
        self._await_battery()

    def _inject(self, event: Event) -> None:
        if self._bookkeeping.bars(event, self._agenda.now_s):
            return
        event.apply(self)
        self._bookkeeping.injected(event, self._agenda.now_s)

    # The methods that events call: see `ChangingRun`.

    def change_link(self, ends: tuple[str, str], shape: LinkShape, *, sender: str | None = None) -> None:
        """Change a link; messages that wait or are on their way keep their order."""
        self._links.change(ends, shape, sender=sender)

    def set_capacity(self, server: str, capacity_flop_per_s: float) -> None:
        """Change a server's capacity [FLOP/s], also for the rest of the task in service."""
        processor = self.nodes[server].processor
        assert processor is not None
        processor.set_capacity(capacity_flop_per_s)

    def switch(self, node: str, *, up: bool) -> None:
        """Start or kill a node's agent. A node that goes down loses its state and its tasks."""
        switched = self.nodes[node]
        if up and not switched.up:
            self._bookkeeping.came_up(node, self._agenda.now_s)
            switched.switch_on()
            switched.measure_links()
        elif not up and switched.up:
            switched.go_down()
            self._bookkeeping.went_down(node, self._agenda.now_s)


@contextmanager
def _without_collections() -> Iterator[None]:
    """Disable garbage collection in this context: a simulation creates many objects and hardly any cycles."""
    wanted = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if wanted:
            gc.enable()
