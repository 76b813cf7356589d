"""The run directory: what is written during a run, and how it is read again. Other programs read these files too.

    manifest.json     argv, versions, kernel, backends, seeds, input hashes, git commit, start, end, exit reason
    topology.yaml     exactly what ran,
    trace.jsonl       both of them
    policy.py         only for a policy from a file: that file
    link-trace-1.csv  only where links follow network traces: their files, which the manifest names
    tasks.jsonl       a line per task, see `task_line.TaskLine`
    decisions.jsonl   a line per node and slot
    timeseries.jsonl  a line per node and second
    events.jsonl      what was injected or went wrong
    agents.log        only if a node failed: the traceback and its story
    summary.json      the result in figures

Times are emulated seconds since the start of the run.
"""

import hashlib
import json
import os
import platform
import re
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import IO, Any

import msgspec
import numpy as np
from msgspec import UNSET

from node_agent.errors import InputError, TestbedError
from node_agent.models.tables import SubModelProfile
from node_agent.records import DecisionRecord, EventRecord, SampleRecord, TaskRecord
from testbed.record.claim import Claim, claim_directory
from testbed.record.task_line import TaskLine, Way
from testbed.trace.workload import Arrival, write_trace

MANIFEST, TOPOLOGY, TRACE, POLICY = "manifest.json", "topology.yaml", "trace.jsonl", "policy.py"
LINK_TRACE = "link-trace-"  # how the copies of network traces begin
TASKS, DECISIONS, TIMESERIES = "tasks.jsonl", "decisions.jsonl", "timeseries.jsonl"
EVENTS, SUMMARY = "events.jsonl", "summary.json"
SCHEMA = 1
_UNSAFE = re.compile(r"[^A-Za-z0-9._=-]+")
_LIBRARIES = ("torch", "numpy", "pyzmq", "mininet", "msgspec")


def new_run_directory(out: Path | None, topology: str, policy: str, run_id: str) -> tuple[Path, Claim]:
    """Make the folder of a new run: `out` itself, or a fresh one under `runs/` named by time, topology and policy.

    It is the caller's alone until the claim is released: by then it must hold a file, or another run may take it.
    `policy` is a label; what a folder's name cannot hold of it is left out.

    Raises:
        InputError: `out` holds files already, is being written to, or cannot be made.
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
    """A policy's label as part of a folder's name: ASCII letters, digits and `.`, `_`, `=`, `-`; perhaps empty."""
    return _UNSAFE.sub("-", label).strip(".-")


class RecordingError(TestbedError):
    """The run directory cannot be written, for want of space for example."""


class Recorder:
    """Writes one run directory while the run goes on, so that what was recorded survives however it ends."""

    def __init__(
        self,
        path: Path,
        *,
        topology_text: str,
        arrivals: Sequence[Arrival],
        labels: Sequence[int],
        policy_file: Path | None = None,
        link_traces: Mapping[str, bytes] | None = None,
        flush_lines: bool = True,
    ) -> None:
        """`labels` are the true classes by sample; without `flush_lines`, lines reach their files some at a time.

        `link_traces` are the contents of network traces, by path as the topology states it.

        Raises:
            RecordingError: the files cannot be written.
        """
        self._flush_lines = flush_lines
        self.path = path
        self._labels = labels
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
            try:
                self._streams[name] = (path / name).open("wb")
            except OSError as error:
                raise _unwritten(path / name, error) from error
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

    def describe(self, **facts: object) -> None:
        """Add facts to the manifest, and write it."""
        self.manifest.update(facts)
        write_json(self.path / MANIFEST, self.manifest)

    def task(self, record: TaskRecord) -> TaskLine:
        """Write the end of a task; returns the line as written."""
        line = TaskLine.of(record, int(self._labels[record.sample]))
        self._line(TASKS, line)
        return line

    def decision(self, record: DecisionRecord) -> None:
        """Write a node's decision of a slot."""
        self._line(DECISIONS, _fields(record))

    def sample(self, record: SampleRecord) -> None:
        """Write a node's state."""
        self._line(TIMESERIES, _fields(record))

    def event(self, record: EventRecord) -> None:
        """Write what was injected or went wrong."""
        self._line(EVENTS, _fields(record))

    def complete_tasks(self, expected_s: Mapping[int, float], repeats: Mapping[int, Sequence[Way]]) -> None:
        """Add to the tasks what is known only at the end: their expected delay [s], and ways that came second.

        Raises:
            RecordingError: the file cannot be written; then it stays as it is.
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
        """Let readers see all that was written; raises RecordingError."""
        for name, stream in self._streams.items():
            try:
                stream.flush()
            except OSError as error:
                raise _unwritten(self.path / name, error) from error

    def finish(self, summary: Mapping[str, object] | None, exit_reason: str) -> None:
        """Close the files; write the summary if there is one.

        Raises:
            RecordingError: one of them cannot be written; the others are, and the manifest says so if it can.
        """
        failure: RecordingError | None = None
        for name, stream in self._streams.items():
            try:
                stream.close()
            except OSError as error:  # closed all the same, but some of it is missing
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

    def _line(self, name: str, line: TaskLine | Mapping[str, object]) -> None:
        stream = self._streams[name]
        try:
            stream.write(self._encode(line) + b"\n")
            if self._flush_lines:
                stream.flush()
        except OSError as error:
            raise _unwritten(self.path / name, error) from error


def _fields(record: msgspec.Struct) -> dict[str, object]:
    """A record's fields by name (its wire tag and array form left out)."""
    return {name: getattr(record, name) for name in record.__struct_fields__}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def replace_file(path: Path, content: bytes) -> None:
    """Write or replace a file as a whole: a reader never sees half of it.

    Raises:
        RecordingError: it cannot be written; what was there before is.
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
    """Write or replace a JSON file as a whole; raises as `replace_file`."""
    replace_file(path, (json.dumps(content, indent=2, default=_plain) + "\n").encode())


def _unwritten(path: Path, error: OSError) -> RecordingError:
    hint = "free some space, or choose another directory with --out"
    return RecordingError(f"{path}: cannot be written: {error.strerror or error}", hint=hint)


def sub_model_facts(profiles: Sequence[SubModelProfile]) -> list[dict[str, int]]:
    """What the manifest says of the sub-models, stage by stage."""
    return [
        {"stage": p.stage, "flop": p.flop, "input_bytes": p.input_bytes, "output_bytes": p.output_bytes}
        for p in profiles
    ]


def _plain(value: object) -> object:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} has no JSON form")


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of a run directory.

    Raises:
        InputError: this is no run directory, or one of another schema.
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
    """End the manifest of a run that was killed, if it is there and still says "running"; returns whether it did.

    The end is when the run last wrote a line. Never raises: what cannot be mended stays as it is.
    """
    try:
        manifest = read_manifest(path)
        if manifest.get("run_id") != run_id or manifest.get("exit_reason") != "running":
            return False
        last_s = max((path / name).stat().st_mtime for name in (MANIFEST, TASKS, DECISIONS, TIMESERIES, EVENTS))
        ended = datetime.fromtimestamp(last_s, UTC).isoformat(timespec="milliseconds")
        write_json(path / MANIFEST, {**manifest, "ended": ended, "exit_reason": "killed"})
        (path / SUMMARY).with_suffix(".tmp").unlink(missing_ok=True)  # half a file, if that is what it was killed at
        return True
    except (OSError, TestbedError):
        return False


def check_inputs(path: Path, manifest: Mapping[str, Any]) -> None:
    """Whether topology, trace and what they refer to are still what ran; raises InputError if not."""
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
    """The name of a network trace's copy; its suffix may tell the format."""
    suffix = Path(stated).suffix
    return f"{LINK_TRACE}{number}{suffix if suffix[1:].isalnum() and len(suffix) <= 12 else ''}"


def is_copy(name: object) -> bool:
    """Whether this is the name of a network trace's copy in a run directory, and no way out of it."""
    return isinstance(name, str) and name.startswith(LINK_TRACE) and Path(name).name == name


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def versions() -> dict[str, str]:
    """Versions of this project, Python and the libraries that matter for a result."""
    found = {"python": platform.python_version()}
    for name in ("dtoee-testbed", *_LIBRARIES):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def git_commit() -> str | None:
    """The commit this project runs from, None outside a repository."""
    try:
        answer = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=Path(__file__).parent, capture_output=True, text=True, check=True, timeout=5,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()
