"""The result of a sweep."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from testbed.compare.table import PolicyFigures, RunRow


@dataclass(frozen=True, slots=True)
class SweptKey:
    """A key and its values.

    Attributes:
        key: the key as the user stated it, which is also its column.
        unit: unit of its numbers: a base unit, `x` for factors, or nothing; None if its values are text.
        shown_unit: unit in which pictures show it.
        shown_factor: a number times this factor is in `shown_unit`.
        stated: each value as the user stated it, in order; drawn ones in the order of the points.
    """

    key: str
    unit: str | None
    shown_unit: str
    shown_factor: float
    stated: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SweepPoint:
    """A point and the figures of its policies.

    Attributes:
        point: number of the point, from 0.
        values: the value of each key: a number in the key's unit, or text.
        stated: the same as text, as the user stated it.
        runs: number of runs of a policy that the point has when the sweep is complete.
        failed: number of runs that failed, by policy; without policies none of whose runs failed.
        table: the figures of each policy, in order; the first is the one with which others are compared.
    """

    point: int
    values: Mapping[str, float | str]
    stated: Mapping[str, str]
    runs: int
    failed: Mapping[str, int]
    table: tuple[PolicyFigures, ...]


@dataclass(frozen=True, slots=True)
class SweepRow:
    """A run at a point. A policy without any of the parameters that are swept has the same runs at several points.

    Attributes:
        point: number of the point, from 0.
        values: the value of each key: a number in the key's unit, or text.
        run: the figures of the run.
    """

    point: int
    values: Mapping[str, float | str]
    run: RunRow


@dataclass(frozen=True, slots=True)
class FailedRun:
    """A run that failed in this command; the same command tries it again.

    Attributes:
        point: number of the point, from 0; the first one if several share the run.
        values: the value of each key: a number in the key's unit, or text.
        policy: the policy's label.
        seed: of the run.
        run_directory: relative to the directory of the sweep.
        why: the error in words.
        hint: a remedy; may be empty.
    """

    point: int
    values: Mapping[str, float | str]
    policy: str
    seed: int
    run_directory: str
    why: str
    hint: str


@dataclass(frozen=True, slots=True)
class Sweep:
    """The figures of policies at every point of a grid or sample.

    Attributes:
        directory: where runs and results are.
        topology: the topology's name.
        topology_sha256: hash of the topology's text, without what replaces values, and of its network traces.
        mode: "simulated" or "live".
        sampled: number of points drawn at random; None for a grid.
        seeds: one per repeat, in order; every policy has them at every point.
        policies: the label of each policy, which all figures use.
        stated: each policy as the user wrote it, in the same order; empty for the topology's own.
        overrides: what replaced values of the topology at all points, KEY=VALUE each.
        keys: the keys with their values.
        complete: false if runs are still missing.
        points: the figures at each point, in the order of the grid.
        rows: the figures of each run, in the order of points, policies, then repeats.
        failed: runs that failed in this command.
        pictures: names of the pictures in the directory.
        notes: sentences that a reader of the figures must know.
    """

    directory: Path
    topology: str
    topology_sha256: str
    mode: str
    sampled: int | None
    seeds: tuple[int, ...]
    policies: tuple[str, ...]
    stated: tuple[str, ...]
    overrides: tuple[str, ...]
    keys: tuple[SweptKey, ...]
    complete: bool
    points: tuple[SweepPoint, ...]
    rows: tuple[SweepRow, ...]
    failed: tuple[FailedRun, ...] = ()
    pictures: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())
