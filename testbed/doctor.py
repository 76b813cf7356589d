"""What this machine offers for emulation: every part is really tried, in throw-away namespaces and groups."""

import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

from node_agent.errors import EnvironmentLacking, TestbedError
from testbed.compute import CpuCgroup, detect
from testbed.ledger import Ledger
from testbed.network import EmulatedNetwork
from testbed.network.delay import NETEM_TRIAL, kernel_takes
from testbed.scenario import Device, Link, LinkShape, ModelChoice, PolicyChoice, Scenario, Server

State = Literal["ok", "fallback", "missing"]
TRIAL_DELAY_S = 0.010
TRIAL_RATE_MBIT_PER_S = 100.0
TRIAL_ROUNDS = 11
TORCH_TIMEOUT_S = 120


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the examination; `remedy` says how to get what is missing.

    A run is possible unless something needed is `missing`; `fallback` means that something else takes its place.
    """

    name: str
    state: State
    detail: str
    remedy: str = ""


def _ok_or_missing(name: str, trouble: str, good: str, remedy: str) -> Finding:
    return Finding(name, "missing", trouble, remedy) if trouble else Finding(name, "ok", good)


def _python() -> Finding:
    return Finding("python", "ok", f"{platform.python_version()} ({sys.executable})")


def _root() -> Finding:
    trouble = "" if os.geteuid() == 0 else f"running as user {os.geteuid()}"
    return _ok_or_missing("root", trouble, "running as root", "run as root, for example with sudo")


def _programs() -> list[Finding]:
    packages = {"mnexec": "mininet", "ip": "iproute2", "tc": "iproute2", "bridge": "iproute2", "unshare": "util-linux"}
    return [
        _ok_or_missing(
            program,
            "" if shutil.which(program) else "not found on PATH",
            shutil.which(program) or "",
            f"apt-get install {package}",
        )
        for program, package in packages.items()
    ]


def _mininet() -> Finding:
    try:
        import mininet.net  # noqa: F401, PLC0415
    except ImportError as error:
        return Finding("mininet (Python)", "missing", str(error), "pip install mininet setuptools")
    try:
        return Finding("mininet (Python)", "ok", version("mininet"))
    except PackageNotFoundError:
        return Finding("mininet (Python)", "ok", "installed outside pip")


def _in_new_namespace(script: str) -> str:
    """Run a script in a new network namespace; returns why it failed, empty if it did not."""
    try:
        done = subprocess.run(["unshare", "-n", "sh", "-ec", script], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "unshare is missing"
    return "" if done.returncode == 0 else (done.stderr.strip() or f"exit status {done.returncode}")


def _kernel() -> list[Finding]:
    module = "load the kernel module {0} (modprobe {0}), or use a kernel that has it"
    return [
        _ok_or_missing(
            "namespaces and veth",
            _in_new_namespace("ip link add one type veth peer name other && ip link set one up"),
            "works",
            module.format("veth"),
        ),
        _ok_or_missing(
            "Linux bridge (switches)",
            _in_new_namespace("ip link add bridge0 type bridge stp_state 0 mcast_snooping 0"),
            "works",
            module.format("bridge"),
        ),
        _ok_or_missing("htb (link rates)", kernel_takes("htb default 1"), "works", module.format("sch_htb")),
        _delays(),
    ]


def _delays() -> Finding:
    trouble = kernel_takes(NETEM_TRIAL)
    if not trouble:
        return Finding("netem (link delays)", "ok", "works")
    # Whether the relay works as well is shown by the trial network below.
    return Finding(
        "netem (link delays)",
        "fallback",
        f"{trouble}; delays run in user space",
        "a kernel with sch_netem (Debian, Ubuntu: linux-modules-extra) costs less CPU",
    )


def _cgroup() -> Finding:
    name = "cgroup CPU quota"
    try:
        with Ledger(f"doctor-cgroup-{os.getpid()}") as ledger:
            group = CpuCgroup.create("trial", 0.2, ledger)
            process = subprocess.Popen(["sleep", "10"])
            try:
                group.add(process.pid)
            finally:
                process.kill()
                process.wait()
            group.remove()
    except (TestbedError, OSError) as error:
        return Finding(name, "fallback", f"{error}; `compute: paced` works without", getattr(error, "hint", ""))
    return Finding(name, "ok", f"works ({detect()})")


def _torch() -> Finding:
    command = [sys.executable, "-c", "import torch; print(torch.__version__)"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TORCH_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return Finding("torch", "missing", f"import takes more than {TORCH_TIMEOUT_S} s", "")
    except OSError as error:
        return Finding("torch", "missing", f"{sys.executable} cannot be run: {error.strerror}", "")
    trouble = "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["import failed"])[-1]
    return _ok_or_missing("torch", trouble, done.stdout.strip(), "pip install torch")


def _trial_scenario() -> Scenario:
    shape = LinkShape(TRIAL_RATE_MBIT_PER_S, TRIAL_DELAY_S)
    return Scenario(
        name="doctor",
        seed=1,
        duration_s=1.0,
        warm_up_s=0.0,
        slot_s=1.0,
        time_scale=1.0,
        compute="paced",
        arrivals="poisson",
        model=ModelChoice("none", (1,)),
        policy=PolicyChoice("none"),
        devices=(Device("device", 1.0),),
        servers=(Server("server", 1, 1e9),),
        switches=(),
        links=(Link(("device", "server"), shape),),
        offload_to={"device": ("server",)},
        events=(),
    )


def _trial_network() -> Finding:
    """Two nodes, one link of 10 ms, probed both ways."""
    name = "trial network"
    try:
        with (
            Ledger(f"doctor-{os.getpid()}-{time.monotonic_ns()}") as ledger,
            EmulatedNetwork(_trial_scenario(), run_id=ledger.run_id, ledger=ledger) as network,
        ):
            trips_s = []
            for _ in range(TRIAL_ROUNDS):
                times_s = [probed.one_way_s for probed in network.measure_delays(rounds=1)]
                trips_s.append(sum(time_s for time_s in times_s if time_s is not None))
            numbers = network.statistics()
    except (TestbedError, OSError) as error:
        return Finding(name, "missing", str(error), getattr(error, "hint", ""))
    priority = "" if numbers.realtime_priority else ", without real-time priority"
    return Finding(
        name,
        "ok",
        f"round trip {statistics.median(trips_s) * 1e3:.2f} ms over a link of {TRIAL_DELAY_S * 1e3:g} ms each way "
        f"({numbers.backend}{priority})",
    )


def examine() -> list[Finding]:
    """Try everything a run needs, in the order of need; about two seconds, most of it importing torch."""
    findings = [_python(), _root(), *_programs(), _mininet(), _torch()]
    missing = {finding.name for finding in findings if finding.state == "missing"}
    if "root" in missing:
        skipped = ("namespaces and veth", "Linux bridge (switches)", "htb (link rates)", "netem (link delays)")
        return [*findings, *(Finding(name, "missing", "cannot be tried without root", "") for name in skipped)]
    steps: tuple[Callable[[], list[Finding]], ...] = (_kernel, lambda: [_cgroup()])
    for step in steps:
        findings += step()
    if any(finding.state == "missing" for finding in findings if finding.name != "torch"):
        return [*findings, Finding("trial network", "missing", "not tried: something above is missing", "")]
    return [*findings, _trial_network()]


def require_possible(findings: list[Finding]) -> None:
    """Raise EnvironmentLacking, naming everything that is missing, unless a run is possible."""
    missing = [finding for finding in findings if finding.state == "missing"]
    if missing:
        remedies = dict.fromkeys(finding.remedy for finding in missing if finding.remedy)
        raise EnvironmentLacking(
            f"no run is possible here: missing {', '.join(finding.name for finding in missing)}",
            hint="; ".join(remedies),
        )
