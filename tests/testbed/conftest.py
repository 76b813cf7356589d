"""A fixture for tests on the real kernel: it checks that nothing stays behind."""

import time

import psutil
import pytest

from tests import belongings

PATIENCE_S = 15.0  # on a busy machine; shells end by themselves when their terminal closes


def kernel_state() -> dict[str, set[str]]:
    """Return everything that a run of this session could leave behind; things of other sessions do not count."""
    return {
        "namespaces": set(map(str, belongings.namespaces())),
        "interfaces": belongings.interfaces(),
        "processes": set(map(named, belongings.processes())),
        "cgroups": belongings.control_groups(),
        "ledgers": belongings.runs(),
    }


def named(process: psutil.Process) -> str:
    try:
        return f"{process.pid} since {process.create_time()}: {' '.join(process.cmdline())}"
    except psutil.Error:
        return ""


@pytest.fixture
def leaves_nothing():
    """Compare the kernel before and after a test."""
    before = kernel_state()
    yield
    deadline = time.monotonic() + PATIENCE_S
    while True:
        after = kernel_state()
        left = {kind: after[kind] - before[kind] for kind in after}
        if not any(left.values()) or time.monotonic() > deadline:
            break
        time.sleep(0.05)
    assert not any(left.values()), left
