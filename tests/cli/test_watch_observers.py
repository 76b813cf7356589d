import io
import os
import pty
import re
import threading
import time

import pytest

from cli.watch import make_observer
from cli.watch.plain import PlainObserver
from testbed.run.observer import SilentObserver
from tests.cli.watched import completed, event, lost, play, sample, scenario
from tests.testbed.record.task_lines import task_line

pytestmark = [pytest.mark.timing, pytest.mark.company]


class Clock:
    def __init__(self):
        self.now_s = 100.0

    def __call__(self):
        return self.now_s


class Terminal:
    """A pseudo-terminal that keeps everything written to it."""

    def __init__(self):
        self._master, slave = pty.openpty()
        self.stream = os.fdopen(slave, "w", encoding="utf-8")
        self._heard: list[bytes] = []
        self._listener = threading.Thread(target=self._listen)
        self._listener.start()

    def _listen(self):
        while True:
            try:
                self._heard.append(os.read(self._master, 65536))
            except OSError:  # the other side was closed
                return

    def close(self) -> str:
        self.stream.close()
        self._listener.join()
        os.close(self._master)
        return b"".join(self._heard).decode()


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("LINES", "30")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return Terminal()


def test_plain_lines_tell_the_progress_of_a_phase_once_a_second_at_most():
    stream, clock = io.StringIO(), Clock()
    observer = PlainObserver(stream, clock)
    observer.phase("building")
    for done in range(10):
        clock.now_s += 0.25
        observer.progress("links", done + 1, 350)
    observer.phase("starting")
    clock.now_s += 0.5
    observer.progress("agents ready", 65, 65)
    lines = [line.split("s  ")[-1] for line in stream.getvalue().splitlines()]
    assert lines[0] == "set-up: building"
    assert lines[1:-1] == ["set-up: building: links: 4 of 350", "set-up: building: links: 8 of 350"]
    assert lines[-1] == "set-up: starting"


def test_plain_lines_have_the_share_in_time_if_there_are_deadlines():
    stream, clock = io.StringIO(), Clock()
    observer = PlainObserver(stream, clock)
    observer.started(scenario(), 1080)
    for number, delay_s in enumerate((0.1, 0.3, None)):
        observer.task(task_line(number, created_s=7.0, delay_s=delay_s, deadline_s=0.2))
    clock.now_s += 5.0
    observer.tick(8.0)
    assert "2/1080 completed, 1 lost, 33.3 % in time, mean 200 ms" in stream.getvalue()


def test_plain_lines_tell_set_up_events_and_progress():
    stream, clock = io.StringIO(), Clock()
    observer = PlainObserver(stream, clock)
    observer.phase("building the network")
    clock.now_s += 1.5
    observer.phase("loading the model")
    observer.started(scenario(), 1080)
    observer.task(completed(1, 1.0, 0.1))
    observer.task(completed(2, 2.0, 0.3, correct=False))
    observer.task(lost(3))
    observer.task(lost(4, "refused"))
    observer.event(event("node-down", "near-2", "agent killed", 3.25))
    observer.tick(4.9)
    clock.now_s += 5.0
    observer.tick(5.0)
    observer.tick(5.1)
    observer.phase("ending")
    assert stream.getvalue().splitlines() == [
        "     0.0 s  set-up: building the network",
        "     1.5 s  set-up: loading the model",
        "     0.0 s  start: demo under dto-ee, 11 nodes, 60 s, 1080 tasks",
        "     3.2 s  node-down: near-2: agent killed",
        "     5.0 s  2/1080 completed, 1 lost, 1 refused, mean 200 ms, p95 300 ms, accuracy 50.0 %",
        "     5.1 s  ending",
    ]


def test_plain_lines_hold_no_control_codes():
    stream = io.StringIO()
    observer = PlainObserver(stream)
    play(observer, scenario())
    observer.event(event("foreign-message", "near-1", "\x1b[31m\rroot\x07"))
    lines = stream.getvalue().split("\n")  # and not at a carriage return, which is one of them
    assert "root" in lines[-2]
    assert all(line.isprintable() for line in lines)


def test_auto_means_lines_for_a_file(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    with make_observer("auto", io.StringIO()) as observer:
        assert isinstance(observer, PlainObserver)


def test_auto_means_lines_for_a_dumb_terminal(terminal, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    with make_observer("auto", terminal.stream) as observer:
        assert isinstance(observer, PlainObserver)
    terminal.close()


def test_off_says_nothing():
    stream = io.StringIO()
    with make_observer("off", stream) as observer:
        assert isinstance(observer, SilentObserver)
        play(observer, scenario())
    assert stream.getvalue() == ""


def test_the_live_view_draws_by_itself_and_cleans_up(terminal):
    drawn = threading.Event()
    with make_observer("auto", terminal.stream) as observer:
        play(observer, scenario())
        drawn.wait(0.6)  # as busy as an experiment: only the view's own thread goes on
    shown = terminal.close()
    assert "slot 6" in shown
    assert "\x1b[?1049h" not in shown  # never on the terminal's other screen
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")  # the cursor can be seen
    lines_up = [int(count) for count in re.findall(r"\x1b\[(\d+)A", shown)] or [shown.count("\x1b[1A")]
    assert sum(lines_up) > 10  # back to where it began


def test_the_live_view_rests_while_only_the_clock_goes_on(terminal):
    with make_observer("rich", terminal.stream) as observer:
        play(observer, scenario())
        before_s = time.monotonic()
        while (passed_s := time.monotonic() - before_s) < 2.2:
            observer.sample(sample("near-1", 1))
            observer.tick(20.0 + passed_s)
            time.sleep(0.05)
        took_s = time.monotonic() - before_s
    shown = terminal.close()
    assert 1 <= shown.count("tasks completed") <= took_s + 3  # one a second, and those for earlier changes


def test_what_happens_is_drawn_soon_after_a_rest(terminal):
    with make_observer("rich", terminal.stream) as observer:
        play(observer, scenario())
        time.sleep(0.6)  # drawn, and at rest
        observer.event(event("node-down", "core-1", "just now"))
        time.sleep(0.9)
    assert "just now" in terminal.close()


def test_no_color_is_honoured(terminal, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    with make_observer("rich", terminal.stream) as observer:
        play(observer, scenario())
        threading.Event().wait(0.6)
    shown = terminal.close()
    assert "tasks completed" in shown
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", shown)


def test_a_failure_of_the_run_passes_through(terminal):
    with pytest.raises(RuntimeError, match="the run broke"), make_observer("rich", terminal.stream):
        raise RuntimeError("the run broke")
    terminal.close()
    assert "monitor" not in {thread.name for thread in threading.enumerate()}
