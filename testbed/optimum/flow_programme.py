"""The centralised optimum for given thresholds: a convex programme in the link flows, solved by scipy.

With the remaining ratios I fixed by the thresholds, minimise over the flows f >= 0 of all links

    (1/Phi) [ sum_j D_j(phi_j) + (1-I_j) phi_j ret_j  +  sum_ij D_ij(f_ij) ],     phi_j = sum_i f_ij
    such that  sum_k f_ik = phi_i (devices),   sum_k f_jk = I_j phi_j (servers before the last stage)

Costs and their derivatives are those of `node_agent.dtoee.queueing`; nothing of the distributed recursion is used.
The variables are flows in units of the mean device rate.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from node_agent.dtoee.queueing import Array, QueueCost, link_cost, overload_penalty, queue_cost
from node_agent.dtoee.staged import Flows, Rows, StagedNetwork

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

TOLERANCE = 1e-9  # scipy's gtol and barrier_tol
MOST_ITERATIONS = 1000


@dataclass(frozen=True)
class FlowProgramme:
    """The programme of a network with the remaining ratios `remaining` (0..1), stage h at index h - 1, (n_h,).

    A link is a variable, a server a row of `_arrivals`; both are numbered tier by tier, in the order of the arrays.
    """

    network: StagedNetwork
    remaining: tuple[Array, ...]

    def solve(self, flows: Flows, rows: Rows) -> Rows:
        """The rows of the optimal flows; the search starts at `flows`. Nodes that send nothing keep their `rows`."""
        from scipy.optimize import Bounds, LinearConstraint, minimize  # noqa: PLC0415 - slow to load

        conserved, offered = self._conservation
        unit = self.network.total_rate_per_s / len(self.network.device_rate_per_s)
        begin = [link[tier.exists] for link, tier in zip(flows.link_per_s, self.network.tiers, strict=True)]
        found = minimize(  # type: ignore[call-overload]  # its stubs know no sparse Hessian
            lambda x: self.mean_delay_s(x * unit),
            np.concatenate(begin) / unit,
            jac=lambda x: self.gradient_s(x * unit) * unit,
            hess=lambda x: self.hessian_s(x * unit) * unit**2,
            method="trust-constr",
            bounds=Bounds(0.0, np.inf),
            constraints=LinearConstraint(conserved, offered / unit, offered / unit),
            options={"gtol": TOLERANCE, "xtol": 1e-13, "barrier_tol": TOLERANCE, "maxiter": MOST_ITERATIONS},
        )
        return self._rows(np.maximum(found.x, 0.0), rows)

    def mean_delay_s(self, flow_per_s: Array) -> float:
        """Mean delay Tbar [s] at link flows (L,) [task/s]."""
        servers, links = self._costs(flow_per_s)
        tasks = servers.tasks.sum() + links.tasks.sum() + self._return_s @ flow_per_s
        return float(tasks) / self.network.total_rate_per_s

    def gradient_s(self, flow_per_s: Array) -> Array:
        """First derivatives of the mean delay by the flows, (L,) [s/(task/s)]."""
        servers, links = self._costs(flow_per_s)
        slope = self._arrivals.T @ servers.slope_s + links.slope_s + self._return_s
        return np.asarray(slope / self.network.total_rate_per_s)

    def hessian_s(self, flow_per_s: Array) -> "csr_matrix":
        """Second derivatives of the mean delay, (L, L) [s/(task/s)^2]; links to the same server are coupled."""
        from scipy.sparse import csr_matrix, diags  # noqa: PLC0415 - as above

        servers, links = self._costs(flow_per_s)
        curvature = self._arrivals.T @ diags(servers.curvature_s2) @ self._arrivals + diags(links.curvature_s2)
        return csr_matrix(curvature / self.network.total_rate_per_s)

    def least_utilisation(self) -> float:
        """The least utilisation of the busiest server or link over all plans; from 1 on no plan can serve all tasks.

        A linear programme, solved by scipy's HiGHS.
        """
        from scipy.optimize import linprog  # noqa: PLC0415 - as above
        from scipy.sparse import csr_matrix, hstack, identity, vstack  # noqa: PLC0415

        conserved, offered = self._conservation
        queueing = np.isfinite(self._link_rate_per_s)
        busy = vstack([self._arrivals, identity(len(queueing), format="csr")[queueing]])
        limits = np.concatenate([np.concatenate(self.network.service_per_s), self._link_rate_per_s[queueing]])
        found = linprog(
            np.append(np.zeros(len(queueing)), 1.0),
            A_ub=hstack([busy, csr_matrix(-limits[:, None])], format="csr"),
            b_ub=np.zeros(len(limits)),
            A_eq=hstack([conserved, csr_matrix((conserved.shape[0], 1))], format="csr"),
            b_eq=offered,
            method="highs",
        )
        assert found.fun is not None  # the programme is feasible and bounded: u may be any number
        return float(found.fun)

    def _costs(self, flow_per_s: Array) -> tuple[QueueCost[Array], QueueCost[Array]]:
        """Costs of all servers, penalty included, and of all links."""
        network = self.network
        phi, service = self._arrivals @ flow_per_s, np.concatenate(network.service_per_s)
        variability = network.arrival_variability
        arrivals = 1.0 if variability is None else np.concatenate(variability)
        queue = queue_cost(phi, service, np.concatenate(network.variability), arrivals)
        penalty = overload_penalty(phi, service, network.overload.rho_max, network.overload.kappa_s2)
        servers = QueueCost(
            queue.tasks + penalty.tasks, queue.slope_s + penalty.slope_s, queue.curvature_s2 + penalty.curvature_s2
        )
        return servers, link_cost(flow_per_s, self._transfer_s, self._link_rate_per_s)

    def _rows(self, flow_per_s: Array, rows: Rows) -> Rows:
        found, begin = [], 0
        for tier, row in zip(self.network.tiers, rows, strict=True):
            flow = np.zeros(row.shape)
            flow[tier.exists] = flow_per_s[begin : begin + int(tier.exists.sum())]
            begin += int(tier.exists.sum())
            total = flow.sum(-1, keepdims=True)
            found.append(np.where(total > 0, flow / np.where(total > 0, total, 1.0), row))
        return tuple(found)

    def _linked(self, name: str) -> Array:
        return np.concatenate([getattr(tier, name)[tier.exists] for tier in self.network.tiers])

    @cached_property
    def _transfer_s(self) -> Array:
        return self._linked("transfer_s")

    @cached_property
    def _link_rate_per_s(self) -> Array:
        return self._linked("link_rate_per_s")

    @cached_property
    def _receiver(self) -> NDArray[np.intp]:
        """The number of the server at the end of every link, over all stages, (L,)."""
        first = np.cumsum([0, *(len(service) for service in self.network.service_per_s)])
        return np.concatenate([
            tier.receivers[tier.exists] + begin for tier, begin in zip(self.network.tiers, first[:-1], strict=True)
        ])  # fmt: skip

    @cached_property
    def _return_s(self) -> Array:
        """(1-I) ret of the server at the end of every link, (L,) [s]."""
        returns = self.network.return_s
        if returns is None:
            return np.zeros(len(self._receiver))
        back = np.concatenate([(1 - ratio) * ret for ratio, ret in zip(self.remaining, returns, strict=True)])
        return np.asarray(back[self._receiver])

    @cached_property
    def _arrivals(self) -> "csr_matrix":
        """The matrix (servers, L) with phi = matrix @ f."""
        from scipy.sparse import csr_matrix  # noqa: PLC0415 - as above

        links = len(self._receiver)
        servers = sum(len(service) for service in self.network.service_per_s)
        return csr_matrix((np.ones(links), (self._receiver, np.arange(links))), shape=(servers, links))

    @cached_property
    def _conservation(self) -> "tuple[csr_matrix, Array]":
        """The constraint matrix @ f = target, with a row for every device and every server before the last stage."""
        from scipy.sparse import csr_matrix, diags, vstack  # noqa: PLC0415 - as above

        network = self.network
        sizes = [len(tier.exists) for tier in network.tiers]
        first = np.cumsum([0, *sizes])
        owner = np.concatenate([
            np.nonzero(tier.exists)[0] + begin for tier, begin in zip(network.tiers, first[:-1], strict=True)
        ])  # fmt: skip
        sent = csr_matrix((np.ones(len(owner)), (owner, np.arange(len(owner)))), shape=(first[-1], len(owner)))
        devices, early = sizes[0], first[-1] - sizes[0]
        ratio = np.concatenate([*self.remaining[:-1], np.zeros(0)])
        kept = vstack([csr_matrix((devices, len(owner))), diags(ratio) @ self._arrivals[:early]])
        return csr_matrix(sent - kept), np.concatenate([network.device_rate_per_s, np.zeros(early)])
