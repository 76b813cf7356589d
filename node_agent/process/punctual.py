"""Punctuality: real-time priority for a node's messages and timers, and counts of late deadlines and stalls.

Many nodes on few processors make each other late: while one computes, the timer of another passes. Waiting and passing
messages takes microseconds and goes first. Computing takes milliseconds and can wait.

Decision 009: timers run before ZeroMQ's threads, these before brief sub-models, all at real-time priority; longer
sub-models run at normal priority (docs/decisions/009-real-time-priorities-of-an-agent.md).
Decision 010: an agent with a user's own policy runs at normal priority
(docs/decisions/010-own-policies-run-at-normal-priority.md).
Garbage collection is frozen in agents.
"""

import os
from contextlib import AbstractContextManager, nullcontext

from node_agent.process.linux import exact_timers

# Low among the real-time priorities: the processes that carry the emulated links' frames run before.
PRIORITY = 3  # of the thread with the timers
MESSENGER_PRIORITY = 2  # of ZeroMQ's threads
COMPUTE_PRIORITY = 1  # of the thread with the timers while it runs a brief sub-model
LATE_S = 0.001  # a deadline missed by more than this is late [real s, or emulated s if that is longer]
STALL_S = 0.02  # shortest stall [real s]; on a busy machine an agent waits for less
MOST_STALLS = 8  # longest ones that are kept between two calls of `take`
REAL_TIME = os.SCHED_FIFO


class Priority:
    """The calling thread's priority: real-time between `take` and `give_up`, if allowed, except while it is `lowered`.

    Child processes and new threads do not inherit it.
    """

    def __init__(self, *, real_time: bool = True) -> None:
        """Without `real_time`, `take` asks for exact timers only."""
        self.granted = False
        self._real_time = real_time

    @classmethod
    def is_allowed(cls) -> bool:
        """Return True if this process may use real-time priority; the thread is at normal priority afterwards."""
        return cls._set(REAL_TIME, PRIORITY) and cls._set(os.SCHED_OTHER, 0)

    def take(self) -> bool:
        """Set exact timers, and real-time priority if it is wanted and allowed; return True if it is set."""
        exact_timers()  # real-time priority would imply them
        self.granted = self._real_time and self._set(REAL_TIME, PRIORITY)
        return self.granted

    def give_up(self) -> None:
        """Return to normal priority."""
        if self.granted:
            self._set(os.SCHED_OTHER, 0)
            self.granted = False

    def lowered(self, *, brief: bool = False) -> AbstractContextManager[None]:
        """Return a context for long work: behind messages and timers, and before normal processes only if `brief`."""
        if not self.granted:
            return nullcontext()
        return _BEHIND_MESSAGES if brief else _NORMAL

    @staticmethod
    def _set(policy: int, priority: int) -> bool:
        try:
            os.sched_setscheduler(0, policy | os.SCHED_RESET_ON_FORK, os.sched_param(priority))
        except OSError:
            return False
        return True


class _Lowered(AbstractContextManager[None]):
    """Another priority inside the context, PRIORITY after it. Each task uses it, and a generator would be slower."""

    _PUNCTUAL = os.sched_param(PRIORITY)

    def __init__(self, policy: int, priority: int) -> None:
        self._policy = policy | os.SCHED_RESET_ON_FORK
        self._param = os.sched_param(priority)

    def __enter__(self) -> None:
        os.sched_setscheduler(0, self._policy, self._param)

    def __exit__(self, *_: object) -> None:
        os.sched_setscheduler(0, REAL_TIME | os.SCHED_RESET_ON_FORK, self._PUNCTUAL)


_NORMAL = _Lowered(os.SCHED_OTHER, 0)
_BEHIND_MESSAGES = _Lowered(REAL_TIME, COMPUTE_PRIORITY)


class Stalls:
    """Spans in which a process did not run although it should: the longest ones since the last `take`.

    All times are of CLOCK_MONOTONIC [real s].
    """

    def __init__(self) -> None:
        self._found: list[tuple[float, float]] = []

    def note(self, from_s: float, until_s: float) -> None:
        """Note that the process should have run at `from_s` at the latest, and ran at `until_s`."""
        if until_s - from_s > STALL_S:
            self._found.append((from_s, until_s))
            if len(self._found) > MOST_STALLS:
                self._found.remove(min(self._found, key=lambda stall: stall[1] - stall[0]))

    def take(self) -> tuple[tuple[float, float], ...]:
        """Return the stalls since the last call, from and to, in the order of time."""
        found, self._found = sorted(self._found), []
        return tuple(found)


class Deadlines:
    """Counts deadlines and late ones, and keeps the greatest lateness [real s]."""

    def __init__(self, time_scale: float = 1.0) -> None:
        """A deadline is late if it is missed by over a millisecond, an emulated one at a `time_scale` above 1."""
        self._late_s = LATE_S * max(1.0, time_scale)
        self._met = self._late = 0
        self._worst_s = 0.0

    def meet(self, late_s: float) -> None:
        """Count a deadline that was handled `late_s` after its time [real s]."""
        self._met += 1
        self._late += late_s > self._late_s
        self._worst_s = max(self._worst_s, late_s)

    def take(self) -> tuple[int, int, float]:
        """Return the number of deadlines, of late ones, and the greatest lateness [real s] since the last call."""
        figures = self._met, self._late, self._worst_s
        self._met = self._late = 0
        self._worst_s = 0.0
        return figures
