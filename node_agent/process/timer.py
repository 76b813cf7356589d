"""A node's timers, and a descriptor that wakes a poll loop for the next one.

The timeout of poll() has a resolution of a millisecond; a timerfd wakes to the microsecond.
"""

import heapq
import itertools
import os
from collections.abc import Set

from node_agent.core.events import TimerKey
from node_agent.process.linux import TimerSetting, timerfd_create, timerfd_settime


class Timers:
    """Timers by key, each with the time at which it is due. Setting a key again replaces its timer."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, TimerKey]] = []
        self._numbers: dict[TimerKey, int] = {}  # the valid entry of each key; older entries are void
        self._count = itertools.count()

    def set(self, key: TimerKey, at_s: float) -> None:
        """Set the timer `key`, due at `at_s` [s]."""
        number = self._numbers[key] = next(self._count)
        heapq.heappush(self._heap, (at_s, number, key))

    def cancel(self, key: TimerKey) -> None:
        """Cancel a timer, if it is set."""
        self._numbers.pop(key, None)

    def clear(self) -> None:
        """Cancel all timers."""
        self._heap.clear()
        self._numbers.clear()

    def keys(self) -> Set[TimerKey]:
        """Return the keys of the timers that are set."""
        return self._numbers.keys()

    def next_s(self) -> float | None:
        """Return when the next timer is due [s]; None if none is set."""
        heap, numbers = self._heap, self._numbers
        while heap and numbers.get(heap[0][2]) != heap[0][1]:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def pop(self, now_s: float) -> tuple[float, TimerKey] | None:
        """Pop the timer that has been due longest, with its due time; None if none is due."""
        due_s = self.next_s()
        if due_s is None or due_s > now_s:
            return None
        _, _, key = heapq.heappop(self._heap)
        del self._numbers[key]
        return due_s, key


class DeadlineTimer:
    """A timerfd on CLOCK_MONOTONIC; its file descriptor is readable once the deadline has passed."""

    def __init__(self) -> None:
        self._fd = timerfd_create()
        self._setting = TimerSetting()
        self._value = self._setting.value  # the part of it that changes
        self._armed_s: float | None = None

    def fileno(self) -> int:
        """Return the descriptor to poll."""
        return self._fd

    def arm(self, monotonic_s: float | None) -> None:
        """Become readable at this time of time.monotonic() [real s]: at once if it has passed, never if None."""
        if monotonic_s == self._armed_s:
            return
        self._armed_s = monotonic_s
        nanoseconds = 0 if monotonic_s is None else max(1, int(monotonic_s * 1e9))
        self._value.seconds, self._value.nanoseconds = divmod(nanoseconds, 10**9)
        timerfd_settime(self._fd, self._setting)

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._fd)
