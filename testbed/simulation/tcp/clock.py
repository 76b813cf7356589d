"""When the kernel's timers fire: on ticks, and the later they are due, the more coarsely.

Times are emulated seconds; the kernel's own are real ones, so that a time scale makes them shorter.
"""

import math

from testbed.virtual_time import Action, Calendar, Entry

TICK_S = 1 / 250  # Debian and Ubuntu LTS kernels
# A timer due in fewer ticks than the first fires on a multiple of the second, and never early: Linux's timer wheel.
WHEEL = ((63, 1), (511, 8), (4095, 64), (32767, 512))


class KernelTimer:
    """One timer of a socket: setting it again replaces what was set before."""

    __slots__ = ("_action", "_agenda", "_entry", "_tick_s", "kind")

    def __init__(self, agenda: Calendar, action: Action, time_scale: float) -> None:
        """`action` is called with the kind that the timer was set for."""
        self._agenda = agenda
        self._action = action
        self._tick_s = TICK_S / time_scale
        self._entry: Entry | None = None
        self.kind = ""  # empty while it does not run

    def set(self, kind: str, after_s: float) -> None:
        """Fire for `kind` in `after_s`."""
        self.clear()
        self.kind = kind
        at_s = fires_s(self._agenda.now_s, after_s, self._tick_s)
        self._entry = self._agenda.at(at_s, self._fire, None)

    def clear(self) -> None:
        """Do not fire."""
        if self._entry is not None:
            self._agenda.strike(self._entry)
            self._entry = None
        self.kind = ""

    def _fire(self, _: object) -> None:
        kind, self.kind, self._entry = self.kind, "", None
        self._action(kind)


def fires_s(now_s: float, after_s: float, tick_s: float = TICK_S) -> float:
    """When a timer fires that is set at `now_s` for `after_s` later."""
    ticks = max(1, math.ceil(after_s / tick_s - 1e-9))
    coarseness = next((step for most, step in WHEEL if ticks <= most), WHEEL[-1][1])
    due = math.floor(now_s / tick_s) + ticks
    return (due // coarseness + 1) * coarseness * tick_s
