"""A live run from start to clean end: build the network, start the agents, let time pass, collect, tear down."""

import os
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace

from node_agent.errors import EnvironmentLacking, InputError
from node_agent.records import EventKind, EventRecord
from testbed.breakdown.splitter import Splitter
from testbed.expectation import ExactWorld, Findings, hold_against
from testbed.expectation.verdict import judge
from testbed.fidelity.assessment import assess
from testbed.fidelity.evidence import Evidence
from testbed.fidelity.report import FidelityReport, refuse_broken
from testbed.host.cpu_quota import CpuCgroup
from testbed.host.ledger import Ledger
from testbed.host.rootless import refuse_quota
from testbed.live.agent_configs import agent_configs, stated_costs
from testbed.live.agent_parents import Warm
from testbed.live.evidence_collector import EvidenceCollector
from testbed.live.launcher import Launcher, LaunchError
from testbed.live.running import LiveRun
from testbed.live.telemetry import Telemetry
from testbed.network import EmulatedNetwork, MeasuredPath
from testbed.record.run_directory import DECISIONS, TASKS, Recorder, sub_model_facts
from testbed.run.bookkeeping import Bookkeeping
from testbed.run.interrupts import Interrupts
from testbed.run.node_configs import timeouts
from testbed.run.observer import RunObserver
from testbed.run.plan import Outcome, Plan
from testbed.scenario import Scenario

READY_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 3.0


class Experiment:
    """Carries out a plan live. Use an instance for one run only."""

    def __init__(self, plan: Plan, observer: RunObserver) -> None:
        """`plan` is the run; `observer` receives its progress."""
        self._plan = plan
        self._observer = observer
        self._began_s = time.monotonic()
        self._setup_s: dict[str, float] = {}
        self._bookkeeping: Bookkeeping | None = None
        self._report: FidelityReport | None = None
        self._collector: EvidenceCollector | None = None  # once the run is over

    def run(self) -> Outcome:
        """Run to the end. Ctrl-C ends the run early and keeps its records.

        Raises:
            EnvironmentLacking: this machine lacks a package, or this machine or user cannot run `compute: quota`.
            InputError: a file of an installed package is missing or damaged. Then no run directory is left.
            EmulationBroken: the links measured wrong, and the plan has `require_fidelity`.
            RunFailed, LaunchError: an agent or the network failed.
            TestbedError: any other failure. In all cases the records are kept, and nothing else is left behind.
        """
        plan = self._plan
        try:
            plan.model.check_able()
            if plan.scenario.compute == "quota":
                refuse_quota()
        except (EnvironmentLacking, InputError):
            with suppress(OSError):
                plan.run_directory.rmdir()  # planning created it
            raise
        with Interrupts() as interrupts, Ledger(plan.run_id) as ledger:
            ledger.add_run(plan.run_directory)
            recorder = plan.recorder()
            reason = "failed"
            try:
                reason = self._carry_out(ledger, recorder, interrupts)
            except KeyboardInterrupt:
                reason = "interrupted"
            except Exception as error:
                reason = f"failed: {error or type(error).__name__}"
                raise
            finally:
                interrupts.deferred = True  # from here on, a Ctrl-C must not interrupt the clean-up
                self._judge(recorder)
                summary = self._summary()
                recorder.finish(summary, reason)
                plan.release()
        return Outcome(plan.run_directory, summary, reason, self._report)

    def _carry_out(self, ledger: Ledger, recorder: Recorder, interrupts: Interrupts) -> str:
        with ExitStack() as stack:
            try:
                return self._build_and_run(stack, ledger, recorder, interrupts)
            finally:
                interrupts.deferred = True  # a signal must not stop the unwinding of the stack

    def _build_and_run(self, stack: ExitStack, ledger: Ledger, recorder: Recorder, interrupts: Interrupts) -> str:
        plan, scenario = self._plan, self._plan.scenario
        launcher = Launcher(ledger, plan.run_directory / "agents.log")
        stack.callback(launcher.stop)
        # The parents warm up while the network is being built.
        launcher.begin(scenario.model, measure_cpu=scenario.compute == "quota")
        network = self._build_network(stack, ledger)
        warm = self._costs(launcher)
        self._check_servers(warm)
        cgroups = self._make_cgroups(warm, ledger)
        for group in cgroups.values():
            stack.callback(group.remove)
        telemetry = stack.enter_context(Telemetry(ledger.directory))
        configs = agent_configs(
            scenario,
            plan.arrivals,
            warm,
            address=network.address,
            telemetry=telemetry.endpoint,
            quota_procs_paths={server: tuple(map(str, group.procs_paths)) for server, group in cgroups.items()},
            debug=plan.debug,
        )
        # Measure the links while agents are forked and the model loads: waiting agents do not use the links.
        self._observer.phase(f"measuring {len(scenario.links)} links, forking {len(configs)} agents")
        launcher.spawn(((config, network.namespace_path(node)) for node, config in configs.items()), wait=True)
        network.check_delays(self._observer.progress)
        self._lap("links")
        self._observer.phase("loading the model, forking agents")
        launcher.wait_spawned(lambda done: self._observer.progress("agents forked", done, len(configs)))
        splitter = Splitter.of(scenario, plan.model)
        self._bookkeeping = Bookkeeping(scenario, plan.arrivals, recorder, self._observer, splitter)
        measured = self._check_links(network, self._bookkeeping)
        collector = EvidenceCollector(scenario, network, self._bookkeeping, measured, launcher.processes)
        self._lap("model")
        stack.callback(collector.stop)
        live = LiveRun(
            scenario,
            offered=len(plan.arrivals),
            network=network,
            launcher=launcher,
            telemetry=telemetry,
            bookkeeping=self._bookkeeping,
            collector=collector,
            observer=self._observer,
            configs=configs,
            cgroups=cgroups,
            quota=lambda server, capacity: self._quota(warm, server, capacity),
            steady_flop=_steady_flop(scenario, warm),
        )
        self._observer.phase(f"starting {len(configs)} agents")
        launcher.open_gate()
        live.wait_ready(READY_TIMEOUT_S + scenario.time_scale * timeouts(scenario, warm.input_forms).probe_s)
        self._lap("agents")
        self._describe(recorder, network, warm, configs)
        interrupts.deferred = True
        try:
            return live.run(interrupts)
        finally:
            self._observer.phase("ending: agents stop, the network is taken down")
            self._end(live, self._bookkeeping, collector, launcher)

    def _build_network(self, stack: ExitStack, ledger: Ledger) -> EmulatedNetwork:
        plan, scenario = self._plan, self._plan.scenario
        self._observer.phase(f"building the network: {len(scenario.node_names)} nodes, {len(scenario.links)} links")
        network = EmulatedNetwork(scenario, run_id=plan.run_id, ledger=ledger, backend=plan.backend)
        stack.callback(network.stop)
        network.build(self._observer.progress)
        self._lap("network")
        return network

    def _describe(self, recorder: Recorder, network: EmulatedNetwork, warm: Warm, nodes: Iterable[str]) -> None:
        """Add the backends, sub-models, set-up times and nodes to the manifest."""
        recorder.describe(
            backends={"network": network.backend, "compute": self._plan.scenario.compute},
            sub_models=sub_model_facts(warm.profiles),
            setup_s=self._setup_s,
            nodes={
                node: {"address": network.address(node), "namespace": network.namespace_path(node)} for node in nodes
            },
        )

    def _costs(self, launcher: Launcher) -> Warm:
        """Return the sub-models' costs. Under quota, wait for the model: its processor time is needed, too."""
        scenario = self._plan.scenario
        if scenario.compute != "quota":
            return stated_costs(self._plan.model, scenario.model)
        self._observer.phase("loading the model")
        return launcher.wait_warm()

    def _check_links(self, network: EmulatedNetwork, bookkeeping: Bookkeeping) -> Sequence[MeasuredPath]:
        """Return the measured paths; record an event for each that does not hold.

        Raises:
            EmulationBroken: the links are broken, and the plan has `require_fidelity`.
        """

        def report_on(paths: Sequence[MeasuredPath]) -> FidelityReport:
            return assess(Evidence(time_scale=self._plan.scenario.time_scale, measured=paths))

        measured: Sequence[MeasuredPath] = network.measured
        report = report_on(measured)
        if report.verdict != "held":  # loading the model may have disturbed them: measure again
            self._observer.phase("measuring the links once more")
            measured = network.measure_links(self._observer.progress)
            report = report_on(measured)
        self._report = report
        kind: EventKind = "links-broken" if report.verdict == "broken" else "links-strained"
        for reason in report.reasons:  # none if the links hold
            bookkeeping.note(EventRecord(0.0, None, kind, reason))
        if self._plan.require_fidelity:
            refuse_broken(report)
        return measured

    def _end(self, live: LiveRun, bookkeeping: Bookkeeping, collector: EvidenceCollector, launcher: Launcher) -> None:
        """Stop the agents, take their last records, and end all open tasks, even after a failure."""
        live.stop()
        try:
            deadline_s = time.monotonic() + STOP_TIMEOUT_S
            while not launcher.wait_ended(0.05) and time.monotonic() < deadline_s:
                live.take_rest()
            live.take_rest()
            live.note_left()
        except LaunchError as error:  # the agents end with their parent
            detail = f"{error}: the agents' last records are missing"
            bookkeeping.note(EventRecord(max(0.0, live.now_s), None, "agents-gone", detail))
        finally:
            bookkeeping.close(live.now_s)
            self._report = collector.report()
            self._collector = collector

    def _judge(self, recorder: Recorder) -> None:
        """Compare the records with the expectation. An error here goes into the verdict and never fails the run."""
        plan, collector, bookkeeping = self._plan, self._collector, self._bookkeeping
        if bookkeeping is None:
            return
        if collector is None:
            before = self._report.evidence if self._report else Evidence(time_scale=plan.scenario.time_scale)
            self._report = judge(before, Findings(trouble="the run ended before it began: there is nothing to judge"))
            return
        scenario, choice, costs = plan.scenario, plan.scenario.model, stated_costs(plan.model, plan.scenario.model)
        sample_costs = plan.model.sample_costs(choice.cut, choice.activation)
        patience = timeouts(scenario, costs.input_forms)
        world = ExactWorld(scenario, costs.profiles, costs.input_forms, patience, sample_costs)
        self._observer.phase("holding every task against its expectation")
        began_s = time.monotonic()
        try:
            recorder.flush()
            findings = hold_against(
                world, recorder.path / TASKS, recorder.path / DECISIONS,
                repeats=bookkeeping.repeats, stalls=collector.stalls, relayed=collector.relayed,
            )  # fmt: skip
            recorder.complete_tasks(findings.expected_s, bookkeeping.repeats)
            findings = replace(findings, took_s=time.monotonic() - began_s)
        except Exception as error:
            findings = Findings(trouble=f"the run could not be held against its expectation: {error!r}")
        self._report = collector.verdict(findings)

    def _summary(self) -> dict[str, object] | None:
        if self._bookkeeping is None:
            return None
        figures = self._bookkeeping.summary(self._report.as_dict() if self._report else {}, self._setup_s)
        return self._plan.completed(figures)

    def _lap(self, what: str) -> None:
        """Note the time from the start until now [real s], under the name `what`."""
        self._setup_s[what] = round(time.monotonic() - self._began_s, 3)

    def _check_servers(self, warm: Warm) -> None:
        """Raise InputError if, under quota, a server's capacity exceeds this machine's."""
        scenario = self._plan.scenario
        if scenario.compute != "quota":
            return
        for server in scenario.servers:
            self._quota(warm, server.name, server.capacity_flop_per_s)
        for event in scenario.events:
            for name, capacity_flop_per_s in event.capacities_flop_per_s.items():
                self._quota(warm, name, capacity_flop_per_s)

    def _make_cgroups(self, warm: Warm, ledger: Ledger) -> dict[str, CpuCgroup]:
        if self._plan.scenario.compute != "quota":
            return {}
        groups: dict[str, CpuCgroup] = {}
        try:
            for number, server in enumerate(self._plan.scenario.servers):
                share = self._quota(warm, server.name, server.capacity_flop_per_s)
                groups[server.name] = CpuCgroup.create(f"n{number}", share, ledger, memory_bytes=server.memory_bytes)
        except BaseException:
            for group in groups.values():
                group.remove()
            raise
        return groups

    def _quota(self, warm: Warm, server: str, capacity_flop_per_s: float) -> float:
        """Return the share of one processor that gives the server its capacity, for its own sub-model.

        Raises:
            InputError: the share would exceed 1.
        """
        stage = next(s.stage for s in self._plan.scenario.servers if s.name == server)
        host_flop_per_s = warm.profiles[stage - 1].flop / warm.cpu_s[stage - 1]
        share = capacity_flop_per_s / host_flop_per_s / self._plan.scenario.time_scale
        if share > 1:
            raise InputError(
                f"server {server}: {capacity_flop_per_s / 1e9:g} GFLOP/s is more than this machine's "
                f"{host_flop_per_s / 1e9:.1f} GFLOP/s for the sub-model of stage {stage}",
                hint="lower the capacity, raise time_scale, or use compute: paced",
            )
        return share


def _steady_flop(scenario: Scenario, warm: Warm) -> dict[str, float]:
    """Return the work of a task [FLOP] by server; servers whose work differs between samples are missing."""
    profiles = {profile.stage: profile for profile in warm.profiles}
    steady = (server for server in scenario.servers if not profiles[server.stage].variability)
    return {server.name: float(profiles[server.stage].flop) for server in steady}


def require_root() -> None:
    """Raise EnvironmentLacking unless this process may make namespaces and interfaces."""
    if os.geteuid() != 0:
        raise EnvironmentLacking(
            "building the network needs root: namespaces, interfaces and qdiscs are made",
            hint="run the same command as root, for example with sudo",
        )
