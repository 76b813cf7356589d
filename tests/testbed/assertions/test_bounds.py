"""Numbers as people read them, with the unit of their kind."""

import pytest

from testbed.assertions.bounds import read_bound, round_number, write_number
from testbed.assertions.known_figures import KnownFigure


@pytest.mark.parametrize(
    ("value", "kind", "exact", "rounded"),
    [
        (0.503512345, "time", "503.512345 ms", "503.5 ms"),
        (12.345678, "time", "12.345678 s", "12.35 s"),
        (-0.0123456, "time", "-12.3456 ms", "-12.35 ms"),
        (0.8675439, "share", "86.75439 %", "86.75 %"),
        (-0.01, "ratio", "-1 %", "-1 %"),
        (0.0, "share", "0 %", "0 %"),
        (123456.0, "count", "123456", "123456"),
        (83.25, "count", "83.25", "83.25"),
        (1.0234567, "number", "1.0234567", "1.023"),
        (4321.5, "energy", "4321.5 J", "4322 J"),
        (1e-9, "time", "0.000001 ms", "0.000001 ms"),
        (3e9, "number", "3000000000", "3000000000"),
    ],
)
def test_a_number_with_its_unit(value, kind, exact, rounded):
    assert write_number(value, kind) == exact
    assert round_number(value, kind) == rounded
    assert read_bound(exact, KnownFigure("x", kind)) == value


@pytest.mark.parametrize(
    ("text", "joules"),
    [("5 J", 5.0), ("5 mJ", 0.005), ("2 kJ", 2000.0), ("1 Wh", 3600.0), ("0.5 kWh", 1.8e6), ("7", 7.0)],
)
def test_energies_have_units_of_their_own(text, joules):
    assert read_bound(text, KnownFigure("energy_j.per_task", "energy")) == joules
