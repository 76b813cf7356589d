"""Trials of the kernel: each thing is used for real, in throw-away namespaces and groups."""

import os
import platform
import subprocess
from dataclasses import replace
from pathlib import Path

from node_agent.errors import EnvironmentLacking, TestbedError
from node_agent.process.children import answer_of_child
from node_agent.process.linux import exact_timers
from testbed.doctor.finding import Finding, needed, useful
from testbed.host.cpu_quota import CpuCgroup, hierarchies
from testbed.host.idle_cpus import LATENCY_FILE, AwakeCpus
from testbed.host.interpreter import interpreter
from testbed.host.ledger import Ledger
from testbed.host.rootless import CONTAINER, WITHOUT_RIGHTS, forbidding_switches, is_rootless, outer_uid, refusal_for
from testbed.network.commands import LOW_DELAY_MATCH, in_new_namespace, kernel_takes
from testbed.network.delays.backend import DelayBackend
from testbed.network.delays.choice import BACKENDS

NOBODY = 65534
TRIAL_PRIORITY = 10
NO_NETWORK = "no network can be built"
CONGESTION = "TCP congestion control"
# Words in messages of ip, tc, mnexec and the kernel about a thing that is absent, and about a forbidden one.
ABSENT = ("unknown", "not supported", "no such")
FORBIDDEN = ("not permitted", "permission denied")


def root(refused: EnvironmentLacking | None) -> Finding:
    """The rights of this process; `refused` is the reason if it can neither make namespaces nor enter its own."""
    if refused is not None:
        return Finding("root", "missing", str(refused), refused.hint, "no `run`; `simulate` works")
    if is_rootless():
        return Finding(
            "root",
            "fallback",
            f"{f'user {outer_uid()}' if outer_uid() else WITHOUT_RIGHTS}, in a user namespace",
            _full_root(),
            "runs work, in namespaces that end with the command; compute: quota does not",
        )
    return Finding("root", "ok", "running as root")


def _full_root() -> str:
    """The remedy, inside a user namespace, for everything that only real root may do."""
    return "run as root, for example with sudo" if outer_uid() else CONTAINER


def user_namespaces() -> Finding:
    """Try as user `nobody` if ordinary users can run here; only root can try this."""
    refused = refusal_for(NOBODY)
    remedies = [remedy for _, remedy in forbidding_switches()]
    return useful(
        "runs without root",
        str(refused) if refused else "",
        "ordinary users may make user namespaces",
        remedy="; ".join(remedies) or "a kernel or container that allows user namespaces",
        means="ordinary users need sudo for `run`",
    )


def _module(name: str, package: str = "") -> str:
    """The remedy for a kernel without a module."""
    if not Path("/lib/modules", platform.release()).is_dir():
        return f"a kernel with {name} built in (this one loads no modules)"
    more = f" (apt-get install {package})" if package else ""
    return f"modprobe {name}{more}, or a kernel that has it"


def _where_absent(finding: Finding) -> Finding:
    """The finding, with the advice to get a module only if the module is absent."""
    trouble = finding.detail.lower()
    if finding.state == "ok" or any(words in trouble for words in ABSENT):
        return finding
    forbidden = any(words in trouble for words in FORBIDDEN)
    return replace(finding, remedy=f"the right to do so (containers: {CONTAINER})" if forbidden else "")


def network() -> list[Finding]:
    """Try the parts of links and switches, each delay backend, and TCP's congestion control."""
    modules = [
        needed(
            "namespaces and veth",
            in_new_namespace("mnexec -n mnexec -v; ip link add name one type veth peer name other; ip link set one up"),
            "works",
            remedy=_module("veth"),
            means=NO_NETWORK,
        ),
        needed(
            "Linux bridge (switches)",
            in_new_namespace("ip link add bridge0 type bridge stp_state 0 mcast_snooping 0"),
            "works",
            remedy=_module("bridge"),
            means=NO_NETWORK,
        ),
        needed("htb (link rates)", kernel_takes("htb default 1"), "works", remedy=_module("sch_htb"), means=NO_NETWORK),
        needed("pfifo (queues)", kernel_takes("pfifo limit 10"), "works", remedy=_module("sch_fifo"), means=NO_NETWORK),
        needed(
            "u32 filter (control first)",
            in_new_namespace(
                "ip link set lo up; tc qdisc add dev lo root handle 1: htb default 1; "
                f"tc filter add dev lo parent 1: protocol ip prio 1 u32 match {LOW_DELAY_MATCH} flowid 1:1"
            ),
            "works",
            remedy=_module("cls_u32"),
            means=NO_NETWORK,
        ),
    ]
    return [*map(_where_absent, modules), *map(_delays, BACKENDS.values()), _congestion_control()]


def _delays(backend: type[DelayBackend]) -> Finding:
    """Try a delay backend; another may take its place. The trial network reports the backend that runs use."""
    found = backend.trial()
    remedy = found.remedy or (_module(found.module, found.package) if found.module else "")
    finding = useful(backend.examined_as, found.trouble, "works", remedy=remedy, means=found.means)
    return _where_absent(finding) if found.module else finding


def _congestion_control() -> Finding:
    """Set TCP's congestion control as in every node's namespace."""
    control = "/proc/sys/net/ipv4/tcp_congestion_control"
    if not in_new_namespace(f"echo reno > {control}"):
        return Finding(CONGESTION, "ok", "reno")
    return Finding(CONGESTION, "missing", "reno cannot be set", "mount /proc/sys writable", NO_NETWORK)


def quota() -> list[Finding]:
    """Try CPU quota and memory limit of control groups."""
    cpu, memory = "cgroup CPU quota", "cgroup memory limit"
    paced = "no `compute: quota`; `compute: paced` (the usual) works without"
    if is_rootless():
        return [
            Finding(cpu, "fallback", "control groups belong to root", _full_root(), paced),
            Finding(memory, "fallback", "control groups belong to root", "", "no memory limits"),
        ]
    where = hierarchies()
    try:
        with Ledger(f"doctor-cgroup-{os.getpid()}") as ledger:
            group = CpuCgroup.create("trial", 0.2, ledger)
            process = subprocess.Popen([interpreter(), "-I", "-S", "-c", "import time; time.sleep(10)"])
            try:
                group.add(process.pid)
            finally:
                process.kill()
                process.wait()
            group.remove()
    except (TestbedError, OSError) as error:
        return [
            Finding(cpu, "fallback", str(error), getattr(error, "hint", ""), paced),
            Finding(memory, "fallback", "not tried", "", "no memory limits"),
        ]
    limited = where is not None and where.memory is not None
    return [
        Finding(cpu, "ok", f"works ({where.version if where else ''})"),
        useful(
            memory,
            "" if limited else "no memory controller",
            "works",
            remedy="echo +memory > /sys/fs/cgroup/cgroup.subtree_control, or boot with cgroup_enable=memory",
            means="a topology that states a memory limit for a server is refused under compute: quota",
        ),
    ]


def punctuality() -> list[Finding]:
    """Try real-time priority and exact timers in a child, and awake processors."""

    def trial() -> str:
        exact = exact_timers()
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(TRIAL_PRIORITY))
        except OSError as error:
            return f"{int(exact)}SCHED_FIFO: {error.strerror}"
        return f"{int(exact)}"

    text = answer_of_child(trial)
    limits = "a line like `name - rtprio 20` in /etc/security/limits.conf, then log in again"
    return [
        useful(
            "real-time priority",
            text[1:] if text else "the trial died",
            "works",
            remedy=limits if is_rootless() else "outside a container, or in one with --cap-add SYS_NICE",
            means="frames and timers are late when other programs use the processors; the fidelity report counts it",
        ),
        useful(
            "exact timers (timer slack)",
            "" if text[:1] == "1" else "PR_SET_TIMERSLACK is refused",
            "works",
            remedy="",
            means="timers are up to 50 us late",
        ),
        _awake_cpus(),
    ]


def _awake_cpus() -> Finding:
    wish = AwakeCpus()
    granted = wish.begin()
    wish.end()
    return useful(
        "processors kept awake",
        "" if granted else f"{LATENCY_FILE} cannot be written",
        "works",
        remedy="run as root" if is_rootless() else "a kernel with CONFIG_CPU_IDLE",
        means="on a quiet machine frames and timers are some 0.1 ms later; on a virtual one sometimes milliseconds",
    )
