"""Policies against each other on the same workloads."""

from testbed.compare.comparison import (
    CompareInterrupted,
    Comparison,
    PolicyRecoveries,
    compare,
)
from testbed.compare.intervals import Estimate
from testbed.compare.runs import Cell, CompareObserver
from testbed.compare.specs import split_policies
from testbed.compare.table import Advantage, PolicyFigures, Row
from testbed.compare.writing import as_json

__all__ = [
    "Advantage",
    "Cell",
    "CompareInterrupted",
    "CompareObserver",
    "Comparison",
    "Estimate",
    "PolicyFigures",
    "PolicyRecoveries",
    "Row",
    "as_json",
    "compare",
    "split_policies",
]
