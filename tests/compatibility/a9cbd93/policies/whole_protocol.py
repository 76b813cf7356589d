"""Policies that derive from nothing, or from little: what users could write against this version."""

import random
from collections.abc import Sequence

import msgspec
import numpy as np

from node_agent.dtoee.queueing import Array
from node_agent.policies.base import Backlogs, Candidate, PlainPolicy, Prospect, QueuePolicy, ThresholdView


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One of every kind."""

    eagerness: float = 0.5
    rounds: int = 4
    uniform: bool = False
    word: str = "none"


class Whole:
    """Every member of the protocol, written out."""

    parameters_type = Parameters
    first_threshold = 0.7
    most_rounds = 4
    move_every = 2
    move_turns = 2
    wants_link_rates = False
    status_every_s: float | None = None
    central = False

    def __init__(self, parameters: Parameters, theta_s: float) -> None:
        self.most_rounds = parameters.rounds
        self._parameters = parameters
        self._theta_s = theta_s

    def start_slot(self) -> None:
        pass

    def update_row(self, row: Array, prospect: Prospect) -> Array:
        """A step towards the cheapest."""
        if self._parameters.uniform:
            return prospect.alive / prospect.alive.sum()
        cheapest = np.where(prospect.alive, prospect.delta_s, np.inf).argmin()
        goal = np.eye(len(row))[cheapest]
        moved = np.where(prospect.alive, row + self._parameters.eagerness * (goal - row) / self.most_rounds, 0.0)
        return np.asarray(moved / moved.sum())

    def gap(self, row: Array, prospect: Prospect) -> float:
        kept, ahead = prospect.living(row)
        price_s = sum(p * delta_s for p, delta_s in zip(kept, ahead.delta_s, strict=True))
        return 1 - min(ahead.delta_s) / price_s

    def stop_gap(self) -> float:
        return 0.01

    def settled(self, gaps: Sequence[float]) -> bool:
        return gaps[-1] <= self.stop_gap()

    def executed(self, row: Array) -> Array:
        return row

    def move_threshold(self, view: ThresholdView) -> float:
        easiest = view.table.confidence[:, view.stage - 1].max()
        return float(min(view.threshold, easiest)) if view.arrival_per_s > 0 else view.threshold

    def pick(self, candidates: Sequence[Candidate], random: random.Random) -> int:
        return random.randrange(len(candidates))


class Restless(PlainPolicy):
    """Never exits early, by a number above one; a row that leans on the mean delay."""

    parameters_type = msgspec.defstruct("NoParameters", [], frozen=True, forbid_unknown_fields=True)
    first_threshold = 2.0

    def __init__(self, parameters: msgspec.Struct, theta_s: float) -> None:
        pass

    def update_row(self, row: Array, prospect: Prospect) -> Array:
        assert prospect.mean_delay_s(row) > 0
        assert prospect.sojourn_s.shape == prospect.link_s.shape == row.shape
        weights = np.where(prospect.alive, prospect.service_per_s, 0.0)
        return np.asarray(weights / weights.sum())


class Quickest(QueuePolicy):
    """The candidate with the least expected delay, and its own reports."""

    parameters_type = Backlogs

    def pick(self, candidates: Sequence[Candidate], random: random.Random) -> int:  # noqa: ARG002
        return min(range(len(candidates)), key=lambda k: candidates[k].expected_delay_s + candidates[k].onward_delay_s)
