"""Overrides replace values by key: in the text, in the scenario, and in the places that errors name."""

import pytest

from node_agent.errors import InputError
from testbed.record.run_directory import read_manifest
from testbed.run.observer import SilentObserver
from testbed.run.planning import plan_replay, plan_run
from testbed.simulation.simulator import Simulation
from testbed.topology import TopologyError, load_topology
from testbed.topology.form.yaml_places import read_yaml
from testbed.topology.overrides import Override, load_overrides, overridden, parse_override
from testbed.topology.topology_file import load_topology_text

TEXT = """\
name: small
model: {name: glyphs, cut: [2, 5]}
policy: "fixed-threshold:threshold=0.7"
devices:
  cam: &group {count: 2, rate: 2..3 /s}
  bell: *group
servers:
  near-1: {stage: 1, capacity: 0.4 GFLOP/s}
  near-2: {stage: 1, capacity: 0.2 GFLOP/s, memory: 1 GiB}
  core: {stage: 2, capacity: 0.4 GFLOP/s}
links:
  - {from: [cam, bell], to: [near-1, near-2], rate: 10..20 Mbit/s, delay: 2 ms}
  - {from: near-1, to: core, rate: 20 Mbit/s, delay: 5 ms}
  - {from: near-2, to: core, rate: 20 Mbit/s, delay: 5 ms}
events:
  - {at: 50 %, server: near-1, capacity: x0.5}
  - {at: 20 s, device: cam, rate: 4 /s}
  - {at: 30 s, device: cam, rate: x2}
"""


def data_of(*stated):
    return read_yaml(overridden(TEXT, "small.yaml", [parse_override(each) for each in stated]), "small.yaml")[0]


def scenario_of(*stated, **options):
    return load_topology_text(TEXT, "small.yaml", overrides=stated).resolve(**options)


def complaint_of(*stated):
    with pytest.raises(InputError) as caught:
        load_topology_text(TEXT, "small.yaml", overrides=stated)
    return f"{caught.value} | {caught.value.hint}"


def test_without_overrides_the_text_stays_as_it_is():
    assert overridden(TEXT, "small.yaml", []) is TEXT
    topology = load_topology_text(TEXT, "small.yaml")
    assert (topology.text, topology.original_text, topology.overrides) == (TEXT, TEXT, ())


@pytest.mark.parametrize(
    ("stated", "way", "value"),
    [
        ("theta=1 s", "theta", "1 s"),  # a key that the file leaves at its default
        ("theta=x1.5", "theta", "3 s"),  # 1.5 times the default of 2 s
        ("slot=x2", "slot", "10 s"),
        ("warm_up=x2", "warm_up", "20 %"),
        ("seed=7", "seed", 7),
        ("model.cut=[3, 5]", "model cut", [3, 5]),
        ("model.cut.0=3", "model cut", [3, 5]),
        ("devices.cam.rate=1 /s", "devices cam rate", "1 /s"),
        ("devices.cam.rate=x2", "devices cam rate", "4..6 /s"),
        ("devices.cam.count=x2", "devices cam count", 4),
        ("servers.near-1.memory=512 MiB", "servers near-1 memory", "512 MiB"),
        ("links.1.delay=x3", "links 1 delay", "15 ms"),
        ("links.1.jitter=1 ms", "links 1 jitter", "1 ms"),
        ("links.near-2:core.delay=9 ms", "links 2 delay", "9 ms"),
        ("links.core:near-2.delay=9 ms", "links 2 delay", "9 ms"),
        ("links.1.queue=x0.5", "links 1 queue", 500),
        ("events.0.at=10 s", "events 0 at", "10 s"),
        ("events.0.capacity=x0.1", "events 0 capacity", "x0.1"),  # a value of events may be a factor: no product
        ("policy=ngto", "policy", "ngto"),
        ("policy.parameters.threshold=0.8", "policy parameters threshold", 0.8),
        ("policy.threshold=0.8", "policy parameters threshold", 0.8),
        ("policy.threshold=x1.1", "policy parameters threshold", 0.77),
        ("policy.name=ngto", "policy name", "ngto"),
        ("offload.cam=[near-2]", "offload cam", ["near-2"]),
        ("name=no", "name", "no"),
    ],
)
def test_keys_lead_to_values(stated, way, value):
    found = data_of(stated)
    for step in way.split():
        found = found[int(step) if isinstance(found, list) else step]
    assert found == value


def test_an_alias_keeps_its_value_when_the_other_place_changes():
    devices = data_of("devices.cam.rate=1 /s")["devices"]
    assert (devices["cam"]["rate"], devices["bell"]["rate"]) == ("1 /s", "2..3 /s")


def test_patterns_stand_for_entries():
    data = data_of("devices.*.rate=x0.5", "servers.near-?.capacity=1 GFLOP/s", "links.*.delay=1 ms")
    assert {each["rate"] for each in data["devices"].values()} == {"1..1.5 /s"}
    assert [each["capacity"] for each in data["servers"].values()] == ["1 GFLOP/s", "1 GFLOP/s", "0.4 GFLOP/s"]
    assert {each["delay"] for each in data["links"]} == {"1 ms"}


def test_a_pattern_skips_entries_without_a_value_to_multiply():
    servers = data_of("servers.*.memory=x2")["servers"]
    assert [each.get("memory") for each in servers.values()] == [None, "2 GiB", None]


def test_overrides_apply_in_their_order():
    assert data_of("theta=1 s", "theta=x2", "theta=x2")["theta"] == "4 s"


def test_a_link_of_a_list_is_taken_apart_and_the_others_stay_as_they_were():
    before, after = (
        {link.ends: link.shape for link in scenario.links}
        for scenario in (scenario_of(), scenario_of("links.bell:near-1.delay=50 ms"))
    )
    assert before.keys() == after.keys()
    slow = {("bell-1", "near-1"), ("bell-2", "near-1")}
    assert {pair for pair, shape in after.items() if shape.delay_s == 0.05} == slow
    assert {pair for pair in before if before[pair] != after[pair]} == slow  # the others keep their drawn rates, too
    assert all(before[pair].rate_mbit_per_s == after[pair].rate_mbit_per_s for pair in slow)


def test_the_load_multiplies_rates_and_absolute_changes_of_rates():
    data = data_of("load=x1.5")
    assert [each["rate"] for each in data["devices"].values()] == ["3..4.5 /s"] * 2
    assert [each.get("rate") for each in data["events"]] == [None, "6 /s", "x2"]
    assert load_overrides(1.5) == (Override("load", "x1.5"),)
    before, after = scenario_of(), scenario_of("load=x1.5")
    for one, other in zip(before.devices, after.devices, strict=True):
        assert other.rate_per_s == pytest.approx(1.5 * one.rate_per_s)


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        ("thet=3 s", "--set thet=3 s: small.yaml has no thet | did you mean theta?"),
        ("lod=x2", "has no lod | did you mean load?"),
        ("near-1.capacity=1 GFLOP/s", "has no near-1 | did you mean servers.near-1.capacity?"),
        ("servers.nearr-1.capacity=1 GFLOP/s", "has no servers.nearr-1 | did you mean servers.near-1.capacity?"),
        ("servers.core.capacty=1 GFLOP/s", "has no servers.core.capacty | did you mean servers.core.capacity?"),
        ("devices.cam-1.rate=1 /s", "has no devices.cam-1 | did you mean devices.cam.rate?"),
        ("model.nonsense=3", "has no model.nonsense | known: model.name, model.file"),
        ("theta.low=3", "has no theta.low: theta has no parts | replace it as a whole: theta=..."),
        ("events.3.at=1 s", "has no events.3 | entries have numbers: events.0 to events.2"),
        ("links.first.rate=1 Mbit/s", "entries have numbers: links.0 to links.2, or links.A:B by their ends"),
        ("links.near-1:cor.rate=1 Mbit/s", "has no entry for links.near-1:cor | did you mean links.near-1:core?"),
        ("model.cost.cut=[1]", "has no model.cost | state all of it: model.cost={...}"),
        ("sites.*.rate=x2", "has no sites"),
        ("devices.x*.rate=x2", "has nothing that matches devices.x*.rate"),
        ("name=x2", "--set name=x2: name: small is no quantity to multiply | state the value itself: name=..."),
        ("devices.cam.delay_bound=x2", "devices.cam.delay_bound: states no value to multiply"),
        ("devices.*.delay_bound=x2", "has no value at devices.*.delay_bound to multiply"),
        ("theta=x0", "'x0' is not a factor above zero"),
        ("load=2", "'2' is no factor on the load | state a factor: load=x1.2"),
        ("theta=[", "--set theta=[: not YAML"),
        ("model={cut: [1], cut: [2]}", "`cut` is stated twice"),
        # Values that can be read, but do not fit: the option is the place, and no line of a text nobody saw.
        ("theta=soon", "--set theta=soon: `theta`: 'soon' is not a time"),
        ("servers.near-1.capacity=3", "--set servers.near-1.capacity=3: `capacity`: 3 has no unit"),
        ("model.cut=[1, 9]", "--set model.cut=[1, 9]: "),
        ("offload.cam=[near-9]", "--set offload.cam=[near-9]: "),
        ("links.0.delay={a: 1}", "--set links.0.delay={a: 1}: "),
        ("policy.threshold=1.5", "threshold"),
    ],
)
def test_errors_name_the_option_and_a_similar_key(stated, said):
    assert said in complaint_of(stated)


def test_errors_of_the_file_keep_their_lines():
    broken = TEXT.replace("0.2 GFLOP/s", "0.2")
    with pytest.raises(TopologyError) as caught:
        load_topology_text(broken, "small.yaml", overrides=["theta=soon", "links.0.delay=1 ms"])
    assert "2 problems in small.yaml, --set theta=soon" in str(caught.value)
    assert "small.yaml:9:32: `capacity`" in str(caught.value)
    assert "--set theta=soon: `theta`" in str(caught.value)


def test_errors_that_another_duration_causes_name_the_option():
    topology = load_topology_text(TEXT, "small.yaml", overrides=["events.0.at=45 s"])
    with pytest.raises(TopologyError, match=r"--set events\.0\.at=45 s: "):
        topology.resolve(duration_s=40.0)


@pytest.mark.parametrize("stated", ["theta", "=3", "theta=", " = "])
def test_what_is_no_key_and_value_is_refused(stated):
    with pytest.raises(InputError, match="no KEY=VALUE"):
        parse_override(stated)


@pytest.mark.parametrize(
    "text", ["1e3", "no", "on", "0x10", "1_000", "~", "true", "null", "1:30", "#", "a: b", "é", "12"]
)
def test_text_stays_text_in_what_is_recorded(text):
    original = f'name: "{text}"\nother: [1, 2.5, 1e-9, true, "{text}"]\n'
    before = read_yaml(original, "a.yaml")[0]
    after = read_yaml(overridden(original, "a.yaml", [Override("theta", "1 s")]), "a.yaml")[0]
    assert after == {**before, "theta": "1 s"}


def test_a_run_records_what_ran_and_its_replay_is_the_same(tmp_path):
    file = tmp_path / "small.yaml"
    file.write_text(TEXT)
    stated = ["load=x0.5", "theta=1 s", "links.bell:near-1.delay=30 ms"]
    plan = plan_run(file, overrides=stated, duration_s=40.0, out=tmp_path / "run")
    Simulation(plan, SilentObserver()).run()
    manifest = read_manifest(tmp_path / "run")
    assert manifest["overrides"] == stated
    recorded = load_topology(tmp_path / "run/topology.yaml", recorded=True)
    assert recorded.resolve(duration_s=40.0) == plan.scenario
    assert plan.topology_sha256 == plan_run(file, duration_s=40.0, make_directory=False).topology_sha256
    again = plan_replay(tmp_path / "run", out=tmp_path / "again")
    assert again.scenario == plan.scenario
    Simulation(again, SilentObserver()).run()
    assert (tmp_path / "again/tasks.jsonl").read_bytes() == (tmp_path / "run/tasks.jsonl").read_bytes()


def test_a_load_does_not_multiply_a_given_trace(tmp_path):
    file, trace = tmp_path / "small.yaml", tmp_path / "trace.jsonl"
    file.write_text(TEXT)
    trace.write_text('{"time_s": 1.0, "device": "cam-1", "sample": 1}\n')
    with pytest.raises(InputError, match="a load does not multiply the arrivals of the trace"):
        plan_run(file, trace_path=trace, overrides=["load=x2"], out=tmp_path / "run")
    assert plan_run(file, trace_path=trace, overrides=["theta=1 s"], out=tmp_path / "run").scenario.theta_s == 1.0
