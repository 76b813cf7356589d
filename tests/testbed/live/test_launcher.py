"""The agents' parents: forking agents, the gate, deaths."""

import os
import time
from contextlib import contextmanager

import msgspec
import psutil
import pytest

from node_agent.errors import InputError
from node_agent.models import load_bundle
from node_agent.records import Ready
from testbed.host.ledger import Ledger
from testbed.live.agent_configs import agent_configs, stated_costs
from testbed.live.launcher import Launcher, LaunchError
from testbed.live.telemetry import Telemetry
from testbed.scenario import ModelChoice
from testbed.topology import resolve_text
from tests.node_agent.process.addresses import fresh_address
from tests.testbed.live.brood import adopting_orphans
from tests.testbed.live.line import LINE

OWN_NAMESPACE = "/proc/self/ns/net"


@pytest.fixture
def launcher(tmp_path):
    with Ledger("launcher", root=tmp_path / "ledgers") as ledger:
        launcher = Launcher(ledger, tmp_path / "agents.log")
        yield launcher
        launcher.stop()


def many(count):
    """Return a scenario with this number of devices."""
    return resolve_text(LINE.replace("{cam: {rate", f"{{cam: {{count: {count}, rate"))


def configs_of(scenario, room):
    """Return a configuration for each node, on loopback addresses, and the test's own namespace."""
    addresses = {name: fresh_address() for name in scenario.node_names}
    configs = agent_configs(
        scenario, [], stated_costs(load_bundle("glyphs"), scenario.model), address=addresses.__getitem__,
        telemetry=room.endpoint, quota_procs_paths={},
    )  # fmt: skip
    return [(config, OWN_NAMESPACE) for config in configs.values()]


@contextmanager
def begun(launcher, folder, scenario):
    """Begin; return the agents' telemetry, and a configuration for each node."""
    launcher.begin(scenario.model, measure_cpu=False)
    with Telemetry(folder) as room:
        yield room, configs_of(scenario, room)


def hear_for_ever(launcher):
    while True:
        launcher._hear(10.0)


def ready_of(room, count, timeout_s):
    """Wait until enough nodes have reported ready, or the time is over; return them."""
    found, deadline_s = set(), time.monotonic() + timeout_s
    while len(found) < count and time.monotonic() < deadline_s:
        found |= {record.node for record in room.listen(0.05) if isinstance(record, Ready)}
    return found


def test_what_the_card_states_is_what_the_loaded_model_costs(launcher):
    from node_agent.models.networks.cost import profile

    choice, bundle = ModelChoice("glyphs", (2, 3, 5), "float16"), load_bundle("glyphs")
    launcher.begin(choice, measure_cpu=False)
    warm = launcher.wait_warm()
    assert warm == stated_costs(bundle, choice)
    assert warm.profiles == profile(bundle.sub_models(choice.cut, choice.activation))


@pytest.mark.root
def test_agents_that_wait_begin_when_the_gate_opens(launcher, tmp_path):
    with begun(launcher, tmp_path, resolve_text(LINE)) as (room, configs):
        launcher.spawn(configs, wait=True)
        told = []
        launcher.wait_spawned(told.append)
        assert told[-1] == 3
        assert ready_of(room, 1, 0.5) == set()
        launcher.open_gate()
        assert ready_of(room, 3, 20.0) == {"cam", "near", "far"}


@pytest.mark.root
def test_an_agent_that_does_not_wait_begins_at_once_and_leaves_the_gate_shut(launcher, tmp_path):
    with begun(launcher, tmp_path, resolve_text(LINE)) as (room, configs):
        cam, near, far = configs
        launcher.spawn([near], wait=True)
        launcher.spawn([far])
        assert ready_of(room, 1, 20.0) == {"far"}
        launcher.spawn([cam])
        assert ready_of(room, 1, 0.5) == set()
        launcher.open_gate()
        assert ready_of(room, 2, 20.0) == {"cam", "near"}


@pytest.mark.root
def test_devices_are_forked_without_torch_and_all_end_with_the_launcher(launcher, tmp_path):
    with begun(launcher, tmp_path, resolve_text(LINE)) as (_, configs):
        launcher.spawn(configs, wait=True)
        launcher.wait_spawned()
        parents = psutil.Process(launcher._process.pid)
        family = [parents, *parents.children(recursive=True)]
        agents = [process for process in family if not process.children()]
        with_torch = [any("libtorch" in mapped.path for mapped in each.memory_maps()) for each in agents]
        assert sorted(with_torch) == [False, True, True]
        launcher.stop()
        gone, alive = psutil.wait_procs(family, timeout=5.0)
        assert len(gone) == 5
        assert not alive


def test_a_model_that_cannot_be_loaded_is_told_with_its_exit_code(launcher, tmp_path):
    launcher.begin(ModelChoice(str(tmp_path / "none"), (2, 5), "float16"), measure_cpu=False)
    with pytest.raises(Exception, match="unknown model") as caught:
        launcher.wait_warm()
    assert caught.value.exit_code == InputError.exit_code


def test_a_parent_that_is_killed_is_told(launcher):
    launcher.begin(ModelChoice("glyphs", (2, 5), "float16"), measure_cpu=False)
    os.kill(launcher._process.pid, 9)
    with pytest.raises(LaunchError, match="has ended"):
        launcher.wait_warm()


@pytest.mark.root
def test_a_launcher_that_stops_at_once_leaves_no_log(launcher, tmp_path):
    """This happens after Ctrl-C between requesting agents and waiting for them: nobody reads the parents' answers."""
    with begun(launcher, tmp_path, many(40)) as (_, configs):
        launcher.spawn(configs, wait=True)
        process = launcher._process
        launcher.stop()
        assert process.returncode == 0
    assert not launcher.log_path.exists()


@pytest.mark.root
def test_as_many_agents_as_wanted_can_be_asked_for_at_once(launcher, tmp_path):
    """The parent's answers fill its socket more than once; these agents fail and end at once."""
    scenario = many(700)
    with begun(launcher, tmp_path, many(1)) as (_, configs):
        config, _ = configs[0]
        named = (msgspec.structs.replace(config.node, name=name) for name in scenario.node_names)
        launcher.spawn((msgspec.structs.replace(config, node=node), str(tmp_path / "none")) for node in named)
        launcher.wait_spawned()
        ended, deadline_s = set(), time.monotonic() + 60.0
        while len(ended) < 702 and time.monotonic() < deadline_s:
            ended |= {notice.node for notice in launcher.ended()}
        assert ended == set(scenario.node_names)


@pytest.mark.root
@pytest.mark.parametrize("victim", ["servers", "both"])
def test_agents_at_the_gate_do_not_begin_when_their_parent_is_killed(launcher, tmp_path, victim):
    """They have bound their addresses, so an agent that passed the gate would report ready."""
    with begun(launcher, tmp_path, resolve_text(LINE)) as (room, configs), adopting_orphans():
        launcher.spawn(configs, wait=True)
        launcher.wait_spawned()
        devices = psutil.Process(launcher._process.pid)
        (servers,) = [child for child in devices.children() if child.children()]
        family = {"servers": servers, "both": devices}[victim].children(recursive=True)
        (servers if victim == "servers" else devices).kill()
        _, alive = psutil.wait_procs(family, timeout=10.0)
        assert not alive
        assert ready_of(room, 1, 0.2) == set()
        with pytest.raises(LaunchError, match=r"^the agents' parent has ended$"):
            hear_for_ever(launcher)


@pytest.mark.root
def test_only_agents_are_told_to_have_ended_when_the_servers_parent_is_killed(launcher, tmp_path):
    """The devices' parent does not reap that process before its own end, so it cannot kill another one by its id."""
    with begun(launcher, tmp_path, resolve_text(LINE)) as (_, configs):
        cam, near, far = configs
        launcher.spawn([cam, near, far], wait=True)
        launcher.wait_spawned()
        devices = psutil.Process(launcher._process.pid)
        (servers,) = [child for child in devices.children() if child.children()]
        servers.kill()
        launcher.kill("cam")  # whose end wakes the devices' parent once more
        while psutil.pid_exists(servers.pid) and servers.status() != psutil.STATUS_ZOMBIE:
            os.sched_yield()
        assert psutil.pid_exists(servers.pid)
        process = launcher._process
        launcher.stop()
        assert process.returncode == 0
    assert not launcher.log_path.exists()
