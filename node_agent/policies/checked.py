"""A policy as nodes use it: every answer is checked, and an exception of its code is reported with file and line.

`answers` holds the checks of its answers, `contract` the check of its class.
"""

import random
from collections.abc import Callable, Sequence
from typing import Any, Generic, NoReturn, TypeVar, overload

from node_agent.dtoee.exit_table import ExitTable
from node_agent.dtoee.queueing import Array
from node_agent.errors import InputError, TestbedError, line_passed
from node_agent.policies import answers
from node_agent.policies.answers import WrongAnswer
from node_agent.policies.base import Candidate, Prospect, ThresholdView
from node_agent.policies.contract import line_of, user_file
from node_agent.problem import Problem
from node_agent.wire import Assignment

T = TypeVar("T")
_RAISED = (Exception, SystemExit)  # exceptions that count as a policy's failure; Ctrl-C does not


class PolicyFailed(TestbedError):
    """A policy's code raised, or gave a wrong answer; the message has file, class, member, line and value."""


class _Attribute(Generic[T]):
    """An attribute of the policy, checked whenever it is read."""

    def __init__(self, check: Callable[[str, object], T]) -> None:
        self._check = check

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, checked: None, owner: type) -> "_Attribute[T]": ...

    @overload
    def __get__(self, checked: "CheckedPolicy", owner: type) -> T: ...

    def __get__(self, checked: "CheckedPolicy | None", owner: type) -> "T | _Attribute[T]":
        if checked is None:
            return self
        try:
            return self._check(self._name, getattr(checked.unchecked, self._name))
        except _RAISED as error:
            checked.fail(self._name, error)


class CheckedPolicy:
    """A policy behind its checks; nodes use a policy only through it. `base.Policy` describes the members.

    A policy gets copies of rows, so it may change them.

    Raises:
        PolicyFailed: in every member, if the policy raises or gives a wrong answer.
    """

    def __init__(self, policy: object, name: str) -> None:
        """`name` is the policy's name as `make_policy` takes it."""
        self.unchecked: Any = policy
        self._name = name

    first_threshold = _Attribute(answers.threshold)
    most_rounds = _Attribute(answers.rounds)
    move_every = _Attribute(answers.rounds)
    move_turns = _Attribute(answers.rounds)
    wants_link_rates = _Attribute(answers.flag)
    fresh = _Attribute(answers.flag)
    choices = _Attribute(answers.choices)
    central = _Attribute(answers.flag)
    continuous = _Attribute(answers.flag)
    prices_exits = _Attribute(answers.flag)
    message_share = _Attribute(answers.share)
    status_every_s = _Attribute(answers.period_s)

    def verify(self) -> None:
        """Check the attributes of a new instance and its `stop_gap`.

        Raises:
            InputError: one is missing or out of range.
        """
        try:
            for each in (name for name, member in vars(CheckedPolicy).items() if isinstance(member, _Attribute)):
                getattr(self, each)
            self.stop_gap()
        except PolicyFailed as error:
            raise InputError(str(error), hint=error.hint) from error

    def start_slot(self) -> None:
        """Prepare the policy for a new slot."""
        try:
            self.unchecked.start_slot()
        except _RAISED as error:
            self.fail("start_slot", error)

    def update_row(self, row: Array, prospect: Prospect) -> Array:
        """The row (K,) after a round; it sums to one."""
        try:
            return answers.row("update_row", self.unchecked.update_row(row.copy(), prospect), len(row))
        except _RAISED as error:
            self.fail("update_row", error)

    def react(self, row: Array, prospect: Prospect) -> Array:
        """The row (K,) after a receiver's service rate has changed much; it sums to one."""
        try:
            return answers.row("react", self.unchecked.react(row.copy(), prospect), len(row))
        except _RAISED as error:
            self.fail("react", error)

    def executed(self, row: Array) -> Array:
        """The row (K,) that tasks follow; it sums to one."""
        try:
            return answers.row("executed", self.unchecked.executed(row.copy()), len(row))
        except _RAISED as error:
            self.fail("executed", error)

    def gap(self, row: Array, prospect: Prospect) -> float:
        """Share of the marginal cost that an ideal plan could still save, a finite number."""
        try:
            return answers.finite("gap", self.unchecked.gap(row.copy(), prospect))
        except _RAISED as error:
            self.fail("gap", error)

    def stop_gap(self) -> float:
        """The largest gap at which rounds may end, a finite number."""
        try:
            return answers.finite("stop_gap", self.unchecked.stop_gap())
        except _RAISED as error:
            self.fail("stop_gap", error)

    def settled(self, gaps: Sequence[float]) -> bool:
        """True if this device needs no further round; `stop_gap` is checked as well, since most policies use it."""
        self.stop_gap()
        try:
            return answers.flag("settled", self.unchecked.settled(tuple(gaps)))
        except _RAISED as error:
            self.fail("settled", error)

    def move_threshold(self, view: ThresholdView) -> float:
        """The threshold after this round, 0..2."""
        try:
            return answers.threshold("move_threshold", self.unchecked.move_threshold(view))
        except _RAISED as error:
            self.fail("move_threshold", error)

    def task_threshold(self, view: ThresholdView, candidate: Candidate) -> float:
        """The threshold of one task, 0..2."""
        try:
            return answers.threshold("task_threshold", self.unchecked.task_threshold(view, candidate))
        except _RAISED as error:
            self.fail("task_threshold", error)

    def pick(self, candidates: Sequence[Candidate], random: random.Random) -> int:
        """Index of the candidate that gets this task."""
        must = f"the number of one of the {len(candidates)} candidates, counted from 0"
        try:
            chosen = self.unchecked.pick(candidates, random)
            return answers.whole("pick", chosen, 0, len(candidates) - 1, must)
        except _RAISED as error:
            self.fail("pick", error)

    def planning_s(self, problem: Problem) -> float:
        """Time that the planner of a central policy takes [emulated s], at least 0."""
        try:
            must = "a time, in seconds, that is not negative"
            return answers.number("planning_s", self.unchecked.planning_s(problem), 0, 1e9, must)
        except _RAISED as error:
            self.fail("planning_s", error)

    def plan(self, problem: Problem, table: ExitTable) -> dict[str, Assignment]:
        """The assignment of each node, by its name, under a central policy."""
        try:
            return answers.assignments(self.unchecked.plan(problem, table), problem)
        except _RAISED as error:
            self.fail("plan", error)

    def fail(self, member: str, error: BaseException) -> NoReturn:
        """Raise PolicyFailed for `error`, which a member raised or which its answer caused."""
        raise failed(self._name, member, error, type(self.unchecked)) from error


def failed(name: str, member: str, error: BaseException, policy: type | None = None) -> PolicyFailed:
    """The error of a policy's member as a PolicyFailed, in one line, with its place in the policy's file.

    Args:
        name: the policy's name as `make_policy` takes it.
        member: the method or attribute.
        error: the exception that it raised, or the WrongAnswer.
        policy: its class, if known.
    """
    if isinstance(error, WrongAnswer):
        line = _raised_in(name, error) or (policy and line_of(user_file(name), policy, error.member))
        at = f" (line {line})" if line else ""
        return PolicyFailed(f"policy {name}: {error.member}{at} {error.what}", hint=error.hint)
    line = _raised_in(name, error)
    hint = f"it was raised by {user_file(name)}, line {line}" if line else ""
    text = " ".join(str(error).split())
    what = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return PolicyFailed(f"policy {name}: {member} raised {what}", hint=hint or getattr(error, "hint", ""))


def place_of(name: str, error: BaseException) -> str:
    """File and line where an error left a user's policy file, in words; empty if it did not pass through that file."""
    line = _raised_in(name, error)
    return f"it was raised by {user_file(name)}, line {line}" if line else ""


def _raised_in(name: str, error: BaseException) -> int | None:
    file = user_file(name)
    return None if file is None else line_passed(file, error)
