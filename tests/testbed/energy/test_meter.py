"""The energy of whole simulated runs: closed forms, and the integral of the states that the run recorded."""

import json
from collections import Counter
from itertools import pairwise

import pytest

from node_agent.models import load_bundle
from node_agent.records import SampleRecord
from testbed.energy.meter import EnergyMeter
from testbed.simulation.links import Links
from testbed.topology import load_topology_text
from tests.testbed.energy.networks import CHAIN, ONE
from tests.testbed.simulated import lines, simulate

WORK_FLOP = load_bundle("glyphs").profiles((5,), "float32")[0].flop


@pytest.fixture
def on_links(monkeypatch):
    """Count the bytes that the simulated links take from the start on, by sender and receiver."""
    counted: Counter[tuple[str, str]] = Counter()
    connect, send = Links.connect, Links.send
    receivers = {}

    def connected(self, sender, receiver, arrived, **options):
        connection = connect(self, sender, receiver, arrived, **options)
        receivers[id(connection)] = connection, receiver
        return connection

    def sent(self, connection, size_bytes, message):
        if self.now_s >= 0:
            counted[connection.sender, receivers[id(connection)][1]] += size_bytes
        send(self, connection, size_bytes, message)

    monkeypatch.setattr(Links, "connect", connected)
    monkeypatch.setattr(Links, "send", sent)
    return counted


def test_one_server_and_one_device_in_closed_form(tmp_path, on_links):
    outcome = simulate(tmp_path, ONE)
    energy, tasks = outcome.summary["energy"], outcome.summary["tasks"]["completed"]
    served_s = tasks * WORK_FLOP / 1e9
    sent_j = 2e-6 * on_links["cam", "only"] + 300e-9 * on_links["only", "cam"]
    assert energy["nodes"]["only"] == pytest.approx(
        {"total_j": 60 + 7 * served_s, "idle_j": 60, "computing_j": 7 * served_s, "transfer_j": 0, "up_s": 20,
         "busy_s": served_s}
    )  # fmt: skip
    assert energy["nodes"]["cam"]["idle_j"] == pytest.approx(10)
    assert energy["nodes"]["cam"]["transfer_j"] == pytest.approx(sent_j)
    assert on_links["cam", "only"] > tasks * 1024  # the pictures, and the offers
    assert energy["total_j"] == pytest.approx(70 + 7 * served_s + sent_j)
    assert energy["per_task_j"] == pytest.approx(energy["total_j"] / tasks)
    right = sum(task["correct"] is True for task in lines(outcome, "tasks.jsonl"))
    assert energy["per_correct_j"] == pytest.approx(energy["total_j"] / right)


def test_watts_of_a_link_are_watts_times_the_time_it_sends(tmp_path, on_links):
    text = ONE.replace("energy: {up: 2 uJ/byte, down: 300 nJ/byte}", "energy: {up: 0.8 W, down: 0 W}")
    text = text.replace("rate: 10 Mbit/s", "rate: 1 Mbit/s")
    energy = simulate(tmp_path, text).summary["energy"]
    assert energy["transfer_j"] == pytest.approx(0.8 * on_links["cam", "only"] * 8 / 1e6)


def test_a_node_that_is_down_for_a_while_uses_no_idle_power_then(tmp_path):
    text = ONE + "events:\n  - {at: 4 s, node: only, state: down}\n  - {at: 9 s, node: only, state: up}\n"
    outcome = simulate(tmp_path, text)
    node = outcome.summary["energy"]["nodes"]["only"]
    assert (node["up_s"], node["idle_j"]) == pytest.approx((15, 45))
    assert 0 < node["busy_s"] < 15


def integral_of_states(outcome) -> dict[str, dict[str, float]]:
    """The energy of each node, from timeseries.jsonl and events.jsonl alone."""
    scenario = load_topology_text((outcome.run_directory / "topology.yaml").read_text()).resolve()
    powers = {node.name: node.power for node in (*scenario.devices, *scenario.servers)}
    switched = [(e["time_s"], e["node"], e["kind"] == "node-up") for e in lines(outcome, "events.jsonl")
                if e["kind"] in ("node-up", "node-down")]  # fmt: skip
    found = {}
    for name, power in powers.items():
        states = [
            (0.0, True),
            *((at_s, up) for at_s, node, up in switched if node == name),
            (scenario.duration_s, False),
        ]
        up_s = sum(end_s - begin_s for (begin_s, up), (end_s, _) in pairwise(states) if up)
        busy_s = sum(line["busy_s"] for line in lines(outcome, "timeseries.jsonl") if line["node"] == name)
        idle_w, computing_w = (0.0, 0.0) if power is None else (power.idle_w, power.computing_w)
        found[name] = {"up_s": up_s, "busy_s": busy_s, "idle_j": idle_w * up_s, "computing_j": computing_w * busy_s}
    return found


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    return simulate(tmp_path_factory.mktemp("chain"), CHAIN)


def test_energy_is_conserved(chain):
    energy, expected = chain.summary["energy"], integral_of_states(chain)
    for name, node in energy["nodes"].items():
        assert {key: node[key] for key in expected[name]} == pytest.approx(expected[name]), name
        assert node["total_j"] == pytest.approx(node["idle_j"] + node["computing_j"] + node["transfer_j"])
    parts = sum(node["total_j"] for node in energy["nodes"].values()) + sum(energy["links"].values())
    assert energy["total_j"] == pytest.approx(parts)
    assert energy["total_j"] == pytest.approx(sum(energy[part] for part in ("idle_j", "computing_j", "transfer_j")))
    assert energy["nodes"]["hub"]["up_s"] == pytest.approx(17)
    assert energy["nodes"]["cam-cpu-1"]["idle_j"] == 0
    assert energy["nodes"]["core"]["total_j"] == 0  # it states no power


def test_the_lines_over_time_end_at_the_totals(chain):
    energy = chain.summary["energy"]
    totals = {name: node["total_j"] for name, node in energy["nodes"].items()} | energy["links"]
    by_node: dict[str, list[dict]] = {}
    for line in lines(chain, "energy.jsonl"):
        by_node.setdefault(line["node"], []).append(line)
    assert {name: each[-1]["energy_j"] for name, each in by_node.items()} == pytest.approx(totals)
    for each in by_node.values():
        assert all(before["energy_j"] <= after["energy_j"] + 1e-12 for before, after in pairwise(each))
        for before, after in pairwise(each):
            span_s = after["time_s"] - before["time_s"]
            if span_s > 0:
                assert after["power_w"] * span_s == pytest.approx(after["energy_j"] - before["energy_j"], abs=1e-9)


def test_a_topology_without_power_counts_no_energy(tmp_path):
    text = ONE.replace(", power: {idle: 0.5 W}", "").replace(", power: {idle: 3 W, busy: 10 W}", "")
    outcome = simulate(tmp_path, text.replace(", energy: {up: 2 uJ/byte, down: 300 nJ/byte}", ""))
    assert "energy" not in outcome.summary
    assert not (outcome.run_directory / "energy.jsonl").exists()
    assert not any("sent_bytes" in line for line in lines(outcome, "timeseries.jsonl"))


def test_counting_energy_changes_nothing_else(tmp_path):
    bare = CHAIN.replace(", power: raspberry-pi-4", "").replace(", power: {idle: 0.4 W, busy: 1.2 W}", "")
    bare = bare.replace(", power: {idle: 5 W, busy: 9..12 W}", "").replace(", energy: lte", "")
    bare = bare.replace(", energy: 20 nJ/byte", "").replace(", energy: {up: 0.5 W, down: 100 nJ/byte}", "")
    assert "power" not in bare
    assert "energy" not in bare
    runs = [simulate(tmp_path / name, text) for name, text in (("counted", CHAIN), ("bare", bare))]
    for file in ("tasks.jsonl", "decisions.jsonl", "events.jsonl"):
        assert lines(runs[0], file) == lines(runs[1], file)
    summaries = [json.loads(json.dumps({**run.summary, "energy": None, "fidelity": None})) for run in runs]
    assert summaries[0] == summaries[1]


def sample(time_s: float, busy_s: float = 0.0) -> SampleRecord:
    return SampleRecord(
        time_s=time_s, node="only", stage=1, queue_length=0, arrival_rate_per_s=0.0, utilisation=0.0, arrived=0,
        served=0, exits=0, forwarded=0, duplicates=0, overruns=0, cpu_s=0.0, threshold=None, busy_s=busy_s,
    )  # fmt: skip


def test_idle_power_counts_until_the_workload_ends_and_services_whenever_they_happen():
    meter = EnergyMeter(load_topology_text(ONE).resolve())
    meter.sampled(sample(30.0, busy_s=2.0))
    assert meter.figures([])["nodes"]["only"]["total_j"] == pytest.approx(3 * 20 + 7 * 2)
    assert meter.figures([])["per_task_j"] is None


def test_a_run_that_is_cut_short_counts_until_then():
    meter = EnergyMeter(load_topology_text(ONE).resolve())
    meter.stop(8.0)
    assert meter.figures([])["nodes"]["only"]["total_j"] == pytest.approx(24)
    assert meter.figures([])["counted_s"] == 8.0
