"""The planner of a central policy, in a process of its own: the coordinator does its other work meanwhile."""

import os
import traceback
from multiprocessing.connection import Connection

import msgspec

from node_agent.core.events import PlanningFinished
from node_agent.dtoee.exit_table import ExitTable
from node_agent.errors import TestbedError
from node_agent.policies.checked import CheckedPolicy, PolicyFailed
from node_agent.problem import Problem
from node_agent.process.children import PipedChild
from node_agent.wire import Assignment

NICENESS = 10  # a plan may be a little late; a task in service may not

_Plan = dict[str, Assignment]


class _Failure(msgspec.Struct, array_like=True):
    """The policy has failed in the child."""

    message: str
    hint: str


class Planner:
    """Plans one problem at a time; as in paced compute, the answer is held until the policy's `planning_s` has passed.

    Create it before the process has threads, since it forks, and in a thread that lives as long as the agent.
    """

    def __init__(self, policy: CheckedPolicy, table: ExitTable) -> None:
        """`policy` is a central policy; `table` is the exit table of the cut."""
        self._policy = policy
        self._answer: _Plan | None = None
        self._due_s = 0.0
        self._child = PipedChild(lambda pipe: _serve(pipe, policy, table))

    def start(self, problem: Problem, now_s: float) -> None:
        """Begin to plan at `now_s` [emulated s]."""
        self._due_s = now_s + self._policy.planning_s(problem)
        self._child.pipe.send_bytes(msgspec.msgpack.encode(problem))

    def due_s(self) -> float | None:
        """Return when the answer that is held is due [emulated s]; None if none is held."""
        return None if self._answer is None else self._due_s

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when the plan is made."""
        return self._child.pipe.fileno()

    def collect(self, now_s: float) -> PlanningFinished | None:
        """Return the plan, once it is made and due at `now_s` [emulated s]; None before.

        Raises:
            PolicyFailed: the policy raised an error, or its plan is wrong.
            TestbedError: the planner's process has ended.
        """
        if self._child.pipe.poll():
            try:
                told = msgspec.msgpack.decode(self._child.pipe.recv_bytes(), type=_Plan | _Failure)
            except (EOFError, ConnectionError) as error:
                raise TestbedError("the process of the planner has ended unexpectedly") from error
            if isinstance(told, _Failure):
                raise PolicyFailed(told.message, hint=told.hint)
            self._answer = told
        if self._answer is None or now_s < self._due_s:
            return None
        answer, self._answer = self._answer, None
        return PlanningFinished(answer)

    def close(self) -> None:
        """Kill the process; it has nothing to save."""
        self._child.close()


def _serve(pipe: Connection, policy: CheckedPolicy, table: ExitTable) -> None:
    """Run the child: plan until the pipe closes."""
    os.nice(NICENESS)
    try:
        while True:
            problem = msgspec.msgpack.decode(pipe.recv_bytes(), type=Problem)
            pipe.send_bytes(msgspec.msgpack.encode(policy.plan(problem, table)))
    except PolicyFailed as failure:
        traceback.print_exc()  # into agents.log, before the coordinator's entry
        pipe.send_bytes(msgspec.msgpack.encode(_Failure(str(failure), failure.hint)))
