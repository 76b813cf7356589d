"""What a policy is: how an offloader spreads its tasks, and whether a server moves its threshold."""

from dataclasses import dataclass
from typing import Annotated, Protocol

import msgspec
import numpy as np
from msgspec import Meta

from node_agent.dtoee.exit_table import ExitTable
from node_agent.dtoee.queueing import Array, Mask
from node_agent.dtoee.receiver import Downstream
from node_agent.dtoee.thresholds import Onward, Paths


@dataclass(frozen=True)
class Prospect:
    """What an offloader knows of its K receivers, of which at least one lives, when a round ends.

    Arrays have shape (K,), in the order of `names`; receivers that are not `alive` have entries without meaning.
    `stale`: a living receiver did not answer this round.
    """

    names: tuple[str, ...]
    alive: Mask
    stale: bool
    link_s: Array  # transfer time of a task
    link_byte_per_s: Array  # rate of the link as measured
    marginal_s: Array
    best_s: Array
    local_s: Array
    onward_s: Array
    curvature_s2: Array
    service_per_s: Array
    paths: tuple[Paths, ...]

    def living(self, row: Array) -> tuple[Array, Downstream]:
        """The part of a row and of the receivers' costs that the marginal-cost recursion reads: the living ones'."""
        keep = self.alive
        kept = row[keep]
        return kept / kept.sum(), Downstream(
            self.link_s[keep], self.marginal_s[keep], self.best_s[keep], self.curvature_s2[keep]
        )

    def onward(self, row: Array) -> Onward:
        """The part that a threshold move reads, of the living receivers."""
        keep = self.alive
        return Onward(
            row[keep] / row[keep].sum(),
            self.link_s[keep],
            self.local_s[keep],
            self.onward_s[keep],
            self.curvature_s2[keep],
            tuple(paths for paths, alive in zip(self.paths, keep, strict=True) if alive),
        )


@dataclass(frozen=True, slots=True)
class ThresholdView:
    """What a server knows when it may move its threshold: its flows, its receivers, its row and the table."""

    table: ExitTable
    stage: int
    paths: Paths
    arrival_per_s: float
    onward: Onward
    threshold: float


class Policy(Protocol):
    """One node's policy. It may keep state between calls; every node has its own instance.

    `first_threshold` is c at the start, `most_rounds` how many rounds a slot's configuration phase has at most, and
    `move_every` after how many rounds one server of each stage may move its threshold.
    """

    first_threshold: float
    most_rounds: int
    move_every: int
    wants_link_rates: bool  # whether `Prospect.link_byte_per_s` is needed, which costs larger probes

    def start_slot(self) -> None:
        """A new slot begins: prices may have jumped since the last one."""

    def update_row(self, row: Array, prospect: Prospect) -> Array:
        """The row (K,) after a round; it sums to one and is zero at dead receivers."""

    def gap(self, row: Array, prospect: Prospect) -> float:
        """Share of the marginal cost that an ideal plan could still save; the rounds end where it is small."""

    def stop_gap(self) -> float:
        """How small a gap ends the rounds."""

    def executed(self, row: Array) -> Array:
        """The row as tasks are spread by it."""

    def move_threshold(self, view: ThresholdView) -> float:
        """The threshold from the next round on."""


class FixedThreshold(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Parameters of a policy that leaves thresholds alone."""

    threshold: Annotated[float, Meta(ge=0, le=2)] = 0.8


class ProportionalPolicy:
    """Base of policies that set their row once a slot, in proportion to something, at a fixed threshold."""

    most_rounds = 1
    move_every = 1
    wants_link_rates = False

    def __init__(self, parameters: FixedThreshold, theta_s: float) -> None:  # noqa: ARG002 - nothing to trade
        self.first_threshold = parameters.threshold

    def start_slot(self) -> None:
        """Nothing is kept between slots."""

    def weights(self, prospect: Prospect) -> Array:
        """What the row is proportional to, (K,)."""
        raise NotImplementedError

    def update_row(self, row: Array, prospect: Prospect) -> Array:  # noqa: ARG002 - the row before does not matter here
        """Living receivers in proportion to `weights`."""
        return proportional(self.weights(prospect), prospect.alive)

    def gap(self, row: Array, prospect: Prospect) -> float:  # noqa: ARG002
        """Nothing to iterate on."""
        return 0.0

    def stop_gap(self) -> float:
        """Any."""
        return 0.0

    def executed(self, row: Array) -> Array:
        """The row itself."""
        return row

    def move_threshold(self, view: ThresholdView) -> float:
        """The same."""
        return view.threshold


def proportional(weights: Array, alive: Mask) -> Array:
    """Row in proportion to `weights` over the living receivers; uniform over them where all weights are zero."""
    kept = np.where(alive, weights, 0.0)
    if not kept.sum() > 0:
        kept = alive.astype(np.float64)
    return np.asarray(kept / kept.sum())
