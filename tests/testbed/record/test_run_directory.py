"""The run directory: writing it line by line, reading it again, refusing damaged ones."""

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from node_agent.errors import InputError
from node_agent.records import DecisionRecord, EventRecord, SampleRecord, TaskRecord
from node_agent.wire import Handover, Hop
from testbed.record.reading import read_lines
from testbed.record.run_directory import (
    Recorder,
    RecordingError,
    check_inputs,
    new_run_directory,
    read_manifest,
    replace_file,
)
from testbed.record.task_line import TaskLine, way_of
from testbed.record.versions import git_commit
from testbed.trace.workload import Arrival, read_trace

ARRIVALS = [Arrival(0.5, "cam", 2), Arrival(0.75, "cam", 0)]
LABELS = np.array([4, 5, 6])
HOP = Hop("near", 0.51, 0.52, 0.6, 0.61, 0.0)
DONE = TaskRecord(
    id=0,
    device="cam",
    sample=2,
    prediction=6,
    exit_stage=1,
    created_s=0.5,
    completed_s=0.625,
    status="completed",
    reason=None,
    attempts=1,
    lateness_s=0.001,
    forced_exit=False,
    hops=(HOP,),
    offers=(Handover("near", 0.501, taken=True),),
)
LOST = TaskRecord(
    id=1,
    device="cam",
    sample=0,
    prediction=None,
    exit_stage=None,
    created_s=0.75,
    completed_s=None,
    status="lost",
    reason="no result",
    attempts=5,
    lateness_s=0.0,
    forced_exit=False,
    hops=(),
)


@pytest.fixture
def recorder(tmp_path):
    made = Recorder(tmp_path, topology_text="name: ünï\n", arrivals=ARRIVALS, labels=LABELS)
    yield made
    made.finish(None, "test over")


def lines(path: Path, name: str) -> list[dict]:
    return [json.loads(line) for line in (path / name).read_text(encoding="utf-8").splitlines()]


def test_inputs_are_kept_as_they_ran(recorder, tmp_path):
    assert (tmp_path / "topology.yaml").read_bytes() == "name: ünï\n".encode()
    assert read_trace(tmp_path / "trace.jsonl") == ARRIVALS
    hashes = recorder.manifest["inputs_sha256"]
    assert hashes["topology.yaml"] == hashlib.sha256("name: ünï\n".encode()).hexdigest()
    assert hashes["trace.jsonl"] == hashlib.sha256((tmp_path / "trace.jsonl").read_bytes()).hexdigest()


def test_a_completed_task_and_a_lost_one(recorder, tmp_path):
    """Each line has the label of its sample. test_task_line.py tests the form of a line."""
    written = [recorder.task(DONE), recorder.task(LOST)]
    assert written == [TaskLine.of(DONE, 6), TaskLine.of(LOST, 4)]
    assert list(read_lines(tmp_path / "tasks.jsonl", TaskLine)) == written  # readable before the run has ended
    completed, lost = written
    assert (completed.label, completed.correct, completed.delay_s, completed.reason) == (6, True, 0.125, None)
    assert (lost.status, lost.reason, lost.label) == ("lost", "no result", 4)
    assert lost.correct is lost.delay_s is lost.completed_s is lost.exit_stage is None


def test_what_is_known_only_at_the_end_is_added_to_the_tasks(recorder, tmp_path):
    recorder.task(DONE)
    recorder.task(LOST)
    before = lines(tmp_path, "tasks.jsonl")
    second = msgspec.structs.replace(HOP, node="hub", failed=(Handover("core", 0.7),))
    recorder.complete_tasks({0: 0.12}, {0: [way_of((HOP, second))]})
    completed, lost = lines(tmp_path, "tasks.jsonl")
    assert completed == before[0] | {
        "expected_delay_s": 0.12,
        "repeats": [[before[0]["hops"][0], before[0]["hops"][0] | {"node": "hub", "failed": [["core", 0.7, False]]}]],
    }
    assert lost == before[1] | {"expected_delay_s": None}


def test_a_wrong_answer_is_not_correct(recorder):
    assert recorder.task(msgspec.structs.replace(DONE, prediction=5)).correct is False


def test_the_other_streams(recorder, tmp_path):
    recorder.decision(
        DecisionRecord(
            time_s=3.5,
            node="cam",
            slot=1,
            rounds=4,
            offload={"near": 1.0},
            threshold=None,
            prices={"near": 0.2},
            gap=0.01,
            arrival_rate_per_s=3.0,
            service_rate_per_s=None,
        )
    )
    recorder.sample(
        SampleRecord(
            time_s=1.0,
            node="near",
            stage=1,
            queue_length=2,
            arrival_rate_per_s=3.0,
            utilisation=0.5,
            arrived=3,
            served=2,
            exits=1,
            forwarded=1,
            duplicates=0,
            overruns=0,
            cpu_s=0.01,
            threshold=0.8,
            busy_s=0.5,
            compute_cpu_s=0.005,
            deadlines=9,
            late_timers=1,
            worst_timer_s=0.002,
        )
    )
    recorder.event(EventRecord(2.0, None, "link-change", "cam - near: 5 Mbit/s"))
    (decision,), (sample,), (event,) = (
        lines(tmp_path, name) for name in ("decisions.jsonl", "timeseries.jsonl", "events.jsonl")
    )
    assert (decision["slot"], decision["offload"], decision["threshold"]) == (1, {"near": 1.0}, None)
    assert (sample["node"], sample["queue_length"], sample["threshold"]) == ("near", 2, 0.8)
    assert event == {"time_s": 2.0, "node": None, "kind": "link-change", "detail": "cam - near: 5 Mbit/s"}
    assert "type" not in decision | sample | event


def test_the_manifest_is_there_from_the_start_and_says_how_it_ended(recorder, tmp_path):
    recorder.describe(seed=np.int64(3), asked={"seed": None})
    running = read_manifest(tmp_path)
    assert (running["exit_reason"], running["ended"], running["seed"]) == ("running", None, 3)
    assert set(running["versions"]) >= {"python", "torch", "numpy", "pyzmq", "msgspec"}
    assert running["kernel"] == os.uname().release
    assert running["git_commit"] is None or re.fullmatch("[0-9a-f]{40}", running["git_commit"])
    recorder.finish({"accuracy": np.float64(0.5)}, "completed")
    ended = read_manifest(tmp_path)
    assert (ended["exit_reason"], ended["asked"]) == ("completed", {"seed": None})
    assert ended["started"] <= ended["ended"]
    assert json.loads((tmp_path / "summary.json").read_text()) == {"accuracy": 0.5}
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted(
        (
            "manifest.json",
            "topology.yaml",
            "trace.jsonl",
            "tasks.jsonl",
            "decisions.jsonl",
            "timeseries.jsonl",
            "events.jsonl",
            "summary.json",
        )
    )


def test_a_run_without_figures_has_no_summary(recorder, tmp_path):
    recorder.finish(None, "failed: no root")
    assert not (tmp_path / "summary.json").exists()
    assert read_manifest(tmp_path)["exit_reason"] == "failed: no root"


def test_what_was_recorded_survives_a_kill(tmp_path):
    code = f"""
import os, signal
from pathlib import Path
from tests.testbed.record.test_run_directory import ARRIVALS, DONE, LABELS, LOST
from testbed.record.run_directory import Recorder
recorder = Recorder(Path({str(tmp_path)!r}), topology_text="", arrivals=ARRIVALS, labels=LABELS)
recorder.describe()
recorder.task(DONE)
recorder.task(LOST)
os.kill(os.getpid(), signal.SIGKILL)
"""
    root = Path(__file__).parents[3]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == -9
    assert [line["id"] for line in lines(tmp_path, "tasks.jsonl")] == [0, 1]
    assert read_manifest(tmp_path)["exit_reason"] == "running"


def test_a_fresh_directory_names_time_topology_and_policy(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path, _ = new_run_directory(None, "campus", "dto-ee", "0123abcd")
    assert re.fullmatch(r"runs/\d{8}T\d{6}Z-campus-dto-ee-abcd", str(path))
    assert path.is_dir()


def test_a_directory_is_used_as_given_if_it_is_empty(tmp_path):
    for _ in range(2):  # an empty one may be claimed again
        path, claim = new_run_directory(tmp_path / "a" / "b", "t", "p", "0123abcd")
        assert path == tmp_path / "a" / "b"
        assert path.is_dir()
        claim.release()
    (tmp_path / "a" / "b" / ".hidden").touch()
    with pytest.raises(InputError, match="is not empty") as caught:
        new_run_directory(tmp_path / "a" / "b", "t", "p", "0123abcd")
    assert "--out" in caught.value.hint
    assert caught.value.exit_code == 3


def test_a_directory_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match="cannot make the run directory"):
            new_run_directory(path, "t", "p", "0123abcd")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read"),
        (b"", "cannot be read"),
        (b"{", "cannot be read"),
        (b"\xff\xfe{}", "cannot be read"),
        (b"[]", "not a manifest of schema 1"),
        (b"{}", "not a manifest of schema 1"),
        (b'{"schema": 2}', "not a manifest of schema 1"),
    ],
)
def test_a_foreign_directory_is_refused(tmp_path, content, said):
    if content is not None:
        (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(InputError, match=said) as caught:
        read_manifest(tmp_path)
    assert caught.value.hint


@pytest.mark.parametrize("name", ["topology.yaml", "trace.jsonl"])
def test_changed_inputs_are_noticed(recorder, tmp_path, name):
    recorder.describe()
    manifest = read_manifest(tmp_path)
    check_inputs(tmp_path, manifest)
    with (tmp_path / name).open("a") as file:
        file.write("\n")
    with pytest.raises(InputError, match=f"{name}: changed since it was recorded") as caught:
        check_inputs(tmp_path, manifest)
    assert "--trace" in caught.value.hint
    (tmp_path / name).unlink()
    with pytest.raises(InputError, match=f"{name}: cannot be read"):
        check_inputs(tmp_path, manifest)


def test_a_failed_write_leaves_the_old_manifest(recorder, tmp_path):
    recorder.describe()
    with pytest.raises(TypeError, match="has no JSON form"):
        recorder.describe(odd=object())
    assert "odd" not in read_manifest(tmp_path)
    del recorder.manifest["odd"]


def test_a_full_disk_is_told_and_leaves_no_half_of_a_file(tmp_path):
    """/dev/full refuses all writes, like a full disk."""
    replace_file(tmp_path / "a.json", b"old")
    (tmp_path / "a.tmp").symlink_to("/dev/full")
    with pytest.raises(RecordingError, match=r"a\.json: cannot be written: No space left") as caught:
        replace_file(tmp_path / "a.json", b"new")
    assert "free some space" in caught.value.hint
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]
    assert (tmp_path / "a.json").read_bytes() == b"old"


@pytest.mark.parametrize("reason", ["completed", "failed: something else"])
def test_a_stream_that_cannot_be_written_leaves_all_else_in_order(tmp_path, reason):
    (tmp_path / "tasks.jsonl").symlink_to("/dev/full")
    recorder = Recorder(tmp_path, topology_text="", arrivals=ARRIVALS, labels=LABELS, flush_lines=False)
    recorder.task(DONE)
    recorder.event(EventRecord(2.0, None, "link-change", "x"))
    with pytest.raises(RecordingError, match=r"tasks\.jsonl: cannot be written: No space left") as caught:
        recorder.finish({"accuracy": 0.5}, reason)
    assert caught.value.hint
    assert len(lines(tmp_path, "events.jsonl")) == 1
    assert json.loads((tmp_path / "summary.json").read_text()) == {"accuracy": 0.5}
    expected = f"failed: {caught.value}" if reason == "completed" else reason
    assert read_manifest(tmp_path)["exit_reason"] == expected
    recorder.finish(None, reason)  # nothing is left open


def test_a_summary_that_cannot_be_written_is_told_in_the_manifest(recorder, tmp_path):
    (tmp_path / "summary.tmp").symlink_to("/dev/full")
    with pytest.raises(RecordingError, match=r"summary\.json: cannot be written"):
        recorder.finish({"accuracy": 0.5}, "completed")
    assert read_manifest(tmp_path)["exit_reason"].startswith("failed: ")
    assert not list(tmp_path.glob("*.tmp"))


def test_the_commit_is_none_outside_a_repository(monkeypatch, tmp_path):
    monkeypatch.setenv("GIT_DIR", str(tmp_path))
    assert git_commit() is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_commit() is None
