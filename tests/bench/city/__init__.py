"""The city on two cores: start-up, memory, idling, overhead, throughput, rounds, endurance, growth (needs root)."""

import importlib
from collections.abc import Iterator

from tests.bench.table import Row

PARTS = ("startup", "memory", "idle", "overhead", "throughput", "rounds", "sweep", "endurance", "growth")
# Whose figures a busy machine spoils unseen: of the others, some are no times, and some look at the machine themselves.
TIMED = ("startup", "overhead", "throughput", "rounds", "sweep", "growth")


def rows() -> Iterator[Row]:
    """The rows of every part; `python -m tests.bench.city.PART` prints those of one."""
    for part in PARTS:
        yield from importlib.import_module(f"{__name__}.{part}").rows()
