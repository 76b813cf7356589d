"""The cost of a plan that is made of wrong times: the city, simulated, whose nodes mismeasure their services or links.

`python -m tests.bench.verdict.wrong_times` (two minutes): every estimate is too long or too short by the same share, as
chance has it; then how far off the verdict finds the decisions, and how much longer the tasks take. The bounds in
`testbed/expectation/verdict.py` rest on it.
"""

import random
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from unittest.mock import patch
from weakref import WeakKeyDictionary

from node_agent.core.estimators import LinkTime, ServiceTime
from testbed.expectation import Findings, hold_against
from testbed.run.observer import SilentObserver
from testbed.run.planning import plan_run
from testbed.simulation.simulator import Simulation
from tests.bench.city.runs import CITY
from tests.bench.table import AMOUNT, Row, main, row
from tests.testbed.expectation.runs import world_of

DURATION_S = 40
SEEDS = (1, 2)
WRONG = (("service", 0.05), ("service", 0.1), ("service", 0.2), ("service", 0.4),
         ("link", 0.2), ("link", 0.5), ("link", 1.0))  # fmt: skip
ESTIMATES: dict[str, tuple[type, tuple[str, ...]]] = {
    "service": (ServiceTime, ("observe", "reset")), "link": (LinkTime, ("observe_task", "reset_task")),
}  # fmt: skip


@contextmanager
def mismeasured(what: str, share: float, seed: int) -> Iterator[None]:
    """Estimates are off by this share, up or down, each by chance and for the whole run."""
    kind, names = ESTIMATES[what]
    chance, factors = random.Random(seed), WeakKeyDictionary[object, float]()

    def wrong(observe: Callable[[object, float], None]) -> Callable[[object, float], None]:
        def observe_wrong(estimate: object, measured_s: float) -> None:
            observe(estimate, measured_s * factors.setdefault(estimate, 1 + share * chance.choice((-1, 1))))

        return observe_wrong

    first, second = (patch.object(kind, name, wrong(getattr(kind, name))) for name in names)
    with first, second:
        yield


def simulated(what: str, share: float, seed: int) -> tuple[float, Findings]:
    """The mean delay [s] of a run with such estimates, and what holding it against its expectation gives."""
    with tempfile.TemporaryDirectory() as folder:
        plan = plan_run(CITY, out=Path(folder) / "run", duration_s=DURATION_S, seed=seed)
        simulation = Simulation(plan, SilentObserver())
        with mismeasured(what, share, seed):
            outcome = simulation.run()
        out = outcome.run_directory
        files = (out / "tasks.jsonl", out / "decisions.jsonl")
        findings = hold_against(world_of(out), *files, repeats={}, stalls=(), relayed=False)
    assert outcome.summary is not None
    return outcome.summary["delay_s"]["mean"], findings  # type: ignore[index]


def rows() -> Iterator[Row]:
    """Per share: how far off the decisions are found, and the delay that it costs."""
    exact_s = {seed: simulated("service", 0.0, seed)[0] for seed in SEEDS}
    for what, share in WRONG:
        found = {seed: simulated(what, share, seed) for seed in SEEDS}
        off = [each.links_off if what == "link" else each.speed_off for _, findings in found.values()
               for each in findings.measured]  # fmt: skip
        where = f"{what} times off by {share:g}"
        yield row(f"{where}: decisions found off, mean", fmean(off), "", possible=AMOUNT)
        more = [100 * (mean_s / exact_s[seed] - 1) for seed, (mean_s, _) in found.items()]
        yield row(f"{where}: mean delay longer", fmean(more), "%", samples=more)


if __name__ == "__main__":
    main(rows, __doc__)
