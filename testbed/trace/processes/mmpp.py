"""The arrival process `mmpp`: a Markov-modulated Poisson process with any number of states.

State k has the factor x_k and the mean length d_k (exponential). Every next state is equally likely. So the share of
the time in state k is p_k = d_k / sum_j d_j, and the rate there is f_k = x_k / sum_j p_j x_j times the stated one: the
mean rate is the stated one. With Q the generator of the states, which is reversible, the eigenvalues -v_n of
sqrt(p) Q / sqrt(p), and c_n = (sum_k sqrt(p_k) f_k e_nk)^2 for their eigenvectors e_n, a device of m tasks/s has over
windows of t seconds the index of dispersion (W. Fischer and K. Meier-Hellstern, Performance Evaluation 18, 1993)

    I(t) = 1 + 2 m sum_{n > 0} c_n (1 - (1 - exp(-v_n t)) / (v_n t)) / v_n
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from node_agent.errors import InputError
from testbed.scenario import ArrivalProcess, RateChanges
from testbed.trace.processes.parameters import read_lengths, read_levels
from testbed.trace.processes.pieces import Times, even, pieces, within

MOST_STATES = 16
MOST_SWITCHES = 1e6  # of a device in a run
LEAST_LENGTH_S = 1e-3


@dataclass(frozen=True, slots=True)
class Mmpp(ArrivalProcess):
    """Poisson arrivals whose rate jumps between states; each device has states of its own.

    Attributes:
        states: the factor of each state, relative to one another, (K,).
        dwell: the mean length of each state [s], (K,).

    Raises:
        InputError: fewer than two states or more than MOST_STATES, no length for each, or a factor or length out of
            bounds.
    """

    name: ClassVar[str] = "mmpp"
    readers: ClassVar[Mapping[str, Callable[[object], object]]] = {"states": read_levels, "dwell": read_lengths}

    states: tuple[float, ...] = (0.5, 3.0)
    dwell: tuple[float, ...] = (8.0, 2.0)

    def __post_init__(self) -> None:
        """Check the states."""
        if not 2 <= len(self.states) <= MOST_STATES or len(self.dwell) != len(self.states):
            message = f"states and dwell need 2 to {MOST_STATES} entries each, as many of one as of the other, not "
            message += f"{len(self.states)} and {len(self.dwell)}"
            raise InputError(message, hint="for example states: [x0.5, x3], dwell: [8 s, 2 s]")
        if not any(self.states):
            raise InputError("a state needs a factor above x0", hint="for example states: [x0, x3]")
        if min(self.dwell) < LEAST_LENGTH_S:
            message = f"dwell: {min(self.dwell):g} s is too short: a state lasts {LEAST_LENGTH_S:g} s or longer"
            raise InputError(message, hint="for example dwell: [8 s, 2 s]")

    @property
    def shares(self) -> Times:
        """The share of the time in each state, (K,)."""
        lengths_s = np.array(self.dwell)
        return np.asarray(lengths_s / lengths_s.sum())

    @property
    def factors(self) -> Times:
        """The rate in each state over the mean rate, (K,)."""
        found = np.array(self.states)
        return np.asarray(found / (self.shares @ found))

    def check(self, duration_s: float) -> None:
        """Raise InputError if a run of this length would switch too often to be drawn."""
        if duration_s * len(self.dwell) / sum(self.dwell) > MOST_SWITCHES:
            message = f"arrivals: states of {min(self.dwell):g} s are too short for {duration_s:g} s"
            raise InputError(message, hint=f"a device may switch {MOST_SWITCHES:.0e} times: lengthen dwell")

    def times_s(self, random: np.random.Generator, changes: RateChanges, duration_s: float) -> Times:
        """Draw arrival times [s] in [0, duration), (n,); the first state is drawn by the shares."""
        parts = [np.empty(0)]
        begin_s, factors = 0.0, self.factors
        state = int(random.choice(len(self.states), p=self.shares))
        while begin_s < duration_s:
            length_s = random.exponential(self.dwell[state])
            stretch = pieces(changes, begin_s, min(length_s, duration_s - begin_s))
            parts += [even(random, piece, float(factors[state])) for piece in stretch]
            begin_s += length_s
            state = (state + 1 + int(random.integers(len(self.states) - 1))) % len(self.states)
        return within(np.concatenate(parts), duration_s)

    def dispersion(self, rate_per_s: Times, window_s: float) -> Times:
        """The index of dispersion of the counts in windows, (D,), of devices with these rates [tasks/s], (D,)."""
        count, root = len(self.states), np.sqrt(self.shares)
        leaving = 1 / np.array(self.dwell)
        generator = np.tile(leaving[:, None] / (count - 1), (1, count))
        np.fill_diagonal(generator, -leaving)
        values, vectors = np.linalg.eigh(root[:, None] * generator / root[None, :])
        weights = (vectors.T @ (root * self.factors)) ** 2
        pace, weights = -values[:-1], weights[:-1]  # the last, greatest eigenvalue is 0: the mean
        inside = 1 + np.expm1(-pace * window_s) / (pace * window_s)
        return 1 + 2 * float(np.sum(weights * inside / pace)) * rate_per_s
