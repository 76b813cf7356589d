"""A whole staged network evaluated in one place: the reference that the distributed recursion is held against."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from node_agent.dtoee.queueing import overload_penalty, queue_cost
from node_agent.dtoee.receiver import Downstream, Load, MarginalCost, Overload, marginal_cost


@dataclass
class StagedNetwork:
    """Devices and stages, completely connected between neighbouring stages; all rates in task/s, times in s."""

    device_rate: np.ndarray  # (D,)
    service: list[np.ndarray]  # per stage (n_h,)
    variability: float
    remaining: list[float]  # I per stage; the last one is 0
    link_s: list[np.ndarray]  # stage h-1 -> h, (n_(h-1), n_h)
    overload: Overload

    @classmethod
    def random(cls, seed: int, *, load: float, variability: float, sizes=(20, 5, 4, 4), kappa_s2=10.0, rho_max=0.9):
        rng = np.random.default_rng(seed)
        remaining = [*rng.uniform(0.4, 0.8, len(sizes) - 2), 0.0]
        device_rate = rng.uniform(1, 3, sizes[0])
        flow, service = device_rate.sum(), []
        for size, share in zip(sizes[1:], remaining, strict=True):
            speed = rng.uniform(1, 3, size)
            service.append(speed * flow / (load * speed.sum()))
            flow *= share
        link_s = [rng.uniform(0.002, 0.03, (a, b)) for a, b in pairwise(sizes)]
        return cls(device_rate, service, variability, remaining, link_s, Overload(rho_max, kappa_s2))

    def speed_rows(self) -> list[np.ndarray]:
        """Everyone in proportion to speed: computing-first."""
        return [np.tile(s / s.sum(), (link.shape[0], 1)) for s, link in zip(self.service, self.link_s, strict=True)]

    def arrivals(self, rows) -> list[np.ndarray]:
        flows, leaving = [], self.device_rate
        for row, share in zip(rows, self.remaining, strict=True):
            flows.append(leaving @ row)
            leaving = flows[-1] * share
        return flows

    def cost(self, rows, remaining=None) -> float:
        """Phi * Tbar: mean number of tasks in the system, penalty included."""
        total, leaving = 0.0, self.device_rate
        shares = self.remaining if remaining is None else remaining
        for row, service, link, share in zip(rows, self.service, self.link_s, shares, strict=True):
            total += float((leaving[:, None] * row * link).sum())
            phi = leaving @ row
            total += float(queue_cost(phi, service, self.variability).tasks.sum())
            total += float(overload_penalty(phi, service, self.overload.rho_max, self.overload.kappa_s2).tasks.sum())
            leaving = phi * share
        return total

    def backward(self, rows) -> list[list[MarginalCost]]:
        """DTO-R at every server, last stage first in computation, first stage first in the result."""
        arrivals = self.arrivals(rows)
        reports: list[list[MarginalCost]] = []
        below: list[MarginalCost] = []
        for h in reversed(range(len(self.service))):
            here = []
            for j, service in enumerate(self.service[h]):
                load = Load(float(arrivals[h][j]), float(service), self.variability, self.remaining[h])
                last = h == len(self.service) - 1
                downstream = None if last else self.downstream(h + 1, j, below)
                here.append(marginal_cost(load, self.overload, np.zeros(0) if last else rows[h + 1][j], downstream))
            reports.insert(0, here)
            below = here
        return reports

    def downstream(self, h: int, i: int, reports: list[MarginalCost]) -> Downstream:
        return Downstream(
            self.link_s[h][i],
            np.array([r.marginal_s for r in reports]),
            np.array([r.best_s for r in reports]),
            np.array([r.curvature_s2 for r in reports]),
        )
