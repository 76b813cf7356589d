"""Rounds that DTO-EE needs: `python -m tests.bench.convergence [--json FILE]`.

Eight random networks of 50 devices and 6-5-4 servers for every load, servers within a factor of four of each other,
links of 2 to 30 ms, M/D/1. Counted are the rounds until the cost first lies within 5 % or 1 % of the optimum, which
`solve` certifies. Cold starts are computing-first rows; warm starts the optimum before every device's rate changed by
up to 20 % and every server's speed by up to 15 %. Rows with a `rival` hold another update on the same networks.

Two more measurements stand behind constants of `offloader`: a server that slows down (the floor), and prices one round
old (the step that is taken on them).
"""

import statistics
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from node_agent.dtoee.offloader import StepRule
from node_agent.dtoee.solver import solve
from node_agent.dtoee.staged import StagedNetwork
from tests.bench.table import AMOUNT, main, row
from tests.node_agent.dtoee.network import random_network
from tests.node_agent.dtoee.sweeps import Sweeps

SIZES = (50, 6, 5, 4)
INSTANCES = 8
GOALS = {0.5: 12, 0.7: 22, 0.8: 28}
RULE = StepRule(floor=1e-4)
RIVALS = {
    "heavy ball, momentum 0.8": replace(RULE, momentum=0.8, kept=0.0, shrink=0.5, first_step=1.0, look_ahead=False),
    "gallager": replace(RULE, update="gallager", first_step=1.0),
}
NEVER = 999  # stands for: not within the rounds looked at


def rounds_to(sweeps: Sweeps, best_s: float, shares: tuple[float, ...], play: Callable[[Sweeps], None]) -> list[int]:
    """Rounds until the delay first is within each of `shares` (descending) of `best_s`; at most 400.

    Raises ValueError unless `best_s` is a delay: everything is within a share of infinity.
    """
    if not 0 < best_s < float("inf"):
        raise ValueError(f"the best delay is {best_s} s")
    found: list[int] = []
    for number in range(400):
        while len(found) < len(shares) and sweeps.delay_s <= best_s * (1 + shares[len(found)]):
            found.append(number)
        if len(found) == len(shares):
            break
        play(sweeps)
    return found + [NEVER] * (len(shares) - len(found))


def half_of_the_rows(seed: int) -> Callable[[Sweeps], None]:
    rng = np.random.default_rng(seed)
    return lambda sweeps: sweeps.round([rng.uniform(size=len(row)) < 0.5 for row in sweeps.rows])


def prices_one_round_old() -> Callable[[Sweeps], None]:
    before = []

    def play(sweeps: Sweeps) -> None:
        before.append(sweeps.prices)
        sweeps.round(prices=before[max(0, len(before) - 2)])

    return play


def changed(network: StagedNetwork, seed: int) -> StagedNetwork:
    """Every device's rate up or down by as much as 20 %, every server's speed by as much as 15 %."""
    rng = np.random.default_rng(seed)
    return replace(
        network,
        device_rate_per_s=network.device_rate_per_s * rng.uniform(0.8, 1.2, len(network.device_rate_per_s)),
        service_per_s=tuple(s * rng.uniform(0.85, 1.15, len(s)) for s in network.service_per_s),
    )


def counted(name: str, counts: list[list[int]], goal: int | None, rival: str | None = None) -> list[dict]:
    """Median and maximum over instances, to 5 % and to 1 %."""
    to5, to1 = zip(*counts, strict=True)
    return [
        row(f"{name}, to 5 %, median", statistics.median(to5), "rounds", most=goal, rival=rival, possible=AMOUNT),
        row(f"{name}, to 5 %, most", max(to5), "rounds", rival=rival, possible=AMOUNT),
        row(f"{name}, to 1 %, median", statistics.median(to1), "rounds", rival=rival, possible=AMOUNT),
        row(f"{name}, to 1 %, most", max(to1), "rounds", rival=rival, possible=AMOUNT),
    ]


def optimum_s(network: StagedNetwork, thresholds: "tuple[np.ndarray, ...]", *, most_rounds: int = 2000) -> float:
    """The least mean delay; RuntimeError where it is not certified to a tenth of the closest share that is counted."""
    best = solve(network, thresholds, most_rounds=most_rounds)
    if not best.gap_s <= 1e-3 * best.delay_s:
        raise RuntimeError(f"the optimum is only known to {best.gap_s:.2g} s of {best.delay_s:.2g} s")
    return best.delay_s


def cold() -> list[dict]:
    found = []
    for load, goal in GOALS.items():
        networks = [random_network(seed, load=load, sizes=SIZES, spread=4) for seed in range(INSTANCES)]
        best = [optimum_s(network, thresholds, most_rounds=2000) for network, thresholds in networks]

        def count(
            rule: StepRule, play: Callable[[int], Callable[[Sweeps], None]], networks=networks, best=best
        ) -> list[list[int]]:
            return [
                rounds_to(Sweeps(network, network.speed_rows(), thresholds, rule), best_s, (0.05, 0.01), play(seed))
                for seed, ((network, thresholds), best_s) in enumerate(zip(networks, best, strict=True))
            ]

        found += counted(f"cold start, load {load}", count(RULE, lambda _: Sweeps.round), goal)
        for rival, rule in RIVALS.items():
            found += counted(f"cold start, load {load}", count(rule, lambda _: Sweeps.round), None, rival)
        found += counted(f"cold start, load {load}", count(RULE, half_of_the_rows), None, "half of the rows a round")
        stale = count(RULE, lambda _: prices_one_round_old())
        found += counted(f"cold start, load {load}", stale, None, "prices one round old")
    return found


def warm() -> list[dict]:
    """From the optimum, then new rates: rounds to 1 %, with the floor that live nodes keep."""
    found = []
    for floor, goal in ((1e-4, 6), (StepRule().floor, None)):
        counts, kept = [], []
        for seed in range(INSTANCES):
            network, thresholds = random_network(seed, load=0.65, sizes=SIZES, spread=4)
            after = changed(network, seed)
            best = optimum_s(after, thresholds)
            sweeps = Sweeps(network, solve(network, thresholds).rows, thresholds, StepRule(floor=floor))
            sweeps.enter(after)
            kept.append(sweeps.delay_s / best - 1)
            counts.append(rounds_to(sweeps, best, (0.01,), Sweeps.round)[0])
        name = f"warm start, rates +-20 %, speeds +-15 %, floor {floor:g}"
        found += [
            row(f"{name}, cost of the old plan, median", statistics.median(kept), "of the optimum", possible=AMOUNT),
            row(f"{name}, to 1 %, median", statistics.median(counts), "rounds", most=goal, possible=AMOUNT),
            row(f"{name}, to 1 %, most", max(counts), "rounds", possible=AMOUNT),
        ]
    return found


def slowed() -> list[dict]:
    """From a steady plan, then the fastest server of stage 1 slows to two fifths: rounds to 5 %, by floor."""
    found = []
    for floor in (1e-4, StepRule().floor):
        counts, steady = [], []
        for seed in range(INSTANCES):
            network, thresholds = random_network(seed, load=0.65, sizes=SIZES, spread=4)
            speeds = network.service_per_s[0].copy()
            speeds[speeds.argmax()] *= 0.4
            after = replace(network, service_per_s=(speeds, *network.service_per_s[1:]))
            best = solve(network, thresholds)
            sweeps = Sweeps(network, best.rows, thresholds, StepRule(floor=floor))
            for _ in range(30):
                sweeps.round()
            steady.append(sweeps.delay_s / best.delay_s - 1)
            sweeps.enter(after)
            counts.append(rounds_to(sweeps, optimum_s(after, thresholds), (0.05,), Sweeps.round)[0])
        found += [
            row(f"a server slows down, floor {floor:g}, above the optimum before", statistics.median(steady), "of it"),
            row(f"a server slows down, floor {floor:g}, to 5 %, median", statistics.median(counts), "rounds"),
        ]
    return found


def swings() -> list[dict]:
    """On prices one round old at load 0.8: the highest cost in 300 rounds, by the step that rows take on them."""
    found = []
    for step in (StepRule().stale_step, 0.15):
        most = []
        for seed in range(INSTANCES):
            network, thresholds = random_network(seed, load=0.8, sizes=SIZES, spread=4)
            sweeps = Sweeps(network, network.speed_rows(), thresholds, StepRule(stale_step=step))
            play, delays = prices_one_round_old(), [sweeps.delay_s]
            for _ in range(300):
                play(sweeps)
                delays.append(sweeps.delay_s)
            most.append(float(np.max(delays)) / delays[0])  # not max(), which skips what is not a number
        name = f"prices one round old, step {step:g}, highest cost, median"
        found.append(row(name, statistics.median(most), "of the first", possible=(1.0, float("inf"))))
    return found


def rows() -> Iterator[dict]:
    """Every measurement of this bench."""
    for measure in (cold, warm, slowed, swings):
        yield from measure()


if __name__ == "__main__":
    main(rows, __doc__)
