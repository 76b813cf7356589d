"""Does the emulation hold? Links, compute and time scale against what was configured (needs root, some minutes)."""

import importlib
from collections.abc import Iterator

from tests.bench.table import Row

PARTS = ("links", "compute", "scale", "hogs", "second_kernel")


def rows() -> Iterator[Row]:
    """The rows of every part; `python -m tests.bench.fidelity.PART` prints those of one."""
    for part in PARTS:
        yield from importlib.import_module(f"{__name__}.{part}").rows()
