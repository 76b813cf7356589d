"""Search for the best thresholds together with the best flows, and a bound for all thresholds.

The best rows for given thresholds come from `node_agent.dtoee.solver`; for the best thresholds, scipy tries to improve
them. The bound does not depend on how rows were found.

Thresholds that are uniform per stage: the search covers a whole grid without solving every point. The tangent at a
solved point (`testbed.optimum.lower_bound`) bounds the objective at all others. The search solves the point with the
least bound next, until no bound lies below the best objective found. Then the threshold of each server moves along the
grid by itself, with exits counted exactly, until no single move helps. The result states its distance from the bound
over all such thresholds.

Tuples with an entry per stage begin with stage 1: stage h is at index h - 1, as in `node_agent.dtoee.staged`.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product

import numpy as np

from node_agent.dtoee.exit_table import ExitTable
from node_agent.dtoee.queueing import RHO_EXTENSION, Array, Mask
from node_agent.dtoee.solver import solve
from node_agent.dtoee.staged import Flows, Rows, Thresholds
from node_agent.dtoee.thresholds import grid as quantiles
from testbed.optimum.flow_model import FlowModel
from testbed.optimum.flow_programme import FlowProgramme
from testbed.optimum.lower_bound import Tangent

USUAL_THRESHOLDS = (0.7, 0.8, 0.9)  # of policies with fixed thresholds: on the grid, so that the bound covers them
MOST_COMBINATIONS = 1000
MOST_SOLVED = 80
MOST_NUMBERS = 2_000_000  # in an array of the prices of ways, which has one for each combination, server and device
ENOUGH_S = 1e-4  # the search ends if no point of the grid can gain more than this
MOST_SWEEPS = 8  # passes over all servers
STEPS_TRIED = 2  # on the grid, up and down
# Decision 081: scipy's solver confirms the plans of networks with up to 5000 links
# (docs/decisions/081-scipy-confirms-up-to-5000-links.md).
MOST_LINKS = 5000


@dataclass(frozen=True, slots=True)
class Effort:
    """When rounds of DTO-EE end: at a gap of this share of the mean delay, or after this number of them."""

    relative_gap: float
    most_rounds: int


USUAL_EFFORT = Effort(relative_gap=1e-4, most_rounds=2000)


@dataclass(frozen=True)
class ThresholdGrid:
    """All C combinations of one threshold per early stage (all but the last), and the outcome of each.

    Stage h is at index h - 1 of `choices`, and in column h - 1 of the arrays.
    """

    choices: tuple[Array, ...]  # thresholds to choose from, per early stage, ascending
    combinations: Array  # (C, H-1)
    remaining: Array  # remaining ratio of every stage, (C, H); 0 at the last
    accuracy: Array  # (C,)

    @cached_property
    def reaching(self) -> Array:
        """Share of all tasks that reaches each stage, (C, H), 0..1."""
        shares = np.column_stack([np.ones(len(self.remaining)), self.remaining[:, :-1]])
        return np.asarray(shares.cumprod(axis=1), dtype=np.float64)


def threshold_choices(table: ExitTable) -> list[Array]:
    """The thresholds to choose from, per early stage: quantiles of the exit's confidence, never, and the usual values.

    There are as many quantiles as nodes have, or fewer if their combinations exceed MOST_COMBINATIONS.
    """
    early, steps = table.stages - 1, 20
    while steps > 1 and (steps + 1 + len(USUAL_THRESHOLDS)) ** early > MOST_COMBINATIONS:
        steps -= 1
    return [np.union1d(quantiles(table, stage, steps), USUAL_THRESHOLDS) for stage in range(1, early + 1)]


def grid_of(table: ExitTable, choices: Sequence[Array]) -> ThresholdGrid:
    """All combinations of the thresholds in `choices` (per early stage), with their outcomes for `table`."""
    points = list(product(*choices))
    combinations = np.array(points, dtype=np.float64).reshape(len(points), table.stages - 1)
    outcomes = [table.outcome(chosen) for chosen in points]
    share = np.array([share for share, _ in outcomes])
    reaching = np.clip(1 - np.cumsum(share, axis=1) + share, 0.0, 1.0)
    remaining = np.zeros_like(share)
    some = reaching[:, :-1] > 1e-12
    remaining[:, :-1] = np.where(some, reaching[:, 1:] / np.where(some, reaching[:, :-1], 1.0), 0.0)
    accuracy = np.array([accuracy for _, accuracy in outcomes])
    return ThresholdGrid(tuple(choices), combinations, remaining, accuracy)


@dataclass(frozen=True)
class FlowPlan:
    """Rows and thresholds of a model, with their flows and mean delay [s], which counts the ways back exactly.

    With a price of energy, `mean_delay_s` includes the priced energy of the tasks, `energy_s`.
    `solver_gap_s` (Frank-Wolfe gap) bounds how much better rows could save, if every server keeps its mix of devices;
    infinite if no solver found the rows. The gap of the tangent is larger: it also covers plans that know the device of
    every task on its whole way.
    """

    model: FlowModel
    thresholds: Thresholds
    rows: Rows
    flows: Flows
    mean_delay_s: float
    solver_gap_s: float = math.inf

    @cached_property
    def tangent(self) -> Tangent:
        """The tangent of all costs at this plan, hence its prices."""
        return Tangent(self.model, self.flows)

    @property
    def utilisation(self) -> tuple[Array, ...]:
        """Utilisation of every server, per stage (n_h,)."""
        rates = zip(self.flows.arrival_per_s, self.model.network.service_per_s, strict=True)
        return tuple(phi / service for phi, service in rates)

    @property
    def energy_s(self) -> float:
        """Mean priced energy of a task on its hops, without that of idle nodes [s]; 0 without a price."""
        parts = zip(self.model.energy_s, self.flows.link_per_s, strict=False)  # no energies without a price
        return sum(float((energy_s * flow).sum()) for energy_s, flow in parts) / self.model.network.total_rate_per_s

    @property
    def busiest_link(self) -> float:
        """The highest utilisation of a link."""
        tiers = zip(self.model.network.tiers, self.flows.link_per_s, strict=True)
        return max(float((flow / tier.link_rate_per_s).max()) for tier, flow in tiers)

    @property
    def busiest(self) -> float:
        """The highest utilisation of a server or a link."""
        return max(self.busiest_link, *(float(stage.max()) for stage in self.utilisation))

    def objective_s(self, theta_s: float) -> float:
        """Mean delay - theta * accuracy [s]."""
        return self.mean_delay_s - theta_s * self.flows.accuracy


def evaluate(model: FlowModel, thresholds: Thresholds, rows: Rows) -> FlowPlan:
    """The plan with these thresholds (per early stage (n_h,)) and rows."""
    flows = model.network.flows(rows, thresholds)
    return FlowPlan(model, thresholds, rows, flows, model.with_returns(flows, rows).mean_delay_s(flows))


def best_flows(
    model: FlowModel, thresholds: Thresholds, start: Rows | None = None, *, times: int = 2, independent: bool = False,
    effort: Effort | None = None,
) -> FlowPlan:  # fmt: skip
    """The best rows for given thresholds.

    Solves up to `times` times, each time with the ways back of the last solution. If thresholds differ within a stage,
    every server keeps its last remaining ratio while solving.

    Args:
        start: rows to begin with; None takes rows in proportion to speed.
        independent: True uses scipy's solver, which shares only the cost with DTO-EE; False uses `solver.solve`, whose
            steps are those of DTO-EE with full knowledge.
        effort: of `solver.solve`; None takes USUAL_EFFORT.
    """
    effort = effort or USUAL_EFFORT
    best = evaluate(model, thresholds, model.network.speed_rows() if start is None else start)
    for turn in range(times):
        network = model.with_returns(best.flows, best.rows)
        if independent:
            rows = FlowProgramme(network, best.flows.remaining).solve(best.flows, best.rows)
        else:
            rows = solve(
                network, thresholds, rows=best.rows, relative_gap=effort.relative_gap, most_rounds=effort.most_rounds
            ).rows
        found = evaluate(model, thresholds, rows)
        if found.mean_delay_s >= best.mean_delay_s and turn:
            break
        kept = min(best, found, key=lambda plan: plan.mean_delay_s)  # the start, if the solver found nothing better
        gap_s = network.gap_s(kept.flows, network.prices(kept.rows, kept.flows))
        best = replace(kept, solver_gap_s=max(0.0, gap_s))
    return best


def confirmed(plan: FlowPlan) -> FlowPlan:
    """The plan, or a better one that scipy's solver finds from it; with more than MOST_LINKS links, the plan."""
    if sum(int(tier.exists.sum()) for tier in plan.model.network.tiers) > MOST_LINKS:
        return plan
    other = best_flows(plan.model, plan.thresholds, plan.rows, times=1, independent=True)
    return min(plan, other, key=lambda each: each.mean_delay_s)


def is_overloaded(plan: FlowPlan) -> bool:
    """True if no rows at all can serve the tasks under these thresholds."""
    if plan.busiest < RHO_EXTENSION:
        return False
    return FlowProgramme(plan.model.network, plan.flows.remaining).least_utilisation() >= 1


class ThresholdSearch:
    """A search of the grid, for one model and one price of accuracy."""

    def __init__(
        self, model: FlowModel, grid: ThresholdGrid, theta_s: float, *, effort: Effort = USUAL_EFFORT,
        crowded: bool = False,
    ) -> None:  # fmt: skip
        """Begin without a plan.

        Args:
            model: the network.
            grid: the thresholds to choose from.
            theta_s: seconds of mean delay that one unit of accuracy is worth.
            effort: of the solver, for each combination; with less it is quicker, and bounds remain valid.
            crowded: True if some combinations probably overload, so that each is checked before it is solved.
        """
        self.model = model
        self._effort = effort
        self._crowded = crowded
        self.grid = grid
        self.theta_s = theta_s
        self.solved: dict[int, FlowPlan] = {}  # by combination
        self.delay_bound_s = np.where(self._hopeless(), np.inf, 0.0)  # of every combination (C,); infinite: overload
        self._tangents: list[tuple[float, Array]] = []  # (constant [s], cheapest ways (C, D) [s]) of every plan solved
        self._weights = model.network.device_rate_per_s / model.network.total_rate_per_s

    def run(self, start: Sequence[float] | None = None, rows: Rows | None = None) -> FlowPlan | None:
        """The best plan with stage-uniform thresholds; None if all overload.

        Args:
            start: thresholds to begin with, one per early stage; the search takes the nearest on the grid.
            rows: rows to begin with, of a model of the same shape.
        """
        for _ in self.steps(start, rows):
            pass
        best = self._best()
        if best is None:
            return None
        plan = confirmed(self.solved[best])
        if plan is not self.solved[best]:
            self._note(best, plan)
        return plan

    def steps(
        self, start: Sequence[float] | None = None, rows: Rows | None = None, *, times: int = 2
    ) -> Iterator[FlowPlan]:
        """Solve one combination after another, and yield its plan; end when no other one can be better.

        After each step `least_objective_s` bounds all plans. The first combination is solved up to `times` times, as in
        `best_flows`; other arguments as in `run`.
        """
        if self._crowded and np.isfinite(self.delay_bound_s).any() and self.least_utilisation() >= 1:
            self.delay_bound_s[:] = np.inf
        away = self.grid.combinations - (0.8 if start is None else np.asarray(start))
        distance = np.where(np.isfinite(self.delay_bound_s), np.abs(away).sum(axis=1), np.inf)
        chosen = int(distance.argmin()) if np.isfinite(distance).any() else None
        while chosen is not None:
            if self._crowded and self._utilisation(chosen) >= 1:  # quicker than to solve it
                self._overload(chosen)
            else:
                plan = best_flows(
                    self.model, self._uniform(chosen), rows, times=1 if self.solved else times, effort=self._effort
                )
                self._note(chosen, plan)
                rows = plan.rows
                yield plan
            chosen = self._next()

    @property
    def least_objective_s(self) -> float:
        """A lower bound on mean delay - theta * accuracy [s] of plans with one threshold per stage, on the grid.

        Infinite if all overload.
        """
        return float((self.delay_bound_s - self.theta_s * self.grid.accuracy).min())

    @property
    def best_solved(self) -> FlowPlan | None:
        """The best plan solved so far; None if there is none that is not overloaded."""
        best = self._best()
        return None if best is None else self.solved[best]

    def _hopeless(self) -> Mask:
        """True for each combination that passes more tasks to some stage than all its servers can serve, (C,)."""
        network = self.model.network
        capacity = np.array([service.sum() for service in network.service_per_s])
        return np.asarray((network.total_rate_per_s * self.grid.reaching >= capacity).any(axis=1))

    def _uniform(self, combination: int) -> Thresholds:
        return self.model.network.uniform_thresholds(*self.grid.combinations[combination])

    def _note(self, combination: int, plan: FlowPlan) -> None:
        self.solved[combination] = plan
        if is_overloaded(plan):
            self._overload(combination)
        nodes = max(len(names) for names in self.model.names)
        together = max(1, MOST_NUMBERS // (nodes * len(self.model.names[0])))
        remaining = self.grid.remaining
        parts = (remaining[begin : begin + together] for begin in range(0, len(remaining), together))
        cheapest = np.concatenate([plan.tangent.cheapest_s(part) for part in parts])
        self._tangents.append((plan.tangent.constant_s, cheapest))
        self.delay_bound_s = np.maximum(self.delay_bound_s, plan.tangent.constant_s + cheapest @ self._weights)

    def _overload(self, combination: int) -> None:
        """Note that a combination overloads: one that passes at least as many tasks to every stage does, too."""
        more = (self.grid.reaching >= self.grid.reaching[combination] - 1e-12).all(axis=1)
        self.delay_bound_s[more] = np.inf
        self._crowded = True

    def bound_s(self, theta_s: float) -> float:
        """A lower bound on mean delay - theta * accuracy [s] of all plans with thresholds on the grid, also per server.

        Tight near the theta of the search, valid for every other.
        """
        value_s = theta_s * self.grid.accuracy[:, None]
        return max(
            constant_s + float((cheapest - value_s).min(axis=0) @ self._weights)
            for constant_s, cheapest in self._tangents
        )

    def _best(self) -> int | None:
        possible = [index for index in self.solved if np.isfinite(self.delay_bound_s[index])]
        return min(possible, key=lambda index: self.solved[index].objective_s(self.theta_s), default=None)

    def _next(self) -> int | None:
        """The combination with the least bound; None if it cannot be better than the best one solved."""
        bounds = self.delay_bound_s - self.theta_s * self.grid.accuracy
        bounds[list(self.solved)] = np.inf
        chosen = int(bounds.argmin())
        best = self._best()
        enough = np.inf if best is None else self.solved[best].objective_s(self.theta_s) - ENOUGH_S
        return chosen if bounds[chosen] < enough and len(self.solved) < MOST_SOLVED else None

    def least_utilisation(self) -> float:
        """The least utilisation of the busiest server or link, with the thresholds that pass on the fewest tasks."""
        return self._utilisation(int(self.grid.reaching.sum(axis=1).argmin()))

    def _utilisation(self, combination: int) -> float:
        """The least utilisation of the busiest server or link under a combination."""
        ratios = self.grid.remaining[combination]
        remaining = tuple(np.full(len(names), ratio) for names, ratio in zip(self.model.names[1:], ratios, strict=True))
        return FlowProgramme(self.model.network, remaining).least_utilisation()

    def refine(self, plan: FlowPlan) -> FlowPlan:
        """The plan after moves of single servers' thresholds, until no move of up to STEPS_TRIED steps helps."""
        for _ in range(MOST_SWEEPS):
            moved = plan
            for stage, server in self._servers():
                moved = min(
                    (moved, *self._moves(moved, stage, server)), key=lambda other: other.objective_s(self.theta_s)
                )
            if moved.objective_s(self.theta_s) > plan.objective_s(self.theta_s) - ENOUGH_S / 10:
                break
            plan = min(moved, best_flows(self.model, moved.thresholds, moved.rows),
                       key=lambda other: other.objective_s(self.theta_s))  # fmt: skip
        return plan

    def _servers(self) -> Iterator[tuple[int, int]]:
        """(stage, number of the server in it) of every server before the last stage."""
        for stage, names in enumerate(self.model.names[1:-1], start=1):
            for server in range(len(names)):
                yield stage, server

    def _moves(self, plan: FlowPlan, stage: int, server: int) -> Iterator[FlowPlan]:
        points, now = self.grid.choices[stage - 1], plan.thresholds[stage - 1][server]
        below, above = points[points < now][-STEPS_TRIED:], points[points > now][:STEPS_TRIED]
        for threshold in (*below, *above):
            thresholds = tuple(values.copy() for values in plan.thresholds)
            thresholds[stage - 1][server] = threshold
            yield evaluate(self.model, thresholds, plan.rows)
