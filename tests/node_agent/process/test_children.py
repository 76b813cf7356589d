"""Forked children end with their parent, print their errors, and are collected when they are ended."""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from node_agent.process.children import PipedChild, ProcessHandle, answer_of_child, end_child, fork

ROOT = Path(__file__).parents[3]


def status_of(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_child_ends_with_the_status_it_returns():
    assert status_of(fork(lambda: 7)) == 7


def test_a_child_that_raises_says_so_and_ends_with_1(capfd):
    pid = fork(lambda: 1 // 0)
    assert status_of(pid) == 1
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_buffered_text_is_written_once(capfd):
    sys.stderr.write("half a line")
    status_of(fork(lambda: 0))
    sys.stderr.flush()
    assert capfd.readouterr().err == "half a line"


def test_a_child_ends_when_its_parent_is_killed():
    """The grandchild holds no pipe that could close, so only the kernel can end it."""
    code = (
        "import os, time; from node_agent.process.children import fork\n"
        "print(fork(lambda: time.sleep(60) or 0), flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT) as parent:
        watched = os.pidfd_open(int(parent.stdout.readline()))
        parent.kill()
        ended = select.select([watched], [], [], 10)[0]
        os.close(watched)
    assert ended


def test_a_child_with_another_parent_than_stated_ends_before_its_work(capfd):
    pid = fork(lambda: print("at work", flush=True) or 3, parent=os.getppid())
    assert status_of(pid) == 0
    assert capfd.readouterr().out == ""


def test_an_ended_child_is_gone_and_reaped():
    reader, writer = os.pipe()
    pid = fork(lambda: len(os.read(reader, 1)))
    end_child(pid)
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, 0)
    os.close(reader)
    os.close(writer)


def test_the_answer_of_a_child_is_what_it_returns_and_empty_if_it_failed(capfd):
    assert answer_of_child(lambda: f"{os.getpid() != os.getppid()} ä\nb") == "True ä\nb"
    assert answer_of_child(lambda: str(1 // 0)) == ""
    assert "ZeroDivisionError" in capfd.readouterr().err
    descriptors = os.listdir("/proc/self/fd")
    answer_of_child(lambda: "")
    assert len(os.listdir("/proc/self/fd")) == len(descriptors)


def test_a_piped_child_serves_until_the_pipe_closes_and_keeps_silent_then(capfd):
    def serve(pipe):
        while True:
            pipe.send_bytes(pipe.recv_bytes()[::-1])

    child = PipedChild(serve)
    child.pipe.send_bytes(b"abc")
    assert child.pipe.recv_bytes() == b"cba"
    child.pipe.close()
    assert status_of(child.pid) == 0
    assert capfd.readouterr().err == ""


def test_closing_ends_a_piped_child_that_does_not_read():
    child = PipedChild(lambda _pipe: signal.pause())
    child.close()
    with pytest.raises(ProcessLookupError):
        os.kill(child.pid, 0)


def test_a_handle_kills_a_process_and_waits_for_its_end():
    process = subprocess.Popen(["sleep", "100"])
    with ProcessHandle(process.pid) as handle:
        assert not handle.wait_ended(0.0)
        handle.kill()
        assert handle.wait_ended(10)
        assert process.wait() == -signal.SIGKILL
        handle.kill()  # no error if it has ended
    with pytest.raises(ProcessLookupError):
        ProcessHandle(process.pid)
