"""The choice of a server's confidence threshold: delay against accuracy.

The exit table holds the confidence conf[n, h] for every held-out sample n and exit h = 1..H (column h - 1). Its entry
correct[n, h] is True if that exit was right. A task leaves at stage h when its confidence there reaches c_h. So the
thresholds passed so far decide which rows still travel, and with them the remaining ratio and the accuracy downstream.
This is the coupling between thresholds and flows.

A server at stage h that moves c to c' shifts the rows M with confidence between the two:

    dDelay = sign f phi (sum_k p_k (t'_k + D'_k + pen'_k + (1-IM_k) ret_k + IM_k B_k) - ret)
             + 1/2 sum_k (phi f p_k)^2 R_k                                                            [task]
    dAcc   = sign f phi (sum_k p_k a_k - a_own)                                                       [task/s]
    score  = dDelay - theta dAcc                                                                      [task]

- f: weight of M; sign: +1 if c rises (fewer exits), else -1; phi: arrival rate of the server;
- IM_k: share of M that would continue beyond receiver k; a_k: accuracy of M from k on; a_own: its accuracy here;
- ret_k, ret: mean time of a result from k, and from this server, to its device;
- theta: seconds of mean delay that one unit (100 points) of accuracy is worth.

The server takes the move if it lowers the objective by more than eps phi.

Decision 025: a move's score uses D' and B of each receiver, not Omega (docs/decisions/025-score-terms.md).

Sums over the rows, sorted by confidence, give this prediction for every grid point at once (`scores`). It is a local
rule in closed form: "a task leaves where going on gains less accuracy, times theta, than it costs downstream".
`best_jump` goes to the best point of the grid, or some steps towards it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from node_agent.dtoee.exit_table import ExitTable
from node_agent.dtoee.queueing import Array

# (flow [task/s] or probability, thresholds of the stages passed or still to come)
Paths = Sequence[tuple[float, tuple[float, ...]]]

NEVER = 1.01  # a threshold that no confidence reaches
MAX_PATHS = 256  # most paths that a node keeps; it drops those with the least flow
# Decision 016: a threshold moves three grid points at most (docs/decisions/016-three-grid-points.md).
MOST_STEPS = 3


@dataclass(frozen=True, slots=True)
class Onward:
    """The K receivers of a server that may move its threshold; arrays of shape (K,), K entries in `paths`."""

    row: Array  # offloading probabilities p; sum one
    link_marginal_s: Array  # t', marginal time of the link [s], priced energy included
    local_s: Array  # D' + pen' [s]
    onward_s: Array  # B [s]
    curvature_s2: Array  # R [s^2/task]
    paths: tuple[Paths, ...]  # thresholds from the receiver on, with their probabilities
    return_s: Array | float = 0.0  # ret_k, mean time of a result from the receiver to its device [s]
    own_return_s: float = 0.0  # ret, the same from this server [s]: a task that goes on does not pay it
    energy_s: Array | float = 0.0  # part of t': priced energy of a task to the receiver, way and service [s]
    onward_energy_s: Array | float = 0.0  # part of B: priced energy of a task that goes on from the receiver [s]

    @property
    def returns_s(self) -> Array:
        """ret_k of every receiver [s], (K,)."""
        return np.broadcast_to(np.asarray(self.return_s, dtype=np.float64), self.row.shape)

    def weighing_energy(self, weight: float) -> "Onward":
        """Return the receivers with their priced energy counted `weight` times."""
        more = weight - 1
        return replace(
            self, link_marginal_s=self.link_marginal_s + more * self.energy_s,
            onward_s=self.onward_s + more * self.onward_energy_s, energy_s=weight * self.energy_s,
            onward_energy_s=weight * self.onward_energy_s,
        )  # fmt: skip

    if not TYPE_CHECKING:  # a type checker would accept every name

        def __getattr__(self, name: str) -> object:
            renamed = ": Onward.link_s is now Onward.link_marginal_s" if name == "link_s" else ""
            raise AttributeError(f"'Onward' object has no attribute {name!r}{renamed}")


@lru_cache(maxsize=64)
def grid(table: ExitTable, stage: int, steps: int = 20) -> Array:
    """Candidate thresholds at `stage` (1..H-1), ascending and distinct, shape (G,): quantiles of confidence, and never.

    Between neighbours lie about 1/steps of all rows. The array is shared and read-only.
    """
    confidence = table.confidence[:, stage - 1]
    inner = np.quantile(confidence, np.arange(steps) / steps)
    points = np.unique(np.append(inner, NEVER))
    points.flags.writeable = False  # the cache returns the same array to all callers
    return points


def row_weights(table: ExitTable, paths: Paths) -> Array:
    """Share of each table row among the tasks that arrive over `paths`, shape (N,), sum one.

    A path (flow, (c_1, ..., c_h)) carries equal parts of its flow on the rows whose confidence stayed below every c.
    """
    weights = np.zeros(len(table.confidence))
    for flow, passed in paths:
        alive = survivors(table, passed)
        count = int(np.count_nonzero(alive))
        if count:
            weights[alive] += flow / count
    total = weights.sum()
    return np.asarray(weights / total) if total > 0 else np.full(len(weights), 1 / len(weights))


def survivors(table: ExitTable, passed: tuple[float, ...]) -> NDArray[np.bool_]:
    """True for rows that still travel after stages with the thresholds `passed`, shape (N,)."""
    if not passed:
        return np.ones(len(table.confidence), dtype=np.bool_)
    return np.asarray((table.confidence[:, : len(passed)] < np.asarray(passed)).all(axis=1))


@lru_cache(maxsize=4096)
def travelling(table: ExitTable, passed: tuple[float, ...]) -> int:
    """Number of rows that still travel after stages with the thresholds `passed`."""
    return int(np.count_nonzero(survivors(table, passed)))


def remaining_ratio(table: ExitTable, stage: int, paths: Paths, threshold: float) -> float:
    """I, the share of the tasks arriving at `stage` over `paths` that do not exit there; of all rows if none arrive."""
    arriving = leaving = 0.0
    for flow, passed in paths:
        before = travelling(table, passed)
        if before:
            arriving += flow
            leaving += flow * travelling(table, (*passed, threshold)) / before
    if arriving > 0:
        return leaving / arriving
    return travelling(table, (*(NEVER,) * (stage - 1), threshold)) / len(table)


def continue_paths(table: ExitTable, paths: Paths, threshold: float) -> list[tuple[float, tuple[float, ...]]]:
    """The paths that leave a server with `threshold`; their flows [task/s] no longer hold the tasks that exit there.

    Paths with the same thresholds are merged. Of more than `MAX_PATHS` the largest flows are kept, scaled to the sum.
    """
    onward: dict[tuple[float, ...], float] = {}
    for flow, passed in paths:
        longer = (*passed, threshold)
        before, after = travelling(table, passed), travelling(table, longer)
        if before and after:
            onward[longer] = onward.get(longer, 0.0) + flow * after / before
    return _bounded([(flow, passed) for passed, flow in onward.items()])


def paths_from(
    threshold: float, row: Sequence[float], receivers: Sequence[Paths]
) -> list[tuple[float, tuple[float, ...]]]:
    """Thresholds on a task's way from this server on, with probabilities: its own first, then those of a receiver."""
    merged: dict[tuple[float, ...], float] = {}
    for probability, paths in zip(row, receivers, strict=True):
        for share, thresholds in paths:
            key = (threshold, *thresholds)
            merged[key] = merged.get(key, 0.0) + probability * share
    return _bounded([(share, thresholds) for thresholds, share in merged.items() if share > 0])


def _bounded(paths: list[tuple[float, tuple[float, ...]]]) -> list[tuple[float, tuple[float, ...]]]:
    if len(paths) <= MAX_PATHS:
        return paths
    total = sum(share for share, _ in paths)
    kept = sorted(paths, reverse=True)[:MAX_PATHS]
    scale = total / sum(share for share, _ in kept)
    return [(share * scale, thresholds) for share, thresholds in kept]


def _outcome(table: ExitTable, stage: int, thresholds: tuple[float, ...]) -> Array:
    """1 for rows with a right answer at the exit that they take from `stage` on, else 0; shape (N,)."""
    outcome = table.correct[:, -1].astype(np.float64)
    for offset, threshold in reversed(list(enumerate(thresholds))):
        column = stage - 1 + offset
        leaves = table.confidence[:, column] >= threshold
        outcome = np.where(leaves, table.correct[:, column], outcome)
    return outcome


class Ranked(NamedTuple):
    """The table's rows by their confidence at one exit, the lowest first."""

    order: NDArray[np.intp]  # row numbers, (N,)
    confidence: Array  # of these rows, ascending, (N,)


@lru_cache(maxsize=64)
def ranked(table: ExitTable, stage: int) -> Ranked:
    """The rows of `table` by their confidence at `stage`."""
    order = np.argsort(table.confidence[:, stage - 1])
    return Ranked(order, table.confidence[order, stage - 1])


def scores(
    rows: Ranked, value: Array, weights: Array, points: Array, threshold: float, arrival_per_s: float,
    curvature_s2: float,
) -> Array:  # fmt: skip
    """Change of the objective [task] for a move from `threshold` to each of `points`, shape (G,).

        score(c) = phi (L(c) - L(c_now)) + 1/2 phi^2 (F(c) - F(c_now))^2 sum_k p_k^2 R_k
        L(c) = sum over rows with confidence < c of weight value,   F(c) = sum of their weights

    Args:
        rows: the table's rows by their confidence at this exit.
        value: cost of each row if it goes on, less theta times the accuracy that it gains [s], shape (N,).
        weights: row shares at this server, shape (N,), sum one.
        points: candidates, shape (G,).
        threshold: c now.
        arrival_per_s: phi [task/s].
        curvature_s2: sum_k p_k^2 R_k [s^2/task].
    """
    below = np.searchsorted(rows.confidence, np.append(points, threshold), side="left")
    linear, flow = (
        arrival_per_s * np.concatenate([[0.0], np.cumsum(part[rows.order])])[below]
        for part in (weights * value, weights)
    )
    moved = flow[:-1] - flow[-1]
    return np.asarray(linear[:-1] - linear[-1] + moved**2 * curvature_s2 / 2)


def best_jump(
    table: ExitTable,
    stage: int,
    paths: Paths,
    arrival_per_s: float,
    onward: Onward,
    threshold: float,
    *,
    theta_s: float,
    eps_s: float,
    most_steps: int | None = MOST_STEPS,
) -> float:
    """The threshold after one jump towards the best point of the grid; unchanged if the jump gains too little.

    Args:
        table: the exit table, one column per stage.
        stage: this server's stage, 1..H-1.
        paths: arriving flows [task/s], with the thresholds that their tasks have passed.
        arrival_per_s: phi of this server [task/s].
        onward: its receivers.
        threshold: c now; it need not lie on the grid.
        theta_s: seconds of mean delay that one unit (100 points) of accuracy is worth.
        eps_s: hysteresis, the least gain of a move in seconds of mean delay.
        most_steps: most grid points of one jump; None: no limit.
    """
    points = grid(table, stage)
    near_s = float(onward.row @ (onward.link_marginal_s + onward.local_s)) - onward.own_return_s
    found = scores(
        ranked(table, stage), near_s - worth_of_going_on(table, stage, onward, theta_s), row_weights(table, paths),
        points, threshold, arrival_per_s, float(onward.row**2 @ onward.curvature_s2),
    )  # fmt: skip
    return chosen(points, found, threshold, eps_s * arrival_per_s, most_steps)


def worth_of_going_on(table: ExitTable, stage: int, onward: Onward, theta_s: float) -> Array:
    """The time that each row may take to its receiver and there, so that going on is worth it [s], shape (N,).

        theta (sum_k p_k a_k - a_own) - sum_k p_k ((1-IM_k) ret_k + IM_k B_k)

    That is the accuracy that the row gains from here on, in seconds, less its price beyond the receiver.
    """
    gain = -table.correct[:, stage - 1].astype(np.float64)
    beyond_s = np.zeros(len(table))
    for thresholds, share, price_s, return_s in _merged(onward):
        goes_on = table.confidence[:, stage] < thresholds[0] if thresholds else np.False_
        beyond_s += np.where(goes_on, price_s, return_s)
        gain += share * _outcome(table, stage + 1, thresholds)
    return np.asarray(theta_s * gain - beyond_s)


def chosen(points: Array, found: Array, threshold: float, least_gain: float, most_steps: int | None = None) -> float:
    """The point with the best score, at most `most_steps` grid points away; `threshold` if it gains too little.

    Args:
        points: the grid, ascending, shape (G,).
        found: their scores [task], shape (G,).
        threshold: c now.
        least_gain: the least gain of a move [task].
        most_steps: None: no limit.
    """
    allowed = points
    if most_steps is not None:
        lower, higher = points[points < threshold - 1e-12], points[points > threshold + 1e-12]
        allowed = np.concatenate([lower[len(lower) - min(len(lower), most_steps) :], higher[:most_steps]])
    within = np.isin(points, allowed)
    if not within.any():
        return threshold
    best = int(np.where(within, found, np.inf).argmin())
    return float(points[best]) if found[best] < -least_gain else threshold


def _merged(onward: Onward) -> list[tuple[tuple[float, ...], float, float, float]]:
    """Distinct thresholds still to come, each with its probability, its part of B [s] and its part of ret_k [s].

    Rows that go on from the receiver pay the part of B, rows that leave there the part of ret_k.
    """
    merged: dict[tuple[float, ...], tuple[float, float, float]] = {}
    known = zip(onward.row.tolist(), onward.onward_s.tolist(), onward.returns_s.tolist(), onward.paths, strict=True)
    for probability, onward_s, return_s, paths in known:
        for share, thresholds in paths:
            before = merged.get(thresholds, (0.0, 0.0, 0.0))
            part = probability * share
            merged[thresholds] = (before[0] + part, before[1] + part * onward_s, before[2] + part * return_s)
    return [(thresholds, *parts) for thresholds, parts in merged.items()]
