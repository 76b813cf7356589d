"""The arrival process `diurnal`: the rate rises and falls like that of a day."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from node_agent.errors import InputError
from testbed.trace.processes.parameters import END, Moment, read_factor, read_length, read_moment
from testbed.trace.processes.pieces import Times
from testbed.trace.processes.shaped import Shaped


@dataclass(frozen=True, slots=True)
class Diurnal(Shaped):
    """The curve h(t) = 1 + (peak - 1) cos(2 pi (t - at) / period).

    Attributes:
        period: length of a day.
        peak: the greatest rate over the mean of whole days, above 1 and at most 2; the least is 2 - peak.
        at: the time of a peak; None: half a period after the start.

    Raises:
        InputError: the peak is out of bounds.
    """

    name: ClassVar[str] = "diurnal"
    readers: ClassVar[Mapping[str, Callable[[object], object]]] = {
        "period": read_length, "peak": read_factor, "at": read_moment,
    }  # fmt: skip

    period: Moment = END
    peak: float = 1.8
    at: Moment | None = None

    def __post_init__(self) -> None:
        """Check the peak."""
        if not 1 < self.peak <= 2:
            message = f"peak: x{self.peak:g} is out of bounds: a day's peak is above x1, and at most x2 of its mean"
            raise InputError(message, hint="for a higher peak use flash-crowd or mmpp")

    def height(self, at_s: Times, duration_s: float) -> Times:
        """The curve at these times, (n,)."""
        return np.asarray(1 + (self.peak - 1) * np.cos(self._angle(at_s, duration_s)))

    def area(self, at_s: float, duration_s: float) -> float:
        """The integral of the curve from 0 to `at_s` [s]."""
        angle, first = (float(self._angle(np.array(time_s), duration_s)) for time_s in (at_s, 0.0))
        swing_s = self.period.seconds(duration_s) / (2 * math.pi) * (math.sin(angle) - math.sin(first))
        return at_s + (self.peak - 1) * swing_s

    def greatest(self, duration_s: float) -> float:  # noqa: ARG002 - it is the same in any run
        """The peak."""
        return self.peak

    def _angle(self, at_s: Times, duration_s: float) -> Times:
        period_s = self.period.seconds(duration_s)
        peak_s = period_s / 2 if self.at is None else self.at.seconds(duration_s)
        return 2 * math.pi * (at_s - peak_s) / period_s
