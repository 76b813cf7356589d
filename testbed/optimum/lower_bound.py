"""Lower bounds on the mean delay of every plan, for many thresholds at once, from the prices of a single plan.

All costs are convex, so each lies above its tangent at any flows phi, f. With the slopes there as prices of servers and
links, a task of device i costs at least m_i, the price of the cheapest way through the stages:

    Tbar >= (1/Phi) [ sum_j (D_j - D'_j phi_j) + sum_ij (D_ij - D'_ij f_ij) + sum_i phi_i m_i ]
    m_ji = D'_j + (1-I_h) ret_ji + I_h min_k (D'_jk + m_ki)

The remaining ratios I enter only m, so the same prices bound the delay under any thresholds. If the prices are those of
an optimal plan for these thresholds, the bound equals its delay. The ways back of results are counted per device, so
the bound also holds for plans that route a server's tasks by their device.

If every server has its own threshold, each task passes one combination c of thresholds on its way, and

    Tbar - theta A >= (1/Phi) [ the sums over j and ij as above + sum_i phi_i min_c (m_i(c) - theta A(c)) ]

holds for every plan with thresholds on the grid: per server, per device, random, or variable in time.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from node_agent.dtoee.queueing import Array, overload_penalty
from node_agent.dtoee.staged import Flows
from testbed.optimum.flow_model import FlowModel


@dataclass(frozen=True)
class Tangent:
    """The tangent of all costs of a model at some flows, which may belong to other thresholds than those bounded."""

    model: FlowModel
    flows: Flows

    @cached_property
    def constant_s(self) -> float:
        """The sums over servers and links, times 1/Phi [s]; zero or less."""
        servers = zip(self._servers, self.flows.arrival_per_s, strict=True)
        links = zip(self._links, self.flows.link_per_s, strict=True)
        tasks = sum(float((cost - slope * flow).sum()) for (cost, slope), flow in (*servers, *links))
        return tasks / self.model.network.total_rate_per_s

    def cheapest_s(self, remaining: Array) -> Array:
        """m of every device (..., D) [s], if all servers of stage h pass on the share `remaining[..., h-1]` (0..1).

        `remaining` has the shape (..., H): the leading dimensions may hold any number of cases.
        """
        cost = self._last
        last = self.model.network.stages
        for stage in range(last - 1, 0, -1):
            onward = self._last_onward if stage == last - 1 else self._onward(stage, cost)
            ratio, slope = remaining[..., stage - 1, None, None], self._servers[stage - 1][1][:, None]
            cost = slope + (1 - ratio) * self.model.return_s[stage - 1] + ratio * onward
        tier = self.model.network.tiers[0]
        device = np.arange(len(tier.receivers))[:, None]
        ways = self._links[0][1] + cost[..., tier.receivers, device]
        return np.asarray(np.where(tier.exists, ways, np.inf).min(-1))

    def delay_s(self, remaining: Array) -> float:
        """The lower bound on Tbar [s] under the remaining ratios `remaining` (H,)."""
        rates = self.model.network.device_rate_per_s
        return self.constant_s + float(rates @ self.cheapest_s(remaining)) / float(rates.sum())

    def _onward(self, stage: int, cost: Array) -> Array:
        """min_k (D'_jk + m_ki) for servers j of `stage` (1..H-1), over tier stage + 1, and devices i, (..., n, D)."""
        tier, slope = self.model.network.tiers[stage], self._links[stage][1]
        ways = np.where(tier.exists, slope, np.inf)
        best = np.full((*cost.shape[:-2], len(ways), cost.shape[-1]), np.inf)
        for k in range(ways.shape[1]):  # one receiver at a time; all at once takes K times the memory
            np.minimum(best, ways[:, k, None] + cost[..., tier.receivers[:, k], :], out=best)
        return best

    @cached_property
    def _last(self) -> Array:
        return np.asarray(self._servers[-1][1][:, None] + self.model.return_s[-1])

    @cached_property
    def _last_onward(self) -> Array:
        return self._onward(self.model.network.stages - 1, self._last)

    @cached_property
    def _servers(self) -> list[tuple[Array, Array]]:
        """D and D' of every stage, penalty included, each (n_h,)."""
        network, found = self.model.network, []
        for index, phi in enumerate(self.flows.arrival_per_s):
            queue = network.queue_cost(index, phi)
            penalty = overload_penalty(
                phi, network.service_per_s[index], network.overload.rho_max, network.overload.kappa_s2
            )
            found.append((queue.tasks + penalty.tasks, queue.slope_s + penalty.slope_s))
        return found

    @cached_property
    def _links(self) -> list[tuple[Array, Array]]:
        """D and D' of every tier, each (n, K)."""
        costs = [tier.cost(flow) for tier, flow in zip(self.model.network.tiers, self.flows.link_per_s, strict=True)]
        return [(cost.tasks, cost.slope_s) for cost in costs]
