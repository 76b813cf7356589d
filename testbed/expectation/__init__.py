"""What each task's delay would have been on a machine that emulates exactly: the run held against its own model.

A run records which way every task took: who offered it when, which servers served it, where it left. Here the same
tasks go the same ways once more, in virtual time, over the links of the simulation and through servers that take
work / capacity for a task, first come first served. What a task took longer in the run was added by the machine.

- `replay.expected_delays` starts every task when the workload wanted it and lets queues form as they would have: a task
  that waited behind one which the machine held up is expected earlier, too. The verdict rests on these delays.
- `steps.steps_of` judges every step by itself, from what was really there when it began (the sending and the queue as
  recorded): it says where and when time was lost.

Not counted: acknowledgements, prices and reports, which share the links; they are small.
"""

from testbed.expectation.causes import RELAY, Cause, Stall
from testbed.expectation.deviation import DelayFigure
from testbed.expectation.findings import Findings, hold_against
from testbed.expectation.replay import Expected, expected_delays
from testbed.expectation.steps import Lateness, Steps, steps_of
from testbed.expectation.world import ExactWorld

__all__ = [
    "RELAY",
    "Cause",
    "DelayFigure",
    "ExactWorld",
    "Expected",
    "Findings",
    "Lateness",
    "Stall",
    "Steps",
    "expected_delays",
    "hold_against",
    "steps_of",
]  # fmt: skip
