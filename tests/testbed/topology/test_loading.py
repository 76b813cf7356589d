"""From topology text to a scenario: expansion, draws, defaults, overrides, events."""

import json
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from node_agent.errors import InputError
from testbed.scenario import CapacityChange, Device, LinkChange, LinkShape, NodeChange, Scenario
from testbed.topology import (
    TopologyError,
    load_topology,
    load_topology_text,
    resolve_text,
    topology_json_schema,
    topology_json_schema_text,
)

TOPOLOGIES = Path(__file__).parents[3] / "topologies"

SMALL = """\
name: small
model: {name: glyphs, cut: [3, 5]}
policy: dto-ee
devices:
  cam: {count: 3, rate: 2..4 /s}
servers:
  near: {stage: 1, count: 2, capacity: 0.3..0.6 GFLOP/s, memory: 512 MiB}
  core: {stage: 2, capacity: 2 GFLOP/s}
links:
  - {from: cam, to: near, rate: 20 Mbit/s, delay: 2..10 ms, jitter: 0.2 ms, loss: 0.1 %, queue: 200}
  - {from: near, to: core, rate: 10..50 Mbit/s, delay: 5 ms}
"""


def shape_of(scenario: Scenario, *ends: str) -> LinkShape:
    """The shape of the link with these ends, in the order of the file."""
    return next(link.shape for link in scenario.links if link.ends == ends)


def test_expands_groups_in_the_order_of_the_file() -> None:
    scenario = resolve_text(SMALL)
    assert scenario.node_names == ("cam-1", "cam-2", "cam-3", "near-1", "near-2", "core")
    assert [server.stage for server in scenario.servers] == [1, 1, 2]
    assert [server.memory_bytes for server in scenario.servers] == [512 * 2**20, 512 * 2**20, None]
    assert [link.ends for link in scenario.links][:3] == [("cam-1", "near-1"), ("cam-1", "near-2"), ("cam-2", "near-1")]
    assert len(scenario.links) == 8
    assert scenario.stages == 2


def test_fills_in_the_defaults() -> None:
    scenario = resolve_text(SMALL)
    assert (scenario.duration_s, scenario.warm_up_s, scenario.slot_s) == (60.0, 6.0, 5.0)
    assert (scenario.seed, scenario.time_scale, scenario.theta_s) == (1, 1.0, 2.0)
    assert (scenario.compute, scenario.arrivals, scenario.model.activation) == ("paced", "poisson", "float32")
    assert (scenario.policy.name, dict(scenario.policy.parameters)) == ("dto-ee", {})
    assert scenario.switches == ()
    assert scenario.events == ()
    assert shape_of(scenario, "near-1", "core").jitter_s == 0.0
    assert shape_of(scenario, "near-1", "core").queue_packets == 1000


def test_every_member_draws_its_own_value_from_the_range() -> None:
    scenario = resolve_text(SMALL)
    rates = [device.rate_per_s for device in scenario.devices]
    assert len(set(rates)) == 3
    assert all(2 <= rate <= 4 for rate in rates)
    capacities = [server.capacity_flop_per_s for server in scenario.servers_of_stage(1)]
    assert len(set(capacities)) == 2
    assert all(0.3e9 <= capacity <= 0.6e9 for capacity in capacities)
    delays = [link.shape.delay_s for link in scenario.links if link.ends[1] != "core"]
    assert len(set(delays)) == 6
    assert all(0.002 <= delay <= 0.01 for delay in delays)


def test_a_draw_hangs_on_seed_and_name_alone() -> None:
    scenario = resolve_text(SMALL)
    larger = resolve_text(
        SMALL.replace("count: 3", "count: 4")
        .replace("devices:\n", "devices:\n  tv: {rate: 1..9 /s}\n")
        .replace("from: cam,", "from: [tv, cam],")
    )
    assert set(scenario.devices) < set(larger.devices)
    assert set(scenario.servers) == set(larger.servers)
    assert set(scenario.links) < set(larger.links)
    assert resolve_text(SMALL, seed=2).devices != scenario.devices
    assert resolve_text(SMALL) == scenario
    # Fixed for good: published runs name their seed and must stay repeatable.
    assert scenario.devices[0] == Device("cam-1", pytest.approx(2.1554010768431318, rel=1e-12))


def test_the_drawn_values_fill_the_range_evenly() -> None:
    text = SMALL.replace("count: 3", "count: 2000")
    rates = sorted(device.rate_per_s for device in resolve_text(text).devices)
    # Kolmogorov's distance to the even distribution on 2..4; 1.95 / sqrt(n) is passed with probability 0.999.
    distance = max(abs((rate - 2) / 2 - rank / 2000) for rank, rate in enumerate(rates))
    assert distance < 1.95 / 2000**0.5


def test_offloads_to_the_next_stage_through_switches_only() -> None:
    scenario = resolve_text(SMALL)
    assert scenario.offload_to == {
        **{f"cam-{number}": ("near-1", "near-2") for number in (1, 2, 3)},
        "near-1": ("core",),
        "near-2": ("core",),
    }
    behind = SMALL.replace("links:", "switches: [access, core-sw]\nlinks:").replace(
        "  - {from: cam, to: near,",
        "  - {from: access, to: core-sw, rate: 1 Gbit/s, delay: 0 ms}\n"
        "  - {from: near, to: core-sw, rate: 1 Gbit/s, delay: 0 ms}\n"
        "  - {from: cam, to: access,",
    )
    switched = resolve_text(behind)
    assert switched.switches == ("access", "core-sw")
    assert switched.offload_to == scenario.offload_to


def test_stated_receivers_take_the_place_of_the_default() -> None:
    text = SMALL + "offload: {cam-2: [near-2], cam: [near], cam-1: [near-1]}\n"
    offload_to = resolve_text(text).offload_to
    assert offload_to["cam-1"] == ("near-1",)
    assert offload_to["cam-2"] == ("near-2",)
    assert offload_to["cam-3"] == ("near-1", "near-2")
    assert offload_to["near-1"] == ("core",)


def test_a_more_specific_later_entry_overrides_a_group_entry() -> None:
    text = SMALL + (
        "  - {from: cam-1, to: near, rate: 7 Mbit/s, delay: 7 ms}\n"
        "  - {from: near-2, to: cam-1, rate: 5 Mbit/s, delay: 30 ms}\n"
    )
    scenario = resolve_text(text)
    assert len(scenario.links) == 8
    assert shape_of(scenario, "cam-1", "near-1") == LinkShape(7.0, 0.007)
    assert shape_of(scenario, "near-2", "cam-1") == LinkShape(5.0, 0.03)
    assert shape_of(scenario, "cam-2", "near-1") == shape_of(resolve_text(SMALL), "cam-2", "near-1")


def test_an_entry_that_swaps_the_ends_draws_the_same_link() -> None:
    swapped = SMALL.replace("from: cam, to: near", "from: near, to: cam")
    assert shape_of(resolve_text(swapped), "near-1", "cam-1") == shape_of(resolve_text(SMALL), "cam-1", "near-1")


def test_policy_parameters_take_quantities() -> None:
    text = SMALL.replace(
        "policy: dto-ee", "policy: {name: dto-ee, parameters: {stop_gap: 1 %, adapt_thresholds: no-no}}"
    )
    with pytest.raises(TopologyError, match="adapt_thresholds"):
        load_topology_text(text)
    scenario = resolve_text(text.replace("no-no", "false"))
    assert scenario.policy.parameters == {"stop_gap": 0.01, "adapt_thresholds": False}


def test_events_are_sorted_and_complete() -> None:
    text = SMALL.replace("cam: {count: 3, rate: 2..4 /s}", "cam: {count: 1, rate: 3 /s}") + (
        "events:\n"
        "  - {at: 75 %, server: near-1, capacity: x1}\n"
        "  - {at: 50 %, server: near, capacity: x0.5}\n"
        "  - {at: 10 s, link: [near-1, cam-1], rate: 2 Mbit/s, loss: 1 %}\n"
        "  - {at: 20 s, link: [cam-1, near-1], rate: x1, queue: 50}\n"
        "  - {at: 30 s, node: near-2, state: down}\n"
        "  - {at: 31 s, server: near-2, capacity: 1 GFLOP/s}\n"
        "  - {at: 0 %, node: cam-1, state: down}\n"
        "  - {at: 40 s, node: near-2, state: up}\n"
    )
    scenario = resolve_text(text)
    base = shape_of(scenario, "cam-1", "near-1")
    first, second = (server.capacity_flop_per_s for server in scenario.servers_of_stage(1))
    assert scenario.events == (
        NodeChange(0.0, "cam-1", up=False),
        LinkChange(10.0, ("cam-1", "near-1"), LinkShape(2.0, base.delay_s, base.jitter_s, 0.01, 200)),
        LinkChange(20.0, ("cam-1", "near-1"), LinkShape(20.0, base.delay_s, base.jitter_s, 0.01, 50)),
        CapacityChange(30.0, "near-1", first / 2),
        CapacityChange(30.0, "near-2", second / 2),
        NodeChange(30.0, "near-2", up=False),
        CapacityChange(31.0, "near-2", 1e9),
        NodeChange(40.0, "near-2", up=True),
        CapacityChange(45.0, "near-1", first),
    )


def test_arguments_take_the_place_of_what_the_file_states() -> None:
    topology = load_topology_text(
        SMALL.replace("policy: dto-ee", "policy: {name: dto-ee, parameters: {threshold: 0.7}}")
        + "events: [{at: 50 %, server: core, capacity: x0.5}]\n"
    )
    scenario = topology.resolve(seed=9, duration_s=10.0, policy="computing-first")
    assert (scenario.seed, scenario.duration_s, scenario.warm_up_s) == (9, 10.0, 1.0)
    assert scenario.events[0].at_s == 5.0
    # Parameters belong to the policy that they were written for.
    assert (scenario.policy.name, dict(scenario.policy.parameters)) == ("computing-first", {})
    assert dict(topology.resolve(policy="dto-ee").policy.parameters) == {"threshold": 0.7}


def test_impossible_arguments_are_refused() -> None:
    topology = load_topology_text(SMALL + "events: [{at: 30 s, server: core, capacity: x0.5}]\n")
    with pytest.raises(TopologyError, match=r"topology.yaml:12:15: the event at 30 s"):
        topology.resolve(duration_s=20.0)
    for arguments in ({"duration_s": 0.0}, {"duration_s": float("nan")}, {"seed": -1}, {"policy": "dto-e"}):
        with pytest.raises(InputError) as caught:
            topology.resolve(**arguments)
        assert caught.value.hint


def test_an_unreadable_file_is_an_input_error(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent.yaml"):
        with pytest.raises(InputError, match="cannot be read"):
            load_topology(path)
    odd = tmp_path / "odd.yaml"
    odd.write_bytes(b"name: caf\xe9\n")
    with pytest.raises(TopologyError, match=r"odd.yaml:1:10: not UTF-8"):
        load_topology(odd)
    odd.write_bytes(b"#" * (2 << 20))
    with pytest.raises(TopologyError, match="longer than 1 MiB"):
        load_topology(odd)
    with pytest.raises(TopologyError, match="longer than 1 MiB"):
        load_topology("/dev/zero")
    odd.write_bytes(b"\xef\xbb\xbf" + SMALL.encode())
    assert load_topology(odd).resolve().name == "small"


@pytest.mark.parametrize("path", sorted(TOPOLOGIES.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_shipped_topologies_are_sound(path: Path) -> None:
    topology = load_topology(path)
    assert topology.resolve().name == path.stem
    assert topology.text.count("\n# What it shows: ") == 1


def test_quickstart_is_the_scenario_that_it_says_it_is() -> None:
    scenario = load_topology(TOPOLOGIES / "quickstart.yaml").resolve()
    assert [len(scenario.servers_of_stage(stage)) for stage in (1, 2, 3)] == [3, 3, 2]
    assert len(scenario.devices) == 6
    work_flop, share = (14.35e6, 8.65e6, 25.83e6), (1.0, 0.6, 0.4)
    offered = sum(device.rate_per_s for device in scenario.devices)
    for stage in (1, 2, 3):
        capacities = [server.capacity_flop_per_s for server in scenario.servers_of_stage(stage)]
        assert max(capacities) <= 3 * min(capacities)
        assert 0.35 < offered * share[stage - 1] * work_flop[stage - 1] / sum(capacities) < 0.6


def test_the_schema_file_is_up_to_date() -> None:
    shipped = (TOPOLOGIES / "topology.schema.json").read_text(encoding="utf-8")
    assert shipped == topology_json_schema_text(), (
        "run: dtoee-testbed topology schema > topologies/topology.schema.json"
    )


def _patterns(schema: object) -> list[str]:
    if isinstance(schema, dict):
        own = [schema["pattern"]] if isinstance(schema.get("pattern"), str) else []
        return own + [pattern for value in schema.values() for pattern in _patterns(value)]
    return [pattern for item in schema for pattern in _patterns(item)] if isinstance(schema, list) else []


def test_the_schema_describes_every_key_and_its_patterns_hold_its_examples() -> None:
    schema = topology_json_schema()
    definitions = schema["$defs"]
    assert isinstance(definitions, dict)
    assert schema["additionalProperties"] is False
    for definition in definitions.values():
        assert definition["additionalProperties"] is False
        assert definition["description"]
        for entry in definition["properties"].values():
            variants = [entry, *entry.get("anyOf", [])]
            for variant in variants:
                for example in variant.get("examples", []):
                    assert any(re.match(pattern, example) for pattern in _patterns(variant))
    assert len(_patterns(schema)) > 20


_NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,10}", fullmatch=True)


@st.composite
def _documents(draw: st.DrawFn) -> dict[str, object]:
    """A sound topology as plain data: every stage linked to the next, group by group."""
    names = draw(st.lists(_NAMES, min_size=4, max_size=4, unique_by=lambda name: re.sub(r"(-\d+)+$", "", name)))
    counts = draw(st.lists(st.none() | st.integers(1, 4), min_size=4, max_size=4))
    number = st.floats(0.01, 1000).map(lambda value: round(value, 4))

    def entry(index: int, **fields: object) -> dict[str, object]:
        return fields if counts[index] is None else {**fields, "count": counts[index]}

    def span(unit: str) -> str:
        low, high = sorted((draw(number), draw(number)))
        return f"{low}..{high} {unit}"

    return {
        "name": draw(_NAMES),
        "model": {"name": "glyphs", "cut": [2, 3, 5]},
        "policy": draw(st.sampled_from(["dto-ee", "computing-first", {"name": "bandwidth-first", "parameters": {}}])),
        "seed": draw(st.integers(0, 2**63 - 1)),
        "duration": f"{draw(number)} s",
        "devices": {names[0]: entry(0, rate=span("/s"))},
        "servers": {
            names[stage]: entry(stage, stage=stage, capacity=span(draw(st.sampled_from(["GFLOP/s", "MFLOP/s"]))))
            for stage in (1, 2, 3)
        },
        "links": [
            {"from": names[stage], "to": [names[stage + 1]], "rate": span("Mbit/s"), "delay": span("ms")}
            for stage in (0, 1, 2)
        ],
        "events": [{"at": f"{draw(st.integers(0, 99))} %", "server": names[3], "capacity": "x0.5"}],
    }


@settings(max_examples=60, deadline=None)
@given(_documents(), st.booleans())
def test_any_sound_document_resolves_and_again_to_the_same(document: dict[str, object], flow: bool) -> None:
    text = yaml.safe_dump(document, sort_keys=False, default_flow_style=flow)
    scenario = resolve_text(text)
    assert scenario == resolve_text(json.dumps(document))  # JSON is YAML
    assert scenario.seed == document["seed"]
    stage_of = {server.name: server.stage for server in scenario.servers}
    for name, receivers in scenario.offload_to.items():
        assert receivers
        assert all(stage_of[receiver] == stage_of.get(name, 0) + 1 for receiver in receivers)
    assert all(0 <= event.at_s < scenario.duration_s for event in scenario.events)
