"""The files of a run directory: written during the run, read again later. Other programs read these files too.

    manifest.json     Facts about the run: command, versions, inputs, start, end, exit reason (see `Recorder`).
    topology.yaml     The topology that ran.
    trace.jsonl       The workload that ran, a line per task.
    policy.py         Only for a policy from a file: a copy of that file.
    link-trace-1.csv  Only where links follow network traces: copies of them. The manifest lists their names.
    tasks.jsonl       A line per task that ended, see `testbed.record.task_line.TaskLine`.
    decisions.jsonl   A line per node and slot, see `node_agent.records.DecisionRecord`.
    timeseries.jsonl  A line per node and second, see `node_agent.records.SampleRecord`.
    energy.jsonl      Only if the topology states power: see `testbed.energy.energy_line.EnergyLine`.
    events.jsonl      A line per injected event or problem, see `node_agent.records.EventRecord`.
    agents.log        Only if a node failed: the traceback and the node's last events.
    summary.json      The results, see `testbed.record.summary`.

Times are emulated seconds since the start of the run, unless a field says otherwise.
"""

import hashlib
import json
import os
import platform
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import UNSET

from node_agent.errors import InputError, TestbedError
from node_agent.models.data_types import SubModelProfile
from node_agent.records import DecisionRecord, EventRecord, SampleRecord, TaskRecord
from testbed.record.claim import Claim, claim_directory
from testbed.record.task_line import TaskLine, Way
from testbed.record.versions import git_commit, versions
from testbed.trace.workload import Arrival, write_trace

MANIFEST, TOPOLOGY, TRACE, POLICY = "manifest.json", "topology.yaml", "trace.jsonl", "policy.py"
LINK_TRACE = "link-trace-"  # prefix of the copies of network traces
TASKS, DECISIONS, TIMESERIES = "tasks.jsonl", "decisions.jsonl", "timeseries.jsonl"
EVENTS, SUMMARY, SCHEMA = "events.jsonl", "summary.json", 1
ENERGY = "energy.jsonl"
_UNSAFE = re.compile(r"[^A-Za-z0-9._=-]+")


def new_run_directory(out: Path | None, topology: str, policy: str, run_id: str) -> tuple[Path, Claim]:
    """Create and claim the folder of a new run: `out`, or a new one under `runs/`, named by time, topology and policy.

    The caller owns the folder until it releases the claim. By then the folder must hold a file, or another run may
    take it. In the label `policy`, characters that a folder name cannot hold are replaced.

    Raises:
        InputError: `out` already holds files, another command writes to it, or it cannot be created.
    """
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    path = out or Path("runs") / f"{stamp}-{topology}-{folder_name(policy)}-{run_id[-4:]}"
    claim = claim_directory(path, what="run directory")
    try:
        taken = any(path.iterdir())
    except OSError as error:
        raise InputError(f"cannot read the run directory {path}: {error.strerror}", hint="see --out") from error
    if taken:
        raise InputError(f"the run directory {path} is not empty", hint="choose another with --out, or remove it")
    return path, claim


def folder_name(label: str) -> str:
    """Reduce a policy's label to ASCII letters, digits, `.`, `_`, `=` and `-`; the result may be empty."""
    return _UNSAFE.sub("-", label).strip(".-")


class RecordingError(TestbedError):
    """The run directory cannot be written, for example because the disk is full."""


class Recorder:
    """Writes one run directory while the run goes on, so that the records survive a crash.

    Fields of manifest.json; `describe` adds those after `link_traces`:
        schema: version of the manifest's format.
        started: when recording began (UTC, ISO 8601).
        ended: when the run ended (UTC, ISO 8601); None before.
        exit_reason: "running", then "completed", "interrupted" or "failed: REASON"; "killed" once `clean` found it.
        versions: of this project, Python and the main libraries, by name.
        kernel: the release of the kernel.
        inputs_sha256: SHA-256 (hex) of each input file in the run directory, by file name.
        git_commit: the commit of this project's code; None outside a repository.
        link_traces: file name of each network trace's copy, by the path in the topology; only if there are any.
        run_id: the run's id, unique on this machine.
        policy: the policy's name, or FILE:CLASS for a policy from a file.
        argv: the command line.
        asked: options that override the topology, see `testbed.record.reading.Asked`.
        topology_folder: the folder to which relative paths in the topology refer.
        policy_parameters: the policy's parameters by name; `policy_label`: its label if the user stated one, or None.
        draws: how tasks followed the rows, "smooth" or "random"; missing in runs of earlier versions: "random".
        seed: the random seed.
        model_sha256: SHA-256 (hex) of the model files that affect a run.
        answers: where answers come from, None for the model's own, see `node_agent.models.interface.Model`.
        costs: the published architecture whose costs apply; None for the model's own costs.
        criterion: the exit criterion by name; None for the confidence, the default.
        workload: the trace's file, "generated", or "replay of DIRECTORY".
        backends: how `network` and `compute` were emulated.
        sub_models: see `sub_model_facts`.
        setup_s: live runs: time from the start until each part of the set-up was ready [real s].
        nodes: live runs: `address` and `namespace` of each node, by name.
        simulated_in_s: simulations: how long the simulation took [real s].
    """

    def __init__(
        self,
        path: Path,
        *,
        topology_text: str,
        arrivals: Sequence[Arrival],
        labels: npt.NDArray[np.int64],
        policy_file: Path | None = None,
        link_traces: Mapping[str, bytes] | None = None,
        deadlines_s: Mapping[str, float] | None = None,
        flush_lines: bool = True,
    ) -> None:
        """Write the inputs and open the files of lines.

        Args:
            path: the run directory.
            topology_text: the content of topology.yaml.
            arrivals: the workload.
            labels: the true class of each evaluation sample, by its number.
            policy_file: the user's policy file, if the policy comes from one.
            link_traces: the contents of the network traces, by the path that the topology states.
            deadlines_s: the deadline of each device whose tasks have one [s].
            flush_lines: flush after each line; if False, lines reach the files in blocks.

        Raises:
            RecordingError: a file cannot be written.
        """
        self._flush_lines = flush_lines
        self.path = path
        self._labels = labels
        self._deadlines_s = deadlines_s or {}
        self._encode = msgspec.json.Encoder().encode
        replace_file(path / TOPOLOGY, topology_text.encode())
        write_trace(path / TRACE, arrivals)
        inputs = [TOPOLOGY, TRACE]
        if policy_file is not None:
            replace_file(path / POLICY, policy_file.read_bytes())
            inputs.append(POLICY)
        copies = {stated: _copy_name(number, stated) for number, stated in enumerate(link_traces or {}, start=1)}
        for stated, content in (link_traces or {}).items():
            replace_file(path / copies[stated], content)
        inputs += copies.values()
        self._streams: dict[str, IO[bytes]] = {}
        for name in (TASKS, DECISIONS, TIMESERIES, EVENTS):
            self._open(name)
        self.manifest: dict[str, Any] = {
            "schema": SCHEMA,
            "started": _now(),
            "ended": None,
            "exit_reason": "running",
            "versions": versions(),
            "kernel": platform.release(),
            "inputs_sha256": {name: file_sha256(path / name) for name in inputs},
            "git_commit": git_commit(),
            **({"link_traces": copies} if copies else {}),
        }

    def _open(self, name: str) -> None:
        try:
            self._streams[name] = (self.path / name).open("wb")
        except OSError as error:
            raise _unwritten(self.path / name, error) from error

    def describe(self, **facts: object) -> None:
        """Add facts to the manifest and write it. Raises RecordingError."""
        self.manifest.update(facts)
        write_json(self.path / MANIFEST, self.manifest)

    def task(self, record: TaskRecord) -> TaskLine:
        """Write the end of a task to tasks.jsonl; return the line. Raises RecordingError."""
        line = TaskLine.of(record, int(self._labels[record.sample]), self._deadlines_s.get(record.device))
        self._line(TASKS, line)
        return line

    def decision(self, record: DecisionRecord) -> None:
        """Write a node's decision to decisions.jsonl. Raises RecordingError."""
        self._line(DECISIONS, _fields(record))

    def sample(self, record: SampleRecord) -> None:
        """Write a node's state to timeseries.jsonl. Raises RecordingError."""
        fields = _fields(record)
        if not record.sent_bytes:
            del fields["sent_bytes"]
        self._line(TIMESERIES, fields)

    def event(self, record: EventRecord) -> None:
        """Write an event to events.jsonl. Raises RecordingError."""
        self._line(EVENTS, _fields(record))

    def energy(self, line: msgspec.Struct) -> None:
        """Write the energy of a node or a link to energy.jsonl. Raises RecordingError."""
        if ENERGY not in self._streams:
            self._open(ENERGY)
        self._line(ENERGY, line)

    def complete_tasks(self, expected_s: Mapping[int, float], repeats: Mapping[int, Sequence[Way]]) -> None:
        """Add to tasks.jsonl the fields that are known only at the end.

        Args:
            expected_s: expected delay [s] by task id.
            repeats: ways of results that came after the first one, by task id.

        Raises:
            RecordingError: the file cannot be written; it stays as it was.
        """
        path = self.path / TASKS
        decode = msgspec.json.Decoder(TaskLine).decode
        lines = []
        for line in map(decode, path.read_bytes().splitlines()):
            ways = tuple(repeats[line.id]) if line.id in repeats else UNSET
            whole = msgspec.structs.replace(line, expected_delay_s=expected_s.get(line.id), repeats=ways)
            lines.append(self._encode(whole) + b"\n")
        replace_file(path, b"".join(lines))

    def flush(self) -> None:
        """Flush all files of lines, so that readers see every line. Raises RecordingError."""
        for name, stream in self._streams.items():
            try:
                stream.flush()
            except OSError as error:
                raise _unwritten(self.path / name, error) from error

    def finish(self, summary: Mapping[str, object] | None, exit_reason: str) -> None:
        """Close the files, write the summary if there is one, and end the manifest.

        Raises:
            RecordingError: a file cannot be written. The others are; the manifest reports the failure if it can.
        """
        failure: RecordingError | None = None
        for name, stream in self._streams.items():
            try:
                stream.close()
            except OSError as error:  # it is closed, but lines are missing
                failure = failure or _unwritten(self.path / name, error)
        try:
            if summary is not None:
                write_json(self.path / SUMMARY, summary)
        except RecordingError as error:
            failure = failure or error
        if failure is not None and not exit_reason.startswith("failed"):
            exit_reason = f"failed: {failure}"
        try:
            self.describe(ended=_now(), exit_reason=exit_reason)
        except RecordingError as error:
            failure = failure or error
        if failure is not None:
            raise failure

    def _line(self, name: str, line: msgspec.Struct | Mapping[str, object]) -> None:
        stream = self._streams[name]
        try:
            stream.write(self._encode(line) + b"\n")
            if self._flush_lines:
                stream.flush()
        except OSError as error:
            raise _unwritten(self.path / name, error) from error


def _fields(record: msgspec.Struct) -> dict[str, object]:
    """Return a record's fields by name, without its wire tag."""
    return {name: getattr(record, name) for name in record.__struct_fields__}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def replace_file(path: Path, content: bytes) -> None:
    """Write or replace a file atomically: a reader never sees half of it.

    Raises:
        RecordingError: the file cannot be written; an earlier file stays.
    """
    temporary = path.with_suffix(".tmp")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise _unwritten(path, error) from error


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Write or replace a JSON file atomically. Raises RecordingError."""
    replace_file(path, (json.dumps(content, indent=2, default=_plain) + "\n").encode())


def _unwritten(path: Path, error: OSError) -> RecordingError:
    hint = "free some space, or choose another directory with --out"
    return RecordingError(f"{path}: cannot be written: {error.strerror or error}", hint=hint)


def sub_model_facts(profiles: Sequence[SubModelProfile]) -> list[dict[str, int]]:
    """Return the manifest's `sub_models`, a dict per stage.

    Its keys: `stage` (from 1), `flop` (work per task [FLOP]), `input_bytes` and `output_bytes` (size of the tensors).
    """
    return [
        {"stage": p.stage, "flop": p.flop, "input_bytes": p.input_bytes, "output_bytes": p.output_bytes}
        for p in profiles
    ]


def _plain(value: object) -> object:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} has no JSON form")


def read_manifest(path: Path) -> dict[str, Any]:
    """Read the manifest of a run directory.

    Raises:
        InputError: this is no run directory, or its schema differs.
    """
    file = path / MANIFEST
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{file}: cannot be read: {reason}", hint="give the directory of a recorded run") from error
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
        raise InputError(f"{file}: not a manifest of schema {SCHEMA}", hint="was it recorded by another version?")
    return manifest


def close_manifest(path: Path, run_id: str) -> bool:
    """Set the exit reason "killed" in a manifest that still says "running".

    Its end is the time at which the run last wrote a line. Returns True if the manifest was changed; False if it is
    missing, belongs to another run, has ended, or cannot be written.
    """
    try:
        manifest = read_manifest(path)
        if manifest.get("run_id") != run_id or manifest.get("exit_reason") != "running":
            return False
        last_s = max((path / name).stat().st_mtime for name in (MANIFEST, TASKS, DECISIONS, TIMESERIES, EVENTS))
        ended = datetime.fromtimestamp(last_s, UTC).isoformat(timespec="milliseconds")
        write_json(path / MANIFEST, {**manifest, "ended": ended, "exit_reason": "killed"})
        (path / SUMMARY).with_suffix(".tmp").unlink(missing_ok=True)  # half a summary, if it was killed while writing
        return True
    except (OSError, TestbedError):
        return False


def check_inputs(path: Path, manifest: Mapping[str, Any]) -> None:
    """Raise InputError if the topology, the trace, the policy file or a network trace has changed since the run."""
    said = manifest.get("inputs_sha256")
    hashes = said if isinstance(said, dict) else {}
    for name in (TOPOLOGY, TRACE, *(name for name in hashes if name == POLICY or is_copy(name))):
        expected = hashes.get(name)
        if expected is None:
            raise InputError(f"{path / MANIFEST}: does not say what {name} was", hint="record the run anew")
        try:
            found = file_sha256(path / name)
        except OSError as error:
            raise InputError(
                f"{path / name}: cannot be read: {error.strerror}", hint="a replay needs the whole run directory"
            ) from error
        if found != expected:
            raise InputError(
                f"{path / name}: changed since it was recorded",
                hint=f"to run changed inputs: run {path / TOPOLOGY} --trace {path / TRACE}",
            )


def _copy_name(number: int, stated: str) -> str:
    """Name the copy of a network trace. The suffix is kept, because it may determine the format."""
    suffix = Path(stated).suffix
    return f"{LINK_TRACE}{number}{suffix if suffix[1:].isalnum() and len(suffix) <= 12 else ''}"


def is_copy(name: object) -> bool:
    """True if this is the name of a network trace's copy, and not a path out of the run directory."""
    return isinstance(name, str) and name.startswith(LINK_TRACE) and Path(name).name == name


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hex. Raises OSError if it cannot be read."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
