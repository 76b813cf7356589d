"""Run several policies on the same workloads, and compare their figures."""

from testbed.cells.batch import CellsInterrupted
from testbed.cells.cell import Cell
from testbed.cells.execution import CompareObserver
from testbed.cells.intervals import Estimate
from testbed.cells.policy_specs import split_policies
from testbed.compare.comparison import compare
from testbed.compare.result import Comparison, PolicyRecoveries
from testbed.compare.result_files import as_json
from testbed.compare.table import Advantage, PolicyFigures, RunRow

__all__ = [
    "Advantage",
    "Cell",
    "CellsInterrupted",
    "CompareObserver",
    "Comparison",
    "Estimate",
    "PolicyFigures",
    "PolicyRecoveries",
    "RunRow",
    "as_json",
    "compare",
    "split_policies",
]
