"""The lines of the monitors on the state of the emulation."""

import io

import pytest

from cli.watch.emulation import emulation_lines
from cli.watch.frame import draw
from cli.watch.plain import PlainObserver
from cli.watch.state import ViewState
from tests.cli.watched import big_scenario, emulation, play, scenario, texts

LATE = "12 % of the tasks were delayed by this machine (bound 5 %)"


def shown(told, width=120, height=24) -> list[str]:
    state = ViewState(clock=lambda: 0.0)
    state.fidelity(told)
    return ["".join(text for text, _ in line) for line in emulation_lines(state, width, height)]


def test_one_line_tells_how_it_stands():
    assert shown(emulation()) == [
        "emulation held  machine 63 % busy  waits 12 %  late timers 0.4 %, frames 0.1 %  worst path +0.4 ms  "
        "west-2 - near-1"
    ]


def test_a_narrow_terminal_gets_the_first_figures():
    line = shown(emulation(), width=80)[0]
    assert line == "emulation held  machine 63 % busy  waits 12 %  late timers 0.4 %, frames 0.1 %"
    assert shown(emulation(), width=10) == ["emulation held"]  # the frame crops it


def test_what_is_not_known_is_a_dash():
    assert "frames -" in shown(emulation(network=False))[0]


def test_lateness_is_shown_in_emulated_time():
    assert "+0.2 ms" in shown(emulation(time_scale=2.0))[0]


def test_the_gravest_reason_has_a_line_of_its_own_where_there_is_room():
    told = emulation("strained", LATE, "another")
    assert shown(told)[1] == f"  {LATE} (and 1 more)"
    assert shown(told)[0].startswith("emulation strained  machine")
    assert len(shown(told, height=12)) == 1
    narrow = shown(told, width=40)[1]
    assert len(narrow) <= 40
    assert narrow.endswith("… (and 1 more)")


def test_nothing_is_shown_before_anything_is_told():
    assert emulation_lines(ViewState(), 120, 40) == []


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40), (200, 60), (40, 10), (20, 3), (1, 1)])
@pytest.mark.parametrize("what", [scenario(), big_scenario()], ids=["small", "big"])
def test_it_stands_below_the_head_and_all_fits(what, width, height):
    state = ViewState(clock=lambda: 0.0)
    play(state, what)
    state.fidelity(emulation("broken", LATE))
    lines = texts(draw(state, width, height))
    assert len(lines) <= height
    assert all(len(line) <= width for line in lines)
    if height >= 10:
        assert lines[2].startswith("emulation broken")
    if height >= 24:
        assert "12 % of the tasks" in lines[3]
        assert any("delay p95" in line for line in lines)
        assert any("capacity-change" in line for line in lines)


def test_plain_lines_tell_a_change_and_the_state_with_the_progress():
    now_s, stream = 0.0, io.StringIO()
    observer = PlainObserver(stream, lambda: now_s)
    observer.started(scenario(), 10)
    observer.fidelity(emulation())
    observer.fidelity(emulation("strained", LATE))
    observer.fidelity(emulation("strained", LATE, "another"))
    now_s = 5.0
    observer.tick(5.0)
    observer.fidelity(emulation())
    assert stream.getvalue().splitlines()[1:] == [
        f"     0.0 s  emulation strained: {LATE}",
        "     5.0 s  0/10 completed, 0 lost, none completed lately, emulation strained, machine 63 % busy",
        "     5.0 s  emulation held",
    ]
