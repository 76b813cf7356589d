"""Cells in processes of this machine: each in one of its own, and again if that is killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from testbed.cells.batch import Options, check_plans, executor_for, run_missing, settings_of
from testbed.cells.cell import cells_of, is_complete, missing_of
from testbed.cells.execution import MOST_TRIES, CellFailed, Unobserved
from testbed.cells.policy_specs import read_specs
from testbed.run.interrupts import Interrupts
from tests.testbed.compare.topology import SMALL, write

ROOT = Path(__file__).parents[3]


class Watcher(Unobserved):
    """Notes what happens, and acts on the first report of progress."""

    def __init__(self, act=lambda: None):
        self.begun_cells, self.ended_cells, self.shares, self._act = [], [], [], act

    def begun(self, cell):
        self.begun_cells.append(cell.seed)

    def advanced(self, cell, share):
        self.shares.append((cell.seed, share))
        if len(self.shares) == 1:
            self._act()

    def ended(self, cell):
        self.ended_cells.append(cell.seed)


def prepared(folder, text=SMALL, policy="uniform", seeds=(1, 2, 3)):
    options = Options(simulate=True, jobs=2)
    topology, specs = write(folder, text), read_specs([policy])
    settings = settings_of(topology, check_plans(topology, specs, options), options)
    return options, cells_of(specs, seeds, folder / "out", settings)


def own(folder, code):
    """A policy like `uniform`, whose file runs some code in the processes of cells."""
    file = folder / "own.py"
    file.write_text(
        "import multiprocessing, os, pathlib, signal\n\nfrom node_agent.policies.uniform import Uniform\n\n"
        f"class Own(Uniform): ...\n\nif multiprocessing.parent_process() is not None:\n    {code}\n"
    )
    return f"{file}:Own"


LONG = SMALL.replace("duration: 20 s", "duration: 600 s")


def test_progress_is_reported(tmp_path):
    options, cells = prepared(tmp_path, LONG, seeds=(1, 2))
    watcher = Watcher()
    with Interrupts() as interrupts:
        assert run_missing(cells, options, watcher, interrupts)
    assert watcher.begun_cells == [1, 2]
    assert sorted(watcher.ended_cells) == [1, 2]
    for seed in (1, 2):
        shares = [share for each, share in watcher.shares if each == seed]
        assert len(shares) >= 2
        assert shares == sorted(shares)
        assert 0 < shares[0] <= shares[-1] <= 1


def test_a_cell_finds_nothing_in_memory_of_an_earlier_one(tmp_path):
    """Each appends the process in which the policy's file was loaded."""
    log = tmp_path / "log"
    policy = own(tmp_path, f"pathlib.Path({str(log)!r}).open('a').write(f'{{os.getpid()}}\\n')")
    options, cells = prepared(tmp_path, policy=policy, seeds=range(5))
    with Interrupts() as interrupts:
        assert run_missing(cells, options, Unobserved(), interrupts)
    assert len(set(log.read_text().split())) == 5


def test_a_cell_whose_process_is_killed_is_carried_out_again(tmp_path):
    policy = own(
        tmp_path, f"p = pathlib.Path({str(tmp_path / 'once')!r}); p.exists() or (p.touch(), os.kill(os.getpid(), 9))"
    )
    options, cells = prepared(tmp_path, policy=policy)
    watcher = Watcher()
    with Interrupts() as interrupts:
        assert run_missing(cells, options, watcher, interrupts)
    assert all(is_complete(cell) for cell in cells)
    assert sorted(watcher.begun_cells) == sorted(watcher.ended_cells) == [1, 2, 3]


def test_a_cell_that_is_killed_each_time_fails(tmp_path):
    log = tmp_path / "log"
    policy = own(tmp_path, f"pathlib.Path({str(log)!r}).open('a').write('x'); os.kill(os.getpid(), 9)")
    options, cells = prepared(tmp_path, policy=policy, seeds=(7,))
    with (
        Interrupts() as interrupts,
        pytest.raises(CellFailed, match=r"Own, seed 7: its process, .* was killed 3 times"),
    ):
        run_missing(cells, options, Unobserved(), interrupts)
    assert log.read_text() == "x" * MOST_TRIES


def test_a_failure_ends_the_other_cells(tmp_path):
    """The second cell fails at once; the first would take long."""
    options, slow = prepared(tmp_path, SMALL.replace("duration: 20 s", "duration: 9000 s"), seeds=(1,))
    policy = own(tmp_path, "raise RuntimeError('oh')")
    _, failing = prepared(tmp_path, policy=policy, seeds=(2,))
    began_s = time.monotonic()
    with Interrupts() as interrupts, pytest.raises(CellFailed, match=r"Own, seed 2: .*oh"):
        run_missing([*slow, *failing], options, Unobserved(), interrupts)
    assert time.monotonic() - began_s < 20
    assert not is_complete(slow[0])


def test_an_open_pool_serves_several_calls(tmp_path):
    options, cells = prepared(tmp_path)
    with Interrupts() as interrupts, executor_for(options) as executor:
        for cell in cells:
            assert run_missing(missing_of([cell]), options, Unobserved(), interrupts, executor)
        children = psutil.Process().children(recursive=True)
    assert all(is_complete(cell) for cell in cells)
    own = [child for child in children if child.is_running() and "forkserver" in " ".join(cmdline(child))]
    assert len(own) <= 1  # the server process stays, for the next pool


def cmdline(process):
    try:
        return process.cmdline() if process.status() != psutil.STATUS_ZOMBIE else []
    except psutil.Error:
        return []


def test_an_interrupt_keeps_complete_cells_and_leaves_no_process(tmp_path):
    options, cells = prepared(tmp_path, LONG, seeds=range(4))
    with Interrupts() as interrupts:
        watcher = Watcher(lambda: os.kill(os.getpid(), signal.SIGINT))
        assert run_missing(cells, options, watcher, interrupts) is False
        assert interrupts.wanted
    workers = [child for child in psutil.Process().children(recursive=True) if "forkserver" in " ".join(cmdline(child))]
    assert len(workers) <= 1
    with Interrupts() as interrupts:
        assert run_missing(missing_of(cells), options, Unobserved(), interrupts)
    assert all(is_complete(cell) for cell in cells)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_to_the_command_end_it_cleanly(tmp_path, number):
    out = tmp_path / "out"
    code = "from cli.main import main; main()"
    words = ["compare", str(write(tmp_path, LONG)), "-p", "uniform", "-n", "9", "--simulate", "--out", str(out)]
    process = subprocess.Popen([sys.executable, "-c", code, *words], cwd=ROOT, stderr=subprocess.PIPE, text=True,
                               stdout=subprocess.DEVNULL, start_new_session=True)  # fmt: skip
    next(line for line in process.stderr if line.startswith("begins: "))
    time.sleep(1.0)
    children = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors, errors
    assert not psutil.wait_procs(children, timeout=15)[1]
