"""Run a network live and simulated on the same workload, and measure how well the simulation predicts the live run."""

from testbed.agree.agreement import Agreement, Repeat
from testbed.agree.decisions import Apart, Decisions, NodeDecisions
from testbed.agree.measures import STEPS, step_name
from testbed.agree.repeats import agree
from testbed.agree.resampling import ComparedFigure
from testbed.agree.result_file import as_json

__all__ = [
    "STEPS",
    "Agreement",
    "Apart",
    "ComparedFigure",
    "Decisions",
    "NodeDecisions",
    "Repeat",
    "agree",
    "as_json",
    "step_name",
]
