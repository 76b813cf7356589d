"""Stopped processes are found by their state."""

import os
import signal
import subprocess
import sys
import time

import pytest

from testbed.expectation import Stall
from testbed.live.stopped_processes import StoppedProcesses


@pytest.fixture
def sleeper():
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process
    process.kill()
    process.wait()


def until_state(pid: int, letter: str) -> None:
    deadline_s = time.monotonic() + 5
    while time.monotonic() < deadline_s:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:
            if stat.read().rpartition(")")[2].split()[0] == letter:
                return
        time.sleep(0.005)
    raise AssertionError(f"never in state {letter}")


def test_a_stopped_process_is_told_once_and_its_time_is_kept(sleeper):
    standing = StoppedProcesses(lambda: {"hub": sleeper.pid, "gone": 2**22 - 1})
    until_state(sleeper.pid, "S")
    assert standing.look(1.0) == []
    os.kill(sleeper.pid, signal.SIGSTOP)
    until_state(sleeper.pid, "T")
    assert standing.look(2.0) == ["hub"]
    assert standing.look(3.0) == []
    assert standing.stalls == [Stall("hub", 1.0, 3.0)]
    os.kill(sleeper.pid, signal.SIGCONT)
    until_state(sleeper.pid, "S")
    assert standing.look(4.0) == []
    assert standing.stalls == [Stall("hub", 1.0, 4.0)]
    assert standing.look(9.0) == []
    assert standing.stalls == [Stall("hub", 1.0, 4.0)]
