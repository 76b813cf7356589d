"""The model of TCP compared with emulated links on this machine; `tests.bench.transport` does it at length."""

import pytest

from tests.bench.transport.cells import Cell
from tests.bench.transport.figures import MEAN_WITHIN, mean_of
from tests.bench.transport.live import measure
from tests.bench.transport.model import modelled

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("leaves_nothing")]

SECONDS = 25.0
CELLS = (Cell(0, 0, 20, 16), Cell(0, 5, 20, 16), Cell(3, 0, 20, 4), Cell(5, 2, 10, 16))
HARD = 0.5  # no interval excuses more than this


@pytest.mark.slow
def test_messages_take_as_long_as_modelled():
    live = measure(CELLS, SECONDS, seed=5)
    for cell, messages in live.items():
        assert all(taken_s < float("inf") for _, taken_s in messages), f"{cell.name}: messages are missing"
        there = mean_of([taken_s * 1e3 for _, taken_s in messages])
        here = mean_of([taken_s * 1e3 for taken_s in modelled(cell, 20 * SECONDS, seed=5)])
        assert there.agrees(here, MEAN_WITHIN), f"{cell.name}: live {there} ms, modelled {here} ms"
        assert abs(here.value / there.value - 1) < HARD, cell.name
