"""docs/fidelity.md states every bound of the verdict and of the signs as the code has it."""

import pytest

from testbed.fidelity.report import VERDICTS
from tests.docs import constants
from tests.docs.pages import DOCS, ROOT, rows, section

TEXT = (DOCS / "fidelity.md").read_text(encoding="utf-8")
VERDICT, ASSESSMENT = "testbed/expectation/verdict.py", "testbed/fidelity/assessment.py"
BOUNDS = [(cells[2].strip("`"), cells[3:5], VERDICT) for cells in rows(section(TEXT, "The verdict")) if len(cells) == 5]
BOUNDS += [
    (cells[0].strip("`"), cells[1:3], ASSESSMENT)
    for cells in rows(section(TEXT, "Signs, before and during the run"))
    if len(cells) == 4
]


@pytest.mark.parametrize(("name", "stated", "path"), BOUNDS)
def test_a_bound_is_that_of_the_code(name, stated, path):
    found = constants.constant(name, path)
    assert [constants.number(text) for text in stated] == pytest.approx(list(found))


@pytest.mark.parametrize("path", [VERDICT, ASSESSMENT])
def test_every_bound_is_stated(path):
    stated = {name for name, _, _ in BOUNDS}
    stated |= {found[0] for cells in rows(TEXT) if (found := constants.named(cells[0])) is not None}
    assert {name for name in constants.names_in(ROOT / path) if name.isupper()} <= stated


def test_every_verdict_is_explained():
    told = [cells[0].strip("`") for cells in rows(section(TEXT, "The verdict")) if len(cells) == 3]
    assert told == [*VERDICTS, "unknown"]


def test_the_example_adds_up():
    table = {cells[0]: cells[1:] for cells in rows(section(TEXT, "The expectation")) if len(cells) == 5}
    times_ms = {what: [float(cell.split()[0]) for cell in cells] for what, cells in table.items()}
    delays_ms = [back - created for back, created in zip(times_ms["result back"], times_ms["created"], strict=True)]
    assert delays_ms == times_ms["delay"]
    measured_ms, expected_ms = (delays_ms[0] + delays_ms[2]) / 2, (delays_ms[1] + delays_ms[3]) / 2
    told = f"The mean is {measured_ms:.0f} ms for {expected_ms:.0f} ms expected: "
    assert f"{told}{measured_ms / expected_ms - 1:.0%}".replace("%", " %") in " ".join(TEXT.split())
    for start, end in (("service starts", "service ends"), ("service ends", "result back")):
        spent = [round(b - a) for a, b in zip(times_ms[start], times_ms[end], strict=True)]
        assert spent == ([55, 40, 40, 40] if start == "service starts" else [10] * 4)
