"""CPU quotas through control groups, version 1 or 2, for `compute: quota`.

A group may use `quota` microseconds of CPU in every period. The period is 5 ms, because with the usual 100 ms a short
job runs at full speed and then nothing runs for most of the period. The kernel takes quotas from 1 ms up, so a fraction
below 0.2 gets a period longer than 5 ms (1 ms / fraction), and one below 0.001 would need more than the longest allowed
period of 1 s: an error.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from node_agent.errors import EnvironmentLacking, TestbedError
from testbed.ledger import Ledger, remove_cgroup

PERIOD_US = 5_000
LEAST_QUOTA_US = 1_000
LONGEST_PERIOD_US = 1_000_000
MARK = "dtoee-testbed"

Version = Literal["v1", "v2"]


@dataclass(frozen=True, slots=True)
class Hierarchies:
    """Where groups are made: `cpu`, and `memory` where that controller can be had (the same directory in version 2)."""

    version: Version
    cpu: Path
    memory: Path | None


def quota_and_period_us(fraction: float) -> tuple[int, int]:
    """Quota and period in microseconds that give `fraction` of one CPU; TestbedError outside 0.001 and up."""
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
    """The mounted hierarchies that have a CPU controller: version 1 if it has, else 2, else None."""
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
        # Controllers reach our groups only if the root hands them down.
        handed_down = (unified / "cgroup.subtree_control").read_text(encoding="ascii").split()
        if "cpu" in handed_down:
            return Hierarchies("v2", unified, unified if "memory" in handed_down else None)
    return None


def detect() -> Version | None:
    """Which version of control groups can limit the CPU on this machine."""
    found = hierarchies()
    return None if found is None else found.version


class CpuCgroup:
    """A control group with a CPU quota, and a memory limit if asked for; processes join through `procs_paths`."""

    def __init__(self, version: Version, cpu: Path, memory: Path | None) -> None:
        """Use `create`."""
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

        Raises EnvironmentLacking where no CPU controller can be used (or memory controller, if a limit is asked for),
        TestbedError for a fraction that no kernel can give.
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
        """The file that takes the id of a process to be limited (0: the writer itself)."""
        return self._cpu / "cgroup.procs"

    @property
    def procs_paths(self) -> tuple[Path, ...]:
        """All files to write the id to; in version 1 a memory limit has a second one."""
        others = () if self._memory in {None, self._cpu} else (Path(str(self._memory)) / "cgroup.procs",)
        return (self.procs_path, *others)

    def add(self, pid: int) -> None:
        """Put a process into the group (0: the caller)."""
        for path in self.procs_paths:
            _write(path, str(pid))

    def set_quota(self, fraction: float) -> None:
        """Allow `fraction` of one CPU (above 1: more than one) from now on."""
        quota_us, period_us = quota_and_period_us(fraction)
        if self._version == "v2":
            _write(self._cpu / "cpu.max", f"{quota_us} {period_us}")
            return
        # Two files, and every pair on the way is checked against the parent: lift the old quota first.
        _write(self._cpu / "cpu.cfs_quota_us", "-1")
        _write(self._cpu / "cpu.cfs_period_us", str(period_us))
        _write(self._cpu / "cpu.cfs_quota_us", str(quota_us))

    def cpu_time_s(self) -> float:
        """CPU time that the group has used, in seconds; NaN where version 1 has no cpuacct in the same hierarchy."""
        if self._version == "v2":
            lines = (self._cpu / "cpu.stat").read_text(encoding="ascii").split()
            return int(lines[lines.index("usage_usec") + 1]) * 1e-6
        usage = self._cpu / "cpuacct.usage"
        return int(usage.read_text(encoding="ascii")) * 1e-9 if usage.exists() else float("nan")

    def throttled_periods(self) -> int:
        """In how many periods the group ran into its quota."""
        words = (self._cpu / "cpu.stat").read_text(encoding="ascii").split()
        return int(words[words.index("nr_throttled") + 1])

    def remove(self) -> None:
        """End whatever still runs inside and remove the group; may be called twice."""
        for path in {self._cpu, self._memory} - {None}:
            if path is not None:
                remove_cgroup(path)


def _make(run_directory: Path, name: str, ledger: Ledger, version: Version, *, with_memory: bool) -> Path:
    """Make run_directory/name, each level in the ledger first."""
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
