"""What a policy is: how an offloader spreads its tasks, and whether a server moves its threshold."""

import random
from collections.abc import Sequence
from typing import Annotated, Protocol

import msgspec
import numpy as np
from msgspec import Meta

from node_agent.dtoee.exit_table import ExitTable
from node_agent.dtoee.queueing import Array, Mask
from node_agent.policies import answers
from node_agent.policies.parameters import Threshold
from node_agent.policies.prospect import Candidate, KnownReceiver, Prospect, ThresholdView
from node_agent.problem import Problem
from node_agent.wire import Assignment

__all__ = [
    "Backlogs", "Candidate", "CentralPolicy", "FixedThreshold", "KnownReceiver", "PlainPolicy", "Policy",
    "ProportionalPolicy", "Prospect", "QueuePolicy", "ThresholdView", "proportional",
]  # fmt: skip

GREAT_WEIGHT = 1e300  # such weights are scaled first: their sum may overflow


class Policy(Protocol):
    """The policy of one node. Every node has its own instance, which may keep state between calls.

    A row is an array (K,) of probabilities over the node's K receivers. The node keeps it, and hands it to the policy.

    All members are needed. Derive a policy from `PlainPolicy` and write only the members that differ: the class then
    keeps working when a later version adds a member. A class is checked against this one when it is loaded (see
    `contract`), and nodes check every answer (see `checked`).

    Raises:
        InputError: when the class is loaded, if it lacks a member or a method cannot be called as stated here.
        PolicyFailed: when a node calls a method, if it raises or its answer is out of range; this ends the run.
    """

    parameters_type: type[msgspec.Struct]  # the constructor gets one, filled from the topology's parameters
    first_threshold: float  # c at the start, 0..2; above 1 no task leaves early
    most_rounds: int  # most rounds of a slot, from 1
    move_every: int  # a threshold may move after every `move_every` rounds, from 1
    move_turns: int  # number of groups in which the servers of a stage move, one group after the other, from 1
    wants_link_rates: bool  # True if the policy reads `Prospect.link_byte_per_s`, which needs larger probes
    status_every_s: float | None  # time between two reports of a receiver's backlog [s]; None: tasks follow the row
    central: bool  # True if one node, the coordinator, plans for all: see `CentralPolicy`

    def start_slot(self) -> None:
        """A new slot begins: prices may have jumped since the last one."""

    def update_row(self, row: Array, prospect: Prospect) -> Array:
        """The row (K,) after a round; it sums to one. What it gives to dead receivers goes to the living ones."""

    def gap(self, row: Array, prospect: Prospect) -> float:
        """Share of the marginal cost that an ideal plan could still save."""

    def stop_gap(self) -> float:
        """How small a gap ends the rounds."""

    def settled(self, gaps: Sequence[float]) -> bool:
        """Whether this device needs no further round, given the gaps after those of this slot so far."""

    def executed(self, row: Array) -> Array:
        """The row as tasks are spread by it."""

    def move_threshold(self, view: ThresholdView) -> float:
        """The threshold from the next round on."""

    def pick(self, candidates: Sequence[Candidate], random: random.Random) -> int:
        """Which candidate gets this task; asked only where `status_every_s` is set."""


class CentralPolicy(Policy, Protocol):
    """A policy with `central` set: one node, the coordinator, plans for all."""

    def planning_s(self, problem: Problem) -> float:
        """How long the planner takes [emulated s]: its answer is held back until then."""

    def plan(self, problem: Problem, table: ExitTable) -> dict[str, Assignment]:
        """What each node is to do; nodes that are left out go on as before.

        Shares of a node sum to one over its receivers; without any its row stays, as its threshold does with None.
        """


class FixedThreshold(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Parameters of a policy that leaves thresholds alone."""

    threshold: Threshold = 0.8


class PlainPolicy:
    """Base of policies, with a default for every member: one round a slot, a row and a threshold that stay.

    A policy's constructor gets its `parameters`, a struct of its `parameters_type`, and `theta_s` [s]: seconds of mean
    delay that one unit of accuracy is worth.
    """

    parameters_type: type[msgspec.Struct] = FixedThreshold
    most_rounds = 1
    move_every = 1
    move_turns = 1
    wants_link_rates = False
    status_every_s: float | None = None
    central = False

    def __init__(self, parameters: FixedThreshold, theta_s: float) -> None:  # noqa: ARG002 - nothing to trade
        self.first_threshold = parameters.threshold

    def start_slot(self) -> None:
        """Nothing is kept between slots."""

    def update_row(self, row: Array, prospect: Prospect) -> Array:  # noqa: ARG002
        """The same."""
        return row

    def gap(self, row: Array, prospect: Prospect) -> float:  # noqa: ARG002
        """Nothing to iterate on."""
        return 0.0

    def stop_gap(self) -> float:
        """Any."""
        return 0.0

    def settled(self, gaps: Sequence[float]) -> bool:
        """Once the gap is small."""
        return gaps[-1] <= self.stop_gap()

    def executed(self, row: Array) -> Array:
        """The row itself."""
        return row

    def move_threshold(self, view: ThresholdView) -> float:
        """The same."""
        return view.threshold

    def pick(self, candidates: Sequence[Candidate], random: random.Random) -> int:
        """A draw from the row; by chance where all of the row's receivers are dead, or to be avoided."""
        shares = [candidate.share for candidate in candidates]
        if not any(shares):
            return random.randrange(len(candidates))
        return random.choices(range(len(candidates)), shares)[0]


class ProportionalPolicy(PlainPolicy):
    """Base of policies that set their row once a slot, in proportion to something."""

    def weights(self, prospect: Prospect) -> Array:
        """What the row is proportional to, (K,)."""
        raise NotImplementedError

    def update_row(self, row: Array, prospect: Prospect) -> Array:  # noqa: ARG002 - the row before does not matter here
        """Living receivers in proportion to `weights`; all alike where only dead ones have any.

        Raises:
            WrongAnswer: `weights` are no weights.
        """
        return proportional(self.weights(prospect), prospect.alive)


class Backlogs(FixedThreshold, frozen=True):
    """Parameters of a policy that looks at queues."""

    report_every: Annotated[float, Meta(ge=0.001, le=60)] = 0.1  # s; so a report is up to this old, plus its way


class QueuePolicy(PlainPolicy):
    """Base of policies that choose a receiver for every single task, by the queues that receivers report."""

    parameters_type = Backlogs

    def __init__(self, parameters: Backlogs, theta_s: float) -> None:
        super().__init__(parameters, theta_s)
        self.status_every_s = parameters.report_every

    def update_row(self, row: Array, prospect: Prospect) -> Array:
        """Where tasks went lately: nothing is planned, but the receivers want to know their load.

        The row before where no task went to a receiver that lives.
        """
        return proportional(prospect.sent, prospect.alive) if prospect.sent[prospect.alive].any() else row


def proportional(weights: Array, alive: Mask) -> Array:
    """Row in proportion to `weights` over the living receivers.

    Where all that is positive belongs to dead receivers, the living ones share alike: it says nothing of them.

    Raises:
        WrongAnswer: a living receiver's weight is negative or not finite, none is positive, or there are too few.
    """
    kept = answers.weights(weights, alive)
    if not kept.any():
        kept = alive.astype(np.float64)
    if kept.max() > GREAT_WEIGHT:
        kept = kept / kept.max()
    return np.asarray(kept / kept.sum())
