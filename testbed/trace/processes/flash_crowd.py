"""The arrival process `flash-crowd`: the rate soars at one time, and decays."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from node_agent.errors import InputError
from testbed.trace.processes.parameters import Moment, read_factor, read_length, read_moment
from testbed.trace.processes.pieces import Times
from testbed.trace.processes.shaped import Shaped

_AT, _RISE, _DECAY = (Moment(share, relative=True) for share in (0.3, 0.05, 0.1))


@dataclass(frozen=True, slots=True)
class FlashCrowd(Shaped):
    """The curve h(t) = 1 + (peak - 1) g(t), where g is 0 until `at`, then rises to 1 in a line, then decays.

        g(t) = 0                                 t < at
               (t - at) / rise                   at <= t < at + rise
               exp(-(t - at - rise) / decay)     at + rise <= t

    Attributes:
        at: when the crowd begins to come.
        peak: the greatest rate over that before the crowd, above 1.
        rise: time from `at` to the peak; may be 0.
        decay: time in which the excess falls to 1/e.

    Raises:
        InputError: the peak is out of bounds.
    """

    name: ClassVar[str] = "flash-crowd"
    readers: ClassVar[Mapping[str, Callable[[object], object]]] = {
        "at": read_moment, "peak": read_factor, "rise": read_moment, "decay": read_length,
    }  # fmt: skip

    at: Moment = _AT
    peak: float = 5.0
    rise: Moment = _RISE
    decay: Moment = _DECAY

    def __post_init__(self) -> None:
        """Check the peak."""
        if not self.peak > 1:
            raise InputError(f"peak: x{self.peak:g} is no peak: it must be above x1", hint="for example peak: x5")

    def check(self, duration_s: float) -> None:
        """Raise InputError if the crowd comes after the end of a run of this length."""
        at_s = self.at.seconds(duration_s)
        if not at_s < duration_s:
            message = f"arrivals: the crowd comes at {at_s:g} s, but the run ends at {duration_s:g} s"
            raise InputError(message, hint="state an earlier at, such as 30 %")

    def height(self, at_s: Times, duration_s: float) -> Times:
        """The curve at these times, (n,)."""
        begin_s, rise_s, decay_s = self._times(duration_s)
        since_s = at_s - begin_s
        rising = since_s / rise_s if rise_s > 0 else np.ones_like(since_s)
        falling = np.exp(-np.clip(since_s - rise_s, 0.0, None) / decay_s)
        excess = np.where(since_s < 0, 0.0, np.where(since_s < rise_s, rising, falling))
        return np.asarray(1 + (self.peak - 1) * excess)

    def area(self, at_s: float, duration_s: float) -> float:
        """The integral of the curve from 0 to `at_s` [s]."""
        begin_s, rise_s, decay_s = self._times(duration_s)
        since_s = max(0.0, at_s - begin_s)
        if since_s < rise_s:
            excess_s = since_s**2 / (2 * rise_s)
        else:
            excess_s = rise_s / 2 - decay_s * math.expm1(-(since_s - rise_s) / decay_s)
        return at_s + (self.peak - 1) * excess_s

    def greatest(self, duration_s: float) -> float:  # noqa: ARG002 - it is the same in any run
        """The peak."""
        return self.peak

    def _times(self, duration_s: float) -> tuple[float, float, float]:
        """The begin, the rise and the decay [s]."""
        return self.at.seconds(duration_s), self.rise.seconds(duration_s), self.decay.seconds(duration_s)
