"""Queues of servers in stages, fed by devices that spread their tasks: true waits, and the formulas for them.

`.venv/bin/python -m tests.node_agent.core.waiting` prints how far each formula is from the truth.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from node_agent.core.config import Draws
from node_agent.core.estimators import ArrivalVariability
from node_agent.core.offloading.spreading import spreading
from node_agent.dtoee.queueing import Array

LOADS = (0.3, 0.5, 0.7, 0.8, 0.9)
SIZES = ((20, 6, 3, 2), (10, 4, 4, 2), (40, 8, 6, 4))  # devices, servers of stage 1, 2, ...
GOES_ON = 0.7  # share of the tasks of a server that go on to the next stage


@dataclass(frozen=True)
class Fed:
    """A server of constant speed that has served a stream of tasks."""

    stage: int
    service_per_s: float  # [task/s]
    arrivals_s: Array  # [s], ascending
    wait_s: float  # mean time in the queue [s]

    @property
    def per_s(self) -> float:
        """Rate of the arrivals [task/s]."""
        return (len(self.arrivals_s) - 1) / float(self.arrivals_s[-1] - self.arrivals_s[0])

    def wait_for(self, variability: float) -> float:
        """Wait for arrivals of this variability by Kingman's formula [s]."""
        rho = self.per_s / self.service_per_s
        return variability * rho / (2 * self.service_per_s * (1 - rho))


def network(sizes: Sequence[int], load: float, draws: Draws, *, seed: int, duration_s: float) -> list[Fed]:
    """The servers of a random network, in which each node spreads tasks over about three quarters of the next stage."""
    rng = np.random.default_rng(seed)
    devices = range(sizes[0])
    streams = [np.sort(rng.uniform(0, duration_s, rng.poisson(rng.uniform(1, 2) * duration_s))) for _ in devices]
    found = []
    for stage, count in enumerate(sizes[1:], start=1):
        kept = rng.random((len(streams), count)) < 0.75
        kept[0], kept[kept.sum(-1) == 0] = True, True
        rows = kept * rng.uniform(0.4, 1.4, count) * rng.uniform(0.2, 1.0, kept.shape)
        arriving: list[list[Array]] = [[] for _ in range(count)]
        for number, (times_s, row) in enumerate(zip(streams, rows, strict=True)):
            spread = spreading(draws, count, random.Random(f"{seed}/{stage}/{number}"))
            spread.follow(row.tolist())
            chosen = np.array([spread.one() for _ in times_s], dtype=int)
            for receiver in range(count):
                arriving[receiver].append(times_s[chosen == receiver] + rng.uniform(0.001, 0.02))
        streams = []
        for each in arriving:
            arrivals_s = np.sort(np.concatenate(each))
            service_s = load * (1 + rng.uniform(-0.25, 0.25) * (1 - load)) / (len(arrivals_s) / duration_s)
            order = np.arange(len(arrivals_s))
            ends_s = np.maximum.accumulate(arrivals_s - order * service_s) + (order + 1) * service_s
            wait_s = float((ends_s - arrivals_s).mean()) - service_s
            found.append(Fed(stage, 1 / service_s, arrivals_s, wait_s))
            streams.append(ends_s[rng.random(len(ends_s)) < GOES_ON])
    return found


def intervals(fed: Fed) -> float:
    """Squared coefficient of variation of the times between arrivals."""
    between = np.diff(fed.arrivals_s)
    return float(between.var() / between.mean() ** 2)


def counts(fed: Fed, windows: float = 3.0) -> float:
    """Variance of the number of arrivals in a window over its mean; the window is `windows` / (s - phi)."""
    length_s = windows / (fed.service_per_s - fed.per_s)
    begin_s, end_s = float(fed.arrivals_s[0]), float(fed.arrivals_s[-1])
    number = np.bincount(((fed.arrivals_s - begin_s) / length_s).astype(int))[: int((end_s - begin_s) / length_s)]
    return float(number.var() / number.mean())


def estimated(fed: Fed) -> float:
    """Mean of what a server estimates while the tasks arrive."""
    estimator, seen = ArrivalVariability(), []
    for arrival_s in fed.arrivals_s.tolist():
        estimator.arrived(arrival_s, fed.service_per_s)
        seen.append(estimator.variability)
    return float(np.mean(seen[len(seen) // 4 :]))


def error(servers: Sequence[Fed], variability: Callable[[Fed], float]) -> float:
    """Sum over the servers of the tasks by which the formula misses the queue, over the tasks in all queues."""
    missed = sum(abs(fed.wait_for(variability(fed)) - fed.wait_s) * fed.per_s for fed in servers)
    return missed / sum(fed.wait_s * fed.per_s for fed in servers)


FORMULAS: dict[str, Callable[[Fed], float]] = {
    "Poisson": lambda _: 1.0, "intervals": intervals, "counts, 1.5": lambda fed: counts(fed, 1.5), "counts, 3": counts,
    "counts, 6": lambda fed: counts(fed, 6.0), "estimated": estimated,
}  # fmt: skip


def main() -> None:
    """Print the errors of all formulas, by kind of draws and load."""
    print("| draws | load |", " | ".join(FORMULAS), "|\n|---|---|" + "---|" * len(FORMULAS))
    for draws in ("random", "smooth"):
        for load in LOADS:
            servers = [fed for sizes in SIZES for fed in network(sizes, load, draws, seed=5, duration_s=1500.0)]
            errors = " | ".join(f"{100 * error(servers, formula):.0f} %" for formula in FORMULAS.values())
            print(f"| {draws} | {load} | {errors} |")


if __name__ == "__main__":
    main()
