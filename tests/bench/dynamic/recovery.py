"""The price of each shipped change, simulated: `python -m tests.bench dynamic.recovery`.

Two prices are shown, both sums over all tasks until the next change. "Paid in all" is that of `compare`: delay less the
level before. Part of it nobody can save, since a slow server remains slow. The excess is delay less the level at which
the better of both policies settles: the cost of being late. It is judged where the former behaviour pays for it.

The former behaviour is dto-ee-static with random draws, that of version 0.1. Both are also compared in the city, where
nothing changes.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from testbed.compare import Comparison, compare
from testbed.compare.recovery import Recovery
from testbed.compare.result import PolicyRecoveries
from tests.bench.dynamic.scenarios import SCENARIOS, written
from tests.bench.policies import mean_of
from tests.bench.table import ANY, POSITIVE, Row, main, row

SEEDS = 20
FIRST_SEED = 101
CHANGING = ("quickstart", "slowdown", "surge", "linkdrop", "campus")
FORMER = "dto-ee-static"
RANDOM = "\ndraws: random\n"  # the former way to follow a row
STATIC, STATIC_SEEDS = "city", 10  # where nothing changes
MOST_DELAY = 1.005  # of the former mean delay, there
MOST_SHARE = 0.6  # of what the former behaviour pays
LEAST_S = 3.0  # tasks x s, below which a change costs the former behaviour next to nothing


def rows(seeds: int = SEEDS) -> Iterator[Row]:
    """The price that both pay for each change, and the quotient; the mean delay of both where nothing changes."""
    yield row("seeds of each change", seeds, "seeds", possible=POSITIVE)
    for name in CHANGING:
        yield from changes(name, *(found.recoveries[0] for found in both(name, seeds)))
    ours_s, former_s = (_mean_delay_s(found) for found in both(STATIC, min(seeds, STATIC_SEEDS)))
    yield row(f"{STATIC}: dto-ee, mean delay", ours_s * 1e3, "ms", possible=POSITIVE)
    yield row(f"{STATIC}: former behaviour, mean delay", former_s * 1e3, "ms", possible=POSITIVE)
    yield row(f"{STATIC}: mean delay of dto-ee / former", ours_s / former_s, "", most=MOST_DELAY, possible=POSITIVE)


def both(name: str, seeds: int) -> tuple[Comparison, Comparison]:
    """The runs of the flagship and of the former behaviour on the same seeds of a topology."""
    source = SCENARIOS[name]
    with tempfile.TemporaryDirectory() as folder:
        now = source(Path(folder))
        former = written(Path(folder, f"former-{now.name}"), now, events=RANDOM)
        ours, theirs = (
            compare(topology, (policy,), repeats=seeds, simulate=True, seed=FIRST_SEED, out=Path(folder, policy))
            for topology, policy in ((now, "dto-ee"), (former, FORMER))
        )
    return ours, theirs


def _mean_delay_s(found: Comparison) -> float:
    return mean_of(found.table[0].delay_mean_s)


def changes(name: str, ours: PolicyRecoveries, former: PolicyRecoveries) -> Iterator[Row]:
    """The rows of the changes of one topology."""
    for one, other in zip(ours.events, former.events, strict=True):
        where = f"{name}, at {one.at_s:g} s"
        yield from _paid(where, "dto-ee", one)
        yield from _paid(where, "former behaviour", other)
        if one.settled_s is None or other.settled_s is None:
            continue
        level_s = min(one.settled_s, other.settled_s)
        excess, former_excess = excess_task_s(one, level_s), excess_task_s(other, level_s)
        if excess is None or former_excess is None:
            continue
        yield row(f"{where}: dto-ee, excess", excess, "task x s", rival=one.what)
        yield row(f"{where}: former behaviour, excess", former_excess, "task x s", rival=one.what)
        if former_excess > LEAST_S:
            yield row(f"{where}: excess of dto-ee / former", excess / former_excess, "", most=MOST_SHARE,
                      possible=ANY, rival=one.what)  # fmt: skip


def excess_task_s(one: Recovery, level_s: float) -> float | None:
    """Sum of (delay - level) over the tasks of a stretch, per run [task x s]; None if it has too few tasks.

    The number of tasks follows from the other sum of the stretch, which is over the level before.
    """
    if one.extra_task_s is None or one.mean_s is None or one.before_s is None or one.mean_s == one.before_s:
        return None
    tasks = one.extra_task_s / (one.mean_s - one.before_s)
    return (one.mean_s - level_s) * tasks


def _paid(where: str, policy: str, one: Recovery) -> Iterator[Row]:
    if one.extra_task_s is not None:
        yield row(f"{where}: {policy}, paid in all", one.extra_task_s, "task x s", rival=one.what)
    if one.recovered_after_s is not None:
        yield row(f"{where}: {policy}, recovered after", one.recovered_after_s, "s")
    if one.peak_s is not None:
        yield row(f"{where}: {policy}, peak delay", one.peak_s * 1e3, "ms", possible=POSITIVE)


if __name__ == "__main__":
    main(rows, __doc__)
