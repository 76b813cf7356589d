"""The arrival process `bursty`: a two-state Markov-modulated Poisson process with fixed parameters.

A device spends BURST_SHARE of its time in bursts, in which tasks come at BURST_FACTOR times the mean rate. Between
bursts they come at QUIET_FACTOR times the mean, so that the mean rate is the stated one. For a device of m tasks/s the
index of dispersion of long counts is 1 + 3.2 s * m (Poisson: 1).
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from testbed.scenario import ArrivalProcess, RateChanges
from testbed.trace.processes.pieces import Times, even, pieces, within

BURST_FACTOR = 3.0
BURST_SHARE = 0.2
QUIET_FACTOR = (1 - BURST_SHARE * BURST_FACTOR) / (1 - BURST_SHARE)
MEAN_BURST_S = 2.0
MEAN_QUIET_S = MEAN_BURST_S * (1 - BURST_SHARE) / BURST_SHARE


@dataclass(frozen=True, slots=True)
class Bursty(ArrivalProcess):
    """Poisson arrivals whose rate jumps between bursts and quiet times; each device has bursts of its own."""

    name: ClassVar[str] = "bursty"

    def times_s(self, random: np.random.Generator, changes: RateChanges, duration_s: float) -> Times:
        """Draw arrival times [s] in [0, duration), (n,), of the two-state process, begun in its stationary state.

        A change of the rate scales the rates of both states; it does not move the bursts.
        """
        parts = [np.empty(0)]
        begin_s = 0.0
        burst = bool(random.random() < BURST_SHARE)
        while begin_s < duration_s:
            length_s = random.exponential(MEAN_BURST_S if burst else MEAN_QUIET_S)
            factor = BURST_FACTOR if burst else QUIET_FACTOR
            stretch = pieces(changes, begin_s, min(length_s, duration_s - begin_s))
            parts += [even(random, piece, factor) for piece in stretch]
            begin_s += length_s
            burst = not burst
        return within(np.concatenate(parts), duration_s)

    def dispersion(self, rate_per_s: Times, window_s: float) -> Times:
        """The index of dispersion of the counts in windows, (D,), of devices with these rates [tasks/s], (D,)."""
        relaxation_s = 1 / (1 / MEAN_BURST_S + 1 / MEAN_QUIET_S)
        relative = BURST_SHARE * (1 - BURST_SHARE) * (BURST_FACTOR - QUIET_FACTOR) ** 2  # variance of the rate / square
        inside = 1 - relaxation_s / window_s * -math.expm1(-window_s / relaxation_s)
        return 1 + 2 * relative * relaxation_s * inside * rate_per_s
