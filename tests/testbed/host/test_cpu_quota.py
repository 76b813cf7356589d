import os
import random
import subprocess
import sys

import pytest

from node_agent.errors import EnvironmentLacking, TestbedError
from node_agent.records import SampleRecord
from testbed.host import cpu_quota
from testbed.host.cpu_quota import CpuCgroup, QuotaGovernor, hierarchies, quota_and_period_us
from testbed.host.ledger import Ledger, sweep

from .test_ledger import disown

pytestmark = pytest.mark.timing

BURN = """
import time
end, before = time.monotonic() + {0}, time.process_time()
while time.monotonic() < end: pass
print(before, time.process_time())
"""


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
    monkeypatch.setattr(cpu_quota, "hierarchies", lambda: None)
    with Ledger("none", root=tmp_path) as ledger, pytest.raises(EnvironmentLacking, match="no control group"):
        CpuCgroup.create("x", 0.5, ledger)


@pytest.fixture
def ledger(tmp_path):
    made = Ledger(f"test-compute-{os.getpid()}", root=tmp_path)
    yield made
    made.close()


class Machine:
    """A control group's stand-in for the governor: service takes `cost` times the stated time at the guessed share."""

    def __init__(self, cost):
        self.cost, self.share = cost, 0.2

    def set_quota(self, share):
        self.share = share

    def sample(self, capacity, served=10, guess=lambda capacity: capacity / 1e9):
        stated_s = served * 1e7 / capacity
        return sample_of("near", served, stated_s * self.cost * guess(capacity) / self.share)


def sample_of(node, served, busy_s, time_s=0.0, work_flop=None):
    """Return a sample of tasks of 10 MFLOP each, or of `work_flop` together."""
    return SampleRecord(
        time_s=time_s, node=node, stage=1, queue_length=0, arrival_rate_per_s=0.0, utilisation=0.5, arrived=served,
        served=served, exits=0, forwarded=0, duplicates=0, overruns=0, cpu_s=0.0, threshold=None, busy_s=busy_s,
        work_flop=served * 1e7 if work_flop is None else work_flop,
    )  # fmt: skip


def governed(machine, capacity=0.2e9):
    return QuotaGovernor({"near": machine}, lambda _, flop_per_s: flop_per_s / 1e9, {"near": capacity})


@pytest.mark.parametrize("cost", [0.3, 0.9, 1.0, 1.7, 4.0])
def test_the_governor_finds_the_share_that_gives_the_capacity(cost):
    machine = Machine(cost)
    governor = governed(machine)
    for _ in range(60):
        governor.observe(machine.sample(0.2e9))
    assert machine.share == pytest.approx(0.2 * cost, rel=0.01)
    assert governor.correction("near") == pytest.approx(cost, rel=0.01)
    governor.set_capacity("near", 0.1e9, now_s=0.0)  # the correction stays
    assert machine.share == pytest.approx(0.1 * cost, rel=0.01)
    governor.set_capacity("elsewhere", 1.0, now_s=0.0)
    governor.observe(sample_of("elsewhere", 100, 100.0))


def test_tasks_of_different_work_count_by_their_work():
    """Each interval serves ten tasks, of 2 or of 18 MFLOP, in exactly the stated time: nothing is corrected."""
    machine = Machine(1.0)
    governor = governed(machine)
    for number in range(60):
        work_flop = 10 * (2e6 if number % 2 else 18e6)
        governor.observe(sample_of("near", 10, work_flop / 0.2e9, work_flop=work_flop))
    assert machine.share == pytest.approx(0.2)
    assert governor.correction("near") == pytest.approx(1.0)


class RestlessMachine(Machine):
    """Twice the share gives nearly three times the rate; a task's cost drifts by about a tenth a second."""

    def __init__(self):
        super().__init__(0.6)
        self.chance = random.Random(3)

    def sample(self, capacity):
        self.cost = min(1.2, max(0.3, self.cost * self.chance.lognormvariate(0.0, 0.1)))
        slowness = self.cost * (0.2 / self.share) ** 1.5
        return sample_of("near", round(1.0 / slowness * capacity / 1e7), 1.0)


def test_what_a_server_fell_behind_is_made_up_for():
    machine = RestlessMachine()
    governor = governed(machine)
    served = []
    for _ in range(66):
        sample = machine.sample(0.2e9)
        governor.observe(sample)
        served.append(sample.served)
    for first in (6, 26, 46):
        assert sum(served[first : first + 20]) * 1e7 / 20 == pytest.approx(0.2e9, rel=0.05)


def test_a_second_with_two_capacities_tells_the_governor_nothing():
    machine = Machine(1.0)
    governor = governed(machine)
    for second in range(10):
        governor.observe(sample_of("near", 20, 1.0, time_s=second))
    governor.set_capacity("near", 0.05e9, now_s=9.9)
    governor.observe(sample_of("near", 18, 1.0, time_s=10.0))  # nearly all of it at the earlier capacity
    assert machine.share == pytest.approx(0.05)
    governor.observe(sample_of("near", 10, 1.0, time_s=11.0))
    assert machine.share < 0.05


def test_the_governor_waits_for_enough_tasks():
    machine = Machine(2.0)
    governor = governed(machine)
    for _ in range(3):
        governor.observe(machine.sample(0.2e9, served=1))
    governor.observe(sample_of("near", 0, 0.0))
    assert machine.share == 0.2
    for _ in range(10):
        governor.observe(machine.sample(0.2e9, served=1))
    assert machine.share > 0.2


def test_the_governor_keeps_to_what_a_kernel_can_give():
    machine = Machine(1e3)
    governor = governed(machine)
    for _ in range(40):
        governor.observe(sample_of("near", 10, 1e3))
    assert (governor.correction("near"), machine.share) == (QuotaGovernor.LARGEST_CORRECTION, 1.0)
    governor.set_capacity("near", 1.0, now_s=0.0)
    assert machine.share == 0.001


def start_in(group, code):
    """A Python process that joins the group before its first instruction."""
    joining = "".join(f"echo 0 > {path}; " for path in group.procs_paths)
    return subprocess.Popen(
        ["sh", "-c", f'{joining} exec "$@"', "sh", sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
    )


def counter(group, name):
    """A counter of the kernel for a group: the periods in which it used up its quota, or its CPU time."""
    words = group.procs_path.with_name("cpu.stat").read_text().split()
    return int(words[words.index(name) + 1])


def burn(group, seconds):
    """CPU seconds that a busy process in the group gets within `seconds` of real time, and those of its start."""
    process = start_in(group, BURN.format(seconds))
    before_s, after_s = map(float, process.communicate()[0].split())
    return after_s - before_s, before_s


@pytest.mark.root
def test_a_group_gets_its_share_of_a_cpu(ledger):
    assert hierarchies() is not None
    group = CpuCgroup.create("busy", 0.3, ledger)
    # Less than the share is possible on a busy machine, more is not.
    used_s, _ = burn(group, 1.0)
    assert 0.15 < used_s < 0.37
    assert counter(group, "nr_throttled") > 50
    group.set_quota(0.05)
    used_s, _ = burn(group, 1.0)
    assert used_s < 0.1
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
    process = subprocess.Popen(["sleep", "100"])  # not in the ledger: the sweep finds it inside the group
    group.add(process.pid)
    disown(ledger)
    kinds = [removed.kind for removed in sweep(tmp_path)]
    assert kinds == ["cgroup", "cgroup", "directory"]
    assert process.wait(1) == -9
    assert not group.procs_path.parent.parent.exists()


@pytest.mark.root
def test_used_time_is_counted(ledger):
    group = CpuCgroup.create("counted", 1.0, ledger)
    used_s = sum(burn(group, 0.2))
    usage = group.procs_path.with_name("cpuacct.usage")
    if hierarchies().version == "v2":
        assert counter(group, "usage_usec") * 1e-6 == pytest.approx(used_s, abs=0.1)
    elif usage.exists():  # missing in version 1 without cpuacct in the same hierarchy
        assert int(usage.read_text()) * 1e-9 == pytest.approx(used_s, abs=0.1)
