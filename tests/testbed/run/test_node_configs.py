"""Node configurations of a network that is small enough to write down."""

import pytest

from node_agent.models import load_bundle as bundle
from node_agent.models.data_types import SubModelProfile
from node_agent.process.agent import ScheduledTask
from node_agent.wire import InputForm, TensorForm
from testbed.live.agent_configs import agent_configs
from testbed.live.agent_parents import Warm
from testbed.run.node_configs import node_configs, timeouts
from testbed.topology import resolve_text
from testbed.topology.slowest_hop import longest_hop_s
from testbed.trace import workload

TOPOLOGY = """
name: small
model: {name: glyphs, cut: [2, 3, 5], activation: float16}
policy: {name: dto-ee, parameters: {threshold: 0.7, most_rounds: 9}}
theta: 4 s
seed: 17
slot: 2 s
time_scale: 3
devices:
  cam: {count: 2, rate: 3 /s}
  tv: {rate: 1 /s}
servers:
  near-1: {stage: 1, capacity: 0.2 GFLOP/s}
  mid-1: {stage: 2, capacity: 0.4 GFLOP/s}
  near-2: {stage: 1, capacity: 0.1 GFLOP/s}
  mid-2: {stage: 2, capacity: 0.3 GFLOP/s}
  core: {stage: 3, capacity: 1 GFLOP/s}
links:
  - {from: cam, to: near-1, rate: 10 Mbit/s, delay: 1 ms}
  - {from: [cam, tv], to: near-2, rate: 10 Mbit/s, delay: 1 ms}
  - {from: [near-1, near-2], to: [mid-1, mid-2], rate: 10 Mbit/s, delay: 1 ms}
  - {from: [mid-1, mid-2], to: core, rate: 10 Mbit/s, delay: 1 ms}
offload:
  cam: [near-1, near-2]
  tv: [near-2]
  near-1: [mid-1]
  near-2: [mid-2, mid-1]
  mid-1: [core]
  mid-2: [core]
"""
FORMS = (
    InputForm(TensorForm("uint8", (1, 1, 32, 32))),
    InputForm(TensorForm("float16", (1, 24, 16, 16))),
    InputForm(TensorForm("float16", (1, 32, 16, 16))),
)
WARM = Warm(
    profiles=tuple(
        SubModelProfile(stage, flop, 1, 1, 1) for stage, flop in ((1, 10_000_000), (2, 20_000_000), (3, 40_000_000))
    ),
    input_forms=FORMS,
    cpu_s=(0.001, 0.001, 0.001),
)
ARRIVALS = [
    workload.Arrival(0.1, "cam-2", 5),
    workload.Arrival(0.2, "cam-1", 6),
    workload.Arrival(0.3, "cam-2", 7),
]


@pytest.fixture(scope="module")
def configs():
    return agent_configs(
        resolve_text(TOPOLOGY),
        ARRIVALS,
        WARM,
        address=lambda name: f"address of {name}",
        telemetry="ipc://room",
        quota_procs_paths={"core": ("/cgroup/core",)},
    )


def test_every_node_is_told_once(configs):
    assert set(configs) == {"cam-1", "cam-2", "tv", "near-1", "near-2", "mid-1", "mid-2", "core"}
    for name, config in configs.items():
        assert config.node.name == name
        assert config.address == f"address of {name}"
        assert (config.telemetry, config.time_scale) == ("ipc://room", 3.0)
        assert (config.node.policy, config.node.parameters) == ("dto-ee", {"threshold": 0.7, "most_rounds": 9})
        assert (config.node.theta_s, config.node.seed, config.node.slot_s, config.node.stages) == (4.0, 17, 2.0, 3)


def test_receivers_and_offloaders_mirror_each_other(configs):
    receivers = {name: config.node.receivers for name, config in configs.items()}
    assert receivers == {
        "cam-1": ("near-1", "near-2"),
        "cam-2": ("near-1", "near-2"),
        "tv": ("near-2",),
        "near-1": ("mid-1",),
        "near-2": ("mid-2", "mid-1"),
        "mid-1": ("core",),
        "mid-2": ("core",),
        "core": (),
    }
    offloaders = {name: set(config.node.offloaders) for name, config in configs.items()}
    assert offloaders == {
        "cam-1": set(),
        "cam-2": set(),
        "tv": set(),
        "near-1": {"cam-1", "cam-2"},
        "near-2": {"cam-1", "cam-2", "tv"},
        "mid-1": {"near-1", "near-2"},
        "mid-2": {"near-2"},
        "core": {"mid-1", "mid-2"},
    }


def test_without_a_bound_no_server_has_to_report(configs):
    assert {config.node.delay_bound_s for config in configs.values()} == {None}
    assert {config.node.bounded for config in configs.values()} == {()}


def test_servers_report_where_tasks_of_a_bounded_device_come_from():
    text = TOPOLOGY.replace("tv: {rate: 1 /s}", "tv: {rate: 1 /s, delay_bound: 250 ms}")
    model = bundle("glyphs")
    nodes = node_configs(resolve_text(text), model.profiles((2, 3, 5), "float16"), FORMS)
    assert {name: node.delay_bound_s for name, node in nodes.items() if node.delay_bound_s} == {"tv": 0.25}
    assert {name: node.bounded for name, node in nodes.items() if node.bounded} == {
        "near-2": ("tv",), "mid-1": ("near-2",), "mid-2": ("near-2",), "core": ("mid-1", "mid-2"),
    }  # fmt: skip


def test_servers_behind_the_first_stage_connect_to_all_devices(configs):
    data = {name: set(config.connect_data) for name, config in configs.items()}
    assert data == {
        "cam-1": {"near-1", "near-2"},
        "cam-2": {"near-1", "near-2"},
        "tv": {"near-2"},
        "near-1": {"mid-1"},
        "near-2": {"mid-1", "mid-2"},
        "mid-1": {"core", "cam-1", "cam-2", "tv"},
        "mid-2": {"core", "cam-1", "cam-2", "tv"},
        "core": {"cam-1", "cam-2", "tv"},
    }
    for config in configs.values():
        assert tuple(config.connect_control) == config.node.receivers
        for peer, address in (config.connect_data | config.connect_control).items():
            assert address == f"address of {peer}"


def test_servers_behind_the_first_stage_know_whose_tasks_get_there(configs):
    devices = {name: set(config.node.devices) for name, config in configs.items() if config.node.devices}
    assert devices == {
        "mid-1": {"cam-1", "cam-2", "tv"},
        "mid-2": {"cam-1", "cam-2", "tv"},
        "core": {"cam-1", "cam-2", "tv"},
    }


def test_devices_take_results_from_any_server(configs):
    for name, config in configs.items():
        servers = {"near-1", "near-2", "mid-1", "mid-2", "core"}
        assert set(config.answers_from) == (servers if config.node.is_device else set()), name


def test_servers_of_a_stage_take_turns(configs):
    nodes = [config.node for config in configs.values()]
    turns = {node.name: (node.stage, node.rank, node.peers_in_stage) for node in nodes}
    assert turns == {
        "cam-1": (0, 0, 3),
        "cam-2": (0, 1, 3),
        "tv": (0, 2, 3),
        "near-1": (1, 0, 2),
        "near-2": (1, 1, 2),
        "mid-1": (2, 0, 2),
        "mid-2": (2, 1, 2),
        "core": (3, 0, 1),
    }


def test_rates_work_and_forms_follow_the_stage(configs):
    assert configs["cam-1"].node.declared_rate_per_s == 3.0
    assert configs["tv"].node.declared_rate_per_s == 1.0
    near, core = configs["near-1"], configs["core"]
    assert near.capacity_flop_per_s == 2e8
    assert near.node.declared_rate_per_s == pytest.approx(20.0)
    assert core.node.declared_rate_per_s == pytest.approx(25.0)
    forms = {name: (config.node.input_form, config.node.onward_form) for name, config in configs.items()}
    assert forms["tv"] == (None, FORMS[0])
    assert forms["near-2"] == (FORMS[0], FORMS[1])
    assert forms["mid-1"] == (FORMS[1], FORMS[2])
    assert forms["core"] == (FORMS[2], None)
    assert {name: config.quota_procs_paths for name, config in configs.items() if config.quota_procs_paths} == {
        "core": ("/cgroup/core",)
    }


def test_time_outs_suit_the_largest_task_that_may_come():
    """On the slowest link a tensor of 2 MB takes 1.6 s."""
    scenario, usual = resolve_text(TOPOLOGY), TensorForm("uint16", (100,))
    short, long = (timeouts(scenario, [InputForm(usual, most)]) for most in (None, 1_000_000))
    assert long.probe_s > max(1.6, 5 * short.probe_s)
    assert long == timeouts(scenario, [InputForm(TensorForm("uint16", (1_000_000,)))])


def test_a_task_is_named_by_its_place_in_the_whole_workload(configs):
    assert configs["cam-1"].arrivals == (ScheduledTask(0.2, 1, 6),)
    assert configs["cam-2"].arrivals == (ScheduledTask(0.1, 0, 5), ScheduledTask(0.3, 2, 7))
    assert {name for name, config in configs.items() if config.arrivals} == {"cam-1", "cam-2"}


def test_what_is_told_survives_the_way_to_the_agent(configs):
    import msgspec

    from node_agent.process.agent import AgentConfig

    for config in configs.values():
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(config), type=AgentConfig) == config


CHAIN = """
name: chain
model: {name: glyphs, cut: [3, 5]}
policy: dto-ee
slot: 5 s
devices:
  cam: {rate: 3 /s}
servers:
  near: {stage: 1, capacity: 1 GFLOP/s}
  core: {stage: 2, capacity: 1 GFLOP/s}
switches: [s1, s2, s3, s4, s5]
links:
  - {from: cam, to: s1, rate: 10 Mbit/s, delay: 1 ms}
  - {from: s1, to: s2, rate: 10 Mbit/s, delay: 10 ms}
  - {from: s2, to: s3, rate: 10 Mbit/s, delay: 10 ms}
  - {from: s3, to: s4, rate: 10 Mbit/s, delay: 10 ms}
  - {from: s4, to: s5, rate: 10 Mbit/s, delay: 10 ms, jitter: 1 ms}
  - {from: s5, to: near, rate: 10 Mbit/s, delay: 1 ms}
  - {from: near, to: core, rate: 10 Mbit/s, delay: 2 ms}
"""


def test_a_hop_is_as_long_as_all_the_links_on_its_way() -> None:
    """A route through five switches in a row, and in a ring, which halves it."""
    assert longest_hop_s(resolve_text(CHAIN)) == pytest.approx(0.046)
    ring = CHAIN + "  - {from: s5, to: s1, rate: 10 Mbit/s, delay: 20 ms}\n"
    assert longest_hop_s(resolve_text(ring)) == pytest.approx(0.022)
    slower = ring + "events: [{at: 5 s, link: [s5, s1], delay: 30 ms, jitter: 2 ms}]\n"
    assert longest_hop_s(resolve_text(slower)) == pytest.approx(0.001 + 0.030 + 0.008 + 0.001)
