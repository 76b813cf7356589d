"""Read a recorded run: its options, scenario, workload, lines and summary."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from node_agent.core.config import Draws
from node_agent.errors import InputError
from node_agent.models.interface import Model
from testbed.record.earlier import is_before_new_names, policy_text, present_policy
from testbed.record.run_directory import (
    MANIFEST,
    POLICY,
    SUMMARY,
    TASKS,
    TOPOLOGY,
    TRACE,
    check_inputs,
    is_copy,
    read_manifest,
)
from testbed.record.task_line import TaskLine
from testbed.scenario import Scenario
from testbed.topology import Topology, load_topology
from testbed.trace.workload import Arrival, read_trace

Line = TypeVar("Line")

_ANEW = "record the run again"


class Asked(msgspec.Struct, frozen=True):
    """The options a run was started with; None means the topology's own value.

    Attributes:
        seed: the random seed.
        duration_s: the length of the workload [s].
        policy_override: the policy as text, with absolute paths.
        model: a shipped model, or the absolute path of another one.
        cut: the last block of each sub-model.
        criterion: the exit criterion, by name.
    """

    seed: int | None
    duration_s: float | None
    policy_override: str | None
    model: str | None = None
    cut: tuple[int, ...] | None = None
    criterion: str | None = None


class _Manifest(msgspec.Struct, frozen=True):
    """The manifest fields that are read here; other keys are for people.

    Attributes:
        asked: the options of the run.
        exit_reason: completed, interrupted, failed: and why, killed, or running.
        policy: the policy's name.
        policy_parameters: the policy's parameters.
        policy_label: the policy's label if the user stated one.
        draws: how tasks followed the rows; runs of versions without this field drew at random.
        topology_folder: the folder of the original topology file.
        model_sha256: hash of everything in the model that affects a run; missing in runs of earlier versions.
        link_traces: name of the copy in the run directory, by the path that the topology states.
        versions: of this project and its libraries, by name.
    """

    asked: Asked
    exit_reason: str
    policy: str
    policy_parameters: dict[str, bool | int | float | str] = {}
    policy_label: str | None = None
    draws: Draws = "random"
    topology_folder: str | None = None
    model_sha256: str | None = None
    link_traces: dict[str, str] = {}
    versions: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """A run directory whose inputs have not changed since the run."""

    path: Path  # of the run directory
    manifest: _Manifest  # the fields of manifest.json that are read here

    @property
    def asked(self) -> Asked:
        """The options of the run."""
        return self.manifest.asked

    @property
    def policy(self) -> str | None:
        """The policy to run again, as text; None means the topology's own.

        A policy from a file is the run directory's copy, so the original may have changed. A policy whose name has a
        new meaning since goes by its present name, see `testbed.record.earlier`.
        """
        parameters, label = self.manifest.policy_parameters, self.manifest.policy_label
        if (self.path / POLICY).exists():
            name = f"{(self.path / POLICY).resolve()}:{self.manifest.policy.rpartition(':')[2]}"
            return policy_text(name, parameters, label)
        present = None
        if is_before_new_names({"versions": self.manifest.versions}):
            present = present_policy(self.manifest.policy, parameters, label)
        return self.asked.policy_override if present is None else present

    def topology(self, policy: str | None = None) -> Topology:
        """Load the recorded topology, with the policy that ran or with `policy`.

        Raises:
            InputError: the topology or the policy cannot be used.
        """
        # Relative paths in the copy refer to the folder of the original.
        folder = self.manifest.topology_folder
        policy = self.policy if policy is None else policy
        copies = {stated: self.path / name for stated, name in self.manifest.link_traces.items()}
        topology = load_topology(
            self.path / TOPOLOGY, folder=folder, policy=policy, model=self.asked.model, cut=self.asked.cut,
            criterion=self.asked.criterion, draws=self.manifest.draws, traces=copies, recorded=True,
        )  # fmt: skip
        if missing := topology.traces.keys() - copies.keys():
            raise InputError(f"{self.path / MANIFEST}: names no copy of {min(missing)}", hint=_ANEW)
        return topology

    def scenario(self) -> Scenario:
        """Return the scenario that ran. Raises InputError if it cannot be rebuilt."""
        return self.topology().resolve(seed=self.asked.seed, duration_s=self.asked.duration_s)

    def arrivals(self) -> list[Arrival]:
        """Read the workload. Raises TraceError if it cannot be read."""
        return list(read_trace(self.path / TRACE))

    def admitted(self) -> list[Arrival]:
        """Read the workload without the tasks that devices refused.

        Raises:
            TraceError: the workload cannot be read.
            InputError: the tasks cannot be read.
        """
        arrivals = self.arrivals()
        if not any(device.delay_bound_s for device in self.scenario().devices):
            return arrivals
        refused = {task.id for task in read_lines(self.path / TASKS, TaskLine) if task.status == "refused"}
        return [arrival for number, arrival in enumerate(arrivals) if number not in refused]

    def summary(self) -> Mapping[str, Any]:
        """Read summary.json. Raises InputError if it cannot be read, or if the run did not complete."""
        if (reason := self.manifest.exit_reason) != "completed":
            raise InputError(
                f"{self.path}: the run did not come to its end ({reason}): not all of its trace was offered",
                hint=f"run it again: replay {self.path}",
            )
        file = self.path / SUMMARY
        try:
            summary = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{file}: cannot be read: {error}", hint="only a finished run has one") from error
        if not isinstance(summary, dict):
            raise InputError(f"{file}: not a summary", hint=_ANEW)
        return summary

    def check_model(self, model: Model) -> None:
        """Raise InputError if the model has changed since the run."""
        expected = self.manifest.model_sha256
        if expected is not None and model.fingerprint() != expected:
            raise InputError(
                f"{self.path}: the model {model.name} has changed since the run was recorded",
                hint=f"to run the same tasks with the model as it is now: run {self.path / TOPOLOGY} "
                f"--trace {self.path / TRACE}",
            )


def read_recorded(path: Path) -> RecordedRun:
    """Open a run directory, check its inputs, and return the recorded run.

    Args:
        path: the run directory.

    Raises:
        InputError: this is no run directory, the manifest lacks a field, or an input has changed since the run.
    """
    manifest = read_manifest(path)
    check_inputs(path, manifest)
    try:
        run = RecordedRun(path, msgspec.convert(manifest, _Manifest))
    except msgspec.ValidationError as error:
        raise InputError(f"{path / MANIFEST}: does not say how it was run: {error}", hint=_ANEW) from error
    for name in run.manifest.link_traces.values():
        if not (is_copy(name) and name in manifest["inputs_sha256"]):
            raise InputError(f"{path / MANIFEST}: does not say what {name} was", hint=_ANEW)
    return run


def read_lines(file: Path, kind: type[Line]) -> Iterator[Line]:
    """Yield the lines of a run's file, for example the `TaskLine`s of tasks.jsonl.

    Args:
        file: a file of one JSON object per line.
        kind: the msgspec type of a line.

    Raises:
        InputError: the file cannot be read, or a line is not of this kind.
    """
    decode = msgspec.json.Decoder(kind).decode
    number = 1
    try:
        with file.open("rb") as stream:
            for raw in stream:
                yield decode(raw)
                number += 1
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise InputError(f"{file}:{number}: not as this version records it: {error}", hint=_ANEW) from error
