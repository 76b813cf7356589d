"""Proof, for tests that build things on the real kernel, that nothing stays behind."""

import os
import time
from pathlib import Path

import psutil
import pytest

from testbed.ledger import RUN_ROOT, live_runs


def kernel_state() -> dict[str, set[str]]:
    """What a run could leave: network namespaces in use, interfaces here, our processes, control groups, ledgers."""
    namespaces, processes = set(), set()
    for process in psutil.process_iter():
        try:
            namespaces.add(str(os.stat(f"/proc/{process.pid}/ns/net").st_ino))
            words = " ".join(process.cmdline())
        except (OSError, psutil.Error):
            continue
        if "testbed.nursery" in words or "relay/process.py" in words or "mininet:" in words:
            processes.add(f"{process.pid} {words}")
    groups = {str(path) for path in Path("/sys/fs/cgroup").rglob("dtoee*") if path.is_dir()}
    runs = {path.name for path in RUN_ROOT.iterdir()} if RUN_ROOT.exists() else set()
    return {
        "namespaces": namespaces,
        "interfaces": set(os.listdir("/sys/class/net")),
        "processes": processes,
        "cgroups": groups,
        "ledgers": runs,
    }


@pytest.fixture
def leaves_nothing():
    """Compare the kernel before and after a test."""
    before = kernel_state()
    yield
    deadline = time.monotonic() + 3  # shells end by themselves when their terminal closes
    while True:
        after = kernel_state()
        left = {kind: after[kind] - before[kind] for kind in after}
        if live_runs():
            return  # somebody else's run goes on beside the tests: what is there may be theirs
        if not any(left.values()) or time.monotonic() > deadline:
            break
        time.sleep(0.05)
    assert not any(left.values()), left
