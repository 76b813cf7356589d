"""DTO-EE against its rivals, simulated on topologies/city.yaml: `python -m tests.bench.policies [--json FILE]`.

Every policy gets the same networks, arrivals and samples: five seeds, each of them another city. Intervals are 95 %
bootstrap intervals over the seeds. Takes about ten minutes on two cores.
"""

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from testbed.cells.intervals import Estimate
from testbed.compare import Comparison, compare
from tests.bench.table import POINTS, POSITIVE, REDUCTION, SHARE, Row, main, row

CITY = Path(__file__).parents[2] / "topologies/city.yaml"
SEEDS = 5
LOADS = {0.42: 1.0, 0.48: 1.15, 0.55: 1.31}  # load of every stage at thresholds of 0.8: factor on the devices' rates
RIVALS = ("computing-first", "bandwidth-first", "ga", "uniform")
OTHERS = ("ngto", "shortest-expected-delay", "join-shortest-queue", "two-choices")
AGES_S = (0.02, 0.05, 0.1)
LEAST_REDUCTION = 20  # %


def variant(
    source: Path, folder: Path, *, factor: float = 1.0, theta_s: float | None = None, core: float = 1.0
) -> Path:
    """The topology with the devices' rates times `factor`, another theta, and last-stage speeds times `core`."""
    text = source.read_text(encoding="utf-8")
    head, devices, rest = re.split(r"(?m)^(devices:\n(?:  .*\n)+)", text, maxsplit=1)
    devices = re.sub(
        r"(rate: )(\d+(?:\.\d+)?)(?:\.\.(\d+(?:\.\d+)?))?( /s)",
        lambda m: m[1] + "..".join(f"{float(x) * factor:g}" for x in (m[2], m[3]) if x) + m[4],
        devices,
    )
    if theta_s is not None:
        head = re.sub(r"(?m)^theta: .*$", f"theta: {theta_s:g} s", head)
    rest = re.sub(r"(core-\w+: {[^}]*capacity: )([\d.]+)", lambda m: f"{m[1]}{float(m[2]) * core:.4f}", rest)
    path = folder / f"{source.stem}-{factor:g}-{theta_s or 0:g}-{core:g}.yaml"
    path.write_text(head + devices + rest, encoding="utf-8")
    return path


def run(topology: Path, policies: tuple[str, ...], repeats: int, folder: Path) -> Comparison:
    """Simulated, on all cores."""
    return compare(topology, policies, repeats=repeats, simulate=True, out=folder / f"{topology.stem}-runs")


def rows() -> Iterator[Row]:
    """Rivals by load, and queue information by age."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for load, factor in LOADS.items():
            yield from _rivals(load, variant(CITY, folder, factor=factor), folder)
        yield from _ages(folder)


def _rivals(load: float, topology: Path, folder: Path) -> Iterator[Row]:
    found = run(topology, ("dto-ee", *RIVALS, *OTHERS, "fixed-threshold"), SEEDS, folder)
    ours, *theirs = found.table
    where = f"city, load {load:.2f}"
    if ours.overloaded_runs:
        raise RuntimeError(f"{where}: dto-ee is overloaded in {ours.overloaded_runs} of {SEEDS} runs")
    reductions = {}
    for figures in found.table:
        if figures.overloaded_runs:
            yield row(f"{where}: {figures.policy} overloaded", figures.overloaded_runs, f"of {SEEDS} runs")
            continue
        runs = [one for one in found.rows if one.policy == figures.policy]
        samples = [one.delay_mean_s * 1e3 for one in runs if one.delay_mean_s is not None]
        yield row(f"{where}: {figures.policy} mean delay", mean_of(figures.delay_mean_s) * 1e3, "ms", samples=samples,
                  possible=POSITIVE)  # fmt: skip
    yield row(f"{where}: dto-ee accuracy", mean_of(ours.accuracy), "", possible=SHARE)
    for figures in theirs:
        gain = figures.first_ahead_by
        if figures.overloaded_runs or gain is None:
            continue
        reduction = reductions[figures.policy] = gain.delay_reduction
        yield row(f"{where}: delay reduction against {figures.policy}", reduction.mean * 100, "%", possible=REDUCTION,
                  interval=(100 * known(reduction.low), 100 * known(reduction.high)))  # fmt: skip
        yield row(f"{where}: accuracy gained against {figures.policy}", gain.accuracy_gain.mean * 100, "points",
                  possible=POINTS)  # fmt: skip
    means = {policy: reduction.mean * 100 for policy, reduction in reductions.items()}
    yield best_of(f"{where}: reduction against the best of {', '.join(RIVALS)}", means, RIVALS)
    local = [rival for rival in RIVALS if rival != "ga"]
    yield best_of(f"{where}: the same without the central one", means, local)


def mean_of(estimate: Estimate | None) -> float:
    """The mean of a figure that a policy which carries the load must have; RuntimeError if it has none."""
    return known(None if estimate is None else estimate.mean)


def known(figure: float | None) -> float:
    """A figure that several runs without overload must have; RuntimeError if it is None."""
    if figure is None:
        raise RuntimeError("a policy that carries the load lacks a figure")
    return figure


def best_of(name: str, reductions: Mapping[str, float], rivals: Sequence[str]) -> Row:
    """The reduction [%] against the best of these rivals that can carry the load; without any there is no figure."""
    found = [reductions[rival] for rival in rivals if rival in reductions]
    lacks = None if found else "all of them are overloaded"
    return row(name, min(found, default=None), "%", least=LEAST_REDUCTION, possible=REDUCTION, invalid=lacks)


def _ages(folder: Path) -> Iterator[Row]:
    topology = variant(CITY, folder, factor=1.0001)
    specs = tuple(f"dto-ee-2c:report_every={age_s}" for age_s in AGES_S)
    plan, *both = run(topology, ("dto-ee-static", *specs), SEEDS, folder).table
    for age_s, figures in zip(AGES_S, both, strict=True):
        over = next((one.policy for one in (plan, figures) if one.overloaded_runs), None)
        ratio = None if over else mean_of(figures.delay_mean_s) / mean_of(plan.delay_mean_s)
        yield row(f"city: dto-ee-2c / dto-ee-static mean delay, reports up to {age_s * 1e3:g} ms old", ratio, "",
                  most=1.0, possible=POSITIVE, invalid=f"{over} is overloaded" if over else None)  # fmt: skip


if __name__ == "__main__":
    main(rows, __doc__)
