"""The inputs of a policy: `Prospect` for a row, `ThresholdView` for a threshold, `Candidate` for a task.

A quantity has the same name in `KnownReceiver`, `Prospect`, `Candidate`, `wire.Report` and `node_agent.dtoee`. Names of
earlier versions raise AttributeError with the new name.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn, overload

import numpy as np

from node_agent.dtoee.exit_table import ExitTable
from node_agent.dtoee.queue_state import state_price_s
from node_agent.dtoee.queueing import RHO_EXTENSION, Array, Mask, server_sojourn_s, sojourn_s
from node_agent.dtoee.receiver import Ahead
from node_agent.dtoee.thresholds import Onward, Paths
from node_agent.wire import Report

# Names of earlier versions, by class, and the present name of each.
RENAMED: Final[Mapping[str, Mapping[str, str]]] = {
    "Prospect": {
        "lives": "Prospect.alive",
        "link_times_s": "Prospect.link_s",
        "link_prices_s": "Prospect.link_marginal_s",
        "link_rates_byte_per_s": "Prospect.link_byte_per_s",
        "deltas_s": "Prospect.delta_s",
        "return_correction_s": "part of Prospect.onward_delay_s and Prospect.delta_s",
        "return_corrections_s": "part of Prospect.onward_delay_s and Prospect.delta_s",
        "reports": "the `report` of each of Prospect.receivers",
        "paths": "the `report.onward_paths` of each of Prospect.receivers",
    },
    "Candidate": {"return_s": "Candidate.exit_return_s"},
}


LEAST_SHARE = 1e-9  # stands for no share of tasks that go on


def _refuse(owner: str) -> Callable[[object, str], NoReturn]:
    """A `__getattr__` for a class: Python calls it for names that the class does not have."""

    def __getattr__(_: object, name: str) -> NoReturn:
        if name in RENAMED[owner]:
            raise AttributeError(f"{owner}.{name} is now {RENAMED[owner][name]}")
        raise AttributeError(f"{owner!r} object has no attribute {name!r}")

    return __getattr__


class KnownReceiver(NamedTuple):
    """A receiver as its offloader knows it when a round ends. If it is not alive, its figures have no meaning."""

    name: str
    alive: bool  # True if it answers and has reported at least once
    report: Report  # its last one
    link_s: float  # t, measured transfer time of a task [s], waiting for the link included
    link_marginal_s: float  # t', marginal time of the link [s]: slope of its cost in the flow
    link_byte_per_s: float  # measured rate of the link [B/s]; 0 if not measured, or not wanted by the policy
    sent: float  # tasks sent there in the slot before
    # Cost of the result's way back that the report does not count, (1 - I) (ret - mean ret) [s]. A report holds the
    # mean over all devices; a device knows its own time.
    return_correction_s: float = 0.0
    energy_s: float = 0.0  # e, priced energy of a task sent there: on its way, and in its service there [s]

    @property
    def way_s(self) -> float:
        """Price besides the receiver's own: t', the correction of the result's way back, and priced energy [s]."""
        return self.link_marginal_s + self.return_correction_s + self.energy_s

    @property
    def onward_energy_s(self) -> float:
        """Mean priced energy that a task still causes after the receiver [s]."""
        return self.report.beyond_energy_s

    @property
    def delta_s(self) -> float:
        """Marginal cost of the receiver, its link, the result's way back and energy: delta = t' + e + Omega [s]."""
        return self.way_s + self.report.marginal_s

    @property
    def onward_delay_s(self) -> float:
        """Mean time that a task still takes after the receiver, its result's way back included [s]."""
        return self.report.onward_delay_s + self.return_correction_s


class _Column:
    """A figure of all receivers as an array (K,), made when it is first read."""

    def __init__(self, figure: str) -> None:
        self._figure = attrgetter(figure)

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, prospect: None, owner: type) -> "_Column": ...

    @overload
    def __get__(self, prospect: "Prospect", owner: type) -> Array: ...

    def __get__(self, prospect: "Prospect | None", owner: type) -> "Array | _Column":
        if prospect is None:
            return self
        column = np.array([self._figure(receiver) for receiver in prospect.receivers], dtype=np.float64)
        prospect.__dict__[self._name] = column  # found there from now on, before this descriptor
        return column


@dataclass(frozen=True)
class Prospect:
    """The K receivers of an offloader when a round ends; at least one is alive.

    A figure of one receiver is a number, `prospect.receivers[k].link_s`. The same figure of all receivers is an array
    (K,) of the same name, `prospect.link_s`, in the order of `receivers`. Entries of receivers that are not alive have
    no meaning.

    Decision 017: arrays are made when they are read; nodes compute on plain numbers
    (docs/decisions/017-plain-numbers.md).

    Raises:
        AttributeError: a name of an earlier version is read; the message has the new name.
    """

    receivers: tuple[KnownReceiver, ...]
    stale: bool  # True if a living receiver did not answer in this round
    leaving_per_s: float  # w, rate of the tasks that leave this offloader [task/s], as announced in this round

    link_s = _Column("link_s")  # t, measured transfer time of a task [s], waiting for the link included
    link_marginal_s = _Column("link_marginal_s")  # t', marginal time of the link [s]: slope of its cost in the flow
    link_byte_per_s = _Column("link_byte_per_s")  # measured rate of the link [B/s]; 0 if not measured, or not wanted
    sent = _Column("sent")  # tasks sent there in the slot before
    energy_s = _Column("energy_s")  # e, priced energy of a task sent there: on its way, and in its service there [s]
    onward_energy_s = _Column("onward_energy_s")  # mean priced energy that a task still causes after it [s]
    delta_s = _Column("delta_s")  # marginal cost of link, receiver, way back and energy: t' + e + Omega [s]
    onward_delay_s = _Column("onward_delay_s")  # mean time that a task still takes after it, way back included [s]
    marginal_s = _Column("report.marginal_s")  # Omega, price of one more task at the receiver and beyond [s]
    best_s = _Column("report.best_s")  # m, that price if all nodes beyond used their cheapest receivers [s]
    local_s = _Column("report.local_s")  # D' + pen', the receiver's own part of the price [s]
    onward_s = _Column("report.onward_s")  # B, price beyond the receiver of a task that goes on [s]
    return_s = _Column("report.return_s")  # ret, mean time of a result from the receiver to its device [s]
    curvature_s2 = _Column("report.curvature_s2")  # R, bound on the slope of the price in the rate [s^2/task]
    offloaders = _Column("report.offloaders")  # number of offloaders of each receiver
    arrival_per_s = _Column("report.arrival_per_s")  # phi, from all offloaders together [task/s]
    service_per_s = _Column("report.service_per_s")  # s, service rate [task/s]
    variability = _Column("report.variability")  # v, squared coefficient of variation of the service time [1]
    arrival_variability = _Column("report.arrival_variability")  # a, of the number of arrivals; Poisson: 1 [1]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the K receivers."""
        return tuple(receiver.name for receiver in self.receivers)

    @cached_property
    def alive(self) -> Mask:
        """True for living receivers, (K,)."""
        return np.array([receiver.alive for receiver in self.receivers], dtype=np.bool_)

    @property
    def sojourn_s(self) -> Array:
        """T, mean time of a task at each receiver, in queue and in service (Kingman) [s], (K,)."""
        return sojourn_s(self.arrival_per_s, self.service_per_s, self.variability, self.arrival_variability)

    def mean_delay_s(self, row: Array) -> float:
        """Mean time until a task's result is back, if tasks follow `row` (K,): sum_k p_k (t_k + T_k + onward_k) [s].

        Living receivers only, their shares scaled to sum one; at least one must have a share.
        """
        total = kept = 0.0
        for p, receiver in zip(row.tolist(), self.receivers, strict=True):
            if receiver.alive and p > 0:
                told = receiver.report
                at_s = server_sojourn_s(
                    told.arrival_per_s, told.service_per_s, told.variability, told.arrival_variability
                )
                total += p * (receiver.link_s + at_s + receiver.onward_delay_s)
                kept += p
        return total / kept

    def mean_energy_s(self, row: Array) -> float:
        """Mean priced energy of a task that follows `row` (K,), until it exits: sum_k p_k (e_k + onward_energy_k) [s].

        Living receivers only, their shares scaled to sum one; at least one must have a share.
        """
        kept = self.alive
        return float(row[kept] @ (self.energy_s + self.onward_energy_s)[kept] / row[kept].sum())

    def mean_price_s(self, row: Array) -> float:
        """The mean price of a task that follows `row` (K,): sum_k p_k delta_k over the living receivers [s].

        The shares of living receivers are scaled to sum one.
        """
        shares, ahead = self.living(row)
        return sum([p * delta_s for p, delta_s in zip(shares, ahead.delta_s, strict=True)])

    def living(self, row: Array) -> tuple[list[float], Ahead]:
        """The inputs of the marginal-cost recursion, living receivers only: their shares, scaled to sum one, and costs.

        Args:
            row: shape (K,).
        """
        found = []
        for p, receiver in zip(row.tolist(), self.receivers, strict=True):
            if receiver.alive:
                way_s, told = receiver.way_s, receiver.report
                found.append((p, way_s + told.marginal_s, way_s + told.best_s, told.curvature_s2))
        kept, deltas_s, best_s, curvature_s2 = zip(*found, strict=True)
        total = sum(kept)
        return [p / total for p in kept], Ahead(deltas_s, best_s, curvature_s2)

    def onward(self, row: Array, own_return_s: float = 0.0) -> Onward:
        """The inputs of a threshold move, living receivers only; their shares are scaled to sum one.

        Args:
            row: shape (K,).
            own_return_s: mean time of a result from this server to its device [s].
        """
        keep = self.alive
        going_on = np.maximum(LEAST_SHARE, [receiver.report.remaining_ratio for receiver in self.receivers])
        return Onward(
            row[keep] / row[keep].sum(),
            self.link_marginal_s[keep] + self.energy_s[keep],
            self.local_s[keep],
            self.onward_s[keep],
            self.curvature_s2[keep],
            tuple(receiver.report.onward_paths for receiver in self.receivers if receiver.alive),
            self.return_s[keep],
            own_return_s,
            self.energy_s[keep],
            (self.onward_energy_s / going_on)[keep],
        )

    if not TYPE_CHECKING:  # a type checker would accept every name
        __getattr__ = _refuse("Prospect")


@dataclass(frozen=True, slots=True)
class ThresholdView:
    """The state of a server that may move its threshold."""

    table: ExitTable  # one column per stage
    stage: int  # of this server, 1..H-1
    paths: Paths  # arriving flows [task/s], with the thresholds that their tasks have passed
    arrival_per_s: float  # phi, from all its offloaders together [task/s]
    onward: Onward  # its living receivers and its row over them
    threshold: float  # c now, 0..2; above 1 no task leaves here
    movers: int = 1  # number of servers of this stage that may move at the same time
    price_s: float = 0.0  # mean price of going on, sum_k p_k delta_k over the living receivers [s]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A living receiver at the moment when one task is to be sent."""

    share: float  # its share of the executed row, 0..1
    link_s: float  # t, measured transfer time of a task [s], waiting for the link included
    backlog: float  # q, tasks there by its last report, plus those sent there since
    service_per_s: float  # s, service rate [task/s]
    onward_delay_s: float  # mean time that a task still takes after it, its result's way back included [s]
    exit_return_s: float = 0.0  # part of that time: the way back of tasks that exit there, (1 - I) ret [s]
    energy_s: float = 0.0  # e, priced energy of the task there: on its way, and in its service [s]
    onward_energy_s: float = 0.0  # mean priced energy that it still causes after this receiver [s]
    # Of a policy with `fresh` set; `backlog` is then u s, brought up to date with the task's arrival there.
    work_s: float = 0.0  # u, expected unfinished work there when the task arrives [s]
    work_error_s: float = 0.0  # standard deviation of that expectation, by the age of what is known [s]
    age_s: float = math.inf  # age of the last statement of that work [s]
    link_marginal_s: float = 0.0  # t', marginal time of the link [s]
    arrival_per_s: float = 0.0  # phi, announced by all its offloaders together [task/s]
    variability: float = 0.0  # v, squared coefficient of variation of the service time [1]
    arrival_variability: float = 1.0  # a, of the number of its arrivals in a window [1]; Poisson: 1
    onward_marginal_s: float = 0.0  # price beyond its own queue, way back included: Omega - D' - pen' [s]
    current: bool = True  # False if its prices are too old to be compared

    @property
    def expected_delay_s(self) -> float:
        """Transfer time, and service time of the backlog and of the task itself: t + (q + 1) / s [s]."""
        return self.link_s + (self.backlog + 1) / self.service_per_s

    @property
    def price_s(self) -> float:
        """Marginal cost of this task there at its present queue: t' + e + d(u) + Omega - D' - pen' [s]."""
        at_s = state_price_s(
            self.work_s, self.arrival_per_s, self.service_per_s, self.variability, self.arrival_variability
        )
        return self.link_marginal_s + at_s + self.onward_marginal_s + self.energy_s

    @property
    def own_cost_s(self) -> float:
        """The task's own part of the price: its predicted delay, and its priced energy [s]."""
        return self.predicted_delay_s + (self.energy_s + self.onward_energy_s)

    @property
    def price_error_s(self) -> float:
        """Standard deviation of the price, by that of the work: the slope of d(u) is 1 / (1-rho) [s]."""
        return self.work_error_s / (1 - min(RHO_EXTENSION, self.arrival_per_s / self.service_per_s))

    @property
    def predicted_delay_s(self) -> float:
        """The whole delay of the task: `expected_delay_s`, and the mean time after this receiver [s]."""
        return self.expected_delay_s + self.onward_delay_s

    if not TYPE_CHECKING:
        __getattr__ = _refuse("Candidate")
