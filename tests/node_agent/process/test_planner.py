"""The planner's process makes the plan that this process would make, holds it until it is due, and ends when closed."""

import os
import select

import pytest

from node_agent.errors import TestbedError
from node_agent.policies.checked import CheckedPolicy, PolicyFailed
from node_agent.policies.ga import Ga, Parameters
from node_agent.process.planner import Planner
from tests.node_agent.policies.test_rivals import problem
from tests.node_agent.virtual import synthetic_table


class FailingGa(Ga):
    def plan(self, _problem, _table):
        raise RuntimeError("no plan today")


class DyingGa(Ga):
    def plan(self, _problem, _table):
        os._exit(3)


def checked(policy):
    return CheckedPolicy(policy, "ga")


def wait(planner):
    assert select.select([planner.fileno()], [], [], 20)[0]


def test_the_plan_is_the_policys_and_is_held_until_due():
    table = synthetic_table(2)
    planner = Planner(checked(Ga(Parameters(generations=10), theta_s=2.0)), table)
    try:
        due_s = 100 + Ga(Parameters(generations=10), theta_s=2.0).planning_s(problem())
        planner.start(problem(), 100.0)
        assert planner.due_s() is None  # no answer is held yet: the pipe becomes readable when there is one
        wait(planner)
        assert planner.collect(100.0) is None
        assert planner.due_s() == due_s
        answer = planner.collect(due_s)
        assert answer.assignments == Ga(Parameters(generations=10), theta_s=2.0).plan(problem(), table)
        assert planner.due_s() is None
        assert planner.collect(due_s + 1) is None
    finally:
        planner.close()


def test_closing_ends_the_process_and_a_dead_process_is_an_error():
    planner = Planner(checked(Ga(Parameters(), theta_s=2.0)), synthetic_table(2))
    pid = planner._child.pid
    planner.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)

    dying = Planner(checked(DyingGa(Parameters(), theta_s=2.0)), synthetic_table(2))
    dying.start(problem(), 0.0)
    wait(dying)
    with pytest.raises(TestbedError, match="planner has ended"):
        dying.collect(0.0)
    dying.close()


def test_the_error_of_a_policy_that_fails_to_plan_is_passed_on(capfd):
    failing = Planner(checked(FailingGa(Parameters(), theta_s=2.0)), synthetic_table(2))
    failing.start(problem(), 0.0)
    wait(failing)
    with pytest.raises(PolicyFailed, match=r"^policy ga: plan raised RuntimeError: no plan today$"):
        failing.collect(0.0)
    failing.close()
    assert "no plan today" in capfd.readouterr().err
