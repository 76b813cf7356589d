"""The result of a capacity: by policy and seed the loads between which the objective ceases to hold."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from testbed.cells.intervals import Estimate

State = Literal["found", "everywhere", "nowhere", "mixed", "unfinished"]
"""Of a policy: found on all seeds; the objective holds, or misses, at all loads searched on all seeds; found on some
seeds only; or probes are missing."""


@dataclass(frozen=True, slots=True)
class Probe:
    """A run at one load.

    Attributes:
        policy: the policy's label.
        seed: of the run.
        load: factor on the tasks that all devices offer.
        holds: true if the objective holds in it.
        values: the figure of each assertion, in its unit in summary.json; None if the run has none.
        overloaded: true if tasks piled up.
        lost: number of tasks lost.
        fidelity: verdict on the emulation: held, strained, broken, unknown; None for a simulation.
        run_directory: relative to the directory of the capacity.
    """

    policy: str
    seed: int
    load: float
    holds: bool
    values: tuple[float | None, ...]
    overloaded: bool
    lost: int
    fidelity: str | None
    run_directory: str

    @property
    def unheld(self) -> bool:
        """True for a live run whose emulation is not known to have held."""
        return self.fidelity not in (None, "held")


@dataclass(frozen=True, slots=True)
class SeedCapacity:
    """The crossing on one seed.

    Attributes:
        seed: of the runs.
        holds_at: highest load probed at which the objective holds; None if it holds at none.
        misses_at: lowest load probed at which it misses; None if it misses at none.
        capacity: geometric mean of the two; None without one of them.
        probes: number of runs.
    """

    seed: int
    holds_at: float | None
    misses_at: float | None
    capacity: float | None
    probes: int


@dataclass(frozen=True, slots=True)
class PolicyCapacity:
    """The capacity of a policy.

    Attributes:
        policy: the policy's label.
        state: "found", "everywhere", "nowhere", "mixed" or "unfinished".
        load: mean over the seeds of the load at which the objective ceases to hold; None unless found.
        offered_per_s: that load as tasks per second, of the mean of the seeds' own rates; None unless found.
        first_ahead_by: load of the first policy over this one's, less one, on the same seeds; None for the first
            itself, and unless both are found.
        holds_on_all: highest load probed at which the objective holds on every seed; None if there is none.
        misses_on_all: lowest load probed at which it misses on every seed; None if there is none.
        seeds: the crossing on each seed.
    """

    policy: str
    state: State
    load: Estimate | None
    offered_per_s: float | None
    first_ahead_by: Estimate | None
    holds_on_all: float | None
    misses_on_all: float | None
    seeds: tuple[SeedCapacity, ...]


@dataclass(frozen=True, slots=True)
class Capacity:
    """The highest load at which an objective holds, by policy.

    Attributes:
        directory: where runs and results are.
        topology: the topology's name.
        topology_sha256: hash of the topology's text and of its network traces, without overrides.
        overrides: what replaced values of the topology in all runs, KEY=VALUE each.
        mode: "simulated" or "live".
        duration_s: how long tasks arrived in each run [emulated s].
        warm_up_s: tasks created before this time do not count [emulated s].
        objective: each assertion as the user wrote it; all must hold.
        paths: where the figure of each assertion stands in summary.json, with dots.
        bounds: the bound of each assertion, in the unit of summary.json; None for a word.
        search_from: lowest load of the search.
        search_to: highest load of the search.
        precision: ratio of neighbouring loads, less one.
        offered_per_s: tasks that all devices offer at load 1, mean over the seeds [1/s].
        seeds: one per repeat, in order.
        policies: the label of each policy.
        stated: each policy as the user wrote it, in the same order.
        complete: false if probes are still missing.
        table: the capacity of each policy.
        probes: all runs, in the order of policies, loads, then seeds.
        notes: sentences that a reader of the figures must know.
    """

    directory: Path
    topology: str
    topology_sha256: str
    overrides: tuple[str, ...]
    mode: str
    duration_s: float
    warm_up_s: float
    objective: tuple[str, ...]
    paths: tuple[str, ...]
    bounds: tuple[float | None, ...]
    search_from: float
    search_to: float
    precision: float
    offered_per_s: float
    seeds: tuple[int, ...]
    policies: tuple[str, ...]
    stated: tuple[str, ...]
    complete: bool
    table: tuple[PolicyCapacity, ...]
    probes: tuple[Probe, ...]
    notes: tuple[str, ...]
