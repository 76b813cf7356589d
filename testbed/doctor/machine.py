"""The resources of this machine: processors, memory, files, clock, and a place for ledgers."""

import os
import resource
import statistics
import time
from pathlib import Path

import psutil

from node_agent.errors import TestbedError
from testbed.doctor.finding import Finding, needed, useful
from testbed.host.ledger import Ledger
from testbed.network.emulated import DESCRIPTORS_PER_NODE

MIB = 1 << 20
PARENT_BYTES, NODE_BYTES = 400 * MIB, 16 * MIB  # experiment and agents' parent with torch; an agent and its shell
FEW_NODES = 20
FILES_OF_A_RUN = 1024
SLOW_CLOCKS = {"hpet", "acpi_pm", "pit", "jiffies", "refined-jiffies"}
COARSE_S = 1e-6
SLEEP_S, SLEEPS = 0.001, 15
LATE_SLEEP_S = 0.001


def processors() -> Finding:
    """The number of processors that this process may use."""
    count = len(os.sched_getaffinity(0))
    return useful(
        "processors",
        "only one" if count < 2 else "",
        str(count),
        remedy="more processors, or `time_scale` above 1 in the topology",
        means="network and agents wait for each other: only small or slow topologies hold",
    )


def memory() -> Finding:
    """Free memory, and the number of nodes that fit into it."""
    free_bytes = psutil.virtual_memory().available
    nodes = max(0, (free_bytes - PARENT_BYTES) // NODE_BYTES)
    detail = f"{free_bytes / MIB / 1024:.1f} GiB free: room for about {nodes} nodes"
    return useful(
        "memory",
        detail if nodes < FEW_NODES else "",
        detail,
        remedy="end other programs",
        means="only small topologies fit",
    )


def open_files() -> Finding:
    """The hard limit on open files, and the number of nodes that it allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    nodes = 1 << 30 if hard == resource.RLIM_INFINITY else max(0, (hard - FILES_OF_A_RUN) // DESCRIPTORS_PER_NODE - 1)
    detail = f"up to {hard}: enough for {nodes} nodes" if nodes < 1 << 30 else "no limit"
    return useful(
        "open files",
        detail if nodes < FEW_NODES else "",
        detail,
        remedy="ulimit -n 65536, or a higher `nofile` in /etc/security/limits.conf",
        means="larger topologies are refused at their start",
    )


def pressure() -> Finding:
    """Read the kernel's record of the time that processes wait for a processor."""
    trouble = ""
    try:
        Path("/proc/pressure/cpu").read_text(encoding="ascii")
    except OSError as error:
        trouble = error.strerror or "cannot be read"
    return useful(
        "pressure (/proc/pressure)",
        trouble,
        "works",
        remedy="a kernel from 4.20 on with CONFIG_PSI, booted with psi=1",
        means="the fidelity report lacks the time that processes waited for a processor",
    )


def clock() -> Finding:
    """Resolution and source of the clock, and the lateness of a short sleep."""
    resolution_s = time.clock_getres(time.CLOCK_MONOTONIC)
    try:
        path = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")
        source = path.read_text(encoding="ascii").strip()
    except OSError:
        source = "unknown source"
    late_s = []
    for _ in range(SLEEPS):
        due_s = time.monotonic() + SLEEP_S
        time.sleep(SLEEP_S)
        late_s.append(time.monotonic() - due_s)
    median_s = statistics.median(late_s)
    detail = f"{source}, resolution {resolution_s * 1e9:g} ns; a sleep of 1 ms ends {median_s * 1e6:.0f} us late"
    poor = source in SLOW_CLOCKS or resolution_s > COARSE_S or median_s > LATE_SLEEP_S
    finding = useful(
        "clock",
        detail if poor else "",
        detail,
        remedy="a kernel with high-resolution timers; in a virtual machine, the clock source tsc or kvm-clock",
        means="delays and service times are only as exact as this; `time_scale` above 1 makes up for it",
    )
    return Finding(
        finding.name, finding.state, finding.detail, finding.remedy, finding.means,
        {"resolution_s": resolution_s, "sleep_lateness_p50_s": median_s},
    )  # fmt: skip


def ledger() -> Finding:
    """The folder for the ledgers and sockets of runs."""
    trouble = where = ""
    try:
        with Ledger(f"doctor-ledger-{os.getpid()}") as trial:
            where = str(trial.directory.parent)
    except (TestbedError, OSError) as error:
        trouble = str(error)
    return needed(
        "ledger of runs", trouble, where, remedy="make that directory writable for this user", means="no run starts"
    )
