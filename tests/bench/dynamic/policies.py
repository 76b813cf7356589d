"""dto-ee against every rival in networks that change, simulated: `python -m tests.bench dynamic.policies`.

In each scenario all policies run on the same seeds, so that differences are paired. Two comparisons are made. In the
first one each policy has its own thresholds, and the figure is the utility, theta * accuracy - mean delay. In the
second one all thresholds are fixed at 0.8, so that all have the same accuracy, and the figure is the mean delay.

Intervals cover together with 95 % probability (`paired.simultaneous`). A rival that is far behind in each of the first
`SCREENED` seeds runs no further: its interval is over these.

`python -m tests.bench.dynamic -n 5 --only quickstart` runs less.
"""

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from testbed.compare.recovery import read_tasks
from testbed.record.backlog import overload
from testbed.run.observer import SilentObserver
from testbed.run.planning import plan_run
from testbed.simulation.simulator import Simulation
from tests.bench.dynamic.entrants import FLAGSHIP, Entrant, family, rivals
from tests.bench.dynamic.paired import Interval, simultaneous
from tests.bench.dynamic.scenarios import SCENARIOS
from tests.bench.simulations import Ask, spread
from tests.bench.table import AMOUNT, POSITIVE, REDUCTION, SHARE, Row, main, row

SEEDS = 20
FIRST_SEED = 101
SCREENED = 3
FAR_BEHIND = 1.1  # times the flagship's mean delay
AIM = 3.0  # % less mean delay than the best rival
OWN, FIXED = "own thresholds", "thresholds 0.8"  # the two comparisons


class Figures(NamedTuple):
    """The figures of a run; delay and utility in emulated seconds."""

    delay_s: float
    utility_s: float
    accuracy: float
    lost: int
    overloaded: bool


Runs = Mapping[str, Sequence[Figures]]  # policy text -> figures of its runs, by seed


def figures_of(ask: Ask) -> Figures:
    """Simulate a run and return its figures. RuntimeError if it did not come to its end, or completed no task."""
    with tempfile.TemporaryDirectory() as folder:
        plan = plan_run(ask.topology, policy=ask.policy, seed=ask.seed, out=Path(folder, "run"))
        outcome = Simulation(plan, SilentObserver()).run()
        overloaded, _ = overload(read_tasks(plan.run_directory), plan.scenario.duration_s)
    found: Mapping[str, Any] | None = outcome.summary
    if outcome.exit_reason != "completed" or found is None or found["utility"] is None:
        raise RuntimeError(f"the simulation of {ask.topology} under {ask.policy} was {outcome.exit_reason}")
    return Figures(found["delay_s"]["mean"], found["utility"], found["accuracy"], found["tasks"]["lost"], overloaded)


def rows(seeds: int = SEEDS, only: Sequence[str] = ()) -> Iterator[Row]:
    """The figures of each scenario, or of those in `only`."""
    began_s = time.monotonic()
    names = [name for name in SCENARIOS if name in only or not only]
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            topology = SCENARIOS[name](Path(folder))
            others = rivals(topology)
            yield from scenario_rows(name, topology, [*family(), *others], seeds, 2 * len(names) * len(others))
    took_min = (time.monotonic() - began_s) / 60
    yield row(f"all of it: {len(names)} scenarios, {seeds} seeds", took_min, "min", possible=POSITIVE)


def scenario_rows(
    name: str, topology: Path, entrants: Sequence[Entrant], seeds: int, comparisons: int
) -> Iterator[Row]:
    """The figures of one scenario; its intervals count as `comparisons` of them."""
    began_s = time.monotonic()
    runs = simulated(topology, entrants, seeds)
    yield row(f"{name}: simulated in", (time.monotonic() - began_s) / 60, "min", possible=POSITIVE)
    for comparison in (OWN, FIXED):
        found = {each.name: runs[text] for each in entrants if (text := _text(each, comparison)) is not None}
        yield from _levels(f"{name}, {comparison}", found)
        yield from compared(f"{name}, {comparison}", found, comparison, comparisons)


def _text(entrant: Entrant, comparison: str) -> str | None:
    return entrant.own if comparison == OWN else entrant.fixed


def simulated(topology: Path, entrants: Sequence[Entrant], seeds: int) -> Runs:
    """The runs of all policies, on seeds from `FIRST_SEED` on; fewer of those that are far behind."""
    flagship, *_ = entrants
    texts = list(dict.fromkeys(text for each in entrants for text in (each.own, each.fixed) if text is not None))
    few = _runs(topology, texts, FIRST_SEED, min(SCREENED, seeds))
    if seeds <= SCREENED:
        return few
    ours = {each for each in (flagship.own, flagship.fixed) if each is not None}
    level = [max(few[text][seed].delay_s for text in ours) for seed in range(SCREENED)]
    close = [text for text in texts if text in ours or not _is_far_behind(few[text], level)]
    more = _runs(topology, close, FIRST_SEED + SCREENED, seeds - SCREENED)
    return {text: [*few[text], *more.get(text, ())] for text in texts}


def _is_far_behind(runs: Sequence[Figures], level_s: Sequence[float]) -> bool:
    return all(run.delay_s > FAR_BEHIND * ours_s for run, ours_s in zip(runs, level_s, strict=True))


def _runs(topology: Path, texts: Sequence[str], first_seed: int, seeds: int) -> dict[str, list[Figures]]:
    asks = [Ask(topology, text, first_seed + number) for number in range(seeds) for text in texts]
    found = spread(figures_of, asks)
    return {text: found[index :: len(texts)] for index, text in enumerate(texts)}


def _levels(where: str, runs: Runs) -> Iterator[Row]:
    """Mean delay, accuracy and utility of each policy, and the runs in which it was overloaded or lost tasks."""
    for policy, each in runs.items():
        if overloaded := sum(run.overloaded for run in each):
            yield row(f"{where}: {policy}, overloaded", overloaded, f"of {len(each)} runs", possible=AMOUNT,
                      most=0 if policy == FLAGSHIP else None)  # fmt: skip
        delays_ms = [run.delay_s * 1e3 for run in each]
        yield row(f"{where}: {policy}, mean delay", _mean(delays_ms), "ms", possible=POSITIVE, samples=delays_ms)
        yield row(f"{where}: {policy}, accuracy", _mean([run.accuracy for run in each]), "", possible=SHARE)
        utilities_s = [run.utility_s for run in each]
        yield row(f"{where}: {policy}, utility", _mean(utilities_s), "s", samples=utilities_s)
        if policy == FLAGSHIP or any(run.lost for run in each):
            yield row(f"{where}: {policy}, lost", sum(run.lost for run in each), "tasks", possible=AMOUNT)


def compared(where: str, runs: Runs, comparison: str, comparisons: int) -> Iterator[Row]:
    """The flagship's lead over every other policy, and its goals: no rival ahead, and 3 % less delay than the best.

    The lead is in utility [ms] with own thresholds, and in mean delay [%] with equal ones; positive if it is better.
    """
    ours, leads = runs[FLAGSHIP], dict[str, Interval]()
    shown = {each.name for each in family()}
    of_utility = comparison == OWN
    what, unit = ("utility, lead over", "ms") if of_utility else ("mean delay, less than that of", "%")
    for policy, theirs in runs.items():
        if policy == FLAGSHIP or any(run.overloaded for run in theirs):
            continue
        gains = [_utility_gain_ms(a, b) if of_utility else _reduction(a, b) for a, b in zip(ours, theirs, strict=False)]
        lead = simultaneous(gains, comparisons)
        if policy not in shown:
            leads[policy] = lead
        yield row(f"{where}: {what} {policy}", lead.mean, unit, interval=lead.bounds, possible=REDUCTION if unit == "%"
                  else None)  # fmt: skip
    if not leads:
        return
    best = min(leads, key=lambda policy: leads[policy].mean)
    ahead = min(leads, key=lambda policy: leads[policy].high)
    upper = leads[ahead].high if leads[ahead].bounds else leads[ahead].mean
    yield row(f"{where}: lead, upper end, least of all rivals", upper, unit, least=0, rival=ahead)
    aim = None if of_utility else AIM
    yield row(f"{where}: lead over the best rival", leads[best].mean, unit, interval=leads[best].bounds, least=aim,
              rival=best)  # fmt: skip


def _utility_gain_ms(ours: Figures, theirs: Figures) -> float:
    return (ours.utility_s - theirs.utility_s) * 1e3


def _reduction(ours: Figures, theirs: Figures) -> float:
    return (1 - ours.delay_s / theirs.delay_s) * 100


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


if __name__ == "__main__":
    main(rows, __doc__)
