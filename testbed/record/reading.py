"""A recorded run read again: what it was asked for, its scenario, tasks, lines and figures."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from node_agent.errors import InputError
from node_agent.models import Bundle
from node_agent.models.bundle import CARD, EVALUATION, SCORES, TABLE, WEIGHTS
from testbed.record.run_directory import (
    MANIFEST,
    POLICY,
    SUMMARY,
    TOPOLOGY,
    TRACE,
    check_inputs,
    is_copy,
    read_manifest,
)
from testbed.scenario import Scenario
from testbed.topology import Topology, load_topology
from testbed.trace.workload import Arrival, read_trace

Line = TypeVar("Line")

_ANEW = "record the run anew"
MODEL_FILES = (CARD, WEIGHTS, TABLE, EVALUATION, SCORES)


class Asked(msgspec.Struct, frozen=True):
    """What a run was asked for; None leaves what the topology says. `policy_override` is a text with absolute paths."""

    seed: int | None
    duration_s: float | None
    policy_override: str | None


class _Manifest(msgspec.Struct, frozen=True):
    """What is read of a manifest; other keys are for people."""

    asked: Asked
    exit_reason: str
    policy: str
    policy_parameters: dict[str, bool | int | float | str] = {}
    policy_label: str | None = None  # as stated
    topology_folder: str | None = None
    model_sha256: str | None = None  # runs of earlier versions do not say
    link_traces: dict[str, str] = {}  # name of its copy, by path as the topology states it


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """A run directory whose inputs have not changed since the run."""

    path: Path  # of the run directory
    manifest: _Manifest  # the fields of manifest.json that are read here

    @property
    def asked(self) -> Asked:
        """What the run was asked for."""
        return self.manifest.asked

    @property
    def policy(self) -> str | None:
        """The policy to run again: of one from a file the copy, whatever has become of the original.

        None stands for the topology's own.
        """
        if not (self.path / POLICY).exists():
            return self.asked.policy_override
        name = f"{(self.path / POLICY).resolve()}:{self.manifest.policy.rpartition(':')[2]}"
        stated = self.manifest.policy_parameters.items()
        label = self.manifest.policy_label
        values = [] if label is None else [f"label={label}"]
        values += [f"{key}={str(value).lower() if isinstance(value, bool) else value}" for key, value in stated]
        return f"{name}:{','.join(values)}" if values else name

    def topology(self, policy: str | None = None) -> Topology:
        """The topology under another policy, or under the one that ran. Raises InputError where it cannot be used."""
        # Paths in the recorded copy still mean what they meant in the original.
        folder = self.manifest.topology_folder
        policy = self.policy if policy is None else policy
        copies = {stated: self.path / name for stated, name in self.manifest.link_traces.items()}
        topology = load_topology(self.path / TOPOLOGY, folder=folder, policy=policy, traces=copies, recorded=True)
        if missing := topology.traces.keys() - copies.keys():
            raise InputError(f"{self.path / MANIFEST}: names no copy of {min(missing)}", hint=_ANEW)
        return topology

    def scenario(self) -> Scenario:
        """The scenario that ran. Raises InputError where it cannot be made again."""
        return self.topology().resolve(seed=self.asked.seed, duration_s=self.asked.duration_s)

    def arrivals(self) -> list[Arrival]:
        """The tasks offered. Raises TraceError where they cannot be read."""
        return list(read_trace(self.path / TRACE))

    def summary(self) -> Mapping[str, Any]:
        """The figures of a run that came to its end; raises InputError for any other."""
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

    def check_model(self, bundle: Bundle) -> None:
        """Raise InputError if the model is not the one that ran."""
        expected = self.manifest.model_sha256
        if expected is not None and model_sha256(bundle) != expected:
            raise InputError(
                f"{self.path}: the model {bundle.name} has changed since the run was recorded",
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
    """The lines of a run's file, for example the `TaskLine`s of tasks.jsonl.

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


def model_sha256(bundle: Bundle) -> str:
    """SHA-256, in hex, of all that a model's folder contributes to a run. Raises InputError if it cannot be read."""
    digest = hashlib.sha256()
    for name in MODEL_FILES:
        file = bundle.file(name)
        try:
            content = file.read_bytes() if file.exists() else b""
        except OSError as error:
            raise InputError(f"{file}: cannot be read: {error.strerror}") from error
        digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()
