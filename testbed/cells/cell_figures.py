"""The figures of a complete cell, and the signs that they cannot be believed: overload, and emulation that broke."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from testbed.cells.cell import Cell, read_summary
from testbed.record.backlog import Tasks, overload
from testbed.record.reading import read_lines
from testbed.record.run_directory import TASKS
from testbed.record.run_figures import figures_of
from testbed.record.task_line import TaskLine


@dataclass(frozen=True, slots=True)
class CellFigures:
    """The figures of a complete cell.

    Attributes:
        summary: the content of its summary.json.
        overloaded: true if tasks piled up.
        figures: all figures of `testbed.record.run_figures`, by short name; None where the run has none.
        fidelity: verdict on the emulation: held, strained, broken, unknown; None for a simulation.
    """

    summary: Mapping[str, Any]
    overloaded: bool
    figures: Mapping[str, float | None]
    fidelity: str | None

    @property
    def unheld(self) -> bool:
        """True for a live run whose emulation is not known to have held."""
        return self.fidelity not in (None, "held")


def cell_figures(cell: Cell) -> CellFigures:
    """Read the figures of a complete cell. Raises InputError if its files cannot be read."""
    summary = read_summary(cell)
    tasks = Tasks.of(read_lines(cell.path / TASKS, TaskLine))
    overloaded, _ = overload(tasks, cell.settings.duration_s)
    verdict = summary.get("fidelity", {}).get("verdict")
    return CellFigures(summary, overloaded, figures_of(summary), verdict)
