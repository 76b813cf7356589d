"""A timer that wakes a poll loop to the microsecond: poll() itself only knows whole milliseconds."""

import ctypes
import os
import time
from ctypes import CDLL, Structure, byref, c_long, get_errno

_CLOCK_MONOTONIC = time.CLOCK_MONOTONIC
_TFD_TIMER_ABSTIME = 1


class _Timespec(Structure):
    _fields_ = [("seconds", c_long), ("nanoseconds", c_long)]


class _Itimerspec(Structure):
    _fields_ = [("interval", _Timespec), ("value", _Timespec)]


class DeadlineTimer:
    """A timerfd on CLOCK_MONOTONIC; its file descriptor is readable once the deadline has passed.

    Python 3.13 offers os.timerfd_create; before that the C library is called directly.
    """

    def __init__(self) -> None:
        self._libc = CDLL(None, use_errno=True)
        self._fd = self._libc.timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise OSError(get_errno(), "timerfd_create")

    def fileno(self) -> int:
        """The descriptor to poll."""
        return int(self._fd)

    def arm(self, monotonic_s: float | None) -> None:
        """Become readable at this time of time.monotonic(), at once if it has passed; never, if None."""
        nanoseconds = 0 if monotonic_s is None else max(1, int(monotonic_s * 1e9))
        value = _Timespec(nanoseconds // 10**9, nanoseconds % 10**9)
        spec = _Itimerspec(_Timespec(0, 0), value)
        if self._libc.timerfd_settime(self._fd, _TFD_TIMER_ABSTIME, byref(spec), None) < 0:
            raise OSError(ctypes.get_errno(), "timerfd_settime")

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._fd)
