"""The arrival process `poisson`: tasks come independently, at the stated rate."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from testbed.scenario import ArrivalProcess, RateChanges
from testbed.trace.processes.pieces import Times, even, pieces, within


@dataclass(frozen=True, slots=True)
class Poisson(ArrivalProcess):
    """A Poisson process: exponential gaps, and an index of dispersion of 1."""

    name: ClassVar[str] = "poisson"

    def times_s(self, random: np.random.Generator, changes: RateChanges, duration_s: float) -> Times:
        """Draw arrival times [s] in [0, duration), (n,): in every piece a Poisson count, placed uniformly."""
        times_s = np.concatenate([even(random, piece) for piece in pieces(changes, 0.0, duration_s)])
        return within(times_s, duration_s)
