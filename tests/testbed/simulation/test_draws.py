"""Smooth and random draws in whole runs: how many tasks of each offloader go to each receiver."""

from collections import Counter, defaultdict
from itertools import pairwise

import pytest

from tests.testbed.simulated import lines, simulate

TEXT = """
name: draws
model: {name: glyphs, cut: [2, 5]}
policy: uniform
draws: DRAWS
slot: 5 s
duration: 40 s
devices:
  cam: {count: 3, rate: 4 /s}
servers:
  near: {stage: 1, count: 4, capacity: 1 GFLOP/s}
  core: {stage: 2, count: 3, capacity: 1 GFLOP/s}
switches: [hub]
links:
  - {from: cam, to: hub, rate: 100 Mbit/s, delay: 2 ms}
  - {from: near, to: hub, rate: 100 Mbit/s, delay: 1 ms}
  - {from: core, to: hub, rate: 100 Mbit/s, delay: 1 ms}
"""
DEATH = """
events:
  - {at: 10 s, node: near-2, state: down}
  - {at: 25 s, node: near-2, state: up}
"""


def hops(outcome):
    """Yield (sender, receiver, time created [s]) of every hop of every task, in the order of their creation."""
    tasks = [task for task in lines(outcome, "tasks.jsonl") if task.get("hops")]
    for task in sorted(tasks, key=lambda task: task["created_s"]):
        nodes = [task["device"], *(hop["node"] for hop in task["hops"])]
        for sender, receiver in pairwise(nodes):
            yield sender, receiver, task["created_s"]


def sent(outcome) -> dict[str, Counter]:
    """Return the number of tasks by sender and receiver."""
    found: dict[str, Counter] = defaultdict(Counter)
    for sender, receiver, _ in hops(outcome):
        found[sender][receiver] += 1
    return found


def unevenness(outcome) -> float:
    """Return the greatest difference of two receivers' tasks from the same sender."""
    return max(max(counts.values()) - min(counts.values()) for counts in sent(outcome).values())


def test_smooth_draws_give_equal_shares_equal_numbers(tmp_path):
    """To less than one task at each end of the run."""
    assert unevenness(simulate(tmp_path, TEXT.replace("DRAWS", "smooth"))) <= 2


def test_random_draws_do_not(tmp_path):
    assert unevenness(simulate(tmp_path, TEXT.replace("DRAWS", "random"))) > 4


@pytest.mark.parametrize("draws", ["smooth", "random"])
def test_runs_repeat_with_the_same_seed(tmp_path, draws):
    first, second = (simulate(tmp_path / name, TEXT.replace("DRAWS", draws)) for name in "ab")
    assert lines(first, "tasks.jsonl") == lines(second, "tasks.jsonl")


def test_devices_with_equal_rows_start_at_different_receivers(tmp_path):
    firsts = {}
    for sender, receiver, _ in hops(simulate(tmp_path, TEXT.replace("DRAWS", "smooth"))):
        firsts.setdefault(sender, receiver)
    assert len({firsts[f"cam-{number}"] for number in (1, 2, 3)}) > 1


def test_a_server_that_comes_back_gets_no_burst(tmp_path):
    outcome = simulate(tmp_path, TEXT.replace("DRAWS", "smooth") + DEATH)
    sequence = defaultdict(list)
    for sender, receiver, created_s in hops(outcome):
        if sender.startswith("cam"):
            sequence[sender].append((created_s, receiver))
    for tasks in sequence.values():
        gone = [receiver for created_s, receiver in tasks if 14 < created_s < 25]
        assert gone.count("near-2") == 0
        assert max(Counter(gone).values()) - min(Counter(gone).values()) <= 2
        back = [receiver for created_s, receiver in tasks if created_s > 25]
        first = back.index("near-2")
        assert back[first:].count("near-2") <= len(back[first:]) / 4 + 2
        assert back[first : first + 8].count("near-2") <= 4
