import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from node_agent.errors import EnvironmentLacking, TestbedError
from testbed import compute
from testbed.compute import CpuCgroup, detect, hierarchies, quota_and_period_us
from testbed.ledger import Ledger, sweep

from .test_ledger import disown

IN_UML = "User Mode Linux" in Path("/proc/cpuinfo").read_text()
BURN = "import time\nend = time.monotonic() + {0}\nwhile time.monotonic() < end: pass\nprint(time.process_time())"


@pytest.mark.parametrize(
    ("fraction", "expected"),
    [(1.0, (5000, 5000)), (0.5, (2500, 5000)), (2.0, (10_000, 5000)), (0.2, (1000, 5000)), (0.1, (1000, 10_000))],
)
def test_quota_and_period(fraction, expected):
    assert quota_and_period_us(fraction) == expected


def test_the_smallest_fraction_has_the_longest_period():
    assert quota_and_period_us(0.001) == (1000, 1_000_000)


@pytest.mark.parametrize("fraction", [0.0009, 0.0, -1.0, float("nan")])
def test_impossible_fractions_are_refused(fraction):
    with pytest.raises(TestbedError):
        quota_and_period_us(fraction)


@pytest.mark.parametrize(
    ("mounts", "handed_down", "expected"),
    [
        ("cgroup {0}/cpu cgroup rw,cpu,cpuacct 0 0\ncgroup2 {0} cgroup2 rw 0 0\n", "", "v1"),
        ("cgroup2 {0} cgroup2 rw 0 0\n", "cpu memory", "v2"),
        ("cgroup2 {0} cgroup2 rw 0 0\n", "memory", None),
        ("proc /proc proc rw 0 0\n", "", None),
    ],
)
def test_hierarchies_are_found_in_the_mounts(tmp_path, mounts, handed_down, expected):
    (tmp_path / "cgroup.subtree_control").write_text(handed_down)
    (tmp_path / "mounts").write_text(mounts.format(tmp_path))
    found = hierarchies(tmp_path / "mounts")
    assert (found and found.version) == expected


def test_without_a_controller_there_is_a_clear_error(monkeypatch, tmp_path):
    monkeypatch.setattr(compute, "hierarchies", lambda: None)
    with Ledger("none", root=tmp_path) as ledger, pytest.raises(EnvironmentLacking, match="no control group"):
        CpuCgroup.create("x", 0.5, ledger)


@pytest.fixture
def ledger(tmp_path):
    made = Ledger(f"test-compute-{os.getpid()}", root=tmp_path)
    yield made
    made.close()


def start_in(group, code):
    """A Python process that has been in the group from its first instruction on."""
    joining = "".join(f"echo 0 > {path}; " for path in group.procs_paths)
    return subprocess.Popen(
        ["sh", "-c", f'{joining} exec "$@"', "sh", sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
    )


def burn(group, seconds):
    """CPU seconds that a busy process in the group gets within so many seconds of real time."""
    process = start_in(group, BURN.format(seconds))
    return float(process.communicate()[0])


@pytest.mark.root
def test_a_group_gets_its_share_of_a_cpu(ledger):
    assert detect() is not None
    group = CpuCgroup.create("busy", 0.3, ledger)
    # Less than the share is possible on a busy machine, more is not, except in user-mode Linux, whose clock ticks last
    # longer than our period.
    used_s = burn(group, 1.0)
    assert 0.15 < used_s < (0.9 if IN_UML else 0.37)
    assert group.throttled_periods() > 50
    group.set_quota(0.05)
    assert burn(group, 1.0) < (0.6 if IN_UML else 0.1)
    group.remove()
    group.remove()
    assert not group.procs_path.exists()


@pytest.mark.root
def test_short_jobs_are_slowed_evenly(ledger):
    """With the short period, 5 ms of work at a fifth of a CPU take about 25 ms, not 5 and then nothing for 95."""
    group = CpuCgroup.create("even", 0.2, ledger)
    code = (
        "import time\n"
        "for _ in range(12):\n"
        "    time.sleep(0.03); begin = time.monotonic(); done = time.process_time() + 0.005\n"
        "    while time.process_time() < done: pass\n"
        "    print(time.monotonic() - begin)"
    )
    process = start_in(group, code)
    times_s = sorted(map(float, process.communicate()[0].split()))
    assert 0.012 < times_s[len(times_s) // 2] < 0.060


@pytest.mark.root
def test_a_memory_limit_ends_who_exceeds_it(ledger):
    if hierarchies().memory is None:
        pytest.skip("no memory controller in this kernel")
    group = CpuCgroup.create("small", 1.0, ledger, memory_bytes=32 << 20)
    code = "block = bytearray(200 << 20)\nfor i in range(0, len(block), 4096): block[i] = 1\nprint('survived')"
    process = start_in(group, code)
    assert process.communicate()[0] == ""
    assert process.returncode == -9


@pytest.mark.root
def test_a_killed_run_leaves_no_group(ledger, tmp_path):
    group = CpuCgroup.create("left", 0.5, ledger)
    process = subprocess.Popen(["sleep", "100"])  # not in the ledger: it is found inside the group
    group.add(process.pid)
    disown(ledger.directory)
    kinds = [removed.kind for removed in sweep(tmp_path)]
    assert kinds == ["cgroup", "cgroup", "directory"]
    assert process.wait(1) == -9
    assert not group.procs_path.parent.parent.exists()


@pytest.mark.root
def test_used_time_is_counted(ledger):
    group = CpuCgroup.create("counted", 1.0, ledger)
    used_s = burn(group, 0.2)
    counted_s = group.cpu_time_s()
    if not math.isnan(counted_s):  # version 1 without cpuacct in the same hierarchy cannot tell
        assert counted_s == pytest.approx(used_s, abs=0.1)
