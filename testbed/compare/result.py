"""What a comparison found."""

from dataclasses import dataclass, field
from pathlib import Path

from testbed.compare.recovery import Recovery
from testbed.compare.table import PolicyFigures, RunRow


@dataclass(frozen=True, slots=True)
class PolicyRecoveries:
    """How a policy's delay answered to each event, over the tasks of all its runs together.

    Where one of them was `overloaded`, levels only tell how long the runs were, and recovery means nothing.
    """

    policy: str
    overloaded: bool
    events: tuple[Recovery, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Policies on the same workloads. `table[0]` is the policy that the others are held against.

    `rows` stand in the order of policies, then repeats. `policies` are labels, which all figures go by; `stated` is
    what was written, in the same order. `complete` is false where runs are still missing.
    """

    directory: Path
    topology: str
    topology_sha256: str
    mode: str
    duration_s: float
    warm_up_s: float
    theta_s: float
    seeds: tuple[int, ...]
    policies: tuple[str, ...]
    stated: tuple[str, ...]
    complete: bool
    rows: tuple[RunRow, ...]
    table: tuple[PolicyFigures, ...]
    recoveries: tuple[PolicyRecoveries, ...]
    notes: tuple[str, ...] = field(default=())
