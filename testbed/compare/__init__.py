"""Run several policies on the same workloads, and compare their figures."""

from testbed.compare.comparison import CompareInterrupted, compare
from testbed.compare.execution import CompareObserver
from testbed.compare.intervals import Estimate
from testbed.compare.result import Comparison, PolicyRecoveries
from testbed.compare.result_files import as_json
from testbed.compare.runs import Cell
from testbed.compare.specs import split_policies
from testbed.compare.table import Advantage, PolicyFigures, RunRow

__all__ = [
    "Advantage",
    "Cell",
    "CompareInterrupted",
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
