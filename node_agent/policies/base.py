"""The interface of a policy, which spreads an offloader's tasks and moves a server's threshold; base classes for it."""

import random
from collections.abc import Sequence
from typing import Annotated, Literal, Protocol

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

Knowledge = Literal["fresh", "reports"]
GREAT_WEIGHT = 1e300  # larger weights are scaled first: their sum could overflow


class Policy(Protocol):
    """The policy of one node. Every node has its own instance, which may keep state between calls.

    A row is an array (K,) of probabilities over the node's K receivers. The node keeps it, and hands it to the policy.

    All members are needed, except that a class without those of `contract.LATER` gets the ones of `PlainPolicy`. Derive
    a policy from `PlainPolicy` and write only the members that differ: the class then keeps working when a later
    version adds a member. A class is checked against this one when it is loaded (see
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
    # True if `pick` wants queues brought up to date, and receivers report them by need: `status_every_s` is then the
    # least time between two reports.
    fresh: bool
    # Candidates of a task besides the first, which follows the row: different receivers, drawn by the row. 0: there are
    # all that live, in their order.
    choices: int
    central: bool  # True if one node, the coordinator, plans for all: see `CentralPolicy`
    continuous: bool  # True if nodes plan whenever something has changed, and not in the rounds of a slot
    prices_exits: bool  # True if `task_threshold` gives each task a threshold of its own
    message_share: float  # share of a link's rate for control messages of a continuous policy, above 0 to 1

    def start_slot(self) -> None:
        """Prepare for a new slot: prices may have jumped since the last one."""

    def update_row(self, row: Array, prospect: Prospect) -> Array:
        """The row (K,) after a round.

        Args:
            row: the row before, (K,), sum one; a copy, which the policy may change.
            prospect: the K receivers after the round; at least one is alive.

        Returns:
            K numbers >= 0 that sum to one. The share of dead receivers goes to the living ones.
        """

    def gap(self, row: Array, prospect: Prospect) -> float:
        """Share of the marginal cost that an ideal plan could still save: a finite number, usually 0..1.

        Args:
            row: the row that is in force, (K,), sum one.
            prospect: the K receivers after the round.
        """

    def stop_gap(self) -> float:
        """The largest gap at which rounds may end: a finite number."""

    def settled(self, gaps: Sequence[float]) -> bool:
        """True if this device needs no further round in this slot.

        Args:
            gaps: the gap after every round of this slot so far, the latest one last; at least one.
        """

    def react(self, row: Array, prospect: Prospect) -> Array:
        """The row (K,) after the service rate of a receiver has changed much, at once; the next round may correct it.

        Args:
            row: the row that is in force, (K,), sum one; a copy, which the policy may change.
            prospect: the K receivers, with the new rate and the price of their own queues at that rate.

        Returns:
            K numbers >= 0 that sum to one.
        """

    def executed(self, row: Array) -> Array:
        """The row that tasks follow until the next slot: K numbers >= 0 that sum to one.

        Args:
            row: the row after the last round, (K,), sum one.
        """

    def move_threshold(self, view: ThresholdView) -> float:
        """The threshold after this round, 0..2; above 1 no task leaves early."""

    def task_threshold(self, view: ThresholdView, candidate: Candidate) -> float:
        """The threshold of one task, 0..2: it leaves if its score reaches it; called only if `prices_exits` is True.

        Args:
            view: the state of this server after its last round.
            candidate: the receiver that gets the task if it goes on.
        """

    def pick(self, candidates: Sequence[Candidate], random: random.Random) -> int:
        """Index of the candidate that gets this task; called only if `status_every_s` is set.

        Args:
            candidates: living receivers, at least one; see `choices`.
            random: the node's generator, for draws that repeat with the same seed.
        """


class CentralPolicy(Policy, Protocol):
    """A policy with `central` True: one node, the coordinator, plans for all."""

    def planning_s(self, problem: Problem) -> float:
        """Time that the planner takes [emulated s], at least 0: the plan is held back until then."""

    def plan(self, problem: Problem, table: ExitTable) -> dict[str, Assignment]:
        """The assignment of each node, by its name; nodes without one keep row and threshold.

        Args:
            problem: nodes, receivers, and the states that the coordinator has collected.
            table: the exit table, one column per stage.

        Returns:
            Shares over the node's receivers that sum to one, or no shares: then its row stays. A threshold of None
            stays, too.
        """


class FixedThreshold(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Parameters of a policy whose thresholds do not move."""

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
    fresh = False
    choices = 0
    central = False
    continuous = False
    prices_exits = False
    message_share = 0.01

    def __init__(self, parameters: FixedThreshold, theta_s: float) -> None:  # noqa: ARG002 - nothing to trade
        self.first_threshold = parameters.threshold

    def start_slot(self) -> None:
        """Do nothing: no state is kept between slots."""

    def update_row(self, row: Array, prospect: Prospect) -> Array:  # noqa: ARG002
        """The row (K,) unchanged."""
        return row

    def gap(self, row: Array, prospect: Prospect) -> float:  # noqa: ARG002
        """0: there is nothing to improve in further rounds."""
        return 0.0

    def stop_gap(self) -> float:
        """0, which the default `gap` satisfies."""
        return 0.0

    def settled(self, gaps: Sequence[float]) -> bool:
        """True once the latest gap is at most `stop_gap`."""
        return gaps[-1] <= self.stop_gap()

    def react(self, row: Array, prospect: Prospect) -> Array:  # noqa: ARG002
        """The row (K,) unchanged."""
        return row

    def executed(self, row: Array) -> Array:
        """The row (K,) unchanged."""
        return row

    def move_threshold(self, view: ThresholdView) -> float:
        """The threshold unchanged."""
        return view.threshold

    def task_threshold(self, view: ThresholdView, candidate: Candidate) -> float:  # noqa: ARG002
        """The threshold of the server, for every task."""
        return view.threshold

    def pick(self, candidates: Sequence[Candidate], random: random.Random) -> int:
        """Index of a candidate drawn by its share of the row; drawn uniformly if no candidate has a share."""
        shares = [candidate.share for candidate in candidates]
        if not any(shares):
            return random.randrange(len(candidates))
        return random.choices(range(len(candidates)), shares)[0]


class ProportionalPolicy(PlainPolicy):
    """Base of policies that set their row once a slot, in proportion to something."""

    def weights(self, prospect: Prospect) -> Array:
        """Weights (K,) >= 0; the row is proportional to them. At least one must be above 0."""
        raise NotImplementedError

    def update_row(self, row: Array, prospect: Prospect) -> Array:  # noqa: ARG002 - the row before does not matter here
        """The row (K,) in proportion to `weights`; living receivers share equally if only dead ones have weight.

        Raises:
            WrongAnswer: see `proportional`.
        """
        return proportional(self.weights(prospect), prospect.alive)


class Backlogs(FixedThreshold, frozen=True):
    """Parameters of a policy that looks at queues.

    With `knowledge: fresh` the policy knows as much as dto-ee: receivers report by need, at most every `report_every`,
    and their offloaders bring the queues up to date. With `reports` it knows the last report as it came, and receivers
    report every `report_every`.
    """

    report_every: Annotated[float, Meta(ge=0.001, le=60)] = 0.02  # s
    knowledge: Knowledge = "fresh"


class QueuePolicy(PlainPolicy):
    """Base of policies that choose a receiver for every single task, by the queues that receivers report."""

    parameters_type = Backlogs

    def __init__(self, parameters: Backlogs, theta_s: float) -> None:
        super().__init__(parameters, theta_s)
        self.status_every_s = parameters.report_every
        # Parameters of a class for version 0.1 have no such field.
        self.fresh = getattr(parameters, "knowledge", "reports") == "fresh"

    def update_row(self, row: Array, prospect: Prospect) -> Array:
        """Shares (K,) of the tasks sent in the slot before; the row before if no living receiver got a task.

        No task follows this row. It informs the receivers of their load.
        """
        return proportional(prospect.sent, prospect.alive) if prospect.sent[prospect.alive].any() else row


def proportional(weights: Array, alive: Mask) -> Array:
    """Row (K,) in proportion to `weights` (K,) over the living receivers; sum one.

    If only dead receivers have positive weights, the living ones share equally.

    Raises:
        WrongAnswer: a living receiver's weight is negative or not finite, none is positive, or there are not K weights.
    """
    kept = answers.weights(weights, alive)
    if not kept.any():
        kept = alive.astype(np.float64)
    if kept.max() > GREAT_WEIGHT:
        kept = kept / kept.max()
    return np.asarray(kept / kept.sum())
