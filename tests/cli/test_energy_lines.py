"""The energy of a run in its closing summary."""

import pytest

from cli.printing.energy_lines import energy_lines
from testbed.wording import joules


def energy(**changed):
    nodes = {name: {"total_j": total_j} for name, total_j in (("a", 2.0), ("b", 1200.0), ("c", 30.0), ("d", 0.5))}
    return {
        "total_j": 1250.0, "idle_j": 1000.0, "computing_j": 225.0, "transfer_j": 25.0, "per_task_j": 12.5,
        "per_correct_j": 0.0143, "nodes": nodes, "batteries": {},
    } | changed  # fmt: skip


def battery(capacity_j: float, left_j: float, empty_s: float | None = None):
    return {"capacity_j": capacity_j, "left_j": left_j, "empty_s": empty_s}


def test_how_much_and_where():
    assert list(energy_lines(energy())) == [
        "1.25 kJ: 12.5 J a task, 14.3 mJ a correct answer",
        "idle 80.0 %, computing 18.0 %, transfers 2.0 %",
        "most: b 1.20 kJ, c 30.0 J, a 2.00 J",
    ]


def test_batteries():
    full = {"cam-1": battery(10, 5), "cam-2": battery(20, 19)}
    assert list(energy_lines(energy(batteries=full)))[-1] == "no battery empty; the lowest is cam-1 at 50.0 %"
    empty = {f"cam-{number}": battery(10, 0, 30.0 - number) for number in range(1, 6)}
    expected = "battery empty: cam-5 after 25.0 s, cam-4 after 26.0 s and 3 more"
    assert list(energy_lines(energy(batteries=empty)))[-1] == expected


def test_a_run_that_counts_none_shows_none():
    assert list(energy_lines(None)) == list(energy_lines({})) == []
    nothing = energy(total_j=0.0, per_task_j=None, per_correct_j=None)
    assert list(energy_lines(nothing)) == ["0.00 mJ: - a task, - a correct answer"]


@pytest.mark.parametrize(
    ("energy_j", "text"),
    [(None, "-"), (0.43, "430 mJ"), (0.99951, "1.00 J"), (12.49, "12.5 J"), (999.6, "1.00 kJ"), (2.5e7, "25.0 MJ")],
)
def test_joules(energy_j, text):
    assert joules(energy_j) == text
