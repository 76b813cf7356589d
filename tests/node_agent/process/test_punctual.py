"""Priority and deadlines of an agent's thread."""

import os
import subprocess
import sys
import threading
from contextlib import suppress

import pytest

from node_agent.core.events import ComputeFinished
from node_agent.process.executor import PacedExecutor
from node_agent.process.punctual import COMPUTE_PRIORITY, MESSENGER_PRIORITY, PRIORITY, REAL_TIME, Deadlines, Priority
from node_agent.wire import Tensor, TensorForm

pytestmark = pytest.mark.timing

UNPRIVILEGED = """
import os, resource
from node_agent.process.punctual import Priority  # imported while the process may read it
resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0))
if os.getuid() == 0:
    os.setgid(65534), os.setuid(65534)
priority = Priority()
print(Priority.is_allowed(), priority.take(), priority.granted)
with priority.lowered():
    print(os.sched_getscheduler(0))
priority.give_up()
"""


def in_a_thread(work):
    """Return what `work` returns in a new thread: priorities belong to threads, and this one must keep its own."""
    found = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    thread.join()
    return found[0]


def policy():
    return os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK, os.sched_getparam(0).sched_priority


def test_deadlines_are_counted_since_the_last_call():
    deadlines = Deadlines()
    for late_s in (0.0, 0.0009, 0.0011, 0.02, -0.001):
        deadlines.meet(late_s)
    assert deadlines.take() == (5, 2, 0.02)
    assert deadlines.take() == (0, 0, 0.0)


def test_at_a_larger_time_scale_late_means_an_emulated_millisecond_late():
    for time_scale, late in ((3.0, 1), (0.5, 2)):
        deadlines = Deadlines(time_scale)
        for late_s in (0.0009, 0.0029, 0.0031):
            deadlines.meet(late_s)
        assert deadlines.take() == (3, late, 0.0031)


def test_where_it_is_not_allowed_nothing_changes():
    answer = subprocess.run([sys.executable, "-c", UNPRIVILEGED], capture_output=True, text=True, check=True)
    assert answer.stdout.splitlines() == ["False False False", str(os.SCHED_OTHER)]


@pytest.mark.root
@pytest.mark.parametrize("brief", [False, True])
def test_computing_comes_after_messages_and_timers(brief):
    def work():
        priority = Priority()
        allowed, before = Priority.is_allowed(), policy()
        taken = priority.take(), policy()
        with priority.lowered(brief=brief):
            computing = policy()
        after = policy()
        priority.give_up()
        return allowed, before, taken, computing, after, policy()

    normal, real_time = (os.SCHED_OTHER, 0), (REAL_TIME, PRIORITY)
    computing = (REAL_TIME, COMPUTE_PRIORITY) if brief else normal
    assert in_a_thread(work) == (True, normal, (True, real_time), computing, real_time, normal)
    assert COMPUTE_PRIORITY < MESSENGER_PRIORITY < PRIORITY


@pytest.mark.root
@pytest.mark.parametrize(("work_flop", "last"), [(1e9, (REAL_TIME, COMPUTE_PRIORITY)), (1.0, (os.SCHED_OTHER, 0))])
def test_only_a_sub_model_that_is_brief_for_its_pace_goes_before_normal_processes(work_flop, last):
    """The paced time is a second or a nanosecond, the real one microseconds, which the first task measures."""
    seen = []

    def infer(tensor):
        seen.append(policy())
        return ComputeFinished(tensor.data[0], 0.9, None, overrun=False, work_flop=work_flop)

    def work():
        priority = Priority()
        priority.take()
        executor = PacedExecutor(infer, 1e9, 1.0, priority)
        for _ in range(2):
            executor.start(Tensor(TensorForm("uint8", (1,)), b"1"), 0.0, 0.0)
            executor.collect(10.0)

    in_a_thread(work)
    assert seen == [(os.SCHED_OTHER, 0), last]


@pytest.mark.root
def test_an_error_while_computing_gives_the_priority_back():
    def work():
        priority = Priority()
        priority.take()
        with suppress(ZeroDivisionError), priority.lowered():
            raise ZeroDivisionError
        return policy()

    assert in_a_thread(work) == (REAL_TIME, PRIORITY)


@pytest.mark.root
def test_children_do_not_inherit_it():
    def work():
        Priority().take()
        code = "import os; print(os.sched_getscheduler(0))"
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()

    assert in_a_thread(work) == str(os.SCHED_OTHER)
