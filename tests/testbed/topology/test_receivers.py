"""The receivers of devices that run stage 1 themselves, and the faults that such topologies can have."""

import pytest

from testbed.scenario import Server
from testbed.topology import TopologyError, load_topology_text, resolve_text
from testbed.topology.event_kinds.node_state import NodeChange
from testbed.topology.event_kinds.server_capacity import CapacityChange
from tests.testbed.onboard import PAIR, SHARED


def test_each_device_has_a_processor_that_only_it_uses() -> None:
    scenario = resolve_text(SHARED)
    assert scenario.node_names == (
        "cam-1", "cam-2", "plain", "post", "hub-1", "hub-2", "core", "cam-cpu-1", "cam-cpu-2",
    )  # fmt: skip
    assert scenario.own_processors == (
        Server("cam-cpu-1", 1, 0.1e9, 64 << 20, "cam-1"),
        Server("cam-cpu-2", 1, 0.1e9, 64 << 20, "cam-2"),
    )
    assert scenario.offload_to == {
        "cam-1": ("cam-cpu-1", "post"),
        "cam-2": ("cam-cpu-2", "post"),
        "plain": ("post",),
        "post": ("hub-1", "hub-2"),
        "hub-1": ("core",),
        "hub-2": ("core",),
        "cam-cpu-1": ("hub-1", "hub-2"),
        "cam-cpu-2": ("hub-1", "hub-2"),
    }
    places = scenario.place_of
    assert {name: place for name, place in places.items() if name != place} == {
        "cam-cpu-1": "cam-1", "cam-cpu-2": "cam-2",
    }  # fmt: skip
    assert tuple(places) == scenario.node_names


def test_a_single_device_may_be_all_of_stage_1() -> None:
    scenario = resolve_text(PAIR)
    assert scenario.offload_to == {"cam": ("cam-cpu",), "cam-cpu": ("hub",)}
    assert scenario.servers_of_stage(1) == (Server("cam-cpu", 1, 0.144e9, None, "cam"),)


def test_capacities_are_drawn_for_each_device() -> None:
    text = SHARED.replace("capacity: 0.1 GFLOP/s, memory", "capacity: 0.1..0.2 GFLOP/s, memory")
    first, second = resolve_text(text).own_processors
    assert 0.1e9 <= first.capacity_flop_per_s <= 0.2e9
    assert first.capacity_flop_per_s != second.capacity_flop_per_s
    more = resolve_text(text.replace("count: 2, rate: 3 /s", "count: 3, rate: 3 /s"))
    assert more.own_processors[:2] == (first, second)


@pytest.mark.parametrize(
    ("stated", "of_cam", "of_processor"),
    [
        ("cam: [post, hub-2]", ("cam-cpu-1", "post"), ("hub-2",)),
        ("cam: [hub]", ("cam-cpu-1",), ("hub-1", "hub-2")),
        ("cam: [hub-1], cam-1: [hub-2, post]", ("cam-cpu-1", "post"), ("hub-2",)),
    ],
)
def test_a_devices_list_is_divided_between_it_and_its_processor(stated, of_cam, of_processor) -> None:
    scenario = resolve_text(f"{SHARED}offload: {{{stated}}}\n")
    assert (scenario.offload_to["cam-1"], scenario.offload_to["cam-cpu-1"]) == (of_cam, of_processor)
    assert scenario.offload_to["post"] == ("hub-1", "hub-2")


def test_with_one_stage_nothing_is_handed_on() -> None:
    text = PAIR.replace("cut: [2, 5]", "cut: [5]").replace("stage: 2", "stage: 1")
    assert resolve_text(text).offload_to == {"cam": ("cam-cpu", "hub")}
    assert resolve_text(f"{text}offload: {{cam: [hub]}}\n").offload_to == {"cam": ("cam-cpu", "hub")}


def test_events_may_name_processors() -> None:
    events = """
events:
  - {at: 4 s, server: cam-cpu, capacity: x0.5}
  - {at: 5 s, node: cam-cpu-2, state: down}
  - {at: 6 s, node: cam, state: down}
  - {at: 8 s, node: cam, state: up}
"""
    found = resolve_text(SHARED + events).events
    assert found[:3] == (
        CapacityChange(4.0, "cam-cpu-1", 0.05e9),
        CapacityChange(4.0, "cam-cpu-2", 0.05e9),
        NodeChange(5.0, "cam-cpu-2", up=False),
    )
    down = [event.node for event in found[3:] if event.at_s == 6.0 and isinstance(event, NodeChange)]
    assert down == ["cam-1", "cam-cpu-1", "cam-2"], "the processor of cam-2 is down already"
    up = [event.node for event in found if event.at_s == 8.0 and isinstance(event, NodeChange) and event.up]
    assert up == ["cam-1", "cam-cpu-1", "cam-2", "cam-cpu-2"], "all of a device comes up"


@pytest.mark.parametrize(
    ("old", "new", "said", "advised"),
    [
        ("runs: 1", "runs: 2", "`runs`: a device can run stage 1 only, not '2'", "runs: 1"),
        ("runs: 1", "runs: true", "a device can run stage 1 only, not 'True'", "runs: 1"),
        ("runs: 1", "runs: ", "`runs`: the value is missing", ""),
        ("runs: 1, capacity: 0.1 GFLOP/s, memory: 64 MiB", "runs: 1", "needs the capacity of its processor", "0.1"),
        ("runs: 1, ", "", "a device without `runs` has no processor, and so no capacity", "add runs: 1"),
        ("memory: 64 MiB", "memory: 1 kB", "device cam: its sub-model needs", "more memory"),
        ("servers:\n", "servers:\n  cam-cpu: {stage: 1, capacity: 1 GFLOP/s}\n", "'cam-cpu' is used in line", "rename"),
        ("switches:", "offload: {cam: [post]}\nswitches:", "no server of stage 2, to which 'cam-cpu-1' hands", "hub-1"),
        ("switches:", "offload: {cam: [core, hub]}\nswitches:", "'core' is not a server of stage 1 or 2", "hub-1"),
        ("switches:", "offload: {cam-1: [cam-cpu, hub]}\nswitches:", "own processor of 'cam-1'", "leave it out"),
        ("switches:", "offload: {cam-cpu: [hub]}\nswitches:", "own processor of 'cam-1'", "in the list of 'cam-1'"),
        ("[cam, plain], to", "[cam-cpu, cam, plain], to", "'cam-cpu-1' is an own processor", "its device, 'cam-1'"),
        ("name: shared", "name: shared\nevents: [{at: 1 s, node: cam-1, state: down}, "
         "{at: 2 s, node: cam-cpu-1, state: up}]", "'cam-cpu-1' is a part of 'cam-1'", "comes up with"),
    ],
)  # fmt: skip
def test_faults(old, new, said, advised) -> None:
    text = SHARED.replace(old, new, 1)
    assert text != SHARED
    with pytest.raises(TopologyError) as caught:
        load_topology_text(text).resolve()
    found = [(problem.message, problem.hint) for problem in caught.value.problems]
    assert any(said in message and advised in hint for message, hint in found), found


def test_a_processor_must_reach_stage_2() -> None:
    """The links of its device do not lead there."""
    text = SHARED.replace("- {from: access, to: [post, hub],", "- {from: access, to: post,").replace(
        "links:\n", "links:\n  - {from: post, to: hub, rate: 1 Mbit/s, delay: 1 ms}\n"
    )
    with pytest.raises(TopologyError) as caught:
        load_topology_text(text).resolve()
    (problem, *_) = caught.value.problems
    assert problem.message == "'cam-cpu-1' reaches no server of stage 2"
    assert problem.hint.startswith("link 'cam-1' to one")
