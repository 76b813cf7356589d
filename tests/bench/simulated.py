"""Every topology under its own policy, and quickstart under several, simulated: `python -m tests.bench simulated`.

The figures are the same on every machine; tests run each again and hold the kept ones against it.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.bench.simulations import Ask, summaries_of
from tests.bench.table import AMOUNT, POSITIVE, SHARE, Row, main, row

TOPOLOGIES = Path(__file__).parents[2] / "topologies"
NAMES = ("quickstart", "surge", "slowdown", "linkdrop", "campus", "commute", "city", "metro", "streetlights",
         "doorbells", "dictionary", "assistant")  # fmt: skip
POLICIES = ("dto-ee", "ngto", "computing-first", "bandwidth-first")
SEEDS = (1, 2, 3)


def rows() -> Iterator[Row]:
    """All of them, the longest simulated first."""
    asks = {name: ask_topology(name) for name in reversed(NAMES)}
    asks |= {f"quickstart, {policy}, seed {seed}": ask_policy(policy, seed) for policy in POLICIES for seed in SEEDS}
    for what, summary in zip(asks, summaries_of(list(asks.values())), strict=True):
        yield from rows_of(what, summary)


def ask_topology(name: str) -> Ask:
    """The topology as its file says."""
    return Ask(TOPOLOGIES / f"{name}.yaml")


def ask_policy(policy: str, seed: int) -> Ask:
    """Quickstart under another policy, with another seed."""
    return Ask(TOPOLOGIES / "quickstart.yaml", policy, seed)


def rows_of(what: str, summary: Mapping[str, Any]) -> list[Row]:
    """The figures of one run."""
    delay_s, tasks = summary["delay_s"], summary["tasks"]
    return [
        *(row(f"{what}: {figure} delay", _ms(delay_s[figure]), "ms", possible=POSITIVE) for figure in ("mean", "p95")),
        row(f"{what}: accuracy", summary["accuracy"], "", possible=SHARE),
        row(f"{what}: lost", tasks["lost"], "tasks", rival=f"{tasks['offered']} offered", possible=AMOUNT),
    ]


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1e3


if __name__ == "__main__":
    main(rows, __doc__)
