"""One run from start to clean end: build the network, start the agents, let time pass, collect, tear down."""

import os
import secrets
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from node_agent.errors import EnvironmentLacking, InputError
from node_agent.models.bundle import Bundle
from node_agent.policies.loading import is_file
from node_agent.records import Stop
from testbed.accounts import Accounts
from testbed.compute import CpuCgroup
from testbed.control_room import ControlRoom
from testbed.interrupts import Interrupts
from testbed.launcher import Launcher, LaunchError
from testbed.ledger import Ledger
from testbed.live import LiveRun
from testbed.network import EmulatedNetwork, NetworkError
from testbed.network.emulated import BackendChoice
from testbed.nursery import Warm
from testbed.observer import RunObserver
from testbed.recorder import Recorder, sub_model_facts
from testbed.scenario import CapacityChange, Scenario
from testbed.trace.workload import Arrival
from testbed.wiring import agent_configs, timeouts

READY_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 3.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run, fully decided. `facts` go into the manifest: how the run was asked for."""

    scenario: Scenario
    topology_text: str
    arrivals: Sequence[Arrival]
    bundle: Bundle
    run_directory: Path
    run_id: str
    backend: BackendChoice
    facts: dict[str, Any]

    @property
    def policy_file(self) -> Path | None:
        """Where the policy comes from, if it is the user's own."""
        name = self.scenario.policy.name
        return Path(name.rpartition(":")[0]) if is_file(name) else None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended: its directory, its figures, and completed or interrupted."""

    run_directory: Path
    summary: dict[str, object] | None
    exit_reason: str


def new_run_id() -> str:
    """A short name that no other run on this machine has."""
    return secrets.token_hex(4)


class Experiment:
    """Carries out a plan."""

    def __init__(self, plan: Plan, observer: RunObserver) -> None:
        self._plan = plan
        self._observer = observer
        self._began_s = time.monotonic()
        self._setup_s: dict[str, float] = {}
        self._accounts: Accounts | None = None
        self._fidelity: dict[str, object] = {}

    def run(self) -> Outcome:
        """Run to the end. Ctrl-C ends early and keeps what was recorded.

        Raises:
            TestbedError: the run failed; what was recorded until then is kept, and nothing is left behind.
        """
        plan = self._plan
        with Interrupts() as interrupts, Ledger(plan.run_id) as ledger:
            recorder = Recorder(
                plan.run_directory,
                topology_text=plan.topology_text,
                arrivals=plan.arrivals,
                labels=plan.bundle.evaluation.labels.tolist(),
                policy_file=plan.policy_file,
            )
            recorder.describe(run_id=plan.run_id, policy=plan.scenario.policy.name, **plan.facts)
            reason = "failed"
            try:
                reason = self._carry_out(ledger, recorder, interrupts)
            except KeyboardInterrupt:
                reason = "interrupted"
            except Exception as error:
                reason = f"failed: {error or type(error).__name__}"
                raise
            finally:
                interrupts.deferred = True  # a Ctrl-C from here on must not cut the cleaning short
                summary = self._summary()
                recorder.finish(summary, reason)
        return Outcome(plan.run_directory, summary, reason)

    def _carry_out(self, ledger: Ledger, recorder: Recorder, interrupts: Interrupts) -> str:
        with ExitStack() as stack:
            try:
                return self._build_and_run(stack, ledger, recorder, interrupts)
            finally:
                interrupts.deferred = True  # a signal while the stack unwinds must not leave half of it standing

    def _build_and_run(self, stack: ExitStack, ledger: Ledger, recorder: Recorder, interrupts: Interrupts) -> str:
        plan, scenario = self._plan, self._plan.scenario
        launcher = Launcher(ledger, plan.run_directory / "agents.log")
        stack.callback(launcher.stop)
        # It warms up while the network is being built.
        launcher.begin(scenario.model, measure_cpu=scenario.compute == "quota")
        self._observer.phase(f"building the network: {len(scenario.node_names)} nodes, {len(scenario.links)} links")
        network = stack.enter_context(
            EmulatedNetwork(scenario, run_id=plan.run_id, ledger=ledger, backend=plan.backend)
        )
        self._lap("network")
        self._observer.phase("loading the model")
        warm = launcher.wait_warm()
        self._lap("model")
        self._check_servers(warm)
        cgroups = self._make_cgroups(warm, ledger)
        for group in cgroups.values():
            stack.callback(group.remove)
        room = stack.enter_context(ControlRoom(ledger.directory))
        configs = agent_configs(
            scenario,
            plan.arrivals,
            warm,
            address=network.address,
            control_room=room.endpoint,
            quota_procs_paths={
                server: tuple(map(str, group.procs_paths)) for server, group in cgroups.items()
            },
        )
        self._accounts = Accounts(scenario, plan.arrivals, recorder, self._observer)
        live = LiveRun(
            scenario,
            offered=len(plan.arrivals),
            network=network,
            launcher=launcher,
            room=room,
            accounts=self._accounts,
            observer=self._observer,
            configs=configs,
            cgroups=cgroups,
            quota=lambda server, capacity: self._quota(warm, server, capacity),
        )
        self._observer.phase(f"starting {len(configs)} agents, measuring links")
        launcher.spawn([(config, network.namespace_path(node)) for node, config in configs.items()])
        live.wait_ready(READY_TIMEOUT_S + scenario.time_scale * timeouts(scenario, warm.input_forms).probe_s)
        self._lap("agents")
        recorder.describe(
            backends={"network": network.backend, "compute": scenario.compute},
            sub_models=sub_model_facts(warm.profiles),
            setup_s=self._setup_s,
            nodes={
                node: {"address": network.address(node), "namespace": network.namespace_path(node)}
                for node in configs
            },
        )
        interrupts.deferred = True
        psutil.cpu_percent()
        try:
            return live.run(interrupts)
        finally:
            self._observer.phase("ending: agents stop, the network is taken down")
            self._end(live, self._accounts, launcher, room, network, configs)

    def _end(
        self, live: LiveRun, accounts: Accounts, launcher: Launcher, room: ControlRoom, network: EmulatedNetwork,
        configs: Iterable[str],
    ) -> None:
        """Stop the agents, hear what they still have to tell, and close the accounts, whatever has failed."""
        host_cpu = psutil.cpu_percent() / 100
        for node in configs:
            room.tell(node, Stop())
        try:
            deadline_s = time.monotonic() + STOP_TIMEOUT_S
            while not launcher.wait_ended(0.05) and time.monotonic() < deadline_s:
                live.take_rest()
            live.take_rest()
        except LaunchError:
            pass  # the agents' parent is gone, and the agents with it: the run has failed already
        finally:
            accounts.close(live.now_s)
            self._fidelity = self._measure_fidelity(live, accounts, network, host_cpu)

    def _measure_fidelity(
        self, live: LiveRun, accounts: Accounts, network: EmulatedNetwork, host_cpu: float
    ) -> dict[str, object]:
        lateness = [task["lateness_s"] for task in accounts.tasks if task["status"] == "completed"]
        fidelity: dict[str, object] = {
            "agents_cpu_s": accounts.agents_cpu_s,
            "host_cpu_share": host_cpu,
            "compute_overruns": accounts.overruns,
            "service_time_ratio_p50": float(np.median(live.slowness)) if live.slowness else None,
            "replay_lateness_p99_s": float(np.percentile(lateness, 99)) if lateness else None,
        }
        try:
            statistics = network.statistics()
        except NetworkError:
            return fidelity  # it has died, which the run's end tells
        return {
            "network_backend": statistics.backend,
            "frames_relayed": statistics.frames_relayed,
            "frames_late": statistics.frames_late,
            "frames_dropped": statistics.frames_dropped,
            "worst_frame_lateness_s": statistics.worst_lateness_s,
            "relay_cpu_s": statistics.relay_cpu_s,
            **fidelity,
        }

    def _summary(self) -> dict[str, object] | None:
        return None if self._accounts is None else self._accounts.summary(self._fidelity, self._setup_s)

    def _lap(self, what: str) -> None:
        """Note how long the run has taken to get here [real s]."""
        self._setup_s[what] = round(time.monotonic() - self._began_s, 3)

    def _check_servers(self, warm: Warm) -> None:
        """Raise InputError for a server that is to compute faster than this machine does."""
        scenario = self._plan.scenario
        if scenario.compute != "quota":
            return
        for server in scenario.servers:
            self._quota(warm, server.name, server.capacity_flop_per_s)
        for event in scenario.events:
            if isinstance(event, CapacityChange):
                self._quota(warm, event.server, event.capacity_flop_per_s)

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
        """Share of one CPU in which this machine does what the server's capacity says, for its own sub-model."""
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


def require_root() -> None:
    """Raise EnvironmentLacking unless this process may make namespaces and interfaces."""
    if os.geteuid() != 0:
        raise EnvironmentLacking(
            "building the network needs root: namespaces, interfaces and qdiscs are made",
            hint="run the same command as root, for example with sudo",
        )
