"""Commands to agents during a run, with real telemetry and sockets in the agents' place; no network is built.

Whole runs are in test_experiment.py.
"""

import time

import numpy as np
import pytest
import zmq

from node_agent.models import load_bundle
from node_agent.models.data_types import SubModelProfile
from node_agent.process.agent import identity
from node_agent.records import (
    DecisionRecord,
    EventRecord,
    Ready,
    SetCapacity,
    Start,
    Stop,
    command_decoder,
    record_encoder,
)
from testbed.host.ledger import Ledger
from testbed.live import running as live_module
from testbed.live.agent_configs import agent_configs, stated_costs
from testbed.live.agent_parents import Warm
from testbed.live.evidence_collector import EvidenceCollector
from testbed.live.experiment import _steady_flop
from testbed.live.launcher import Launcher
from testbed.live.running import LiveRun, RunFailed
from testbed.live.telemetry import Telemetry
from testbed.network import EmulatedNetwork
from testbed.record.run_directory import EVENTS, Recorder
from testbed.run.bookkeeping import Bookkeeping
from testbed.run.observer import SilentObserver
from testbed.topology import resolve_text
from testbed.topology.event_kinds.node_state import NodeChange
from testbed.topology.event_kinds.server_capacity import CapacityChange
from tests.testbed import small

QUIET_MS = 100  # no further command comes within this time


class Played:
    """A run whose agents are sockets that the test plays."""

    def __init__(self, tmp_path, ledger, monkeypatch):
        scenario = resolve_text(small.SMALL)
        self.path, self.telemetry, self.context = tmp_path, Telemetry(tmp_path), zmq.Context()
        self.recorder = Recorder(tmp_path, topology_text="", arrivals=[], labels=np.zeros(0, dtype=np.int64))
        self.launcher = Launcher(ledger, tmp_path / "agents.log")
        self.launcher.log_path.touch()
        self.spawned = []
        monkeypatch.setattr(self.launcher, "spawn", lambda agents: self.spawned.extend(config for config, _ in agents))
        network = EmulatedNetwork(scenario, run_id=ledger.run_id, ledger=ledger)
        monkeypatch.setattr(network, "namespace_path", lambda node: f"/nowhere/{node}")
        bookkeeping = Bookkeeping(scenario, [], self.recorder, SilentObserver())
        configs = agent_configs(
            scenario, [], stated_costs(load_bundle("glyphs"), scenario.model), address=lambda _node: "127.0.0.1",
            telemetry=self.telemetry.endpoint, quota_procs_paths={},
        )  # fmt: skip
        self.live = LiveRun(
            scenario, offered=0, network=network, launcher=self.launcher, telemetry=self.telemetry,
            bookkeeping=bookkeeping, collector=EvidenceCollector(scenario, network, bookkeeping, ()),
            observer=SilentObserver(), configs=configs, cgroups={}, quota=lambda _server, _capacity: 1.0,
            steady_flop={"near-1": 14e6},
        )  # fmt: skip
        self.live._epoch_s = time.monotonic()

    def agent(self, node, life=1):
        """An agent's end, which has not spoken yet."""
        socket = self.context.socket(zmq.DEALER)
        socket.setsockopt_string(zmq.IDENTITY, identity(node, life))
        socket.setsockopt(zmq.LINGER, 500)
        socket.connect(self.telemetry.endpoint)
        return socket

    def hear(self, socket, record):
        """The agent says this, and the run takes it."""
        socket.send(record_encoder.encode([record]))
        deadline_s, told = time.monotonic() + 5, []
        while not told and time.monotonic() < deadline_s:
            told = self.telemetry.listen(0.05)
            if record not in told and isinstance(record, Ready):
                return self.live._take(told)  # the telemetry dropped it
        self.live._take(told)
        return None

    def inject(self, *events):
        for event in events:
            event.apply(self.live)

    def kinds(self):
        return [line.split('"kind":"')[1].split('"')[0] for line in (self.path / EVENTS).read_text().splitlines()]

    def close(self):
        self.context.destroy(linger=0)
        self.telemetry.__exit__()
        self.recorder.finish(None, "completed")


@pytest.fixture
def played(tmp_path, monkeypatch):
    with Ledger("live-test", root=tmp_path / "ledgers") as ledger:
        made = Played(tmp_path, ledger, monkeypatch)
        yield made
        made.close()


def commands(socket):
    """Return the commands that the agent has received, in order."""
    told = []
    while socket.poll(QUIET_MS):
        told.append(command_decoder.decode(socket.recv()))
    return told


def down(node):
    return NodeChange(2.0, node, up=False)


def up(node):
    return NodeChange(2.0, node, up=True)


def capacity(node, flop_per_s):
    return CapacityChange(2.0, node, flop_per_s)


def test_a_server_is_told_on_ready_what_changed_since_it_was_forked(played):
    first = played.agent("near-1")
    played.hear(first, Ready("near-1", ()))
    assert commands(first) == [SetCapacity(0.5e9), Start(played.live._epoch_s)]
    played.inject(down("near-1"), up("near-1"), capacity("near-1", 1e8))
    (config,) = played.spawned
    assert (config.capacity_flop_per_s, config.life) == (0.5e9, 2)  # as it was when it was forked
    second = played.agent("near-1", config.life)
    played.inject(capacity("near-1", 2e8))  # while it starts
    played.hear(second, Ready("near-1", ()))
    assert commands(second) == [SetCapacity(2e8), Start(played.live._epoch_s)]
    played.inject(capacity("near-1", 3e8), capacity("near-1", 4e8))
    assert commands(second) == [SetCapacity(3e8), SetCapacity(4e8)]
    assert commands(first) == []


def test_a_change_while_a_server_is_down_is_in_force_when_it_comes_back(played):
    played.hear(played.agent("near-1"), Ready("near-1", ()))
    played.inject(down("near-1"), capacity("near-1", 1e8), up("near-1"))
    assert played.spawned[0].capacity_flop_per_s == 1e8


def test_a_killed_agents_last_word_is_not_taken_for_its_successors(played):
    """It became ready just before it was killed: it gets no command, and its successor does not count as ready."""
    first = played.agent("near-1")
    played.inject(down("near-1"), up("near-1"))
    played.hear(first, Ready("near-1", ()))
    assert commands(first) == []
    played.inject(capacity("near-1", 1e8))  # would fail if an agent counted as ready
    second = played.agent("near-1", 2)
    played.hear(second, Ready("near-1", ()))
    assert commands(second) == [SetCapacity(1e8), Start(played.live._epoch_s)]
    played.hear(first, EventRecord(1.0, "near-1", "receiver-silent", "what it still had to tell"))
    assert "receiver-silent" in played.kinds()


def test_a_device_is_told_the_start_alone(played):
    cam = played.agent("cam-1")
    played.hear(cam, Ready("cam-1", ()))
    assert commands(cam) == [Start(played.live._epoch_s)]


def test_a_measured_service_time_is_judged_where_all_tasks_take_the_same_work(played):
    """near-1's tasks take 14 MFLOP each, 28 ms at its capacity; those of the other servers differ."""
    decided = []
    played.live._collector.decided = decided.append
    for node, service_per_s in (("near-1", 1 / 0.035), ("near-2", 5.0), ("cam-1", None)):
        record = DecisionRecord(1.0, node, 0, 1, {}, None, {}, None, 5.0, service_per_s)
        played.hear(played.agent(node), record)
    assert decided == [pytest.approx(0.035 / 0.028)]


def test_servers_whose_work_differs_between_samples_have_no_steady_work():
    profiles = (SubModelProfile(1, 14_000_000, 1, 1, 1), SubModelProfile(2, 30_000_000, 1, 0, 1, variability=0.3))
    warm = Warm(profiles, (), ())
    assert _steady_flop(resolve_text(small.SMALL), warm) == {"near-1": 14e6, "near-2": 14e6}


def test_a_command_that_nobody_takes_fails_the_run(played, monkeypatch):
    monkeypatch.setattr(live_module, "DEATH_NEWS_S", 0.2)
    near = played.agent("near-1")
    played.hear(near, Ready("near-1", ()))
    near.close()
    deadline_s = time.monotonic() + 5
    while played.telemetry.tell("near-1", Stop()) and time.monotonic() < deadline_s:
        time.sleep(0.01)  # until the telemetry has noticed
    with pytest.raises(RunFailed, match=r"near-1 takes no more commands \(SetCapacity was the last\)"):
        played.inject(capacity("near-1", 1e8))


def test_who_gets_ready_while_the_run_ends_is_told_to_stop(played):
    cam, near = played.agent("cam-1"), played.agent("near-1")
    played.hear(cam, Ready("cam-1", ()))
    commands(cam)
    played.live.stop()
    assert commands(cam) == [Stop()]
    near.send(record_encoder.encode([Ready("near-1", ())]))
    time.sleep(0.1)
    for _ in range(2):
        played.live.take_rest()
    assert commands(near) == [Stop()]


def test_events_from_before_the_end_count_though_they_come_later(played):
    cam = played.agent("cam-1")
    played.hear(cam, Ready("cam-1", ()))
    before_s = played.live.now_s
    played.live.stop()
    late = [EventRecord(before_s, "cam-1", "forced-exit", ""), EventRecord(before_s + 60, "cam-1", "unsent", "")]
    cam.send(record_encoder.encode(late))
    time.sleep(0.1)
    played.live.take_rest()
    assert played.kinds() == ["forced-exit"]
