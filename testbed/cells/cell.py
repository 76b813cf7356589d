"""Cells: the runs of a comparison, sweep, frontier or capacity; those that are complete, and their summaries."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from node_agent.errors import InputError
from node_agent.exit_criteria import CONFIDENCE
from testbed.cells.policy_specs import PolicySpec
from testbed.network.emulated import BackendChoice
from testbed.record.earlier import is_before_new_names, recorded_by
from testbed.record.run_directory import (
    DECISIONS,
    EVENTS,
    LINK_TRACE,
    MANIFEST,
    POLICY,
    SUMMARY,
    TASKS,
    TIMESERIES,
    TOPOLOGY,
    TRACE,
    check_inputs,
    read_manifest,
)
from testbed.run.plan import Plan
from testbed.topology.overrides import Override, stated_overrides

_FIRST_FILES = {TOPOLOGY, TRACE, POLICY, TASKS, DECISIONS, TIMESERIES, EVENTS}


@dataclass(frozen=True, slots=True)
class RunSettings:
    """The settings of a cell besides its policy and its seed. The topology's text must not change meanwhile."""

    topology: Path
    topology_sha256: str
    duration_s: float
    simulate: bool
    backend: BackendChoice
    link_traces_sha256: Mapping[str, str] = field(default_factory=dict)  # by path as the topology states it
    model_sha256: str | None = None  # of everything in the model that affects a run
    model: str | None = None  # in place of the topology's model
    cut: tuple[int, ...] | None = None  # in place of the topology's cut
    criterion: str | None = None  # in place of the topology's exit criterion
    judged_by: str | None = None  # the exit criterion; None: the confidence
    overrides: tuple[Override, ...] = ()  # what replaces values of the topology

    @classmethod
    def of(cls, topology: Path, first: Plan, backend: BackendChoice, *, simulate: bool) -> Self:
        """Return the settings of runs like `first`, the plan of one of them."""
        asked = first.facts["asked"]
        return cls(
            topology, first.topology_sha256, first.scenario.duration_s, simulate, backend, first.link_traces_sha256,
            first.facts["model_sha256"], asked["model"], asked["cut"] and tuple(asked["cut"]),
            asked["criterion"], first.facts["criterion"], first.overrides,
        )  # fmt: skip

    @property
    def mode(self) -> str:
        """`simulated` or `live`."""
        return "simulated" if self.simulate else "live"


@dataclass(frozen=True, slots=True)
class Cell:
    """A run: a policy on the workload of a seed under some settings, in a directory of its own."""

    spec: PolicySpec
    repeat: int
    seed: int
    path: Path
    settings: RunSettings = field(hash=False)
    place: str = ""  # the values of the topology that tell it apart, in words

    @property
    def name(self) -> str:
        """The run in words."""
        return f"{self.place}{', ' if self.place else ''}{self.spec.label}, seed {self.seed}"

    @property
    def facts(self) -> dict[str, object]:
        """The field `comparison` of its manifest; a run with other facts is another run."""
        ask = self.settings
        facts: dict[str, object] = {
            "policy": self.spec.text or "the topology's own",
            "policy_file_sha256": self.spec.file_sha256,
            "seed": self.seed,
            "duration_s": ask.duration_s,
            "mode": ask.mode,
            "topology_sha256": ask.topology_sha256,
        }
        return facts | ({"overrides": stated_overrides(ask.overrides)} if ask.overrides else {})


def cells_of(
    specs: Sequence[PolicySpec], seeds: Sequence[int], directory: Path, settings: RunSettings
) -> tuple[Cell, ...]:
    """All runs under the same settings, in the order in which they are carried out.

    The order of the policies rotates from repeat to repeat, so that a machine that slows down over time favours none.
    """
    return tuple(
        Cell(spec, repeat, seed, directory / _folder_in(directory, spec) / f"seed-{seed}", settings)
        for repeat, seed in enumerate(seeds)
        for spec in (*specs[repeat % len(specs) :], *specs[: repeat % len(specs)])
    )


def _folder_in(directory: Path, spec: PolicySpec) -> str:
    """The name of the policy's folder: the early one if it exists already (see `PolicySpec`)."""
    early = (directory / spec.early_folder).is_dir() and not (directory / spec.folder).exists()
    return spec.early_folder if early else spec.folder


def is_complete(cell: Cell) -> bool:
    """True if the directory holds the complete and unchanged run.

    Raises:
        InputError: it holds something else: another run, changed inputs, or files that are not ours.
    """
    if cell.path.is_symlink() or (cell.path.exists() and not cell.path.is_dir()):
        raise InputError(f"{cell.path} is not a directory of our own", hint=_HINT)
    if not cell.path.exists() or not any(cell.path.iterdir()):
        return False
    if not (cell.path / MANIFEST).exists():
        if foreign := {entry.name for entry in cell.path.iterdir() if not _early(entry.name)}:
            raise InputError(f"{cell.path} holds files of another origin: {', '.join(sorted(foreign)[:3])}", hint=_HINT)
        return False
    manifest = read_manifest(cell.path)
    ask = cell.settings
    if manifest.get("comparison") != cell.facts:
        raise InputError(f"{cell.path} holds a run of {_difference(manifest, cell)}", hint=_HINT)
    if (other := manifest.get("criterion")) != ask.judged_by:
        found, wanted = other or CONFIDENCE.name, ask.judged_by or CONFIDENCE.name
        raise InputError(f"{cell.path} holds a run with the exit criterion {found}, and not {wanted}", hint=_HINT)
    if manifest.get("model_sha256", ask.model_sha256) != ask.model_sha256:
        raise InputError(f"{cell.path} holds a run of another model", hint=_HINT)
    if manifest.get("exit_reason") != "completed" or not all((cell.path / name).exists() for name in (SUMMARY, TASKS)):
        return False
    check_inputs(cell.path, manifest)
    return True


def missing_of(cells: Sequence[Cell]) -> list[Cell]:
    """The runs that are not complete yet. Raises the errors of `is_complete` and of `check_continues`."""
    complete = [is_complete(cell) for cell in cells]
    missing = [cell for cell, over in zip(cells, complete, strict=True) if not over]
    check_continues([cell.path for cell, over in zip(cells, complete, strict=True) if over], missing=len(missing))
    return missing


def check_continues(complete: Sequence[Path], *, missing: int) -> None:
    """Check that runs which are still missing may stand beside these complete ones.

    Args:
        complete: directories of complete runs.
        missing: number of runs that are still missing.

    Raises:
        InputError: runs are missing, and one of the complete ones comes from a version in which names of policies had
            other meanings.
    """
    earlier = [(path, manifest) for path in complete if is_before_new_names(manifest := read_manifest(path))]
    if missing and earlier:
        path, manifest = earlier[0]
        raise InputError(
            f"{path} was recorded by version {recorded_by(manifest) or 'unknown'}, in which dto-ee was what is now "
            "dto-ee-static, and tasks were drawn: no runs of this version may stand beside it",
            hint="compare again in a new directory with --out",
        )


_HINT = "choose another directory with --out, or remove this one"


def _early(name: str) -> bool:
    """True if a run that was killed before it wrote its manifest may have left this file."""
    unfinished = {Path(file).with_suffix(".tmp").name for file in (MANIFEST, TOPOLOGY, POLICY)}
    return name in _FIRST_FILES or name.startswith(LINK_TRACE) or name.startswith(f".{TRACE}.") or name in unfinished


def _difference(manifest: Mapping[str, Any], cell: Cell) -> str:
    found = manifest.get("comparison")
    if not isinstance(found, dict):
        return "its own, and none of a comparison"
    for name, wanted in cell.facts.items():
        if found.get(name) != wanted:
            if name == "topology_sha256" and (changed := _changed_traces(manifest, cell.settings)):
                have = "has" if len(changed) == 1 else "have"
                return f"other network traces: {', '.join(changed)} {have} changed since"
            what = name.replace("_sha256", "").replace("_s", "").replace("_", " ")
            shown = "another one" if name.endswith("sha256") else f"{found.get(name)} and not {wanted}"
            return f"another {what}: {shown}"
    return "another comparison"


def _changed_traces(manifest: Mapping[str, Any], ask: RunSettings) -> list[str]:
    """The network traces that differ from those of the run, by their path in both topologies."""
    copies, hashes = manifest.get("link_traces"), manifest.get("inputs_sha256")
    if not isinstance(copies, dict) or not isinstance(hashes, dict):
        return []
    now = ask.link_traces_sha256
    return sorted(stated for stated, copy in copies.items() if stated in now and hashes.get(copy) != now[stated])


def manifests(cells: Sequence[Cell]) -> Iterator[tuple[Cell, Mapping[str, Any]]]:
    """The manifests of complete runs."""
    for cell in cells:
        yield cell, read_manifest(cell.path)


def read_summary(cell: Cell) -> Mapping[str, Any]:
    """The content of summary.json of a complete run.

    Raises:
        InputError: it cannot be read.
    """
    file = cell.path / SUMMARY
    try:
        summary = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        hint = "remove its run directory and compare again"
        raise InputError(f"{file}: cannot be read: {error}", hint=hint) from error
    assert isinstance(summary, dict)
    return summary
