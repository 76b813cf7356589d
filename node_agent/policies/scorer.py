"""A trained function that scores the candidates for a task; the best score wins, up to some chance.

The score of candidate k is linear in its figures f_k (see `observation`):

    score_k = a . f_k ,     chosen = argmax_k score_k + tau G_k

with independent standard Gumbel draws G_k: candidate k is chosen with probability proportional to exp(score_k / tau).
All nodes share the weights, whatever the number of their receivers. numpy is all that it needs.
"""

import math
import random
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import numpy as np

from node_agent.dtoee.queueing import Array
from node_agent.errors import InputError
from node_agent.policies.observation import FIGURES

FIRST_TAU: Final = 0.02  # before training, in the unit of time of the figures
SHORTEST: Final = ("link", "wait", "service", "exit_return")  # their sum is the delay of shortest-expected-delay
_COUNT: Final = len(FIGURES)
_SHAPES: Final = ((_COUNT,), ())
_MOST_BYTES: Final = 1 << 20  # of a file of weights


class Scorer(NamedTuple):
    """The weights, in the order in which `vector` joins them."""

    weights: Array  # a, (F,)
    log_tau: Array  # logarithm of tau, ()

    @classmethod
    def shortest(cls) -> Self:
        """The weights before training: those of shortest-expected-delay, with a little chance."""
        weights = np.array([-1.0 if figure in SHORTEST else 0.0 for figure in FIGURES])
        return cls(weights, np.array(math.log(FIRST_TAU)))

    @classmethod
    def of(cls, vector: Array) -> Self:
        """The scorer with the weights of `vector` (see there)."""
        sizes = [math.prod(shape) for shape in _SHAPES]
        parts = np.split(vector, np.cumsum(sizes)[:-1])
        return cls(*(part.reshape(shape) for part, shape in zip(parts, _SHAPES, strict=True)))

    @property
    def vector(self) -> Array:
        """All weights as one array, as training changes them."""
        return np.concatenate([part.ravel() for part in self])

    def scores(self, figures: Array) -> Array:
        """The score of each candidate, (K,), from its figures, (K, F)."""
        return np.asarray(figures @ self.weights)

    def choose(self, figures: Array, dice: random.Random) -> int:
        """Index of the chosen candidate, from the figures of all, (K, F)."""
        tau = math.exp(float(self.log_tau))
        drawn = [score - tau * math.log(-math.log(dice.random() or 1e-300)) for score in self.scores(figures).tolist()]
        return max(range(len(drawn)), key=drawn.__getitem__)

    def save(self, file: Path, **facts: str | float) -> None:
        """Write the weights and `facts` on their making to an npz file."""
        arrays: dict[str, Any] = {**self._asdict(), "figures": np.array(FIGURES), **facts}
        np.savez(file, **arrays)

    @classmethod
    def load(cls, file: Path) -> Self:
        """Read the weights of a file that `save` wrote.

        Raises:
            InputError: it cannot be read, or its weights are for other figures, of other shapes, or no numbers.
        """
        try:
            if file.stat().st_size > _MOST_BYTES:
                raise ValueError("it is too large")
            with np.load(file, allow_pickle=False) as archive:
                found = cls(*(np.asarray(archive[name], dtype=np.float64) for name in cls._fields))
                figures = tuple(archive["figures"].tolist())
        except (OSError, ValueError, KeyError, EOFError, TypeError) as error:
            raise InputError(f"{file}: no weights of a learned policy: {error}", hint=_HINT) from error
        shapes = tuple(part.shape for part in found)
        if figures != FIGURES or shapes != _SHAPES or not np.isfinite(found.vector).all():
            raise InputError(f"{file}: its weights do not suit this version", hint=_HINT)
        return found


_HINT: Final = "train some with `python -m testbed.learning.train --out FILE`"
