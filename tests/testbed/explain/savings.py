"""Predicted savings of 10 % more at the bottleneck, against simulations of the same network with 10 % more.

`python -m tests.testbed.explain.savings` prints the table for all networks of `limited` with a server or a link.
"""

from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import yaml

from testbed.explain.explanation import explain
from testbed.run.observer import SilentObserver
from testbed.run.plan import Outcome
from testbed.run.planning import plan_run
from testbed.simulation.simulator import Simulation
from testbed.topology.overrides import Override
from tests.testbed.explain.limited import LIMITED

DURATION_S = 120.0
SEEDS = range(1, 6)
# Factors, so that an override of a link's rate also holds after an event.
FACTORS = {"rate: 0.1 Mbit/s": "rate: x0.0025", "[mid-1, core], rate: 40 Mbit/s": "[mid-1, core], rate: x1"}


class Savings(NamedTuple):
    """Means over seeds [s per task]."""

    mean_s: float  # delay
    replayed_s: float  # saved by the replayed queue
    price_s: float | None  # saved by DTO-EE's price; None if the place was full
    true_s: float  # saved in the simulation with 10 % more


def more_of(text: str, name: tuple[str, ...]) -> Override | None:
    """The override that gives a place 10 % more; None if no single key does."""
    content: dict[str, Any] = yaml.safe_load(text)
    if len(name) == 1:
        device, own, _ = name[0].partition("-cpu")
        return Override(f"devices.{device}.capacity" if own else f"servers.{name[0]}.capacity", "x1.1")
    for number, link in enumerate(content["links"]):
        ends = [[one] if isinstance(one, str) else one for one in (link["from"], link["to"])]
        if all(one in some for one, some in zip(name, ends, strict=True)):
            return Override(f"links.{number}.rate", "x1.1")
    return None


def savings_of(case: str, seeds: Sequence[int] = SEEDS, duration_s: float = DURATION_S) -> Savings | None:
    """The savings of a network; None if nothing of it can be made faster."""
    text, (kind, name) = LIMITED[case]
    for before, after in FACTORS.items():
        text = text.replace(before, after)
    override = more_of(text, name) if kind in ("server", "link") else None
    if override is None:
        return None
    rows = []
    for seed in seeds:
        with TemporaryDirectory() as folder:
            as_it_is = explain(_simulated(Path(folder) / "one", text, seed, duration_s).run_directory)
            summary = _simulated(Path(folder) / "two", text, seed, duration_s, override).summary
        (place,) = (each for each in as_it_is.places if (each.kind, each.name) == (kind, name))
        assert summary is not None
        delay: Any = summary["delay_s"]
        rows.append((as_it_is.mean_s, place.saves_s, place.price_s, as_it_is.mean_s - delay["mean"]))
    prices = [price_s for _, _, price_s, _ in rows if price_s is not None]
    return Savings(
        mean(row[0] for row in rows), mean(row[1] for row in rows),
        mean(prices) if len(prices) == len(rows) else None, mean(row[3] for row in rows),
    )  # fmt: skip


def _simulated(folder: Path, text: str, seed: int, duration_s: float, *overrides: Override) -> Outcome:
    folder.mkdir()
    topology = folder / "topology.yaml"
    topology.write_text(text)
    plan = plan_run(topology, out=folder / "run", seed=seed, duration_s=duration_s, overrides=overrides)
    return Simulation(plan, SilentObserver()).run()


def main() -> None:
    """Print the table [ms per task]."""
    print(f"{'network':24} {'mean delay':>10} {'replayed':>9} {'price':>7} {'true':>7}")
    for case in LIMITED:
        if (found := savings_of(case)) is not None:
            price = "-" if found.price_s is None else f"{found.price_s * 1e3:.1f}"
            figures = f"{found.mean_s * 1e3:10.0f} {found.replayed_s * 1e3:9.1f} {price:>7} {found.true_s * 1e3:7.1f}"
            print(f"{case:24} {figures}")


if __name__ == "__main__":
    main()
