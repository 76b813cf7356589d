"""Comparisons on real `dask worker` processes: the same table as on this machine, whatever happens to a worker."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from node_agent.errors import EnvironmentLacking, InputError
from testbed.cells.batch import Options, check_plans, executor_for, run_missing, settings_of
from testbed.cells.cell import cells_of, is_complete, missing_of, read_summary
from testbed.cells.cluster import dask_executor
from testbed.cells.cluster.choice import ClusterChoice
from testbed.cells.execution import CellFailed, Unobserved
from testbed.cells.policy_specs import read_specs
from testbed.record.run_directory import check_inputs, read_manifest
from testbed.run.interrupts import Interrupts
from tests.testbed.cells.cluster.machines import ROOT, command, compare, machines
from tests.testbed.compare.topology import SMALL, write

POLICIES = "dto-ee,computing-first,uniform"


def at(found):
    """The options that name a cluster."""
    return ["--scheduler", found.url, *(["--keys", found.keys] if found.keys else [])]


def table(out):
    """The rows of a comparison as text, and the hashes of what each run recorded of its tasks and decisions."""
    hashes = {
        path.relative_to(out): path.read_bytes()
        for name in ("tasks.jsonl", "decisions.jsonl", "trace.jsonl", "topology.yaml")
        for path in out.glob(f"*/*/{name}")
    }
    return (out / "compare.csv").read_text(), (out / "compare-summary.csv").read_text(), hashes


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """Three policies on two workloads, simulated by processes of this machine."""
    folder = tmp_path_factory.mktemp("here")
    done = compare(write(folder), "-p", POLICIES, "-n", "2", "--out", folder / "out")
    assert done.returncode == 0, done.stderr
    return folder / "out"


def test_workers_make_the_same_table(tmp_path, two_workers, here):
    out = tmp_path / "out"
    done = compare(write(tmp_path), "-p", POLICIES, "-n", "2", "--out", out, *at(two_workers))
    assert done.returncode == 0, done.stderr
    assert table(out) == table(here)
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("6 of 6: ")
    begun = [line for line in done.stderr.splitlines() if line.startswith("begins: ")]
    assert len(begun) == len(set(begun)) == 6
    used = {name for name in ("worker-1", "worker-2") if list((two_workers._folder / name).rglob("inputs-*"))}
    assert used == {"worker-1", "worker-2"}
    again = compare(write(tmp_path), "-p", POLICIES, "-n", "2", "--out", out)
    assert "6 of them complete already" in again.stderr


def test_a_manifest_names_the_files_of_the_client(tmp_path, two_workers):
    (tmp_path / "own.py").write_text("from node_agent.policies.uniform import Uniform\n\nclass Own(Uniform): ...\n")
    write(tmp_path)
    done = compare("small.yaml", "-p", "own.py:Own", "-n", "1", "--out", "out", *at(two_workers), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run = tmp_path / "out" / "Own" / "seed-7"
    manifest = read_manifest(run)
    check_inputs(run, manifest)
    assert manifest["policy"] == f"{tmp_path}/own.py:Own"
    assert manifest["topology_folder"] == str(tmp_path)
    assert manifest["argv"][1] == "compare"
    assert "inputs-" not in json.dumps(manifest)
    assert (run / "policy.py").read_bytes() == (tmp_path / "own.py").read_bytes()


@pytest.mark.parametrize("when", ["in a cell", "before the first"])
def test_a_lost_worker_changes_nothing(tmp_path, keys, here, when):
    out = tmp_path / "out"
    with machines(tmp_path / "machines", keys) as found:
        lost, _ = found.start_worker(), found.start_worker()
        arguments = (write(tmp_path), "-p", POLICIES, "-n", "2", "--out", out, "--simulate", *at(found))
        process = subprocess.Popen(command("compare", *arguments), cwd=ROOT, stderr=subprocess.PIPE, text=True,
                                   stdout=subprocess.DEVNULL)  # fmt: skip
        for line in process.stderr:
            if line.startswith("begins: " if when == "in a cell" else "6 runs in "):
                break
        if when == "in a cell":
            wait_until(lambda: cell_of(lost) is not None)
        family = found.kill(lost)
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        assert gone(family)
    assert table(out) == table(here)


def cell_of(worker):
    """The process of a cell of this worker: the child of its helper."""
    children = [process for process in worker.children(recursive=True) if "cluster.helper" in " ".join(words(process))]
    helpers = {process.pid for process in children}
    return next((process for process in children if process.ppid() in helpers), None)


def words(process):
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def wait_until(true, timeout_s=60.0):
    deadline_s = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def gone(processes):
    return not psutil.wait_procs(processes, timeout=20)[1]


LONG = SMALL.replace("duration: 20 s", "duration: 400 s")


def test_a_killed_cell_is_carried_out_again(tmp_path, two_workers):
    """Its helper notices; the worker lives on."""
    out = tmp_path / "out"
    path = write(tmp_path, LONG)
    arguments = (path, "-p", "uniform", "-n", "2", "--out", out, "--simulate", *at(two_workers))
    process = subprocess.Popen(command("compare", *arguments), cwd=ROOT, stderr=subprocess.PIPE, text=True,
                               stdout=subprocess.DEVNULL)  # fmt: skip
    next(line for line in process.stderr if line.startswith("begins: "))
    wait_until(lambda: cell_of(two_workers.workers[0]) is not None)
    cell_of(two_workers.workers[0]).kill()
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    local = compare(path, "-p", "uniform", "-n", "2", "--out", tmp_path / "local")
    assert local.returncode == 0, local.stderr
    assert table(out) == table(tmp_path / "local")


def test_ctrl_c_ends_the_cells_and_keeps_what_is_complete(tmp_path, two_workers):
    out = tmp_path / "out"
    arguments = (write(tmp_path, LONG), "-p", "uniform", "-n", "3", "--out", out, "--simulate", *at(two_workers))
    process = subprocess.Popen(command("compare", *arguments), cwd=ROOT, stderr=subprocess.PIPE, text=True,
                               stdout=subprocess.DEVNULL, start_new_session=True)  # fmt: skip
    next(line for line in process.stderr if line.startswith("begins: "))
    wait_until(lambda: cell_of(two_workers.workers[0]) is not None)
    cell = cell_of(two_workers.workers[0])
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert errors.splitlines()[-1] == f"hint: to go on, give the same command with --out {out}"
    assert gone([cell])
    assert json.loads((out / "compare.json").read_text())["complete"] is False


def test_cells_end_when_their_client_is_killed(tmp_path, two_workers):
    arguments = (write(tmp_path, LONG), "-p", "uniform", "-n", "2", "--out", tmp_path / "out", "--simulate")
    process = subprocess.Popen(command("compare", *arguments, *at(two_workers)), cwd=ROOT, stderr=subprocess.PIPE,
                               text=True)  # fmt: skip
    next(line for line in process.stderr if line.startswith("begins: "))
    wait_until(lambda: cell_of(two_workers.workers[0]) is not None)
    cell = cell_of(two_workers.workers[0])
    process.kill()
    process.communicate()
    assert gone([cell])


def test_a_failing_cell_says_why_and_leaves_its_directory(tmp_path, two_workers):
    (tmp_path / "own.py").write_text(
        "from node_agent.policies.uniform import Uniform\n\nclass Own(Uniform):\n"
        "    def update_row(self, row, prospect):\n        raise ValueError('oh')\n"
    )
    out = tmp_path / "out"
    done = compare(write(tmp_path), "-p", f"{tmp_path / 'own.py'}:Own", "-n", "1", "--out", out, *at(two_workers))
    assert done.returncode == 1
    error, hint = done.stderr.splitlines()[-2:]
    assert error.startswith("error: Own, seed 7: node ")
    assert error.endswith(": oh")
    log = out / "Own" / "seed-7" / "agents.log"
    assert hint == f"hint: it was raised by {tmp_path / 'own.py'}, line 5; the last events of the node are in {log}"
    assert "The story of " in log.read_text()


def test_a_worker_with_other_code_is_refused(tmp_path, keys):
    """Before the first cell, in one line. The other code is a copy of this one with a comment more."""
    for package in ("testbed", "node_agent"):
        subprocess.run(["cp", "-r", ROOT / package, tmp_path / package], check=True)
    with (tmp_path / "node_agent" / "dtoee" / "queueing.py").open("a") as file:
        file.write("# other\n")
    out = tmp_path / "out"
    with machines(tmp_path / "machines", keys) as found:
        found.start_worker(environment={"PYTHONPATH": str(tmp_path)})
        done = compare(write(tmp_path), "-p", "uniform", "-n", "1", "--out", out, *at(found))
    assert done.returncode == 4, done.stderr
    error, hint = done.stderr.splitlines()[-2:]
    assert error.startswith("error: worker tls://127.0.0.1:")
    assert error.endswith("has other code of dtoee-testbed than this machine")
    assert hint.startswith("hint: install the same version on every machine")
    assert not list(out.glob("*/*/manifest.json"))


def test_a_scheduler_that_goes_away_ends_the_command(tmp_path, keys):
    out = tmp_path / "out"
    with machines(tmp_path / "machines", keys) as found:
        found.start_worker()
        arguments = (write(tmp_path, LONG), "-p", "uniform", "-n", "2", "--out", out, "--simulate", *at(found))
        process = subprocess.Popen(command("compare", *arguments), cwd=ROOT, stderr=subprocess.PIPE, text=True,
                                   stdout=subprocess.DEVNULL)  # fmt: skip
        next(line for line in process.stderr if line.startswith("begins: "))
        found.scheduler.kill()
        _, errors = process.communicate(timeout=90)
    assert process.returncode == 1, errors
    assert "Traceback" not in errors, errors
    assert "the connection to the scheduler is lost" in errors.splitlines()[-2]
    assert "--out goes on" in errors.splitlines()[-1]


def test_workers_of_this_machine(tmp_path, here):
    out = tmp_path / "out"
    done = compare(write(tmp_path), "-p", POLICIES, "-n", "2", "--out", out, "--workers", "2")
    assert done.returncode == 0, done.stderr
    assert table(out) == table(here)
    assert "6 runs in" in done.stderr.splitlines()[0]
    assert "2 at a time" in done.stderr.splitlines()[0]
    assert "Traceback" not in done.stderr


def test_an_open_executor_serves_several_calls(tmp_path, two_workers):
    """As `capacity` uses it: the next cells depend on the results of the last ones."""
    options = Options(simulate=True, cluster=ClusterChoice(two_workers.url, keys=two_workers.keys))
    topology, specs = write(tmp_path), read_specs(["uniform"])
    settings = settings_of(topology, check_plans(topology, specs, options), options)
    with Interrupts() as interrupts, executor_for(options) as executor:
        for seed in (3, 4, 5):
            cells = cells_of(specs, [seed], tmp_path / "out", settings)
            assert run_missing(missing_of(cells), options, Unobserved(), interrupts, executor)
            assert all(is_complete(cell) for cell in cells)
            assert read_summary(cells[0])["seed"] == seed


def test_a_topology_that_changes_meanwhile_is_noticed(tmp_path, two_workers):
    options = Options(simulate=True, cluster=ClusterChoice(two_workers.url, keys=two_workers.keys))
    topology, specs = write(tmp_path), read_specs(["uniform"])
    settings = settings_of(topology, check_plans(topology, specs, options), options)
    with topology.open("a") as file:
        file.write("# other\n")
    cells = cells_of(specs, [3], tmp_path / "out", settings)
    with Interrupts() as interrupts, pytest.raises(InputError, match="its topology differs from that of this machine"):
        run_missing(cells, options, Unobserved(), interrupts)


@pytest.mark.parametrize("live", [False, True])
def test_without_a_worker_for_it_nothing_begins(tmp_path, keys, live, monkeypatch):
    monkeypatch.setattr(dask_executor, "WORKER_TIMEOUT_S", 0.5)
    with machines(tmp_path / "machines", keys) as found:
        if live:
            found.start_worker()  # it offers no live runs
        options = Options(simulate=not live, cluster=ClusterChoice(found.url, keys=keys))
        topology, specs = write(tmp_path), read_specs(["uniform"])
        settings = settings_of(topology, check_plans(topology, specs, options), options)
        cells = cells_of(specs, [3], tmp_path / "out", settings)
        said = "no worker offers to carry out live runs" if live else "no worker has connected to the scheduler"
        with Interrupts() as interrupts, pytest.raises(EnvironmentLacking, match=said) as caught:
            run_missing(cells, options, Unobserved(), interrupts)
        assert caught.value.exit_code == 4


def test_a_machine_carries_out_one_live_run_at_a_time(tmp_path, keys):
    with machines(tmp_path / "machines", keys) as found:
        found.start_worker("--resources", "live=1")
        found.start_worker("--resources", "live=1")  # on the same machine
        options = Options(cluster=ClusterChoice(found.url, keys=keys))
        topology, specs = write(tmp_path), read_specs(["uniform"])
        settings = settings_of(topology, check_plans(topology, specs, options), options)
        cells = cells_of(specs, [3], tmp_path / "out", settings)
        with (
            Interrupts() as interrupts,
            pytest.raises(InputError, match=r"127.0.0.1 would carry out several live runs"),
        ):
            run_missing(cells, options, Unobserved(), interrupts)


def test_without_the_extra_one_line_says_how_to_install_it(tmp_path):
    code = "import sys; sys.modules['distributed'] = None; from cli.main import main; main()"
    words = ["compare", str(write(tmp_path)), "-p", "uniform", "-n", "1", "--simulate", "--workers", "2"]
    done = subprocess.run(
        [sys.executable, "-c", code, *words, "--out", str(tmp_path / "out")], cwd=ROOT, capture_output=True, text=True,
        check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 4
    assert done.stderr.splitlines()[-2:] == [
        "error: a cluster needs the package distributed",
        "hint: .venv/bin/python -m pip install --constraint requirements.lock --editable '.[cluster]'",
    ]


def test_a_run_that_fails_on_a_worker_has_its_own_exit_code(tmp_path, two_workers):
    path = write(tmp_path, SMALL.replace("delay: 5 ms", "delay: 5 ms, loss: 99.9 %, queue: 1"))
    options = Options(simulate=True, cluster=ClusterChoice(two_workers.url, keys=two_workers.keys))
    specs = read_specs(["dto-ee"])
    settings = settings_of(path, check_plans(path, specs, options), options)
    cells = cells_of(specs, [7], tmp_path / "out", settings)
    with Interrupts() as interrupts, pytest.raises(CellFailed, match="dto-ee, seed 7: no answer over the simulated"):
        run_missing(cells, options, Unobserved(), interrupts)
    assert Path(cells[0].path / "manifest.json").exists()
