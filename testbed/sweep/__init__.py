"""Sweeps: policies at every point of a grid or sample of values."""

from testbed.sweep.sweep_files import as_json
from testbed.sweep.sweep_result import FailedRun, Sweep, SweepPoint, SweepRow, SweptKey
from testbed.sweep.sweeping import sweep

__all__ = ["FailedRun", "Sweep", "SweepPoint", "SweepRow", "SweptKey", "as_json", "sweep"]
