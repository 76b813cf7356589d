"""The result of a comparison."""

from dataclasses import dataclass, field
from pathlib import Path

from testbed.assertions import Finding
from testbed.compare.recovery import Recovery
from testbed.compare.table import PolicyFigures, RunRow


@dataclass(frozen=True, slots=True)
class PolicyRecoveries:
    """The response of a policy's delay to each event, over the tasks of all its runs together.

    If any of the runs was overloaded, levels only reflect how long the runs were, and recovery has no meaning.
    """

    policy: str  # its label
    overloaded: bool  # true if any of its runs was overloaded
    events: tuple[Recovery, ...]  # one for each instant at which something was injected


@dataclass(frozen=True, slots=True)
class Comparison:
    """The figures of policies on the same workloads.

    Attributes:
        directory: where runs and results are.
        topology: the topology's name.
        topology_sha256: hash of the topology's text and of its network traces.
        mode: "simulated" or "live".
        duration_s: how long tasks arrived in each run [emulated s].
        warm_up_s: tasks created before this time do not count [emulated s].
        theta_s: mean delay that one unit of accuracy is worth [s].
        seeds: one per repeat, in order.
        policies: the label of each policy, which all figures use.
        stated: each policy as the user wrote it, in the same order.
        complete: false if runs are still missing.
        rows: the figures of each run, in the order of policies, then repeats.
        table: the figures of each policy; `table[0]` is the policy with which the others are compared.
        recoveries: the response to each event, by policy; empty without events.
        notes: sentences that a reader of the figures must know.
        assertions: the outcome of each assertion for each policy that it concerns.
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
    assertions: tuple[Finding, ...] = ()
