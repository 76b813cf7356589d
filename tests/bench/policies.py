"""DTO-EE against its rivals, simulated on topologies/city.yaml: `python -m tests.bench.policies [--json FILE]`.

Every policy meets the same networks, arrivals and samples: five seeds, each of them another city. Intervals are 95 %
bootstrap intervals over the seeds. Takes about a quarter of an hour on two cores.
"""

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from testbed.compare import Comparison, compare
from tests.bench.table import Row, main, row

CITY = Path(__file__).parents[2] / "topologies/city.yaml"
SURGE = CITY.with_name("surge.yaml")
SCARCE = 0.3
GAINED = "accuracy of joint over the best fixed threshold at equal delay, most"
SEEDS = 5
CURVE_SEEDS = 3
LOADS = {0.42: 1.0, 0.48: 1.15, 0.55: 1.31}  # load of every stage at thresholds of 0.8: factor on the devices' rates
RIVALS = ("computing-first", "bandwidth-first", "ga", "uniform")
OTHERS = ("ngto", "shortest-expected-delay", "join-shortest-queue", "two-choices")
AGES_S = (0.02, 0.05, 0.1)
FIXED = (0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
THETAS_S = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)


def variant(
    source: Path, folder: Path, *, factor: float = 1.0, theta_s: float | None = None, core: float = 1.0
) -> Path:
    """The topology with the devices' rates times `factor`, another exchange rate, the last stage's speeds times `core`.
    """
    text = source.read_text(encoding="utf-8")
    head, devices, rest = re.split(r"(?m)^(devices:\n(?:  .*\n)+)", text, maxsplit=1)
    devices = re.sub(
        r"(rate: )(\d+(?:\.\d+)?)(?:\.\.(\d+(?:\.\d+)?))?( /s)",
        lambda m: m[1] + "..".join(f"{float(x) * factor:g}" for x in (m[2], m[3]) if x) + m[4],
        devices,
    )
    if theta_s is not None:
        head = re.sub(r"(?m)^theta: .*$", f"theta: {theta_s:g} s", head)
    rest = re.sub(
        r"(core-\w+: {[^}]*capacity: )([\d.]+)", lambda m: f"{m[1]}{float(m[2]) * core:.4f}", rest
    )
    path = folder / f"{source.stem}-{factor:g}-{theta_s or 0:g}-{core:g}.yaml"
    path.write_text(head + devices + rest, encoding="utf-8")
    return path


def run(topology: Path, policies: tuple[str, ...], repeats: int, folder: Path) -> Comparison:
    """Simulated, on all cores."""
    return compare(topology, policies, repeats=repeats, simulate=True, out=folder / f"{topology.stem}-runs")


def rows() -> Iterator[Row]:
    """Rivals by load, queue information by age, and delay against accuracy."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for load, factor in LOADS.items():
            yield from _rivals(load, variant(CITY, folder, factor=factor), folder)
        yield from _ages(folder)
        gained = []
        for what, source, core in (
            ("city", CITY, 1.0), ("surge", SURGE, 1.0), (f"city, last stage at {SCARCE:g} of its speed", CITY, SCARCE)
        ):  # fmt: skip
            for entry in _curve(what, source, folder, core=core):
                gained += [entry["value"]] if entry["name"].endswith(GAINED) else []
                yield entry
        yield row("accuracy gained by joint thresholds at equal delay, most", max(gained), "points", least=4)


def _rivals(load: float, topology: Path, folder: Path) -> Iterator[Row]:
    found = run(topology, ("dto-ee", *RIVALS, *OTHERS, "fixed-threshold"), SEEDS, folder)
    ours, *theirs = found.table
    where = f"city, load {load:.2f}"
    yield row(f"{where}: dto-ee mean delay", ours.delay_mean_s.mean * 1e3, "ms")
    yield row(f"{where}: dto-ee accuracy", ours.accuracy.mean, "")
    reductions = {}
    for figures in theirs:
        if figures.overloaded_runs:
            yield row(f"{where}: {figures.policy} overloaded", figures.overloaded_runs, f"of {SEEDS} runs")
            continue
        gain = figures.first_ahead_by
        reduction = gain.delay_reduction
        reductions[figures.policy] = reduction.mean
        yield row(f"{where}: delay reduction against {figures.policy}", reduction.mean * 100,
                  f"% [{reduction.low * 100:.1f}, {reduction.high * 100:.1f}]",
                  rival=f"{figures.delay_mean_s.mean * 1e3:.0f} ms")  # fmt: skip
        yield row(f"{where}: accuracy gained against {figures.policy}", gain.accuracy_gain.mean * 100, "points")
    best = min(reductions.get(rival, 1.0) for rival in RIVALS)
    yield row(f"{where}: reduction against the best of {', '.join(RIVALS)}", best * 100, "%", least=20)
    local = min(reductions.get(rival, 1.0) for rival in RIVALS if rival != "ga")
    yield row(f"{where}: the same without the central one", local * 100, "%", least=20)


def _ages(folder: Path) -> Iterator[Row]:
    topology = variant(CITY, folder, factor=1.0001)
    specs = tuple(f"dto-ee-2c:report_every={age_s}" for age_s in AGES_S)
    plan, *both = run(topology, ("dto-ee", *specs), SEEDS, folder).table
    for age_s, figures in zip(AGES_S, both, strict=True):
        ratio = figures.delay_mean_s.mean / plan.delay_mean_s.mean
        yield row(f"city: dto-ee-2c / dto-ee mean delay, reports up to {age_s * 1e3:g} ms old", ratio, "", most=1.0)


def _curve(what: str, source: Path, folder: Path, *, core: float = 1.0) -> Iterator[Row]:
    """How much more accurate joint thresholds are than the best fixed one at equal mean delay, over theta."""
    specs = tuple(f"fixed-threshold:threshold={c}" for c in FIXED)
    fixed = run(variant(source, folder, factor=0.9999, core=core), specs, CURVE_SEEDS, folder)
    joint = []
    for theta_s in THETAS_S:
        found = run(variant(source, folder, theta_s=theta_s, core=core), ("dto-ee",), CURVE_SEEDS, folder).table[0]
        if not found.overloaded_runs:
            joint.append((found.delay_mean_s.mean, found.accuracy.mean))
            yield row(f"{what}: dto-ee, theta {theta_s:g} s: accuracy", found.accuracy.mean, "",
                      rival=f"at {found.delay_mean_s.mean * 1e3:.0f} ms")  # fmt: skip
    stable = [(f.delay_mean_s.mean, f.accuracy.mean) for f in fixed.table if not f.overloaded_runs]
    for c, figures in zip(FIXED, fixed.table, strict=True):
        if not figures.overloaded_runs:
            yield row(f"{what}: fixed threshold {c}: accuracy", figures.accuracy.mean, "",
                      rival=f"at {figures.delay_mean_s.mean * 1e3:.0f} ms")  # fmt: skip
    delay_s, accuracy = np.array(sorted(stable)).T
    best_fixed = np.maximum.accumulate(accuracy)
    gains = [(mean_s, value - float(np.interp(mean_s, delay_s, best_fixed)))
             for mean_s, value in joint if delay_s[0] <= mean_s <= delay_s[-1]]  # fmt: skip
    at_s, most = max(gains, key=lambda pair: pair[1])
    yield row(f"{what}: {GAINED}", most * 100, "points", rival=f"at {at_s * 1e3:.0f} ms")


if __name__ == "__main__":
    main(rows, __doc__)
