"""The model of TCP compared with recorded live figures: messages of 1 to 64 KiB over links of many kinds.

`transport_live.json` holds mean and 95th percentile of one-way times with 95 % intervals, the command that measured
them and the commit. `python -m tests.bench.transport` measures again.
"""

import json
from pathlib import Path

import pytest

from tests.bench.transport.cells import CELLS, Cell
from tests.bench.transport.figures import MEAN_WITHIN, P95_WITHIN, Figure, mean_of, p95_of
from tests.bench.transport.model import modelled

TABLE = json.loads(Path(__file__).with_name("transport_live.json").read_text(encoding="utf-8"))
MESSAGES = {1: 6000, 4: 3000, 16: 2000, 64: 1200}  # by KiB: more where few are lost, fewer where each takes long
HARD = 0.30  # no interval excuses more than this


def cell_of(entry: dict) -> Cell:
    return Cell(entry["loss_percent"], entry["jitter_ms"], entry["delay_ms"], entry["kib"])


def test_the_table_covers_the_validated_range():
    assert {cell_of(entry) for entry in TABLE["cells"]} == set(CELLS)
    assert TABLE["commit"]
    assert TABLE["command"].startswith("python -m tests.bench.transport.messages")
    lossy = [cell for cell in CELLS if cell.loss]
    assert (min(cell.loss for cell in lossy), max(cell.loss for cell in lossy)) == (0.1, 5)
    assert max(cell.jitter for cell in CELLS) == 10
    assert {cell.kib for cell in CELLS} == {1, 4, 16, 64}
    assert (min(cell.delay for cell in CELLS), max(cell.delay for cell in CELLS)) == (2, 60)


# Every third cell takes part in the quick tests.
ENTRIES = [
    pytest.param(entry, id=cell_of(entry).name, marks=[] if number % 3 == 0 else pytest.mark.slow)
    for number, entry in enumerate(TABLE["cells"])
]


@pytest.mark.parametrize("entry", ENTRIES)
def test_the_model_agrees_with_what_was_measured(entry):
    cell = cell_of(entry)
    times_ms = [taken_s * 1e3 for taken_s in modelled(cell, MESSAGES[cell.kib] / cell.rate_per_s, seed=1)]
    for name, figure, within in (("mean_ms", mean_of, MEAN_WITHIN), ("p95_ms", p95_of, P95_WITHIN)):
        live, model = Figure(*entry[name]), figure(times_ms)
        said = f"{name}: live {live}, model {model}"
        assert live.agrees(model, within), said
        if name == "mean_ms":
            assert abs(model.value / live.value - 1) < HARD, said
