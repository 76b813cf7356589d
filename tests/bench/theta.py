"""Quickstart under dto-ee at several theta, simulated: what the exchange rate trades (`python -m tests.bench theta`).

The figures are the same on every machine.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.bench.policies import variant
from tests.bench.simulated import TOPOLOGIES, rows_of
from tests.bench.simulations import Ask, summaries_of
from tests.bench.table import Row, main

THETAS_S = (0.25, 1.0, 3.0, 10.0)


def asks(folder: Path) -> list[Ask]:
    """Quickstart at each theta; the topologies lie in `folder`."""
    return [Ask(variant(TOPOLOGIES / "quickstart.yaml", folder, theta_s=theta_s)) for theta_s in THETAS_S]


def rows() -> Iterator[Row]:
    """Delay, accuracy and losses at each theta."""
    with tempfile.TemporaryDirectory() as folder:
        for theta_s, summary in zip(THETAS_S, summaries_of(asks(Path(folder))), strict=True):
            yield from rows_of(f"quickstart, theta {theta_s:g} s", summary)


if __name__ == "__main__":
    main(rows, __doc__)
