"""A simulated run that pauses whenever a node has to choose the receiver of a task.

A node asks its policy in the middle of an event, and the answer must be there before the event ends. So the simulation
runs in a thread of its own, which waits for the answer. Only one of the two threads runs at any time: equal plans and
equal answers give equal runs.

Decision 100: a simulation waits for answers in a thread (docs/decisions/100-a-simulation-that-waits-for-answers.md).
"""

import weakref
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from random import Random
from threading import Thread
from typing import Any, NamedTuple

import numpy.typing as npt

from node_agent.core.machine import NodeCore
from node_agent.policies.base import Candidate
from node_agent.policies.checked import CheckedPolicy
from node_agent.records import DecisionRecord, EventRecord, SampleRecord, TaskRecord
from testbed.energy.energy_line import EnergyLine
from testbed.record.task_line import TaskLine
from testbed.run.bookkeeping import Bookkeeping
from testbed.run.observer import RunObserver
from testbed.run.plan import Plan
from testbed.simulation.simulator import ACTIONS_AT_ONCE, LOOK_EVERY_S, SimulatedRun
from testbed.virtual_time import Calendar

LEAST_CANDIDATES = 2  # with fewer there is nothing to choose


class Decision(NamedTuple):
    """A choice that a node has to make."""

    node: str  # the offloader
    stage: int  # its stage; 0 for a device
    now_s: float  # emulated time since the start of the run [s]
    candidates: tuple[Candidate, ...]  # the living receivers, at least `LEAST_CANDIDATES`


class PausedRun:
    """A simulated run that is advanced from one choice to the next. It records nothing on disk.

    Call `close` when it is no longer needed; a run that is garbage-collected closes itself.
    """

    def __init__(self, plan: Plan, observer: RunObserver, agenda: Calendar) -> None:
        """Prepare a run.

        Args:
            plan: the run; its policy must choose by queues.
            observer: receives the run's records. It must not refer to this object, which else is never collected.
            agenda: an empty calendar; its `now_s` is the emulated time since the start, negative before it [s].
        """
        channel = self._channel = _Channel()
        self._thread = Thread(target=_carry_out, args=(plan, observer, agenda, channel), daemon=True, name="simulation")
        self._close = weakref.finalize(self, _end, self._thread, channel)

    def advance(self, choice: int | None = None) -> Decision | None:
        """Answer the last question, and run to the next one; the first call starts the run.

        Args:
            choice: index of the chosen candidate; None lets the plan's own policy choose.

        Returns:
            The next choice to make; None at the end of the run.

        Raises:
            TestbedError: the run failed, or the index is out of range.
        """
        if self._thread.ident is None:
            self._thread.start()
        elif not self._thread.is_alive() or not self._close.alive:
            return None
        else:
            self._channel.answers.put(choice)
        said = self._channel.questions.get()
        if isinstance(said, Decision):
            return said
        self._thread.join()
        if said is not None:
            raise said
        return None

    def close(self) -> None:
        """End the run, wherever it is. A second call does nothing."""
        self._close()


class _Channel:
    """The two directions between the caller and the simulation's thread."""

    def __init__(self) -> None:
        self.questions: SimpleQueue[Decision | BaseException | None] = SimpleQueue()  # None: the run has ended
        self.answers: SimpleQueue[int | type[_Closed] | None] = SimpleQueue()

    def ask(self, decision: Decision) -> int | None:
        """Put a question, and wait for the answer. Raises _Closed if the run is to end."""
        self.questions.put(decision)
        answer = self.answers.get()
        if isinstance(answer, type):
            raise answer
        return answer


class _Closed(BaseException):
    """Unwinds the simulation's thread; no code of a policy or a node catches it."""


def _end(thread: Thread, channel: _Channel) -> None:
    if thread.is_alive():
        channel.answers.put(_Closed)
        thread.join()


def _carry_out(plan: Plan, observer: RunObserver, agenda: Calendar, channel: _Channel) -> None:
    """Run a plan to its end in this thread, and put None, or the error that ended it."""
    end: BaseException | None = None
    try:
        _run(plan, observer, agenda, channel)
    except _Closed:
        pass
    except BaseException as error:
        end = error
    channel.questions.put(end)


def _run(plan: Plan, observer: RunObserver, agenda: Calendar, channel: _Channel) -> None:
    bookkeeping = Bookkeeping(plan.scenario, plan.arrivals, _Unwritten(plan.model.labels), observer)

    def prepare(core: NodeCore) -> None:
        def ask(candidates: Sequence[Candidate]) -> int | None:
            if len(candidates) < LEAST_CANDIDATES:
                return None
            return channel.ask(Decision(core.config.name, core.config.stage, agenda.now_s, tuple(candidates)))

        policy = core.routing.policy
        core.routing.policy = CheckedPolicy(_Asking(policy.unchecked, ask), plan.scenario.policy.name)

    course = SimulatedRun(plan, agenda, bookkeeping, prepare=prepare)
    course.measure_links()
    observer.started(plan.scenario, len(plan.arrivals))
    course.start()
    while not bookkeeping.finished(agenda.now_s):
        agenda.run(agenda.now_s + LOOK_EVERY_S, ACTIONS_AT_ONCE)
        observer.tick(agenda.now_s)
    course.end()
    bookkeeping.close(agenda.now_s)


class _Asking:
    """A policy whose choices are made elsewhere; all else is that of the policy itself."""

    def __init__(self, policy: Any, ask: Callable[[Sequence[Candidate]], int | None]) -> None:  # noqa: ANN401
        self._policy = policy
        self._ask = ask

    def __getattr__(self, name: str) -> object:
        return getattr(self._policy, name)

    def pick(self, candidates: Sequence[Candidate], random: Random) -> object:
        """Index of the chosen candidate."""
        choice = self._ask(candidates)
        return self._policy.pick(candidates, random) if choice is None else choice


class _Unwritten:
    """Takes the lines of a run, and writes none."""

    def __init__(self, labels: "npt.NDArray[Any]") -> None:
        self._labels = labels

    def task(self, record: TaskRecord) -> TaskLine:
        return TaskLine.of(record, int(self._labels[record.sample]))

    def decision(self, record: DecisionRecord) -> None: ...

    def sample(self, record: SampleRecord) -> None: ...

    def event(self, record: EventRecord) -> None: ...

    def energy(self, line: EnergyLine) -> None: ...
