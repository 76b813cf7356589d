"""The planner's process: same plan as in this process, held until it is due, gone when closed."""

import os
import select
import time

import pytest

from node_agent.errors import TestbedError
from node_agent.planner import Planner
from node_agent.policies.ga import Ga, Parameters
from tests.node_agent.test_rivals import problem
from tests.node_agent.virtual import synthetic_table


class FailingGa(Ga):
    def plan(self, _problem, _table):
        raise RuntimeError("no plan today")


def wait(planner):
    assert select.select([planner.fileno()], [], [], 20)[0]


def test_the_plan_is_the_policys_and_is_held_until_due():
    table = synthetic_table(2)
    planner = Planner(Ga(Parameters(generations=10), theta_s=2.0), table)
    try:
        due_s = 100 + Ga(Parameters(generations=10), theta_s=2.0).planning_s(problem())
        planner.start(problem(), 100.0)
        assert planner.due_s() is None  # nothing is held yet: its pipe tells when there is
        wait(planner)
        assert planner.collect(100.0) is None
        assert planner.due_s() == due_s
        answer = planner.collect(due_s)
        assert answer.assignments == Ga(Parameters(generations=10), theta_s=2.0).plan(problem(), table)
        assert planner.due_s() is None
        assert planner.collect(due_s + 1) is None
    finally:
        planner.close()


def test_closing_ends_the_process_and_a_dead_one_is_told(capfd):
    planner = Planner(Ga(Parameters(), theta_s=2.0), synthetic_table(2))
    pid = planner._pid
    planner.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)

    failing = Planner(FailingGa(Parameters(), theta_s=2.0), synthetic_table(2))
    failing.start(problem(), 0.0)
    wait(failing)
    time.sleep(0.1)
    with pytest.raises(TestbedError, match="planner has ended"):
        failing.collect(0.0)
    failing.close()
    assert "no plan today" in capfd.readouterr().err
