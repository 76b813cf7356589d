"""What an agreement found."""

from dataclasses import dataclass, field
from pathlib import Path

from testbed.agree.decisions import Decisions
from testbed.agree.resampling import ComparedFigure
from testbed.compare.table import RunRow


@dataclass(frozen=True, slots=True)
class Repeat:
    """The live and the simulated run of a seed.

    `fidelity` is the verdict on the live run, with its `reasons`; `counted` whether the repeat is in the figures.
    """

    seed: int
    fidelity: str
    reasons: tuple[str, ...]
    counted: bool
    live: RunRow
    simulated: RunRow


@dataclass(frozen=True, slots=True)
class Agreement:
    """A network live and simulated; see `testbed.agree.result_file` for its form as a file.

    `figures` go by name; `decisions` is None without any repeat. `complete` is false where repeats are still missing.
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
