"""Accuracy against delay of all policies, on the city and on one with a scarce stage (bench `frontier`).

Every policy runs at several theta or thresholds on five seeds, each of them another city. dto-ee is compared with every
other policy at equal accuracy and at equal delay. Takes about half an hour on two cores.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from node_agent.policies import policy_names
from testbed.cells.batch import Options
from testbed.cells.intervals import Estimate
from testbed.frontier import Frontier, FrontierAsk, frontier
from testbed.frontier.leads import Lead
from testbed.topology.overrides import Override
from tests.bench.policies import CITY
from tests.bench.table import POINTS, POSITIVE, REDUCTION, SHARE, Row, main, row

FIRST = "dto-ee"
SEEDS, VALUES, DURATION_S = 5, 6, 20.0
SCARCE = 0.6
LAST_STAGE = ("core-small", "core-medium", "core-large")


@dataclass(frozen=True)
class Case:
    """A network: its name, and what replaces values of the city."""

    name: str
    overrides: tuple[Override, ...] = ()


CASES = (
    Case("city"),
    Case(
        f"city, last stage at {SCARCE:g} of its speed",
        tuple(Override(f"servers.{server}.capacity", f"x{SCARCE:g}") for server in LAST_STAGE),
    ),
)


def policies() -> list[str]:
    """All shipped policies, dto-ee first."""
    return [FIRST, *(name for name in policy_names() if name != FIRST)]


def rows() -> Iterator[Row]:
    """Leads and points of every case."""
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:
            yield from rows_of(case.name, traced(case, Path(folder)))


def traced(case: Case, folder: Path, topology: Path = CITY) -> Frontier:
    """The frontier of a case, simulated on all cores."""
    ask = FrontierAsk(policies(), SEEDS, points=VALUES)
    options = Options(simulate=True, duration_s=DURATION_S, overrides=case.overrides)
    return frontier(topology, ask, options, out=folder / case.name.replace(" ", "-"))


def rows_of(where: str, found: Frontier) -> Iterator[Row]:
    """The figures of a case, and its points as they are drawn."""
    yield row(f"{where}: seeds", len(found.seeds), "")
    yield row(f"{where}: tasks arrive for", found.duration_s, "s")
    for lead in found.leads:
        yield from _lead_rows(where, lead)
    for point in found.points:
        at = "" if point.parameter is None else f" at {point.parameter} {point.value:g}"
        name, of = f"{where}: {point.policy}{at}", {"case": where, "policy": point.policy}
        if point.overloaded_runs:
            yield row(f"{name}: overloaded", point.overloaded_runs, f"of {len(found.seeds)} runs") | of
        elif point.accuracy is not None and point.cost is not None:
            yield row(f"{name}: accuracy", point.accuracy.mean, "", possible=SHARE, interval=_ends(point.accuracy)) | of
            yield row(f"{name}: mean delay", point.cost.mean * 1e3, "ms", possible=POSITIVE,
                      interval=_ends(point.cost, 1e3)) | of  # fmt: skip
    for bound in found.bounds:
        yield row(f"{where}: bound on the utility at theta {bound.theta_s:g} s", bound.utility_bound_s, "s") | {
            "case": where, "theta_s": bound.theta_s}  # fmt: skip


def _lead_rows(where: str, lead: Lead) -> Iterator[Row]:
    against = f"{where}: against {lead.other}"
    if (found := lead.at_equal_accuracy) is not None and found.reduction is not None:
        yield row(f"{against}: delay less at equal accuracy", found.reduction.mean * 100, "%", possible=REDUCTION,
                  interval=_ends(found.reduction, 100))  # fmt: skip
        yield row(f"{against}: accuracies compared, from", found.low, "", possible=SHARE)
        yield row(f"{against}: accuracies compared, to", found.high, "", possible=SHARE)
    if (gained := lead.at_equal_cost) is not None:
        yield row(f"{against}: accuracy more at equal delay", gained.gain.mean * 100, "points", possible=POINTS,
                  interval=_ends(gained.gain, 100))  # fmt: skip
    if lead.trouble:
        yield row(f"{against}: {lead.trouble}", 1.0, "")


def _ends(one: Estimate, factor: float = 1.0) -> tuple[float, float] | None:
    return None if one.low is None or one.high is None else (one.low * factor, one.high * factor)


if __name__ == "__main__":
    main(rows, __doc__)
