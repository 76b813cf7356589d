"""A network live and simulated, side by side: is the simulation right about it?"""

from testbed.agree.agreement import Agreement, Repeat, agree
from testbed.agree.decisions import Apart, Decisions, NodeDecisions
from testbed.agree.measures import STEPS, step_name
from testbed.agree.resampling import Figure
from testbed.agree.writing import as_json

__all__ = [
    "STEPS",
    "Agreement",
    "Apart",
    "Decisions",
    "Figure",
    "NodeDecisions",
    "Repeat",
    "agree",
    "as_json",
    "step_name",
]
