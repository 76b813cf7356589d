"""Thresholds that adapt against fixed ones, simulated: `python -m tests.bench thresholds` (half an hour on two cores).

The gain in accuracy of DTO-EE's own thresholds, over theta, against the best fixed one at equal mean delay; on city and
surge, and on city with a scarce last stage. Then the utility of dto-ee, with exits by threshold and by price, less that
of dto-ee at the fixed threshold which is best in hindsight; on shipped topologies and on random networks.
`HINDSIGHT_ONLY=1` prints the second part alone.
"""

import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from testbed.cells.intervals import estimate
from tests.bench.policies import CITY, mean_of, run, variant
from tests.bench.random_networks import topology
from tests.bench.table import POINTS, SHARE, Row, main, row

SURGE = CITY.with_name("surge.yaml")
SCARCE = 0.3
GAINED = "accuracy of joint over the best fixed threshold at equal delay, most"
CURVE_SEEDS = 3
FIXED = (0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
THETAS_S = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
CASES = (
    ("city", CITY, 1.0), ("surge", SURGE, 1.0), (f"city, last stage at {SCARCE:g} of its speed", CITY, SCARCE)
)  # fmt: skip
HINDSIGHT_SEEDS = 5
HINDSIGHT_THETAS_S = (0.5, 2.0, 5.0)
SHIPPED = ("quickstart", "linkdrop", "campus", "city")
# stages, seed of the network, factor on the speeds of the last stage
RANDOM = ((2, 1, 1.0), (2, 2, 1.0), (3, 1, 1.0), (3, 2, 1.0), (4, 1, 1.0), (4, 2, 1.0), (3, 3, 0.5))
EXITS = ("threshold", "price")


def rows() -> Iterator[Row]:
    """Delay against accuracy in each case, and the most that is gained; then utility against hindsight."""
    if not os.environ.get("HINDSIGHT_ONLY"):
        yield from curves()
    with tempfile.TemporaryDirectory() as name:
        for what, text in networks():
            yield from hindsight(what, text, Path(name))


def networks() -> Iterator[tuple[str, str]]:
    """Name and text of the topologies that are compared with hindsight."""
    for name in SHIPPED:
        yield name, CITY.with_name(f"{name}.yaml").read_text(encoding="utf-8")
    for stages, seed, last in RANDOM:
        scarce = f", last stage at {last:g} of its speed" if last != 1 else ""
        yield f"random, {stages} stages, {seed}{scarce}", topology(seed, stages, last=last)


def at_theta(text: str, theta_s: float) -> str:
    """The topology with another theta [s]."""
    without = re.sub(r"(?m)^theta:.*\n", "", text)
    return re.sub(r"(?m)^policy:", f"theta: {theta_s:g} s\npolicy:", without, count=1)


def hindsight(what: str, text: str, folder: Path) -> Iterator[Row]:
    """Utility of dto-ee less that of dto-ee at its best fixed threshold [ms], by theta and kind of exit.

    All runs of a repeat have the same workload. The best threshold is the one of `FIXED` with the highest mean utility.
    """

    def found(theta_s: float, specs: tuple[str, ...]) -> list[list[tuple[float, float]]]:
        """Accuracy and mean delay [s] of each run, by spec."""
        path = folder / f"{re.sub(r'[^a-z0-9]+', '-', what)}-{theta_s:g}-{len(specs)}.yaml"
        path.write_text(at_theta(text, theta_s), encoding="utf-8")
        runs = run(path, specs, HINDSIGHT_SEEDS, folder)
        by_spec = [[one for one in runs.rows if one.policy == figures.policy] for figures in runs.table]
        return [[(one.accuracy or 0.0, one.delay_mean_s or np.inf) for one in those] for those in by_spec]

    fixed = np.array(found(1.0, tuple(f"dto-ee:adapt_thresholds=false,threshold={c}" for c in FIXED)))
    for theta_s in HINDSIGHT_THETAS_S:
        utility_s = theta_s * fixed[:, :, 0] - fixed[:, :, 1]
        best = int(utility_s.mean(axis=1).argmax())
        ours = np.array(found(theta_s, tuple(f"dto-ee:exits={exits}" for exits in EXITS)))
        for exits, each in zip(EXITS, ours, strict=True):
            ahead = estimate((1e3 * (theta_s * each[:, 0] - each[:, 1] - utility_s[best])).tolist())
            interval = None if ahead.low is None or ahead.high is None else (ahead.low, ahead.high)
            yield row(f"{what}: theta {theta_s:g} s, exits by {exits}: utility gained", ahead.mean, "ms",
                      rival=f"threshold {FIXED[best]:g}, the best in hindsight", interval=interval)  # fmt: skip


def curves() -> Iterator[Row]:
    """Delay against accuracy in each case, and the most that is gained."""
    gained = []
    with tempfile.TemporaryDirectory() as name:
        for what, source, core in CASES:
            for entry in curve(what, source, Path(name), core=core):
                if entry["name"].endswith(GAINED) and entry["value"] is not None:
                    gained.append(entry["value"])
                yield entry
    what = "accuracy gained by joint thresholds at equal delay, most"
    yield row(what, max(gained, default=None), "points", least=4, possible=POINTS)


def curve(what: str, source: Path, folder: Path, *, core: float = 1.0) -> Iterator[Row]:
    """The gain in accuracy of joint thresholds over the best fixed one at equal mean delay, over theta."""
    specs = tuple(f"fixed-threshold:threshold={c}" for c in FIXED)
    fixed = run(variant(source, folder, factor=0.9999, core=core), specs, CURVE_SEEDS, folder)
    joint = []
    for theta_s in THETAS_S:
        found = run(variant(source, folder, theta_s=theta_s, core=core), ("dto-ee",), CURVE_SEEDS, folder).table[0]
        if not found.overloaded_runs:
            joint.append((mean_of(found.delay_mean_s), mean_of(found.accuracy)))
            yield row(f"{what}: dto-ee, theta {theta_s:g} s: accuracy", mean_of(found.accuracy), "", possible=SHARE,
                      rival=f"at {mean_of(found.delay_mean_s) * 1e3:.0f} ms")  # fmt: skip
    stable = [(mean_of(f.delay_mean_s), mean_of(f.accuracy)) for f in fixed.table if not f.overloaded_runs]
    for c, figures in zip(FIXED, fixed.table, strict=True):
        if not figures.overloaded_runs:
            yield row(f"{what}: fixed threshold {c}: accuracy", mean_of(figures.accuracy), "", possible=SHARE,
                      rival=f"at {mean_of(figures.delay_mean_s) * 1e3:.0f} ms")  # fmt: skip
    at_s, most = most_gained(stable, joint)
    rival = None if at_s is None else f"at {at_s * 1e3:.0f} ms"
    yield row(f"{what}: {GAINED}", None if most is None else most * 100, "points", rival=rival, possible=POINTS)


def most_gained(
    fixed: list[tuple[float, float]], joint: list[tuple[float, float]]
) -> tuple[float, float] | tuple[None, None]:
    """The (delay, gain) of most gain in accuracy, of (delay, accuracy) pairs; None where no delays can be compared."""
    if not fixed:
        return None, None
    delay_s, accuracy = np.array(sorted(fixed)).T
    best_fixed = np.maximum.accumulate(accuracy)
    gains = [(mean_s, value - float(np.interp(mean_s, delay_s, best_fixed)))
             for mean_s, value in joint if delay_s[0] <= mean_s <= delay_s[-1]]  # fmt: skip
    return max(gains, key=lambda pair: pair[1], default=(None, None))


if __name__ == "__main__":
    main(rows, __doc__)
