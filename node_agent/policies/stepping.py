"""The steps of a policy that moves its row by prices (DTO-O); the node keeps the row."""

import numpy as np

from node_agent.dtoee.offloader import Momentum, Scale, StepRule
from node_agent.dtoee.one_row import at_rest, restrict, shift
from node_agent.dtoee.queueing import Array
from node_agent.policies.base import Prospect, proportional


class Stepping:
    """The steps of one row: it starts in proportion to the receivers' speeds and keeps its momentum within a slot."""

    def __init__(self, rule: StepRule) -> None:
        self._rule = rule
        self._momentum: Momentum[list[float], float] | None = None  # None before the first row

    def start_slot(self) -> None:
        """Reset momentum and step: prices may have jumped."""
        if self._momentum is not None:
            self._momentum = at_rest(len(self._momentum.velocity), self._rule)

    def next_row(
        self, row: Array, prospect: Prospect, slope_s: list[float], scale: Scale[list[float], float] | None = None
    ) -> Array:
        """The row (K,) after a step against `slope_s`.

        Args:
            row: the row before, (K,).
            prospect: the K receivers.
            slope_s: the price of each receiver [s], K numbers.
            scale: only the update "gallager" needs it, as in `one_row.shift`.
        """
        alive = [receiver.alive for receiver in prospect.receivers]
        if self._momentum is None:
            self._momentum = at_rest(len(row), self._rule)
            start = proportional(prospect.service_per_s, prospect.alive).tolist()
            return np.array(restrict(start, alive, self._rule.floor), dtype=np.float64)
        moved, self._momentum = shift(
            row.tolist(), self._momentum, slope_s, alive, self._rule, stale=prospect.stale, scale=scale
        )
        return np.array(moved, dtype=np.float64)
