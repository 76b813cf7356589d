"""Does computing take as long as the topology says? Paced, with 40 agents at half the CPU, and under quotas.

Paced: 16 devices and 24 servers are real agents, forked as a run forks them, with their real sub-models, poll loops
and messages; only the links between them are the loopback's instead of emulated ones. The workload is chosen, by a
short run before, so that the agents together use half the CPU. A service error is what a task's record says it was
served, less work / capacity: |finished - started - due|.

Quota: a server's own compute process under its control group, one task after another, at a capacity that asks for 10,
30 or 70 % of a CPU; the rate is that of all tasks in a stretch of some seconds. It needs root and an idle machine.
"""

import os
import select
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from node_agent.models.bundles.loading import load_bundle
from node_agent.process.executor import QuotaExecutor, cpu_s_of_lone_task, inference
from node_agent.records import Ready, Record, SampleRecord, Start, Stop, TaskRecord
from node_agent.wire import Tensor
from testbed.host.cpu_quota import CpuCgroup, QuotaGovernor
from testbed.host.ledger import Ledger
from testbed.live.agent_configs import agent_configs
from testbed.live.agent_parents import Warm
from testbed.live.launcher import Launcher
from testbed.live.telemetry import Telemetry
from testbed.scenario import ModelChoice, Scenario
from testbed.topology import resolve_text
from testbed.trace.workload import Arrival
from tests.bench.table import AMOUNT, PERCENT, POSITIVE, Row, main, row

DEVICES, SERVERS_BY_STAGE = 16, (10, 6, 8)
RECEIVERS = 3
CUT = (2, 3, 5)
LOAD = 0.5  # share of the time in which a server is in service
CPU_SHARE = 0.5
TRIAL_S, RUN_S, SETTLE_S = 7.0, 12.0, 1.0
TRIAL_RATE_PER_S = 150.0  # of all devices
GOAL_S = 0.5e-3
ENDED_SHARE = 0.999
SHARES = (0.1, 0.3, 0.7)
QUOTA_SETTLE_S, QUOTA_RUN_S = 6.0, 10.0
OWN_NAMESPACE = "/proc/self/ns/net"


def topology(rate_per_s: float, works_flop: Sequence[float]) -> str:
    """Stages of servers, each in service for LOAD of the time; every offloader is joined to RECEIVERS of the next."""
    lines = [
        "name: bench", f"model: {{name: glyphs, cut: {list(CUT)}, activation: float16}}",
        "policy: {name: computing-first, parameters: {threshold: 0.8}}", "slot: 3 s", "duration: 60 s", "seed: 1",
        "devices:", f"  cam: {{count: {DEVICES}, rate: {rate_per_s / DEVICES:.3f} /s}}", "servers:",
    ]  # fmt: skip
    stages = [[f"s{stage}-{n}" for n in range(count)] for stage, count in enumerate(SERVERS_BY_STAGE, 1)]
    reach = (1.0, 0.8, 0.4)
    for stage, names in enumerate(stages):
        capacity = rate_per_s * reach[stage] * works_flop[stage] / LOAD / len(names) / 1e9
        lines += [f"  {name}: {{stage: {stage + 1}, capacity: {capacity:.5f} GFLOP/s}}" for name in names]
    lines.append("links:")
    devices = [f"cam-{n}" for n in range(1, DEVICES + 1)]
    for offloaders, receivers in zip((devices, *stages[:-1]), stages, strict=True):
        for place, name in enumerate(offloaders):
            chosen = [receivers[(place + n) % len(receivers)] for n in range(RECEIVERS)]
            lines.append(f"  - {{from: {name}, to: [{', '.join(chosen)}], rate: 1 Gbit/s, delay: 0 ms}}")
    return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class Served:
    """The records of a run of the agents."""

    scenario: Scenario
    warm: Warm
    tasks: list[TaskRecord]
    samples: list[SampleRecord]
    duration_s: float

    def cpu_share(self) -> float:
        """CPU of all agents, as a share of the machine's, while tasks came."""
        seconds = range(2, int(self.duration_s) + 1)  # the first sample tells of the start, too
        spent_s = sum(sample.cpu_s for sample in self.samples if round(sample.time_s) in seconds)
        return spent_s / len(seconds) / len(os.sched_getaffinity(0))

    def errors_s(self) -> np.ndarray:
        """|service time - work / capacity| of every service."""
        due_s = {s.name: self.warm.profiles[s.stage - 1].flop / s.capacity_flop_per_s for s in self.scenario.servers}
        return np.array([
            abs(hop.finished_s - hop.started_s - due_s[hop.node])
            for task in self.tasks if task.created_s > SETTLE_S for hop in task.hops
        ])  # fmt: skip


def serve(rate_per_s: float, duration_s: float) -> Served:
    """Start the agents, offer tasks at equal intervals for this time, and collect their records."""
    with tempfile.TemporaryDirectory() as folder, Ledger(f"bench-{os.getpid()}", root=Path(folder)) as ledger:
        launcher = Launcher(ledger, Path(folder) / "agents.log")
        try:
            launcher.begin(ModelChoice("glyphs", CUT, "float16"), measure_cpu=False)
            warm = launcher.wait_warm()
            scenario = resolve_text(topology(rate_per_s, [profile.flop for profile in warm.profiles]))
            with Telemetry(ledger.directory) as room:
                return _run(scenario, warm, launcher, room, rate_per_s, duration_s)
        finally:
            launcher.stop()


def _run(
    scenario: Scenario, warm: Warm, launcher: Launcher, room: Telemetry, rate_per_s: float, duration_s: float
) -> Served:
    devices = [device.name for device in scenario.devices]
    chance = np.random.default_rng(1)
    times_s = np.sort(chance.uniform(0, duration_s, int(rate_per_s * duration_s))).tolist()
    arrivals = [Arrival(at_s, devices[n % len(devices)], n % 1000) for n, at_s in enumerate(times_s)]
    addresses = {name: f"127.9.{n // 250}.{n % 250 + 1}" for n, name in enumerate(scenario.node_names)}
    configs = agent_configs(
        scenario, arrivals, warm, address=addresses.__getitem__, telemetry=room.endpoint, quota_procs_paths={}
    )
    launcher.spawn([(config, OWN_NAMESPACE) for config in configs.values()])
    records: list[Record] = []
    while sum(isinstance(record, Ready) for record in records) < len(configs):
        records += room.listen(1.0)
    records.clear()
    epoch_s = time.monotonic() + 0.25
    for name in configs:
        room.tell(name, Start(epoch_s))
    ended = 0
    while ended < len(arrivals) and time.monotonic() < epoch_s + 2 * duration_s + 5:
        told = room.listen(0.1)
        ended += sum(isinstance(record, TaskRecord) for record in told)
        records += told
    for name in configs:
        room.tell(name, Stop())
    while not launcher.wait_ended(0.1) and time.monotonic() < epoch_s + 2 * duration_s + 9:
        records += room.listen(0.0)
    records += room.listen(0.0)
    tasks = [record for record in records if isinstance(record, TaskRecord)]
    samples = [record for record in records if isinstance(record, SampleRecord)]
    if len(tasks) < ENDED_SHARE * len(arrivals):  # those that are missing may be the ones that took longest
        raise RuntimeError(f"only {len(tasks)} of {len(arrivals)} tasks have ended")
    return Served(scenario, warm, tasks, samples, duration_s)


def paced_rows() -> Iterator[Row]:
    """40 agents at half the CPU."""
    trial = serve(TRIAL_RATE_PER_S, TRIAL_S)
    served = serve(TRIAL_RATE_PER_S * CPU_SHARE / trial.cpu_share(), RUN_S)
    errors_ms = served.errors_s() * 1e3
    count = DEVICES + sum(SERVERS_BY_STAGE)
    yield row(f"CPU of {count} agents, share of the machine", served.cpu_share() * 100, "%", least=45,
              possible=PERCENT)  # fmt: skip
    p99_ms = float(np.percentile(errors_ms, 99))
    yield row("paced service, p99 error", p99_ms, "ms", most=GOAL_S * 1e3, possible=AMOUNT)
    yield row("paced service, median error", float(np.median(errors_ms)), "ms", possible=AMOUNT)
    yield row("paced service, worst error", float(errors_ms.max()), "ms", possible=AMOUNT)
    yield row("paced services measured", len(errors_ms), "", possible=POSITIVE)
    cpu_s = sum(sample.compute_cpu_s for sample in served.samples)
    flop = sum(sample.work_flop for sample in served.samples)
    yield row("speed of the sub-models themselves", flop / cpu_s / 1e9, "GFLOP/s", possible=POSITIVE)
    yield row("overruns", sum(sample.overruns for sample in served.samples), "")


class QuotaServer:
    """A server's compute process under its control group and governor, fed one task after another."""

    def __init__(self, ledger: Ledger, share: float) -> None:
        """At the capacity that asks for `share` of a CPU, by what a lone task costs before the run."""
        import torch

        torch.set_num_threads(1)
        sub_model = load_bundle("glyphs").sub_models(CUT, "float16")[0]
        form = sub_model.input_form.usual
        self._tensor = Tensor(form, bytes(form.byte_count))
        self._work_flop = sub_model.flop(self._tensor)
        infer = inference(sub_model)
        self.host_flop_per_s = self._work_flop / cpu_s_of_lone_task(infer, form)
        self.capacity_flop_per_s = share * self.host_flop_per_s
        self._group = CpuCgroup.create("server", share, ledger)
        self._executor = QuotaExecutor(infer, [str(path) for path in self._group.procs_paths])
        self._governor = QuotaGovernor(
            {"server": self._group},
            lambda _, capacity: capacity / self.host_flop_per_s,
            {"server": self.capacity_flop_per_s},
        )

    def change(self, factor: float) -> None:
        """Another capacity."""
        self.capacity_flop_per_s *= factor
        self._governor.set_capacity("server", self.capacity_flop_per_s, time.monotonic())

    def serve(self, duration_s: float) -> tuple[float, float]:
        """Serve for so long, telling the governor once a second; error of the mean rate, FLOP per second of CPU."""
        served, began_s, cpu_s = 0, time.monotonic(), self._executor.cpu_s
        told, told_s = 0, began_s
        while (now_s := time.monotonic()) < began_s + duration_s:
            if now_s > told_s + 1:
                self._governor.observe(self._sample(served - told, now_s - told_s))
                told, told_s = served, now_s
            self._executor.start(self._tensor, 0.0, 0.0)
            answer = self._executor.fileno()
            assert answer is not None
            select.select([answer], [], [])
            if self._executor.collect(0.0) is not None:
                served += 1
        rate = served / (time.monotonic() - began_s)
        speed = served * self._work_flop / (self._executor.cpu_s - cpu_s)
        return rate * self._work_flop / self.capacity_flop_per_s - 1, speed

    def _sample(self, served: int, busy_s: float) -> SampleRecord:
        return SampleRecord(
            time_s=time.monotonic(), node="server", stage=1, queue_length=1, arrival_rate_per_s=0.0, utilisation=1.0,
            arrived=served, served=served, exits=0, forwarded=served, duplicates=0, overruns=0, cpu_s=0.0,
            threshold=None, busy_s=busy_s, work_flop=served * self._work_flop,
        )  # fmt: skip

    def close(self) -> None:
        """End the process and remove its group."""
        self._executor.close()
        self._group.remove()


def quota_rows() -> Iterator[Row]:
    """Each share, and half of it after a change of capacity."""
    for share in SHARES:
        with tempfile.TemporaryDirectory() as folder, Ledger(f"bench-{os.getpid()}", root=Path(folder)) as ledger:
            server = QuotaServer(ledger, share)
            try:
                server.serve(QUOTA_SETTLE_S)
                error, speed = server.serve(QUOTA_RUN_S)
                name = f"quota, {share * 100:.0f} % of a CPU"
                yield row(f"{name}: error of the mean rate", abs(error) * 100, "%", most=5)
                yield row(f"{name}: speed of the sub-model itself", speed / 1e9, "GFLOP/s", possible=POSITIVE)
                server.change(0.5)
                server.serve(QUOTA_SETTLE_S)
                error, _ = server.serve(QUOTA_RUN_S)
                yield row(f"{name}, halved while it runs: error of the mean rate", abs(error) * 100, "%", most=5)
            finally:
                server.close()


def rows() -> Iterator[Row]:
    """Paced, then under quota."""
    yield from paced_rows()
    yield from quota_rows()


if __name__ == "__main__":
    main(rows, __doc__, timed=True)
