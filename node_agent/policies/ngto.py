"""NGTO: a game in which every offloader minimises the delay of its own tasks only.

Offloader i minimises its own mean delay sum_j p_ij (t_ij + T_j(phi_j) + Y_j). T_j is the sojourn time at receiver j
under the load phi_j of all offloaders, and Y_j the mean time after it, the result's way back included. With
x_ij = w_i p_ij its own part of that load, the slope is

    u_ij = t_ij + T_j + x_ij T'_j + Y_j ,    T'_j = (D'_j - T_j) / phi_j

Unlike DTO-EE's marginal cost it ignores the delay that i causes to others. If u_ij is equal and least on the support of
every row, no offloader gains by moving alone: a Nash equilibrium.

Decision 021: the game's rows take DTO-EE's steps, not best responses (docs/decisions/021-game-steps.md).
"""

from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta

from node_agent.dtoee.offloader import StepRule, published
from node_agent.dtoee.queueing import Array, queue_cost
from node_agent.policies.base import PlainPolicy, Prospect
from node_agent.policies.parameters import Threshold
from node_agent.policies.stepping import Stepping


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters that a topology may set."""

    threshold: Threshold = 0.8
    most_rounds: Annotated[int, Meta(ge=1, le=1000)] = 24  # of a slot
    stop_gap: Annotated[float, Meta(ge=0, le=1)] = 0.02


class Ngto(PlainPolicy):
    """Every offloader minimises the delay of its own tasks, until nobody gains by moving alone (a Nash equilibrium)."""

    parameters_type = Parameters

    def __init__(self, parameters: Parameters, theta_s: float) -> None:  # noqa: ARG002 - nothing to trade
        self.first_threshold = parameters.threshold
        self.most_rounds = parameters.most_rounds
        self._stop_gap = parameters.stop_gap
        self._rule = StepRule()
        self._stepping = Stepping(self._rule)

    def start_slot(self) -> None:
        """Reset momentum and step; the row stays."""
        self._stepping.start_slot()

    def update_row(self, row: Array, prospect: Prospect) -> Array:
        """The row (K,) after one step towards the receivers where this offloader's tasks are done sooner."""
        return self._stepping.next_row(row, prospect, own_marginal_s(row, prospect).tolist())

    def gap(self, row: Array, prospect: Prospect) -> float:
        """Largest gain of the offloader by moving alone, as a share of its mean slope, 0..1."""
        slope_s = own_marginal_s(row, prospect)[prospect.alive]
        kept = row[prospect.alive]
        mean_s = float(kept @ slope_s / kept.sum())
        return (mean_s - float(slope_s.min())) / mean_s if mean_s > 0 else 0.0

    def stop_gap(self) -> float:
        """The parameter `stop_gap`."""
        return self._stop_gap

    def executed(self, row: Array) -> Array:
        """The row (K,) with 0 at receivers that only the floor keeps in it."""
        return published(row, self._rule.floor)


def own_marginal_s(row: Array, prospect: Prospect) -> Array:
    """u_ij of the module's docstring [s], (K,): slope of the own mean delay in the own flow to each receiver.

    Args:
        row: shape (K,).
        prospect: the K receivers.
    """
    phi = np.maximum(prospect.arrival_per_s, 1e-9)
    sojourn_s = prospect.sojourn_s
    slope_s = queue_cost(phi, prospect.service_per_s, prospect.variability, prospect.arrival_variability).slope_s
    own_part = np.clip(prospect.leaving_per_s * row / phi, 0.0, 1.0)
    return np.asarray(prospect.link_s + sojourn_s + own_part * (slope_s - sojourn_s) + prospect.onward_delay_s)
