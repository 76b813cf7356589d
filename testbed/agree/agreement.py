"""The result of an agreement."""

from dataclasses import dataclass, field
from pathlib import Path

from testbed.agree.decisions import Decisions
from testbed.agree.resampling import ComparedFigure
from testbed.compare.table import RunRow


@dataclass(frozen=True, slots=True)
class Repeat:
    """The live and the simulated run of a seed."""

    seed: int  # of both runs
    fidelity: str  # verdict on the live run: held, strained, broken, unknown
    reasons: tuple[str, ...]  # why, in words
    counted: bool  # true if the figures include the repeat
    live: RunRow  # the live run
    simulated: RunRow  # the simulated run


@dataclass(frozen=True, slots=True)
class Agreement:
    """The figures of a network live and simulated; `testbed.agree.result_file` describes them as a file.

    Attributes:
        directory: where runs and results are.
        topology: the topology's name.
        topology_sha256: hash of the topology's text and of its network traces.
        policy: the policy's label.
        duration_s: how long tasks arrived in each run [emulated s].
        warm_up_s: tasks created before this time count in no figure but the losses [emulated s].
        slot_s: time between two decisions [emulated s].
        stages: number of stages of servers.
        seeds: one per repeat, in order.
        complete: false if repeats are still missing.
        repeats: those that are complete.
        figures: live, simulated and their difference, by name; empty without any complete repeat.
        decisions: how far decisions differ; None without any complete repeat.
        notes: sentences that a reader of the figures must know.
    """

    directory: Path
    topology: str
    topology_sha256: str
    policy: str
    duration_s: float
    warm_up_s: float
    slot_s: float
    stages: int
    seeds: tuple[int, ...]
    complete: bool
    repeats: tuple[Repeat, ...]
    figures: dict[str, ComparedFigure]
    decisions: Decisions | None
    notes: tuple[str, ...] = field(default=())
