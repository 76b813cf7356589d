"""A whole staged network in one place: flows, cost and prices of every node at once, on arrays.

Tasks go from devices through stages h = 1..H of servers. Tier h is the set of links from stage h - 1 (devices for
h = 1) into stage h. Every node keeps up to K links, as indices into the next stage; a smaller number is padded. With
w_i the rate of tasks that leave node i,

    f_ij = w_i p_ij,   phi_j = sum_i f_ij,   w_j = phi_j I_j                                        [task/s]
    Phi Tbar = sum_j (D_j(phi_j) + pen_j(phi_j) + (1-I_j) phi_j ret_j) + sum_ij D_ij(f_ij)          [task]

by Little's law. Exits are counted exactly, even where thresholds differ inside a stage. Routing does not depend on the
sample, so the share of every row n of the exit table among a server's tasks follows from the flows alone:

    W_k[n] = sum_j p_jk W_j[n] 1[conf[n] < c_j],   phi_k = sum_n W_k[n],   I_k = sum_n W_k[n] 1[conf[n] < c_k] / phi_k.

Rows that no threshold in use separates travel alike and form one cell. So a network with one threshold per stage costs
2^(H-1) cells, whatever the table's length.

Stages and tiers are numbered from 1. Tuples with an entry per stage or per tier hold stage or tier h at index h - 1;
so do the columns of the exit table.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from node_agent.dtoee.exit_table import ExitTable
from node_agent.dtoee.queueing import Array, Mask, QueueCost, link_cost, overload_penalty, queue_cost
from node_agent.dtoee.receiver import Downstream, Overload, StageCost, StageLoad, costs_to_go, stage_cost

Rows = tuple[Array, ...]  # offloading probabilities per tier 1..H, each (n, K), zero where the link does not exist
Thresholds = tuple[Array, ...]  # confidence thresholds per early stage 1..H-1, each (n_h,)

DENSE_LIMIT = 4_000_000  # most entries of a stage-to-stage matrix that is worth building


@dataclass(frozen=True, slots=True)
class Tier:
    """The links out of the n nodes of one stage; every array has shape (n, K).

    Entries that do not exist are padding: `receivers` may hold any valid index there.
    """

    receivers: NDArray[np.intp]  # index into the next stage
    exists: Mask
    transfer_s: Array  # t = d + b/r, without waiting [s]
    link_rate_per_s: Array  # r/b [task/s], infinite where the link does not queue

    @property
    def queues(self) -> bool:
        """True if any link has a finite rate."""
        return bool(np.isfinite(self.link_rate_per_s).any())

    def cost(self, flow_per_s: Array) -> QueueCost[Array]:
        """Cost of the flows (n, K) [task/s], with derivatives (n, K); where no link queues, the curvature is (1,)."""
        if self.queues:
            return link_cost(flow_per_s, self.transfer_s, self.link_rate_per_s)
        return QueueCost(self.transfer_s * flow_per_s, self.transfer_s, np.zeros(1))

    def collect(self, flow_per_s: Array, size: int) -> Array:
        """Arrival rate at each of the `size` receivers [task/s], shape (size,), for flows (n, K)."""
        arrived: Array = np.bincount(self.receivers.ravel(), flow_per_s.ravel(), minlength=size).astype(np.float64)
        return arrived

    def spread(self, rows: Array, size: int) -> Array:
        """The entries (n, K) as a matrix of nodes by receivers, (n, size)."""
        at = (np.arange(len(rows))[:, None] * size + self.receivers).ravel()
        matrix: Array = np.bincount(at, rows.ravel(), minlength=len(rows) * size).astype(np.float64)
        return matrix.reshape(len(rows), size)

    def carry(self, rows: Array, weights: Array, size: int) -> Array:
        """sum_j p_jk weights_j for every receiver k: (n, M) in, (size, M) out."""
        if weights.shape[1] > 8 and len(rows) * size <= DENSE_LIMIT:
            return np.asarray(self.spread(rows, size).T @ weights)
        return np.stack([self.collect(rows * column[:, None], size) for column in weights.T], axis=1)


@dataclass(frozen=True, slots=True)
class ExitCells:
    """Table rows in M cells that no threshold in use separates, and the servers that each cell passes."""

    cell: NDArray[np.intp]  # cell of every table row, (N,)
    share: Array  # share of the table's rows, (M,), sum one
    correct: Array  # share of a cell's rows with a right answer at each exit, (H, M)
    goes_on: tuple[Mask, ...]  # per early stage, (n_h, M): the cell's confidence is below the server's threshold


def exit_cells(table: ExitTable, thresholds: Thresholds) -> ExitCells:
    """Cells of `table` under `thresholds`, which hold an array (n_h,) per early stage."""
    bins = []
    code = np.zeros(len(table), dtype=np.intp)
    for index, chosen in enumerate(thresholds):
        distinct = np.unique(chosen)
        bins.append(np.searchsorted(distinct, table.confidence[:, index], side="right"))
        code = code * (len(distinct) + 1) + bins[-1]
    _, first, cell, count = np.unique(code, return_index=True, return_inverse=True, return_counts=True)
    correct = np.stack([np.bincount(cell, right, minlength=len(count)) / count for right in table.correct.T])
    # A confidence of bin b reaches the first b distinct thresholds: it goes on where the server's is not among them.
    goes_on = tuple(
        np.searchsorted(np.unique(chosen), chosen)[:, None] >= bins[index][first][None, :]
        for index, chosen in enumerate(thresholds)
    )
    return ExitCells(cell, count / len(table), correct, goes_on)


@dataclass(frozen=True, slots=True)
class Flows:
    """The flows, remaining ratios and accuracy of a plan."""

    arrival_per_s: tuple[Array, ...]  # phi per stage, (n_h,)
    remaining: tuple[Array, ...]  # I per stage, (n_h,); 0 at the last; an idle server has that of its whole stage
    link_per_s: tuple[Array, ...]  # f per tier, (n, K)
    accuracy: float  # 0..1, exact
    exit_share: Array  # share of all tasks that leave at each stage, (H,)
    cells: ExitCells
    weights: tuple[Array, ...]  # W per stage [task/s], (n_h, M), over the cells

    @property
    def leaving_per_s(self) -> tuple[Array, ...]:
        """w [task/s] of the nodes that own each tier's links, (n,): devices, then every early stage."""
        return tuple(link.sum(-1) for link in self.link_per_s)


@dataclass(frozen=True, slots=True)
class Prices:
    """The marginal costs of all nodes at a plan."""

    stages: tuple[StageCost, ...]  # per stage, arrays (n_h,)
    delta_s: tuple[Array, ...]  # D'_ij + Omega_j per tier [s], (n, K)
    best_s: tuple[Array, ...]  # D'_ij + m_j per tier [s], (n, K); infinite where the link does not exist
    link_curvature_s2: tuple[Array, ...]  # D''_ij per tier [s^2/task], (n, K), or (1,) where no link queues
    device_marginal_s: Array  # Omega of the devices [s], (D,)
    device_best_s: Array  # m of the devices [s], (D,)


@dataclass(frozen=True)
class StagedNetwork:
    """Devices, links, servers and exit table of a whole network; immutable.

    Raises:
        ValueError: the number of tiers, service rates, variabilities or columns of the table is not that of the stages.
    """

    device_rate_per_s: Array  # generation rate [task/s], (D,)
    tiers: tuple[Tier, ...]  # H of them: devices -> stage 1, stage 1 -> 2, ...
    service_per_s: tuple[Array, ...]  # s per stage [task/s], (n_h,)
    variability: tuple[Array, ...]  # v per stage, (n_h,)
    overload: Overload
    table: ExitTable  # its columns are the stages
    return_s: tuple[Array, ...] | None = None  # per stage (n_h,): time in which a result returns to its device [s]
    arrival_variability: tuple[Array, ...] | None = None  # a per stage, (n_h,); None: Poisson arrivals, 1 everywhere

    def __post_init__(self) -> None:
        if not len(self.tiers) == len(self.service_per_s) == len(self.variability) == self.table.stages:
            raise ValueError("tiers, service rates, variabilities and the table's columns must be one per stage")

    @property
    def stages(self) -> int:
        """Number of stages H."""
        return len(self.tiers)

    @property
    def total_rate_per_s(self) -> float:
        """Phi [task/s]."""
        return float(self.device_rate_per_s.sum())

    def uniform_thresholds(self, *values: float) -> Thresholds:
        """Thresholds with `values`, one per early stage, at all servers of each stage.

        Raises:
            ValueError: there are not H - 1 values.
        """
        if len(values) != self.stages - 1:
            raise ValueError(f"{self.stages - 1} thresholds needed, got {len(values)}")
        return tuple(np.full(len(s), c) for s, c in zip(self.service_per_s[:-1], values, strict=True))

    def speed_rows(self) -> Rows:
        """Rows (n, K) per tier in proportion to the receivers' service rates: computing-first."""
        return tuple(
            _normalised(np.where(tier.exists, service[tier.receivers], 0.0))
            for tier, service in zip(self.tiers, self.service_per_s, strict=True)
        )

    def flows(self, rows: Rows, thresholds: Thresholds, cells: ExitCells | None = None) -> Flows:
        """Flows, remaining ratios and accuracy of a plan.

        Args:
            rows: per tier (n, K); rows need not sum to one, so that one entry may be varied.
            thresholds: per early stage (n_h,).
            cells: `exit_cells` of the thresholds, if the caller has them; None computes them.
        """
        cells = cells or exit_cells(self.table, thresholds)
        link, arrival, remaining, all_weights = [self.device_rate_per_s[:, None] * rows[0]], [], [], []
        leaves_at, right = [], 0.0
        weights = self.tiers[0].collect(link[0], len(self.service_per_s[0]))[:, None] * cells.share
        for index in range(self.stages):
            phi = weights.sum(-1)
            arrival.append(phi)
            all_weights.append(weights)
            last = index == self.stages - 1
            going = np.zeros_like(weights) if last else weights * cells.goes_on[index]
            exits = weights.sum(0) - going.sum(0)
            leaves_at.append(exits.sum())
            right += float(exits @ cells.correct[index])
            leaving = going.sum(-1)
            remaining.append(np.zeros_like(phi) if last else _ratio(leaving, phi, weights, cells.goes_on[index]))
            if not last:
                link.append(leaving[:, None] * rows[index + 1])
                weights = self.tiers[index + 1].carry(rows[index + 1], going, len(self.service_per_s[index + 1]))
        total = sum(leaves_at)
        return Flows(
            tuple(arrival),
            tuple(remaining),
            tuple(link),
            right / total,
            np.array(leaves_at) / total,
            cells,
            tuple(all_weights),
        )

    def queue_cost(self, index: int, arrival_per_s: Array) -> QueueCost[Array]:
        """Cost of the servers of stage `index` + 1 at these arrival rates (n_h,), without the penalty."""
        variability = self.variability[index], self._arrival_variability(index)
        return queue_cost(arrival_per_s, self.service_per_s[index], *variability)

    def _arrival_variability(self, index: int) -> Array | float:
        return 1.0 if self.arrival_variability is None else self.arrival_variability[index]

    def cost_tasks(self, flows: Flows) -> float:
        """Phi Tbar: mean number of tasks in the system, penalty included [task]."""
        total = sum(float(tier.cost(link).tasks.sum()) for tier, link in zip(self.tiers, flows.link_per_s, strict=True))
        for index, phi in enumerate(flows.arrival_per_s):
            service = self.service_per_s[index]
            total += float(self.queue_cost(index, phi).tasks.sum())
            total += float(overload_penalty(phi, service, self.overload.rho_max, self.overload.kappa_s2).tasks.sum())
            if self.return_s is not None:
                total += float((phi * (1 - flows.remaining[index]) * self.return_s[index]).sum())
        return total

    def mean_delay_s(self, flows: Flows) -> float:
        """Tbar [s], penalty included."""
        return self.cost_tasks(flows) / self.total_rate_per_s

    def objective_s(self, flows: Flows, theta_s: float) -> float:
        """U = Tbar - theta A [s]; theta: seconds of mean delay that one unit (100 points) of accuracy is worth."""
        return self.mean_delay_s(flows) - theta_s * flows.accuracy

    def prices(self, rows: Rows, flows: Flows) -> Prices:
        """DTO-R at all nodes, last stage first.

        The derivatives are exact where the servers of a stage share one threshold; elsewhere they treat every I_j as
        constant.

        Args:
            rows: per tier (n, K).
            flows: of the same rows.
        """
        stages: list[StageCost] = []
        delta: list[Array] = []
        best: list[Array] = []
        curvatures: list[Array] = []
        downstream: Downstream | None = None
        for index in reversed(range(self.stages)):
            row = rows[index + 1] if downstream is not None else np.zeros((0, 0))
            stages.insert(0, stage_cost(self._load(index, flows), self.overload, row, downstream))
            tier, link = self.tiers[index], self.tiers[index].cost(flows.link_per_s[index])
            downstream = Downstream(
                link.slope_s,
                stages[0].marginal_s[tier.receivers],
                stages[0].best_s[tier.receivers],
                stages[0].curvature_s2[tier.receivers],
                link.curvature_s2,
                tier.exists,
            )
            delta.insert(0, link.slope_s + downstream.marginal_s)
            best.insert(0, np.where(tier.exists, link.slope_s + downstream.best_s, np.inf))
            curvatures.insert(0, link.curvature_s2)
        assert downstream is not None
        marginal, least = costs_to_go(rows[0], downstream)
        return Prices(tuple(stages), tuple(delta), tuple(best), tuple(curvatures), marginal, least)

    def gap_s(self, flows: Flows, prices: Prices) -> float:
        """Certificate: Tbar is at most this far above the least one [s], given one threshold per stage.

        (1/Phi) sum_i phi_i (Omega_i - m_i) over the devices: the Frank-Wolfe gap of the convex programme in the flows.

        Args:
            flows: of the plan; phi is the rate that the devices send in it.
            prices: of the same plan.
        """
        saving = prices.device_marginal_s - prices.device_best_s
        sent = flows.link_per_s[0].sum(-1)
        return float(sent @ saving / sent.sum())

    def _load(self, index: int, flows: Flows) -> StageLoad:
        return StageLoad(
            flows.arrival_per_s[index],
            self.service_per_s[index],
            self.variability[index],
            flows.remaining[index],
            0.0 if self.return_s is None else self.return_s[index],
            self._arrival_variability(index),
        )


def _normalised(rows: Array) -> Array:
    return np.asarray(rows / rows.sum(-1, keepdims=True))


def _ratio(leaving: Array, arriving: Array, weights: Array, goes_on: Mask) -> Array:
    """leaving / arriving, (n,); where nothing arrives, the ratio of the stage's mean mix."""
    mix = weights.sum(0)
    idle = goes_on @ (mix / mix.sum()) if mix.sum() > 0 else np.ones_like(arriving)
    return np.where(arriving > 0, leaving / np.where(arriving > 0, arriving, 1.0), idle)
