"""Devices that run stage 1 themselves on the real kernel: one namespace, two agents, and nothing of it on the links."""

import numpy as np
import pytest

from testbed.host.cpu_quota import hierarchies
from testbed.record.run_directory import read_manifest
from tests.testbed import simulated
from tests.testbed.live.test_experiment import lines, run
from tests.testbed.onboard import PAIR, SHARED

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("leaves_nothing")]


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """PAIR for 16 s, live and simulated, with the same tasks."""
    text = PAIR.replace("duration: 20 s", "duration: 16 s")
    folder = tmp_path_factory.mktemp("pair")
    return run(folder, text), simulated.simulate(folder / "simulated", text)


@pytest.mark.company
@pytest.mark.timing
@pytest.mark.usefixtures("leaves_nothing")
def test_a_live_run_is_as_long_as_a_simulated_one(both):
    live, virtual = both
    assert live.summary["tasks"]["lost"] == 0
    assert live.summary["tasks"]["offered"] == virtual.summary["tasks"]["offered"] > 50
    assert live.report.verdict != "broken", live.report.reasons
    tasks = [sorted(lines(each.run_directory / "tasks.jsonl"), key=lambda task: task["id"]) for each in both]
    assert [[hop["node"] for hop in task["hops"]] for task in tasks[0]] == [
        [hop["node"] for hop in task["hops"]] for task in tasks[1]
    ]
    assert [task["prediction"] for task in tasks[0]] == [task["prediction"] for task in tasks[1]]
    for name in ("mean", "p50", "p95"):
        assert live.summary["delay_s"][name] == pytest.approx(virtual.summary["delay_s"][name], rel=0.05), name
    hand_over_s = [task["hops"][0]["received_s"] - task["offers"][0][1] for task in tasks[0]]
    assert 0 < np.median(hand_over_s) < 0.003, "from the device to its own processor"


def test_only_activations_results_and_prices_cross_the_link(both):
    live, _ = both
    (there,) = (link for link in live.summary["fidelity"]["links"] if tuple(link["ends"]) == ("cam", "hub"))
    onward = sum(len(task["hops"]) == 2 for task in lines(live.run_directory / "tasks.jsonl"))
    activation_bytes = read_manifest(live.run_directory)["sub_models"][1]["input_bytes"]
    assert onward > 30
    assert there["bytes"] == pytest.approx(onward * activation_bytes, rel=0.15)


def test_both_agents_live_in_the_devices_namespace(both):
    nodes = read_manifest(both[0].run_directory)["nodes"]
    assert nodes["cam-cpu"] == {"address": "127.0.0.1", "namespace": nodes["cam"]["namespace"]}
    assert nodes["hub"]["namespace"] != nodes["cam"]["namespace"]


def test_a_device_dies_with_its_processor_and_comes_back_under_a_central_policy(tmp_path):
    """The coordinator is reached over the device's links; a processor joins and leaves like any other server."""
    events = "events: [{at: 3 s, node: cam-1, state: down}, {at: 5 s, node: cam-1, state: up}]\n"
    text = SHARED.replace("duration: 16 s", "duration: 10 s") + events
    outcome = run(tmp_path, text, policy="ga")
    assert outcome.exit_reason == "completed"
    tasks = lines(outcome.run_directory / "tasks.jsonl")
    assert {task["reason"] for task in tasks if task["status"] == "lost"} <= {"its device was down"}
    assert {task["device"] for task in tasks if task["status"] == "lost"} <= {"cam-1"}
    back = [task for task in tasks if task["device"] == "cam-1" and task["created_s"] > 7.0]
    assert back
    assert all(task["status"] == "completed" for task in back)
    kinds = [(line["node"], line["kind"]) for line in lines(outcome.run_directory / "events.jsonl")]
    assert {("cam-cpu-1", "node-down"), ("cam-cpu-1", "node-up")} <= set(kinds)


@pytest.mark.skipif(hierarchies() is None, reason="no cgroup CPU controller on this machine")
def test_quota_limits_the_processor_of_a_device(tmp_path):
    outcome = run(tmp_path, PAIR.replace("duration: 20 s", "duration: 5 s\ncompute: quota"))
    assert outcome.summary["tasks"]["lost"] == 0
    served = [hop for task in lines(outcome.run_directory / "tasks.jsonl") for hop in task["hops"]]
    own_s = [hop["finished_s"] - hop["started_s"] for hop in served if hop["node"] == "cam-cpu"]
    assert len(own_s) > 10
    # A task takes the machine one or two milliseconds. A quota lets some pass at once and holds up those that follow.
    assert np.mean(own_s) > 0.01
