"""The kernel's timers: they fire on ticks; the farther away they are due, the more coarsely.

Times are emulated seconds. The kernel's ticks are real time, so a time scale makes them shorter here.
"""

import math

from testbed.virtual_time import Action, Calendar, Entry

TICK_S = 1 / 250  # of Debian and Ubuntu LTS kernels [real s]
# Linux's timer wheel: a timer due in at most (first) ticks fires on a multiple of (second) ticks, and never early.
WHEEL = ((63, 1), (511, 8), (4095, 64), (32767, 512))


class KernelTimer:
    """A timer of a socket. Setting it again replaces the earlier setting."""

    __slots__ = ("_action", "_agenda", "_entry", "_tick_s", "kind")

    def __init__(self, agenda: Calendar, action: Action, time_scale: float) -> None:
        """`action` is called with the timer's kind when it fires."""
        self._agenda = agenda
        self._action = action
        self._tick_s = TICK_S / time_scale
        self._entry: Entry | None = None
        self.kind = ""  # empty while the timer is not set

    def set(self, kind: str, after_s: float) -> None:
        """Set the timer: it fires as `kind` after `after_s` [emulated s]."""
        self.clear()
        self.kind = kind
        at_s = fires_s(self._agenda.now_s, after_s, self._tick_s)
        self._entry = self._agenda.at(at_s, self._fire, None)

    def clear(self) -> None:
        """Cancel the timer."""
        if self._entry is not None:
            self._agenda.strike(self._entry)
            self._entry = None
        self.kind = ""

    def _fire(self, _: object) -> None:
        kind, self.kind, self._entry = self.kind, "", None
        self._action(kind)


def fires_s(now_s: float, after_s: float, tick_s: float = TICK_S) -> float:
    """Return when a timer fires that is set at `now_s` for `after_s` later; all in the unit of `tick_s`."""
    ticks = max(1, math.ceil(after_s / tick_s - 1e-9))
    coarseness = next((step for most, step in WHEEL if ticks <= most), WHEEL[-1][1])
    due = math.floor(now_s / tick_s) + ticks
    return (due // coarseness + 1) * coarseness * tick_s
