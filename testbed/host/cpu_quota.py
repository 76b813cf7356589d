"""CPU quotas through control groups, version 1 or 2, for `compute: quota`.

A group may use `quota` microseconds of CPU in every period. The period is 5 ms, because with the usual 100 ms a short
job runs at full speed and then nothing runs for most of the period. The kernel's least quota is 1 ms, so a fraction
below 0.2 gets a longer period (1 ms / fraction). A fraction below 0.001 would need more than the longest allowed period
of 1 s: an error.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from node_agent.errors import EnvironmentLacking, TestbedError
from node_agent.records import SampleRecord
from testbed.host.ledger import Ledger, remove_cgroup

PERIOD_US = 5_000
LEAST_QUOTA_US = 1_000
LONGEST_PERIOD_US = 1_000_000
LEAST_SHARE = LEAST_QUOTA_US / LONGEST_PERIOD_US
MARK = "dtoee-testbed"

Version = Literal["v1", "v2"]


@dataclass(frozen=True, slots=True)
class Hierarchies:
    """The directories for groups: `cpu`, and `memory` if that controller is available (the same in version 2)."""

    version: Version
    cpu: Path
    memory: Path | None


def quota_and_period_us(fraction: float) -> tuple[int, int]:
    """Quota and period in microseconds that give `fraction` of one CPU; TestbedError for a fraction below 0.001."""
    if not fraction > 0:
        raise TestbedError(f"a CPU fraction must be positive, not {fraction}")
    period_us = PERIOD_US if fraction * PERIOD_US >= LEAST_QUOTA_US else round(LEAST_QUOTA_US / fraction)
    if period_us > LONGEST_PERIOD_US:
        raise TestbedError(
            f"a CPU fraction of {fraction:g} is below the least a kernel can give (0.001)",
            hint="give the server a larger capacity, or use `compute: paced`",
        )
    return round(fraction * period_us), period_us


def hierarchies(mounts: Path = Path("/proc/self/mounts")) -> Hierarchies | None:
    """The mounted hierarchies with a CPU controller, of version 1 or else of version 2; None if there are none."""
    found: dict[str, Path] = {}
    unified: Path | None = None
    for line in mounts.read_text(encoding="utf-8").splitlines():
        _, point, kind, options, *_ = line.split(" ")
        if kind == "cgroup":
            for controller in {"cpu", "memory"} & set(options.split(",")):
                found.setdefault(controller, Path(point))
        elif kind == "cgroup2":
            unified = Path(point)
    if "cpu" in found:
        return Hierarchies("v1", found["cpu"], found.get("memory"))
    if unified is not None:
        # Our groups have only the controllers that the root enables for its children.
        handed_down = (unified / "cgroup.subtree_control").read_text(encoding="ascii").split()
        if "cpu" in handed_down:
            return Hierarchies("v2", unified, unified if "memory" in handed_down else None)
    return None


class CpuCgroup:
    """A control group with a CPU quota, and a memory limit if asked for; processes join through `procs_paths`."""

    def __init__(self, version: Version, cpu: Path, memory: Path | None) -> None:
        """Wrap the directories of an existing group; `create` makes a group."""
        self._version = version
        self._cpu = cpu
        self._memory = memory

    @classmethod
    def create(
        cls,
        name: str,
        quota_fraction_of_one_cpu: float,
        ledger: Ledger,
        memory_bytes: int | None = None,
    ) -> "CpuCgroup":
        """Make the group `name` of the ledger's run.

        Args:
            quota_fraction_of_one_cpu: share of a CPU, from 0.001; above 1 more than one CPU.
            memory_bytes: limit of the group's memory; None for no limit.

        Raises:
            EnvironmentLacking: no CPU controller is usable, or no memory controller for a limit.
            TestbedError: the fraction is below 0.001.
        """
        quota_and_period_us(quota_fraction_of_one_cpu)  # before anything is made
        where = hierarchies()
        if where is None:
            raise EnvironmentLacking(
                "no control group hierarchy with a CPU controller is mounted",
                hint="use `compute: paced`, or write +cpu to /sys/fs/cgroup/cgroup.subtree_control",
            )
        if memory_bytes is not None and where.memory is None:
            raise EnvironmentLacking("the memory controller is not available", hint="leave out memory limits")
        run_name = f"{MARK}-{ledger.run_id}"
        cpu = _make(where.cpu / run_name, name, ledger, where.version, with_memory=where.memory is not None)
        memory: Path | None = None
        if memory_bytes is not None and where.memory is not None:
            memory = cpu
            if where.version == "v1":
                memory = _make(where.memory / run_name, name, ledger, where.version, with_memory=True)
        group = cls(where.version, cpu, memory)
        group.set_quota(quota_fraction_of_one_cpu)
        if memory is not None and memory_bytes is not None:
            limit = "memory.limit_in_bytes" if where.version == "v1" else "memory.max"
            _write(memory / limit, str(memory_bytes))
        return group

    @property
    def procs_path(self) -> Path:
        """The file for the id of a process that joins the group (0: the writer itself)."""
        return self._cpu / "cgroup.procs"

    @property
    def procs_paths(self) -> tuple[Path, ...]:
        """All files to which the id is written; in version 1 a memory limit has a second one."""
        others = () if self._memory in {None, self._cpu} else (Path(str(self._memory)) / "cgroup.procs",)
        return (self.procs_path, *others)

    def add(self, pid: int) -> None:
        """Put a process into the group (0: the caller); EnvironmentLacking if that is refused."""
        for path in self.procs_paths:
            _write(path, str(pid))

    def set_quota(self, fraction: float) -> None:
        """Set the quota to `fraction` of one CPU (above 1: more than one); raises as `create`."""
        quota_us, period_us = quota_and_period_us(fraction)
        if self._version == "v2":
            _write(self._cpu / "cpu.max", f"{quota_us} {period_us}")
            return
        # The kernel checks every intermediate pair of quota and period against the parent: lift the old quota first.
        _write(self._cpu / "cpu.cfs_quota_us", "-1")
        _write(self._cpu / "cpu.cfs_period_us", str(period_us))
        _write(self._cpu / "cpu.cfs_quota_us", str(quota_us))

    def remove(self) -> None:
        """Kill the processes still inside and remove the group; may be called twice."""
        for path in {self._cpu, self._memory} - {None}:
            if path is not None:
                remove_cgroup(path)


@dataclass(slots=True)
class _Governed:
    """A server under quota: its capacity, its service since the last correction, and the correction."""

    capacity_flop_per_s: float
    correction: float = 1.0
    corrections: int = 0
    stated_s: float = 0.0
    busy_s: float = 0.0
    served: int = 0
    behind_s: float = 0.0  # service still to catch up (negative: ahead)
    since_s: float = float("-inf")  # time of the last change of capacity
    told_s: float = float("-inf")  # time of its last sample

    def forget(self) -> None:
        """Restart the counts of service."""
        self.stated_s = self.busy_s = 0.0
        self.served = 0


class QuotaGovernor:
    """Holds each server's mean service rate to its capacity, by correcting its share of a CPU from measurements.

    After every TASKS_AT_LEAST tasks and BUSY_AT_LEAST_S of service, the share is multiplied by a power of (time in
    service / stated time): 1 for the first WHOLE_STEPS corrections, GAIN for later ones. Over the next CATCH_UP_S of
    service a server also makes up for service that it is behind or ahead.

    Decision 044: the share is corrected during the run, in small steps with catching up
    (docs/decisions/044-quotas-are-corrected-during-the-run.md).
    """

    TASKS_AT_LEAST = 5
    BUSY_AT_LEAST_S = 0.5
    GAIN = 0.2
    WHOLE_STEPS = 2
    LARGEST_STEP = 4.0
    LARGEST_CORRECTION = 10.0
    CATCH_UP_S = 3.0
    MOST_BEHIND_S = 1.0

    def __init__(
        self,
        groups: Mapping[str, CpuCgroup],
        share: Callable[[str, float], float],
        capacity_flop_per_s: Mapping[str, float],
    ) -> None:
        """Govern these groups, which already have their first quota. All mappings are by server.

        Args:
            share: the first guess of the share of a CPU, for a server and its capacity [FLOP/s].
            capacity_flop_per_s: the servers' capacities at first.
        """
        self._groups = groups
        self._share = share
        self._servers = {server: _Governed(capacity_flop_per_s[server]) for server in groups}

    def correction(self, server: str) -> float:
        """The present factor on the first guess, without catching up."""
        return self._servers[server].correction

    def set_capacity(self, server: str, capacity_flop_per_s: float, now_s: float) -> None:
        """Give a server another capacity at `now_s` (emulated time, as in samples); ignore servers without quota."""
        if server in self._servers:
            state = self._servers[server]
            state.capacity_flop_per_s = capacity_flop_per_s
            state.since_s = now_s
            state.behind_s = 0.0
            state.forget()
            self._apply(server)

    def observe(self, record: SampleRecord) -> None:
        """Take a server's latest sample into account, and correct its share if enough was served."""
        state = self._servers.get(record.node)
        if state is None:
            return
        began_s, state.told_s = state.told_s, record.time_s
        if began_s < state.since_s:  # part of the sample was at another capacity
            return
        state.served += record.served
        state.stated_s += record.work_flop / state.capacity_flop_per_s
        state.busy_s += record.busy_s
        if state.served < self.TASKS_AT_LEAST or state.busy_s < self.BUSY_AT_LEAST_S:
            return
        settled = state.corrections >= self.WHOLE_STEPS
        if settled:  # no catching up for the time before the guess was corrected
            behind_s = state.behind_s + state.busy_s - state.stated_s
            state.behind_s = min(self.MOST_BEHIND_S, max(-self.MOST_BEHIND_S, behind_s))
        slowness = min(self.LARGEST_STEP, max(1 / self.LARGEST_STEP, state.busy_s / state.stated_s))
        correction = state.correction * slowness ** (self.GAIN if settled else 1.0)
        state.correction = min(self.LARGEST_CORRECTION, max(1 / self.LARGEST_CORRECTION, correction))
        state.corrections += 1
        state.forget()
        self._apply(record.node)

    def _apply(self, server: str) -> None:
        state = self._servers[server]
        haste = 1 + state.behind_s / self.CATCH_UP_S
        share = self._share(server, state.capacity_flop_per_s) * state.correction * haste
        self._groups[server].set_quota(min(1.0, max(LEAST_SHARE, share)))


def _make(run_directory: Path, name: str, ledger: Ledger, version: Version, *, with_memory: bool) -> Path:
    """Make run_directory/name; each level is in the ledger before it exists."""
    if not run_directory.is_dir():
        ledger.add_cgroup(run_directory)
        _make_directory(run_directory)
        if version == "v2":
            _write(run_directory / "cgroup.subtree_control", "+cpu +memory" if with_memory else "+cpu")
    group = run_directory / name
    ledger.add_cgroup(group)
    _make_directory(group)
    return group


def _make_directory(path: Path) -> None:
    try:
        path.mkdir()
    except OSError as error:
        raise EnvironmentLacking(f"cannot make the control group {path}: {os.strerror(error.errno or 0)}") from error


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="ascii")
    except OSError as error:
        raise EnvironmentLacking(f"cannot write {text!r} to {path}: {os.strerror(error.errno or 0)}") from error
