"""Devices that run stage 1 themselves, simulated: closed forms, every policy, and nodes that go down."""

from collections import Counter

import numpy as np
import pytest

from node_agent.models import load_bundle
from node_agent.policies import policy_names
from tests.testbed.onboard import PAIR, SHARED
from tests.testbed.simulated import lines, plan, simulate

CUT, THRESHOLD = (2, 5), 0.8
WORK_FLOP = [profile.flop for profile in load_bundle("glyphs").profiles(CUT, "float16")]
OWN_S, HUB_S = WORK_FLOP[0] / 0.144e9, WORK_FLOP[1] / 0.4e9  # service times of PAIR
DELAY_S, BYTE_PER_S = 0.020, 1e9 / 8  # of its link


def goes_on(samples):
    """True for each sample whose first exit is not confident enough."""
    return load_bundle("glyphs").scores(CUT).confidence[samples, 0] < THRESHOLD


@pytest.fixture(scope="module")
def spaced(tmp_path_factory):
    """PAIR with a task every half second, so that no task waits for another."""
    folder = tmp_path_factory.mktemp("spaced")
    trace = folder / "trace.jsonl"
    trace.write_text("".join(f'{{"time_s": {k / 2}, "device": "cam", "sample": {k}}}\n' for k in range(1, 40)))
    return simulate(folder, PAIR, trace_path=trace)


def test_a_lone_task_takes_its_work_and_nothing_else_if_it_leaves_on_the_device(spaced):
    alone = [task for task in lines(spaced, "tasks.jsonl") if task["exit_stage"] == 1]
    assert len(alone) > 3
    for task in alone:
        assert task["delay_s"] == pytest.approx(OWN_S, abs=1e-9)
        assert [hop["node"] for hop in task["hops"]] == ["cam-cpu"]
        assert task["hops"][0]["received_s"] == task["created_s"] == task["offers"][0][1]


def test_a_lone_task_that_goes_on_also_takes_the_link_both_ways(spaced):
    """The framing of a message has between 80 and 500 bytes: 1 to 4 us at 1 Gbit/s."""
    tasks = lines(spaced, "tasks.jsonl")
    onward = [task for task in tasks if task["exit_stage"] == 2]
    assert [task["id"] for task in onward] == [task["id"] for task in tasks if goes_on(task["sample"])]
    activation_bytes = load_bundle("glyphs").profiles(CUT, "float16")[1].input_bytes
    for task in onward:
        there, back = activation_bytes / BYTE_PER_S + DELAY_S, DELAY_S
        assert task["delay_s"] == pytest.approx(OWN_S + there + HUB_S + back + 5e-6, abs=4e-6)


def test_nodes_see_a_link_without_delay(spaced):
    of_device = [line for line in lines(spaced, "decisions.jsonl") if line["node"] == "cam"]
    assert [line["link_s"] for line in of_device] == [{"cam-cpu": 0.0}] * 4
    assert all(line["offload"] == {"cam-cpu": 1.0} for line in of_device)


@pytest.mark.parametrize(("load", "tasks"), [(0.3, 12_000), pytest.param(0.6, 60_000, marks=pytest.mark.slow)])
def test_poisson_arrivals_make_an_m_d_1_queue_and_exits_thin_the_flow_to_stage_2(tmp_path, load, tasks):
    """Mean delay = s1 (1 + rho / (2 (1 - rho))) + p (link + s2 + link back), with p the share that goes on.

    Tasks leave the device at gaps of at least s1. The hub is faster, so that none waits there or on the link.
    """
    assert HUB_S < OWN_S
    rate = load / OWN_S
    text = PAIR.replace("4 /s", f"{rate} /s").replace("duration: 20 s", f"duration: {tasks / rate} s")
    outcome = simulate(tmp_path, text.replace("slot: 5 s", f"slot: {tasks / rate} s"))
    found = lines(outcome, "tasks.jsonl")
    queue_s = OWN_S * (1 + load / (2 * (1 - load)))
    sojourn_s = [task["hops"][0]["finished_s"] - task["created_s"] for task in found]
    assert np.mean(sojourn_s) == pytest.approx(queue_s, rel=0.02)
    hub_s = [task["hops"][1]["finished_s"] - task["hops"][1]["received_s"] for task in found if task["hops"][1:]]
    assert hub_s == pytest.approx([HUB_S] * len(hub_s), rel=1e-9)
    passed = len(hub_s) / len(found)
    assert passed == goes_on([task["sample"] for task in found]).mean()
    assert passed == pytest.approx(goes_on(slice(None)).mean(), abs=0.01)
    links_s = load_bundle("glyphs").profiles(CUT, "float16")[1].input_bytes / BYTE_PER_S + 2 * DELAY_S
    assert outcome.summary["delay_s"]["mean"] == pytest.approx(queue_s + passed * (links_s + HUB_S), rel=0.02)


@pytest.mark.parametrize("policy", policy_names())
def test_every_policy_works_with_processors_of_devices(tmp_path, policy):
    """`debug` checks every node after each event."""
    outcome = simulate(tmp_path, SHARED, policy=policy)
    tasks, decisions = lines(outcome, "tasks.jsonl"), lines(outcome, "decisions.jsonl")
    assert outcome.summary["tasks"]["completed"] == outcome.summary["tasks"]["offered"] > 100
    firsts = Counter((task["device"], task["hops"][0]["node"]) for task in tasks)
    assert set(firsts) <= {
        ("cam-1", "cam-cpu-1"), ("cam-1", "post"), ("cam-2", "cam-cpu-2"), ("cam-2", "post"), ("plain", "post"),
    }  # fmt: skip
    assert {"cam-cpu-1", "cam-cpu-2", "post"} <= {line["node"] for line in decisions}
    of_device = [line for line in decisions if line["node"] == "cam-1" and line["slot"] > 0]
    assert of_device
    assert all(set(line["offload"]) == {"cam-cpu-1", "post"} for line in of_device)


def test_dto_ee_takes_the_processor_and_the_post_at_equal_prices(tmp_path):
    text = SHARED.replace("duration: 16 s", "duration: 60 s")
    outcome = simulate(tmp_path, text)
    last = [line for line in lines(outcome, "decisions.jsonl") if line["node"] == "cam-1"][-1]
    assert min(last["offload"].values()) > 0.1
    own, post = last["prices"].values()
    assert own == pytest.approx(post, rel=0.05)


def test_a_device_that_goes_down_takes_its_processor_with_it_and_both_come_back(tmp_path):
    events = "events: [{at: 6 s, node: cam-1, state: down}, {at: 9 s, node: cam-1, state: up}]\n"
    outcome = simulate(tmp_path, SHARED + events)
    assert [(line["node"], line["kind"]) for line in lines(outcome, "events.jsonl") if "node-" in line["kind"]] == [
        ("cam-1", "node-down"), ("cam-cpu-1", "node-down"), ("cam-1", "node-up"), ("cam-cpu-1", "node-up"),
    ]  # fmt: skip
    served_s = [hop["finished_s"] for task in lines(outcome, "tasks.jsonl") for hop in task["hops"]
                if hop["node"] == "cam-cpu-1"]  # fmt: skip
    assert not [at_s for at_s in served_s if 6.0 < at_s < 9.0]
    assert [at_s for at_s in served_s if at_s < 6.0]
    assert [at_s for at_s in served_s if at_s > 9.0]


def test_a_device_whose_processor_fails_sends_pictures_to_the_post(tmp_path):
    events = "events: [{at: 6 s, node: cam-cpu-1, state: down}]\n"
    outcome = simulate(tmp_path, SHARED + events)
    assert outcome.summary["tasks"]["lost"] == 0
    late = [task for task in lines(outcome, "tasks.jsonl") if task["device"] == "cam-1" and task["created_s"] > 6.0]
    assert len(late) > 10
    assert {task["hops"][0]["node"] for task in late} == {"post"}


def test_a_device_with_a_bound_on_delays_weighs_its_own_processor_too(tmp_path):
    """Tasks that it admits stay near the bound, and it offers only part of its tasks."""
    bounded = SHARED.replace("memory: 64 MiB", "delay_bound: 350 ms").replace("duration: 16 s", "duration: 40 s")
    found = [task for task in lines(simulate(tmp_path, bounded), "tasks.jsonl") if task["device"] != "plain"]
    refused = [task for task in found if task["status"] == "refused"]
    firsts = {task["hops"][0]["node"] for task in found if task["hops"]}
    assert 0 < len(refused) < len(found)
    assert {"cam-cpu-1", "cam-cpu-2", "post"} == firsts


def test_the_plan_names_processors_as_servers(tmp_path):
    scenario = plan(tmp_path, SHARED).scenario
    assert [server.name for server in scenario.servers_of_stage(1)] == ["post", "cam-cpu-1", "cam-cpu-2"]
