"""The time of a run, cut into pieces of one mean rate, and Poisson arrivals within a piece."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from testbed.scenario import RateChanges

Times = npt.NDArray[np.float64]  # [s], (n,)


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of time with one rate."""

    begin_s: float
    length_s: float
    rate_per_s: float


def pieces(changes: RateChanges, begin_s: float, length_s: float) -> Iterator[Piece]:
    """Cut the time from `begin_s` on into pieces of constant rate.

    Without a change inside, there is a single piece with exactly this begin and length. Its arrivals are those of a
    device without events, to the last bit.
    """
    end_s = begin_s + length_s
    rate_per_s = 0.0
    for at_s, new_rate_per_s in changes:
        if at_s >= end_s:
            break
        if at_s > begin_s:
            yield Piece(begin_s, at_s - begin_s, rate_per_s)
            begin_s, length_s = at_s, end_s - at_s
        rate_per_s = new_rate_per_s
    yield Piece(begin_s, length_s, rate_per_s)


def even(random: np.random.Generator, piece: Piece, factor: float = 1.0) -> Times:
    """Draw sorted arrival times [s], (n,), of a Poisson process with `factor` times the piece's rate."""
    count = random.poisson(piece.rate_per_s * factor * piece.length_s)
    return np.asarray(piece.begin_s + np.sort(random.uniform(0.0, piece.length_s, count)))


def within(times_s: Times, duration_s: float) -> Times:
    """The times before the end of a run: adding the begin of a piece may round up to the very end."""
    return times_s[times_s < duration_s]
