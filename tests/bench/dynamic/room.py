"""Delay that better knowledge or better plans could still save, simulated: `python -m tests.bench dynamic.room`.

All thresholds are fixed at 0.8, so that accuracy is equal. Beside dto-ee stand, on the same seeds: dto-ee and a rival
with an oracle, which know every queue and every task on its way at this moment (`testbed.simulation.oracle`); and the
plans of `optimum`, played against the same tasks. Plans know all rates, but look at no queue.
"""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from testbed.optimum.bound import bound_for
from testbed.run.planning import plan_run
from tests.bench.dynamic.policies import FIRST_SEED
from tests.bench.dynamic.scenarios import SCENARIOS
from tests.bench.simulations import Ask, spread, summary_of
from tests.bench.table import POSITIVE, REDUCTION, Row, main, row

SEEDS = 4
THRESHOLD = 0.8
RIVAL = "shortest-expected-delay"
FLAGSHIP = "dto-ee:adapt_thresholds=false"
WITHOUT_OPTIMUM = ("metro",)  # whose optimum takes minutes for each seed
LIMITS = {
    "dto-ee with an oracle": (FLAGSHIP, True), f"{RIVAL} with an oracle": (RIVAL, True), RIVAL: (RIVAL, False),
}  # fmt: skip
PLAYED = "the plan of optimum, played"


class Work(NamedTuple):
    """A mean delay to be found: of a simulation, or of the played plan of `optimum`."""

    ask: Ask
    played: bool = False


def delay_s(work: Work) -> float:
    """The mean delay [s]. RuntimeError if no plan can serve the tasks, or no task was completed."""
    if not work.played:
        found: float | None = summary_of(work.ask)["delay_s"]["mean"]
    else:
        plan = plan_run(work.ask.topology, seed=work.ask.seed, make_directory=False)
        played = bound_for(plan.scenario, plan.model, arrivals=plan.arrivals, thresholds=[THRESHOLD]).played
        found = None if played is None else played.mean_delay_s
    if found is None:
        raise RuntimeError(f"{work.ask} has no mean delay")
    return found


def rows(seeds: int = SEEDS) -> Iterator[Row]:
    """The saving of each limit in each scenario."""
    yield row("seeds of each scenario", seeds, "seeds", possible=POSITIVE)
    with tempfile.TemporaryDirectory() as folder:
        for name, make in SCENARIOS.items():
            yield from scenario_rows(name, make(Path(folder)), seeds)


def scenario_rows(name: str, topology: Path, seeds: int) -> Iterator[Row]:
    """The mean delay of dto-ee, and how much shorter or longer the others' is."""
    numbers = range(FIRST_SEED, FIRST_SEED + seeds)
    entries: dict[str, list[Work]] = {"dto-ee": [Work(Ask(topology, FLAGSHIP, seed)) for seed in numbers]}
    for limit, (policy, oracle) in LIMITS.items():
        entries[limit] = [Work(Ask(topology, policy, seed, oracle)) for seed in numbers]
    if name not in WITHOUT_OPTIMUM:
        entries[PLAYED] = [Work(Ask(topology, None, seed), played=True) for seed in numbers]
    found = spread(delay_s, [work for works in entries.values() for work in works])
    means = {limit: sum(found[at * seeds : (at + 1) * seeds]) / seeds for at, limit in enumerate(entries)}
    yield from _rows(name, means)


def _rows(name: str, means_s: Mapping[str, float]) -> Iterator[Row]:
    ours_s = means_s["dto-ee"]
    yield row(f"{name}: dto-ee, mean delay", ours_s * 1e3, "ms", possible=POSITIVE)
    for limit, mean_s in means_s.items():
        if limit != "dto-ee":
            yield row(f"{name}: {limit} has less delay", (1 - mean_s / ours_s) * 100, "%", possible=REDUCTION,
                      rival=f"{mean_s * 1e3:.0f} ms")  # fmt: skip


if __name__ == "__main__":
    main(rows, __doc__)
