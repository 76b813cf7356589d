"""Thresholds and rows together, on a whole network: per-server moves as the nodes play them, and the stage probe.

This is the reference for thresholds and rows together; no node runs it. `search_uniform` looks for the best plan with
one threshold per stage. `move` plays per-server moves on a whole network at once, as the nodes play them with messages,
and is compared with that search. The nodes' rule was chosen by this comparison.

The objective is U = Tbar - theta A [s]. A server that moves alone predicts its gain from its receivers' prices
(`thresholds.scores`). Where all servers of a stage move together, their flows add up and prices mispredict. Then
`probe` computes the exact difference, receiver by receiver, down the stages.
"""

import itertools
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from node_agent.dtoee import thresholds as local
from node_agent.dtoee.queueing import Array, overload_penalty, queue_cost
from node_agent.dtoee.solver import Solution, solve
from node_agent.dtoee.staged import Flows, Rows, StagedNetwork, Thresholds
from tests.node_agent.dtoee.sweeps import Sweeps

Turn = Literal["one", "all"]

MOST_PLANS = 4000  # of the threshold grid that a search will look at one by one


@dataclass(frozen=True, slots=True)
class MoveRule:
    """The rule by which servers move their thresholds."""

    theta_s: float  # seconds of mean delay worth one unit of accuracy
    eps_s: float = 5e-4  # mean delay a move must at least gain
    most_steps: int | None = local.MOST_STEPS  # grid points a server may go at once; None: to the best one
    turn: Turn = "one"  # one server of every stage at a time, or all at once


def server_scores(
    network: StagedNetwork, sweeps: Sweeps, stage: int, servers: Array | list[int], theta_s: float
) -> tuple[Array, list[Array]]:
    """Grid of an early `stage`, (G,), and predicted change of the objective [task] for each of its `servers`, (G,).

    `servers` are indices into the stage's arrays.
    """
    index, onward = stage - 1, stage  # of this stage and of the next one, in what is indexed by stage
    table, flows, prices, tier = network.table, sweeps.flows, sweeps.prices, network.tiers[onward]
    points = local.grid(table, stage)
    accuracy = _accuracy_to_go(network, sweeps, stage + 1)
    cell, row_share = flows.cells.cell, flows.cells.share * len(table)
    below = prices.stages[onward]
    link = tier.cost(flows.link_per_s[onward]).slope_s
    last = stage + 1 == network.stages
    found = []
    for j in servers:
        p, k = sweeps.rows[onward][j], tier.receivers[j]
        cost = np.full(len(table), float(p @ (link[j] + below.local_s[k])) - _return_s(network, stage)[j])
        goes_on = np.zeros((len(k), len(table))) if last else flows.cells.goes_on[onward][k][:, cell]
        cost += (p * below.onward_s[k]) @ goes_on + (p * _return_s(network, stage + 1)[k]) @ (1 - goes_on)
        gain = p @ accuracy[k] - table.correct[:, index]
        phi = float(flows.arrival_per_s[index][j])
        weights = (flows.weights[index][j] / max(phi, 1e-300) / row_share)[cell]
        found.append(
            local.scores(
                local.ranked(table, stage),
                cost - theta_s * gain,
                weights,
                points,
                float(sweeps.thresholds[index][j]),
                phi,
                float(p**2 @ below.curvature_s2[k]),
            )
        )
    return points, found


def _return_s(network: StagedNetwork, stage: int) -> Array:
    """ret of every server of `stage`, (n,)."""
    index = stage - 1
    return np.zeros(len(network.service_per_s[index])) if network.return_s is None else network.return_s[index]


def _accuracy_to_go(network: StagedNetwork, sweeps: Sweeps, stage: int) -> Array:
    """Probability that a row is right when it arrives at each server of `stage`, (n, N)."""
    table, cells = network.table, sweeps.flows.cells
    right = np.tile(table.correct[:, -1].astype(np.float64), (len(network.service_per_s[-1]), 1))
    for index in reversed(range(stage - 1, network.stages - 1)):
        going = network.tiers[index + 1].spread(sweeps.rows[index + 1], len(right)) @ right
        right = np.where(cells.goes_on[index][:, cells.cell], going, table.correct[:, index])
    return right


def move(sweeps: Sweeps, number: int, rule: MoveRule) -> bool:
    """Let server number `number` (modulo their count) of every early stage move, or all of them.

    True if a threshold has moved.
    """
    network, after = sweeps.network, [chosen.copy() for chosen in sweeps.thresholds]
    for index, before in enumerate(sweeps.thresholds):
        servers = [number % len(before)] if rule.turn == "one" else list(range(len(before)))
        points, found = server_scores(network, sweeps, index + 1, servers, rule.theta_s)
        for j, scores in zip(servers, found, strict=True):
            least = rule.eps_s * float(sweeps.flows.arrival_per_s[index][j])
            after[index][j] = local.chosen(points, scores, float(before[j]), least, rule.most_steps)
    moved = any((a != b).any() for a, b in zip(after, sweeps.thresholds, strict=True))
    if moved:
        sweeps.adopt(tuple(after))
    return moved


def probe(network: StagedNetwork, rows: Rows, before: Flows, thresholds: Thresholds) -> tuple[float, float]:
    """Exact change of cost [task] and accuracy if every server took `thresholds` while the rows stand.

    The change of flow goes down the stages; each receiver answers with D(phi + dphi) - D(phi), each link likewise, and
    the answers add up. Nothing else of the network is needed, so the nodes can play it in one sweep.
    """
    after = network.flows(rows, thresholds)
    answers = 0.0
    for index, tier in enumerate(network.tiers):
        answers += float((tier.cost(after.link_per_s[index]).tasks - tier.cost(before.link_per_s[index]).tasks).sum())
        answers += float((_tasks(network, index, after) - _tasks(network, index, before)).sum())
    return answers, after.accuracy - before.accuracy


def _tasks(network: StagedNetwork, index: int, flows: Flows) -> Array:
    phi, service = flows.arrival_per_s[index], network.service_per_s[index]
    penalty = overload_penalty(phi, service, network.overload.rho_max, network.overload.kappa_s2)
    tasks = queue_cost(phi, service, network.variability[index]).tasks + penalty.tasks
    if network.return_s is not None:
        tasks = tasks + phi * (1 - flows.remaining[index]) * network.return_s[index]
    return np.asarray(tasks)


@dataclass(frozen=True, slots=True)
class Joint:
    """Thresholds with the rows found for them."""

    thresholds: Thresholds
    solution: Solution
    objective_s: float  # U = Tbar - theta A
    moves: int


def search_uniform(
    network: StagedNetwork, start: tuple[float, ...], theta_s: float, *, relative_gap: float = 1e-3,
    most_moves: int = 200,
) -> Joint:  # fmt: skip
    """Local search over one threshold per stage: the best neighbour by probe, then new rows, while that helps.

    Every stage proposes its grid neighbours, alone or two together, in the order of their probes. A probe is exact for
    the rows as they are, so it can only understate what a move gains once the rows follow: none is refused unsolved.
    Where no neighbour helps, the rest of the grid is looked at before giving up, except the plans whose certificate
    already says that no rows can make them better: U - gap at the present rows. Grids of more than `MOST_PLANS` plans
    are looked at one stage at a time.

    Args:
        start: threshold per early stage.
        theta_s: seconds of mean delay worth one unit of accuracy.
        relative_gap: of `solve` between moves.
    """
    grids = [local.grid(network.table, stage) for stage in range(1, network.stages)]

    def solved(values: tuple[float, ...], rows: Rows | None, gap: float, moves: int, goal_s: float = np.inf) -> Joint:
        at = network.uniform_thresholds(*values)
        hopeless_s = goal_s + theta_s * network.table.outcome(values)[1]
        found = solve(network, at, rows=rows, relative_gap=gap, hopeless_s=hopeless_s)
        return Joint(at, found, network.objective_s(found.flows, theta_s), moves)

    def better(now: Joint, plans: list[tuple[float, ...]]) -> tuple[float, ...] | None:
        for plan in sorted(plans, key=lambda plan: _probed_s(network, now, plan, theta_s)):
            tried = solved(plan, now.solution.rows, relative_gap, 0, now.objective_s)
            if tried.objective_s < now.objective_s - 1e-9:
                return plan
        return None

    values, moves = start, 0
    now = solved(values, None, relative_gap, 0)
    while moves < most_moves:
        after = better(now, _neighbours(values, grids))
        if after is None:
            after = better(now, [plan for plan in _others(values, grids) if _hopeful(network, now, plan, theta_s)])
        if after is None:
            break
        values, moves = after, moves + 1
        now = solved(values, now.solution.rows, relative_gap, moves)
    return solved(values, now.solution.rows, relative_gap / 10, moves)


def _probed_s(network: StagedNetwork, now: Joint, plan: tuple[float, ...], theta_s: float) -> float:
    change, gain = probe(network, now.solution.rows, now.solution.flows, network.uniform_thresholds(*plan))
    return change / network.total_rate_per_s - theta_s * gain


def _neighbours(values: tuple[float, ...], grids: list[Array]) -> list[tuple[float, ...]]:
    """Plans with one threshold, or two, one grid step up or down."""
    choices = []
    for value, points in zip(values, grids, strict=True):
        lower, higher = points[points < value - 1e-12], points[points > value + 1e-12]
        choices.append([value, *lower[-1:].tolist(), *higher[:1].tolist()])
    found: list[tuple[float, ...]] = [()]
    for choice in choices:
        found = [(*head, c) for head in found for c in choice]
    return [plan for plan in found if 0 < sum(a != b for a, b in zip(plan, values, strict=True)) <= 2]


def _others(values: tuple[float, ...], grids: list[Array]) -> list[tuple[float, ...]]:
    """All plans of the grid, or those with one threshold moved anywhere if they are too many."""
    if math.prod(len(points) for points in grids) <= MOST_PLANS:
        return [plan for plan in itertools.product(*(points.tolist() for points in grids)) if plan != values]
    return [
        (*values[:index], float(c), *values[index + 1 :])
        for index, points in enumerate(grids)
        for c in points
        if c != values[index]
    ]


def _hopeful(network: StagedNetwork, now: Joint, plan: tuple[float, ...], theta_s: float) -> bool:
    """True if some rows might make `plan` better than the best found so far, by the certificate at the present rows."""
    rows = now.solution.rows
    flows = network.flows(rows, network.uniform_thresholds(*plan))
    gap = network.gap_s(flows, network.prices(rows, flows))
    return network.objective_s(flows, theta_s) - gap < now.objective_s
