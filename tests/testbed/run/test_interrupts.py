"""Ctrl-C, with real signals to a real process."""

import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from testbed.run.interrupts import Interrupts

pytestmark = [pytest.mark.timing, pytest.mark.company]

SIGNALS = [signal.SIGINT, signal.SIGTERM]

PROGRAM = """
import sys, time
from testbed.run.interrupts import Interrupts

def say(word):
    print(word, flush=True)

def last(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.005)

with Interrupts() as interrupts:
    interrupts.deferred = sys.argv[1] == "deferred"
    try:
        say("ready")
        last(20 if sys.argv[1] == "raising" else 0.4)
    except KeyboardInterrupt:
        say("raised")
    say(f"wanted={interrupts.wanted}")
    if sys.argv[2] == "clean-slowly":
        interrupts.deferred = True
        say("cleaning")
        last(20)
    say("clean")
"""


class Program:
    """Runs PROGRAM in a process of its own."""

    def __init__(self, *arguments):
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *arguments],
            cwd=Path(__file__).parents[3],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,  # select would not see bytes that were read ahead
        )

    def hear(self, timeout_s=10.0):
        assert select.select([self.process.stdout], [], [], timeout_s)[0]
        return self.process.stdout.readline().decode().strip()

    def rest(self):
        out, err = self.process.communicate(timeout=10)
        return out.decode().split(), err.decode(), self.process.returncode


@pytest.fixture
def run():
    programs = []

    def start(*arguments):
        programs.append(Program(*arguments))
        assert programs[-1].hear() == "ready"
        return programs[-1]

    yield start
    for program in programs:
        program.process.kill()
        program.process.wait()


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_raises(run, number):
    program = run("raising", "clean")
    program.process.send_signal(number)
    assert program.rest() == (["raised", "wanted=True", "clean"], "", 0)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_deferred_signal_only_flags(run, number):
    program = run("deferred", "clean")
    program.process.send_signal(number)
    assert program.rest() == (["wanted=True", "clean"], "", 0)


@pytest.mark.parametrize("second", SIGNALS)
@pytest.mark.parametrize("mode", ["raising", "deferred"])
def test_the_second_signal_leaves_at_once(run, mode, second):
    program = run(mode, "clean-slowly")
    program.process.send_signal(signal.SIGINT)
    while program.hear() != "cleaning":
        pass
    began_s = time.monotonic()
    program.process.send_signal(second)
    out, err, code = program.rest()
    assert (out, code) == ([], 130)
    assert "left at once; `dtoee-testbed clean` removes what remains" in err
    assert time.monotonic() - began_s < 2


def test_without_a_signal_nothing_is_wanted(run):
    assert run("deferred", "clean").rest() == (["wanted=False", "clean"], "", 0)


def test_the_handlers_of_before_come_back():
    before = [signal.getsignal(number) for number in SIGNALS]
    with Interrupts():
        assert signal.getsignal(signal.SIGINT) not in before
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_a_signal_raises_here_too():
    with pytest.raises(KeyboardInterrupt), Interrupts() as interrupts:
        os.kill(os.getpid(), signal.SIGTERM)
    assert interrupts.wanted


def test_the_outer_one_hears_what_the_inner_one_met():
    with Interrupts() as outer:
        outer.deferred = True
        with Interrupts() as inner:
            inner.deferred = True
            os.kill(os.getpid(), signal.SIGINT)
        assert inner.wanted
        assert outer.wanted
        outer.wanted = False  # the next signal would end this process
        with Interrupts():
            pass
        assert not outer.wanted
