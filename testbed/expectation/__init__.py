"""The expected delay of each task on a machine that emulates exactly: the run compared with its own model.

A run records the way of every task: when it was offered, which servers served it, and where it left. This package
sends the same tasks along the same ways once more, in virtual time: over the links of the simulation, and through
servers that take work / capacity for a task, first come first served. The machine added whatever a task took longer in
the run.

- `replay.expected_delays` starts every task when the workload wanted it, and lets queues form. A task that waited
  behind one which the machine held up is expected earlier, too. The verdict rests on these delays.
- `steps.steps_of` judges every step by itself, from the recorded state at its beginning (the sending and the queue). It
  shows where and when time was lost.

Acknowledgements, prices and reports are left out; they share the links, but are small.
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
