"""Being on time: real-time priority for a node's messages and timers, and an account of how late its deadlines were.

Forty nodes on two processors are late for each other: while one computes, another's timer has passed. Waiting and
passing messages takes microseconds and goes first; computing, which takes milliseconds, is the one thing that can
wait.

Decision: timers at real-time priority 3, ZeroMQ's threads at 2, the sub-model at 1 where it takes a small part of the
time that it stands for, and at normal priority where it does not. Of 40 agents that used half of two processors, 99 %
of services then ended within 0.29 ms of their time, and 90 % of messages took 0.8 ms over the loopback. Rejected: all
at normal priority (2.5 to 3.9 ms; 2.2 ms), ZeroMQ's threads at normal priority (0.36 ms, but 2.2 ms for messages) or at
the timers' (0.94 ms); every sub-model at normal priority: behind thousands of short wake-ups a second the kernel does
not move it to a processor that has become free, as it does at once for a real-time thread (65 agents on a machine that
was busy besides: 263 services late instead of 38, 27 % of the tasks instead of 5 %). A sub-model above the timers would
hold them up for as long as it runs, and one that takes most of its time, at any real-time priority, the rest of the
machine when too much is asked for. What an overload costs: sub-models wait behind messages, which shows as overruns.
Each agent knows only its own share: of very many servers, each brief for its pace, the sum may still be more than the
machine has. Then normal processes get nothing, and what the kernel keeps free of real-time threads (by default 5 % of
each second) is kept free of whatever carries the links' frames, too. A quarter of the pace each is the bound, so eight
servers that are never idle fill two processors; the record shows it as overruns and late timers.
Garbage collection is frozen in agents.

That holds for code whose turns are known to be short. A policy of the user's own decides within the poll loop and may
take as long as it likes, so an agent with one runs its whole poll loop at normal priority; only ZeroMQ's threads, which
run none of it, keep theirs.
"""

import os
from contextlib import AbstractContextManager, nullcontext

from node_agent.process.linux import exact_timers

# Low among the real-time priorities: whatever carries the emulated links' frames goes before.
PRIORITY = 3
MESSENGER_PRIORITY = 2
COMPUTE_PRIORITY = 1
LATE_S = 0.001
STALL_S = 0.02  # real time: a busy machine keeps an agent waiting for less
MOST_STALLS = 8
REAL_TIME = os.SCHED_FIFO


class Priority:
    """The calling thread's priority: real-time from `take` on, where that is allowed, except while it is `lowered`.

    Children and later threads do not inherit it.
    """

    def __init__(self, *, real_time: bool = True) -> None:
        """Without `real_time`, `take` never asks for more than exact timers."""
        self.granted = False
        self._real_time = real_time

    @classmethod
    def is_allowed(cls) -> bool:
        """Whether this process may have it."""
        return cls._set(REAL_TIME, PRIORITY) and cls._set(os.SCHED_OTHER, 0)

    def take(self) -> bool:
        """Ask for it; False, and nothing has changed but the timers' slack, where it is not wanted or not allowed."""
        exact_timers()  # which only real-time priority would bring besides
        self.granted = self._real_time and self._set(REAL_TIME, PRIORITY)
        return self.granted

    def give_up(self) -> None:
        """Back to normal."""
        if self.granted:
            self._set(os.SCHED_OTHER, 0)
            self.granted = False

    def lowered(self, *, brief: bool = False) -> AbstractContextManager[None]:
        """For what takes long: behind all messages and timers, before normal processes only if it is `brief`."""
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
    """Another priority within, the punctual one after it; no generator, since every task passes here twice."""

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
    """Times in which a process did not run although it had to: the longest ones since they were last asked for.

    All times are of CLOCK_MONOTONIC [s].
    """

    def __init__(self) -> None:
        self._found: list[tuple[float, float]] = []

    def note(self, from_s: float, until_s: float) -> None:
        """It should have run at `from_s` at the latest, and did at `until_s`."""
        if until_s - from_s > STALL_S:
            self._found.append((from_s, until_s))
            if len(self._found) > MOST_STALLS:
                self._found.remove(min(self._found, key=lambda stall: stall[1] - stall[0]))

    def take(self) -> tuple[tuple[float, float], ...]:
        """Those since the last call, in the order of time."""
        found, self._found = sorted(self._found), []
        return tuple(found)


class Deadlines:
    """How many deadlines there were, how many were met late, and how late the worst was [real s]."""

    def __init__(self, time_scale: float = 1.0) -> None:
        """Late is what misses by over a millisecond that the run can notice: an emulated one at scales above 1."""
        self._late_s = LATE_S * max(1.0, time_scale)
        self._met = self._late = 0
        self._worst_s = 0.0

    def meet(self, late_s: float) -> None:
        """One deadline was met `late_s` after it."""
        self._met += 1
        self._late += late_s > self._late_s
        self._worst_s = max(self._worst_s, late_s)

    def take(self) -> tuple[int, int, float]:
        """The three figures since the last call."""
        figures = self._met, self._late, self._worst_s
        self._met = self._late = 0
        self._worst_s = 0.0
        return figures
