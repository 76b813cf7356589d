"""Several commands claim an output directory at the same instant: one gets it, the others are refused."""

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from node_agent.errors import InputError
from testbed.cells.cell import Cell, RunSettings
from testbed.cells.execution import END_TIMEOUT_S, clear_unfinished
from testbed.cells.policy_specs import read_specs
from testbed.record.claim import claim_directory
from testbed.record.run_directory import check_inputs, new_run_directory, read_manifest
from tests.testbed import small

ROOT = Path(__file__).parents[3]
ROUNDS, RIVALS, COMMANDS = 100, 6, 4
DTOEE = [sys.executable, "-c", "from cli.main import main; main()"]


def rival(number, barrier, folder, pipe):
    """Claim each round's directory at the same instant as the others, write to it, hold it until the round ends."""
    for place in range(ROUNDS):
        path = Path(folder) / str(place)
        claim = None
        barrier.wait()
        try:
            _, claim = new_run_directory(path, "topology", "policy", "0123abcd")
            (path / f"by-{number}").touch()
        except InputError as error:
            pipe.send(str(error))
        else:
            pipe.send("")
        barrier.wait()
        if claim is not None:
            claim.release()


def test_of_several_at_one_instant_one_has_the_directory(tmp_path):
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(RIVALS)
    pipes = [context.Pipe(duplex=False) for _ in range(RIVALS)]
    processes = [
        context.Process(target=rival, args=(number, barrier, str(tmp_path), theirs))
        for number, (_, theirs) in enumerate(pipes)
    ]
    for place in range(0, ROUNDS, 2):
        (tmp_path / str(place)).mkdir()  # it exists already, or a command creates it
    for process in processes:
        process.start()
    for place in range(ROUNDS):
        said = [ours.recv() for ours, _ in pipes]
        assert said.count("") == 1, said
        for refusal in filter(None, said):
            assert "another command is writing to the run directory" in refusal or "is not empty" in refusal
        assert len(list((tmp_path / str(place)).iterdir())) == 1
    for process in processes:
        process.join(10)
        assert process.exitcode == 0


def hold(folder, pipe):
    claim = claim_directory(Path(folder))
    pipe.send("held")
    time.sleep(60)
    claim.release()


def test_a_killed_command_leaves_no_claim(tmp_path):
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=hold, args=(str(tmp_path / "out"), theirs))
    process.start()
    assert ours.recv() == "held"
    with pytest.raises(InputError, match="another command is writing") as caught:
        claim_directory(tmp_path / "out")
    assert caught.value.exit_code == 3
    assert "--out" in caught.value.hint
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    claim_directory(tmp_path / "out").release()


def test_a_claim_is_waited_for_as_long_as_told(tmp_path):
    claim = claim_directory(tmp_path)
    began_s = time.monotonic()
    with pytest.raises(InputError):
        claim_directory(tmp_path, patience_s=0.2)
    assert time.monotonic() - began_s >= 0.2
    claim.release()
    claim.release()
    claim_directory(tmp_path, patience_s=END_TIMEOUT_S).release()


def test_a_claim_on_a_directory_that_is_removed_meanwhile_is_one_on_its_successor(tmp_path, monkeypatch):
    """A command gives up its empty directory after another one opened it and before that one locks it."""
    import fcntl

    lock, calls = fcntl.flock, []

    def late(descriptor, how):
        if not calls:
            shutil.rmtree(tmp_path / "out")
        calls.append(how)
        lock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", late)
    claim = claim_directory(tmp_path / "out")
    assert len(calls) == 2
    assert (tmp_path / "out").is_dir()
    with pytest.raises(InputError):
        claim_directory(tmp_path / "out")
    claim.release()


def together(*commands):
    """Start the commands at the same instant; return their exit codes and standard errors."""
    running = [
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for command in commands
    ]
    said = [process.communicate(timeout=120)[1] for process in running]
    return [process.returncode for process in running], said


def refused(codes, said):
    """Check that a single command succeeded, and that the others give the reason in one line and a hint."""
    assert sorted(codes) == [0] + [3] * (len(codes) - 1), said
    for code, text in zip(codes, said, strict=True):
        if code:
            error, hint = text.strip().splitlines()
            assert error.startswith("error: ")
            assert "right now" in error or "is not empty" in error
            assert hint.startswith("hint: ")


def test_of_several_runs_at_one_instant_one_is_recorded_and_whole(tmp_path):
    topology, out = tmp_path / "topology.yaml", tmp_path / "out"
    topology.write_text(small.SMALL)
    simulate = [*DTOEE, "simulate", str(topology), "--out", str(out), "--monitor", "off", "--seed"]
    codes, said = together(*([*simulate, str(seed)] for seed in range(COMMANDS)))
    refused(codes, said)
    manifest = read_manifest(out)
    assert manifest["seed"] == codes.index(0)
    check_inputs(out, manifest)
    assert json.loads((out / "summary.json").read_text())["seed"] == codes.index(0)

    again = tmp_path / "again"
    replay = [*DTOEE, "replay", str(out), "--simulate", "--out", str(again), "--monitor", "off"]
    refused(*together(replay, replay))
    check_inputs(again, read_manifest(again))


def test_a_comparison_waits_for_what_a_killed_one_has_left_running(tmp_path):
    """Its simulations notice only at their next message that it is gone. Until then they write to their directories."""
    settings = RunSettings(tmp_path, "", 8.0, simulate=True, backend="auto")
    cell = Cell(read_specs(["uniform"])[0], 0, 1, tmp_path / "uniform" / "seed-1", settings)
    claim = claim_directory(cell.path)
    (cell.path / "tasks.jsonl").touch()
    ending = threading.Timer(0.3, claim.release)
    ending.start()
    began_s = time.monotonic()
    clear_unfinished(cell)
    assert time.monotonic() - began_s >= 0.25
    assert not cell.path.exists()
    ending.join()


def test_a_comparison_is_refused_a_directory_in_use(tmp_path):
    topology, out = tmp_path / "topology.yaml", tmp_path / "out"
    topology.write_text(small.SMALL)
    claim = claim_directory(out)
    compare = [*DTOEE, "compare", str(topology), "--simulate", "--policies", "uniform", "--repeats", "1"]
    (code,), (said,) = together([*compare, "--out", str(out)])
    assert code == 3
    assert f"another command is writing to the directory {out} right now" in said
    assert not any(out.iterdir())
    claim.release()
