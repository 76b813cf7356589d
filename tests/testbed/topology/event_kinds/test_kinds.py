"""Every kind of timed event is found, documented and worded, and does the same live and simulated."""

import inspect
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from pydantic import TypeAdapter

from testbed.live.running import LiveRun
from testbed.scenario import ChangingRun, LinkShape
from testbed.simulation.simulator import SimulatedRun
from testbed.topology import event_kinds, load_topology_text
from testbed.topology.event_kinds.device_rate import DeviceEvent, RateChange
from testbed.topology.event_kinds.link_shape import LinkChange, LinkEvent
from testbed.topology.event_kinds.node_state import NodeChange, NodeEvent
from testbed.topology.event_kinds.registry import KINDS, AnyTimedEntry, kind_of
from testbed.topology.event_kinds.server_capacity import CapacityChange, ServerEvent

PAGE = (Path(__file__).parents[4] / "docs/topologies.md").read_text(encoding="utf-8")
FAST, SLOW = LinkShape(50.0, 0.005), LinkShape(5.0, 0.02)
EVENTS = [
    LinkChange(1.0, ("a", "b"), SLOW),
    LinkChange(1.0, ("a", "b"), SLOW, sender="b"),
    CapacityChange(1.0, "s", 2.345678e8),
    RateChange(1.0, "d", 4.0),
    NodeChange(1.0, "s", up=False),
    NodeChange(1.0, "s", up=True),
]


class Noted:
    """A run that records its changes by events."""

    def __init__(self):
        self.shapes, self.capacities, self.switched = {}, {}, {}

    def change_link(self, ends, shape, *, sender=None):
        for direction in (ends, ends[::-1]):
            if sender in (None, direction[0]):
                self.shapes[direction] = shape

    def set_capacity(self, server, capacity_flop_per_s):
        self.capacities[server] = capacity_flop_per_s

    def switch(self, node, *, up):
        self.switched[node] = up


def scenario(events=None):
    """The example of docs/topologies.md, which states every kind; or with other events."""
    block = PAGE[PAGE.index("name: example") :]
    text = block[: block.index("```")]
    if events is not None:
        text = text[: text.index("events:")] + "\n".join(["events:", *(f"  - {event}" for event in events)])
    return load_topology_text(text, "docs/topologies.md").resolve()


def test_all_kinds_are_found_in_their_order():
    assert [kind for kind in KINDS if not kind.marks] == [DeviceEvent, ServerEvent, LinkEvent, NodeEvent]
    rooms = {Path(kind.__module__.replace(".", "/")).name for kind in KINDS}
    modules = {path.stem for path in Path(event_kinds.__path__[0]).glob("*.py")}
    assert modules - rooms == {"__init__", "kind", "registry"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_is_documented_by_an_example_of_it(kind):
    assert f"\n  - {kind.example}" in PAGE
    stated = yaml.safe_load(kind.example)
    assert kind_of(stated) is kind
    read = TypeAdapter(AnyTimedEntry).validate_python(stated)
    assert type(read) is kind
    assert TypeAdapter(AnyTimedEntry).validate_python(read) == read


def test_an_entry_about_two_subjects_or_none_is_of_no_kind():
    assert kind_of({"at": "5 s"}) is kind_of({"server": "a", "node": "a"}) is kind_of([]) is None


@pytest.mark.parametrize("event", [*EVENTS, *scenario().events], ids=lambda event: event.in_words())
def test_what_an_event_does_is_what_it_says(event):
    run = Noted()
    event.apply(run)
    assert run.shapes == event.shapes
    assert run.capacities == event.capacities_flop_per_s
    assert run.switched == event.switched
    made = (event.shapes, event.capacities_flop_per_s, event.rates_per_s, event.switched)
    assert sum(map(bool, made)) == 1


@pytest.mark.parametrize("run", [LiveRun, SimulatedRun])
def test_both_runs_can_do_all_that_events_ask(run):
    asked = [name for name in vars(ChangingRun) if not name.startswith("_")]
    assert len(asked) >= 3
    for name in asked:
        assert inspect.signature(getattr(run, name)) == inspect.signature(getattr(ChangingRun, name))


def test_every_line_is_of_a_kind_that_is_known():
    told = {event.told()[1] for event in (*EVENTS, *scenario().events)}
    assert told == {kind for form in KINDS for kind in form.told_as}


@pytest.mark.parametrize(
    ("event", "told", "words"),
    [
        (EVENTS[0], (None, "link-change", "a - b: 5 Mbit/s, 20 ms"), "a - b: 5 Mbit/s, 20 ms"),
        (EVENTS[1], (None, "link-change", "b -> a: 5 Mbit/s, 20 ms"), "b -> a: 5 Mbit/s, 20 ms"),
        (EVENTS[2], ("s", "capacity-change", "0.234568 GFLOP/s"), "s: 0.235 GFLOP/s"),
        (EVENTS[3], ("d", "rate-change", "offers 4 tasks/s"), "d: 4 tasks/s"),
        (EVENTS[4], ("s", "node-down", "agent killed"), "s down"),
        (EVENTS[5], ("s", "node-up", "agent started"), "s up"),
    ],
)
def test_events_are_told_in_words(event, told, words):
    assert event.told() == told
    assert event.in_words() == words


@pytest.mark.parametrize(
    ("stated", "words"),
    [
        ("rate: 2 Mbit/s", "2 Mbit/s, 1 ms"),
        ("delay: 30 ms", "100 Mbit/s, 30 ms"),
        ("jitter: 0.5 ms", "100 Mbit/s, 1 ms, jitter 0.5 ms"),
        ("loss: 99 %", "100 Mbit/s, 1 ms, loss 99 %"),
        ("loss: 0 %", "100 Mbit/s, 1 ms, loss 0 %"),
        ("queue: 20", "100 Mbit/s, 1 ms, queue of 20 frames"),
        (
            "queue: 1, loss: 7 %, jitter: 2 ms, delay: x2, rate: x0.5",
            "50 Mbit/s, 2 ms, jitter 2 ms, loss 7 %, queue of 1 frame",
        ),
    ],
)
def test_a_link_event_names_every_quantity_that_it_states(stated, words):
    (change,) = scenario([f"{{at: 5 s, link: [access, near-2], {stated}}}"]).events
    assert change.in_words() == change.told()[2] == f"access - near-2: {words}"


def test_only_steps_of_traces_are_traced():
    assert [event.traced for event in EVENTS] == [False] * len(EVENTS)
    assert replace(EVENTS[0], traced=True).traced
