"""What a policy is: how an offloader spreads its tasks, and whether a server moves its threshold."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from typing import Annotated, Protocol, overload

import msgspec
import numpy as np
from msgspec import Meta

from node_agent.dtoee.exit_table import ExitTable
from node_agent.dtoee.queueing import Array, Mask, server_sojourn_s, sojourn_s
from node_agent.dtoee.receiver import Ahead
from node_agent.dtoee.thresholds import Onward, Paths
from node_agent.policies import answers
from node_agent.policies.parameters import Threshold
from node_agent.wire import Report

GREAT_WEIGHT = 1e300  # such weights are scaled first: their sum may overflow


class _Reported:
    """One figure of all receivers' reports as an array (K,), made when it is first asked for."""

    def __init__(self, field: str) -> None:
        self._figure = attrgetter(field)

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, prospect: None, owner: type) -> "_Reported": ...

    @overload
    def __get__(self, prospect: "Prospect", owner: type) -> Array: ...

    def __get__(self, prospect: "Prospect | None", owner: type) -> "Array | _Reported":
        if prospect is None:
            return self
        column = np.array([self._figure(report) for report in prospect.reports], dtype=np.float64)
        prospect.__dict__[self._name] = column  # found there from now on, before this descriptor
        return column


@dataclass(frozen=True)
class Prospect:
    """What an offloader knows of its K receivers, of which at least one lives, when a round ends.

    Arrays have shape (K,), in the order of `names`; receivers that do not live have entries without meaning. Arrays
    are made when they are read: a round needs few of them, and of a row of six each takes as long as a step.
    """

    names: tuple[str, ...]
    lives: Sequence[bool]
    stale: bool  # a living receiver did not answer this round
    leaving_per_s: float  # w, rate of the tasks that this offloader spreads over them, as announced in this round
    reports: Sequence[Report]  # the last one of each
    link_times_s: Sequence[float]  # t, transfer time of a task as measured, waiting for the link included
    link_prices_s: Sequence[float]  # t', what one more task per second adds to the time on the link
    link_rates_byte_per_s: Sequence[float]  # rate of the link as measured, where the policy wants it
    sent: Array  # tasks sent there in the slot before
    # What a task pays for its result's way back beyond what the reports count, (1 - I) (ret - mean ret) [s]: a report
    # knows the mean over all devices, a device its own. Empty: nothing.
    return_corrections_s: Sequence[float] = ()

    marginal_s = _Reported("marginal_s")  # Omega, price of one more task at the receiver and beyond [s]
    best_s = _Reported("best_s")  # m, what that price would be over the cheapest receivers from there on [s]
    local_s = _Reported("local_s")  # D' + pen', the receiver's own part of the price [s]
    onward_s = _Reported("onward_s")  # B, price beyond the receiver of a task that goes on [s]
    onward_delay_s = _Reported("onward_delay_s")  # mean time a task still needs after the receiver [s]
    return_s = _Reported("return_s")  # ret, mean time of a result from the receiver to its device [s]
    curvature_s2 = _Reported("curvature_s2")  # R, by which the price rises with the arrival rate [s^2/task]
    offloaders = _Reported("offloaders")  # how many share each receiver
    arrival_per_s = _Reported("arrival_rate_per_s")  # phi, of all offloaders together [task/s]
    service_per_s = _Reported("service_rate_per_s")  # s [task/s]
    variability = _Reported("variability")  # v, squared coefficient of variation of the service time

    @cached_property
    def alive(self) -> Mask:
        """Which receivers live."""
        return np.array(self.lives, dtype=np.bool_)

    @cached_property
    def link_s(self) -> Array:
        """Transfer time of a task as measured, waiting for the link included."""
        return np.array(self.link_times_s, dtype=np.float64)

    @cached_property
    def link_marginal_s(self) -> Array:
        """What one more task per second adds to the time on the link."""
        return np.array(self.link_prices_s, dtype=np.float64)

    @cached_property
    def link_byte_per_s(self) -> Array:
        """Rate of the link as measured, where the policy wants it."""
        return np.array(self.link_rates_byte_per_s, dtype=np.float64)

    @cached_property
    def return_correction_s(self) -> Array:
        """What a task pays for its result's way back beyond what the reports count."""
        return np.array(self.return_corrections_s or [0.0] * len(self.names), dtype=np.float64)

    @cached_property
    def _ways_s(self) -> Sequence[float]:
        """What a task pays besides each receiver's own price: its link's, and the correction of the way back."""
        if not self.return_corrections_s:
            return self.link_prices_s
        return [link_s + more_s for link_s, more_s in zip(self.link_prices_s, self.return_corrections_s, strict=True)]

    @property
    def sojourn_s(self) -> Array:
        """T, mean time of a task at each receiver, in queue and in service (Pollaczek-Khinchine)."""
        return sojourn_s(self.arrival_per_s, self.service_per_s, self.variability)

    def mean_delay_s(self, row: Array) -> float:
        """Mean time until the result of a task that is spread by `row`: sum_k p_k (t_k + T_k + onward_k)."""
        total = kept = 0.0
        more_s = self.return_corrections_s or [0.0] * len(self.reports)
        known = zip(row.tolist(), self.lives, self.link_times_s, more_s, self.reports, strict=True)
        for p, lives, link_s, return_s, told in known:
            if lives and p > 0:
                at_s = server_sojourn_s(told.arrival_rate_per_s, told.service_rate_per_s, told.variability)
                total += p * (link_s + at_s + told.onward_delay_s + return_s)
                kept += p
        return total / kept

    @cached_property
    def deltas_s(self) -> list[float]:
        """Marginal cost of each receiver, its link and the result's way back included: t' + Omega; K numbers."""
        return [way_s + told.marginal_s for way_s, told in zip(self._ways_s, self.reports, strict=True)]

    @property
    def delta_s(self) -> Array:
        """The same as an array."""
        return np.array(self.deltas_s, dtype=np.float64)

    def living(self, row: Array) -> tuple[list[float], Ahead]:
        """The part of a row and of the receivers' costs that the marginal-cost recursion reads: the living ones'."""
        known = zip(row.tolist(), self.lives, self.deltas_s, self._ways_s, self.reports, strict=True)
        found = [
            (p, delta_s, way_s + told.best_s, told.curvature_s2) for p, lives, delta_s, way_s, told in known if lives
        ]
        kept, deltas_s, best_s, curvature_s2 = zip(*found, strict=True)
        total = sum(kept)
        return [p / total for p in kept], Ahead(deltas_s, best_s, curvature_s2)

    def onward(self, row: Array, own_return_s: float = 0.0) -> Onward:
        """The part that a threshold move reads, of the living receivers.

        `own_return_s`: mean time of a result from this server to its device.
        """
        keep = self.alive
        return Onward(
            row[keep] / row[keep].sum(),
            self.link_marginal_s[keep],
            self.local_s[keep],
            self.onward_s[keep],
            self.curvature_s2[keep],
            tuple(report.onward_paths for report, lives in zip(self.reports, self.lives, strict=True) if lives),
            self.return_s[keep],
            own_return_s,
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
    movers: int = 1  # servers of this stage that weigh a move at the same time


@dataclass(frozen=True, slots=True)
class Candidate:
    """A living receiver at the moment when one task is to be sent."""

    share: float  # of the executed row
    link_s: float  # transfer time of a task
    backlog: float  # tasks there as last told, and those sent there since
    service_per_s: float
    onward_delay_s: float  # mean time a task still needs after it, its result's way back included
    return_s: float = 0.0  # the part of that which results that leave there need: (1 - I) ret

    @property
    def expected_delay_s(self) -> float:
        """Transfer, and the service of all tasks before this one and of itself: t + (q + 1) / s."""
        return self.link_s + (self.backlog + 1) / self.service_per_s


class Policy(Protocol):
    """One node's policy. It may keep state between calls; every node has its own instance.

    All members are needed. A policy that derives from `PlainPolicy` writes only those that differ, and keeps working
    when one is added, as `settled` was; one that does not must have that, too. What receivers told of the thresholds
    from them on, once `Prospect.paths`, is each report's `onward_paths`, and `Prospect.onward(row).paths`.

    Nodes check every answer (see `checked`): what is none ends the run, and no likely value takes its place.

    `first_threshold` is c at the start, `most_rounds` how many rounds a slot's configuration phase has at most, and
    `move_every` after how many rounds one server of each stage may move its threshold.
    """

    parameters_type: type[msgspec.Struct]  # what `make_policy` makes of a topology's parameters
    first_threshold: float
    most_rounds: int
    move_every: int
    move_turns: int  # in how many groups, one after the other, the servers of a stage do so
    wants_link_rates: bool  # whether `Prospect.link_byte_per_s` is needed, which costs larger probes
    status_every_s: float | None  # how often receivers tell their backlog; None: tasks are drawn from the row
    central: bool  # whether one node, the coordinator, plans for all: see `CentralPolicy`

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


class FixedThreshold(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Parameters of a policy that leaves thresholds alone."""

    threshold: Threshold = 0.8


class PlainPolicy:
    """Base of policies: what each member is for one that has no use for it. One round a slot, a fixed threshold."""

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
    """Base of policies that choose anew for every task, by what receivers tell of their queues."""

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
