"""The story of a node: its content, and the errors that carry it."""

import re

import pytest

from node_agent.core.events import (
    ComputeFinished,
    Effect,
    Event,
    PlanningFinished,
    Received,
    Send,
    StartCompute,
    TaskArrived,
    TimerFired,
)
from node_agent.core.machine import UnexpectedEvent
from node_agent.core.story import LENGTH, MOST_CHARACTERS, Story, in_one_line
from node_agent.errors import log_entry
from node_agent.policies.checked import PolicyFailed
from node_agent.wire import Ack, Assignment, Offer, Task, Tensor, TensorForm
from tests.node_agent.virtual import World, three_stages

LINE = r" *-?\d+\.\d{6} [<>] [A-Z]\w+\(.*(\)|\.\.\.)"
FORM = TensorForm("float32", (1, 4, 8, 8))
TENSOR = Tensor(FORM, bytes(FORM.byte_count))
TASK = Task(7, "d1", 1, 3, 0.5, (), FORM)
TENSORS: list[Event | Effect] = [
    Received("d1", TASK, TENSOR, 0.5),
    Send("b1", "data", TASK, TENSOR),
    TaskArrived(7, 3, 0.5, TENSOR),
    ComputeFinished(1, 0.5, TENSOR, overrun=True, late_s=0.25, work_flop=2e6),
    StartCompute(TENSOR),
]


def story_of(error: BaseException) -> list[str]:
    """Return the lines of the story that an error carries."""
    (note,) = error.__notes__
    title, *lines = note.splitlines()
    assert title.startswith("The story of "), title
    assert lines
    assert all(re.fullmatch(LINE, line) for line in lines), lines
    return lines


def played(**options) -> World:
    world = three_stages(**options)
    world.run(10.0)
    return world


@pytest.mark.parametrize("what", TENSORS)
def test_a_tensor_is_shown_by_form_and_size_and_not_kept(what):
    story = Story("a1")
    if isinstance(what, Event):
        story.add(1.0, what, [])
    else:
        story.add(1.0, TimerFired(("sample",)), [what])
    assert story.lines()[-1].endswith(in_one_line(what))
    assert "float32 1x4x8x8 (1024 B)" in story.lines()[-1]
    kept = [each for _, event, effects in story._turns for each in (event, *effects)]
    tensors = [getattr(each, name) for each in kept for name in ("tensor", "activation") if hasattr(each, name)]
    assert [(tensor.form, tensor.data) for tensor in tensors] == [(FORM, b"")]


def test_an_event_is_shown_in_one_short_line():
    paths = tuple((float(number), (0.8,) * 5) for number in range(300))
    offer = Offer(1, 2, 3.0, paths, 4.0, done=False, last=True)
    line = in_one_line(Send("b1", "control", offer))
    assert line.startswith("Send(peer='b1', channel='control', message=Offer(slot=1, round=2, flow_per_s=3, paths=((")
    assert len(line) <= MOST_CHARACTERS + len("...")
    named = PlanningFinished({f"line\n{number}": Assignment(number, {"b": 1.0}, 0.8) for number in range(9)})
    assert "\n" not in in_one_line(named)
    assert in_one_line(PlanningFinished({str(n): Assignment(0, {}, None) for n in range(9)})).endswith("...")


def test_the_last_events_and_effects_are_kept_with_their_times_the_newest_last():
    world = played()
    core = world.nodes["a1"]
    lines = core.story.lines()
    assert len(lines) == LENGTH
    assert all(re.fullmatch(LINE, line) for line in lines), lines
    times_s = [float(line.split()[0]) for line in lines]
    assert times_s == sorted(times_s)
    effects = core.handle(Received("d1", Ack(1, 2, 3.0, 4)), 99.0)
    assert not effects
    core.handle(TimerFired(("sample",)), 99.5)
    ack, sample, timer, record = core.story.lines()[-4:]
    assert ack.endswith(" 99.000000 < Received(peer='d1', message=Ack(task_id=1, sequence=2, received_s=3, backlog=4, "
                        "work_s=None), tensor=None, received_s=None)")  # fmt: skip
    assert sample.endswith(" 99.500000 < TimerFired(key=('sample'))")
    assert timer.endswith(" 99.500000 > SetTimer(key=('sample'), at_s=100.5)")
    assert " 99.500000 > Publish(record=SampleRecord(time_s=99.5, node='a1'" in record


def test_without_a_story_nothing_else_changes():
    with_story, without = played(seed=4), three_stages(seed=4, debug=False)
    without.run(10.0)
    assert all(core.story is None for core in without.nodes.values())
    assert with_story.records == without.records
    assert with_story.all_completed


@pytest.mark.parametrize("node", ["d1", "a1"])
def test_an_unexpected_event_is_shown_in_one_short_line_with_the_story(node):
    core = played().nodes[node]
    event = ComputeFinished(1, 0.5, TENSOR, overrun=False) if node == "d1" else TaskArrived(7, 3, 0.5, TENSOR)
    with pytest.raises(UnexpectedEvent) as caught:
        core.handle(event, 20.0)
    assert str(caught.value) == f"{'device' if node == 'd1' else 'server'} {node} cannot handle {in_one_line(event)}"
    assert "float32 1x4x8x8 (1024 B)" in str(caught.value)
    lines = story_of(caught.value)
    assert len(lines) == LENGTH
    assert lines[-1] == f"{20:14.6f} < {in_one_line(event)}"


def test_what_a_part_of_the_node_raises_carries_the_story_with_the_effects_until_then(monkeypatch):
    world = played()

    def broken(*_, **__):
        raise RuntimeError("broken")

    core = world.nodes["d1"]
    monkeypatch.setattr(core.rounds, "start_slot", broken)
    with pytest.raises(RuntimeError, match=r"^broken\n") as caught:
        core.handle(TimerFired(("slot", 9)), 27.0)
    lines = story_of(caught.value)
    fired = lines.index(f"{27:14.6f} < TimerFired(key=('slot', 9))")
    assert lines[fired + 1] == f"{27:14.6f} > SetTimer(key=('slot', 10), at_s=30)"
    assert all(line.startswith(f"{27:14.6f} > ") for line in lines[fired + 1 :])
    entry = log_entry("d1", caught.value).splitlines()
    assert entry[0] == "--- d1"
    assert entry[1].startswith("Traceback")
    assert entry[-2:] == [lines[-1], "node d1: RuntimeError: broken"]


def test_what_a_policy_raises_carries_the_story(monkeypatch):
    world = played(policy="uniform")

    def leaves(*_):
        raise SystemExit(3)

    core = world.nodes["d1"]
    monkeypatch.setattr(core.routing.policy.unchecked, "start_slot", leaves)
    with pytest.raises(PolicyFailed) as caught:
        core.handle(TimerFired(("slot", 9)), 27.0)
    assert story_of(caught.value)[-1].startswith(f"{27:14.6f} > ")


def test_the_story_is_attached_once():
    core = played().nodes["d1"]
    with pytest.raises(UnexpectedEvent) as caught:
        core.handle(ComputeFinished(1, 0.5, None, overrun=False), 20.0)
    core.story.attach(caught.value)
    assert len(caught.value.__notes__) == 1
