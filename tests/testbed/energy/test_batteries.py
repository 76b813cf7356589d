"""A device with an empty battery leaves the network, and the run says when."""

import pytest

from node_agent.models import load_bundle
from node_agent.records import DEVICE_DOWN
from tests.testbed.energy.networks import CHAIN, ONE
from tests.testbed.simulated import lines, simulate

NO_RADIO = ONE.replace(", energy: {up: 2 uJ/byte, down: 300 nJ/byte}", "")


def with_battery(text: str, battery: str) -> str:
    return text.replace("power: {idle: 0.5 W}", f"power: {{idle: 0.5 W}}, battery: {battery}")


def events(outcome, kind: str = "battery-empty") -> list[tuple[float, str]]:
    return [(event["time_s"], event["node"]) for event in lines(outcome, "events.jsonl") if event["kind"] == kind]


def test_idle_power_alone_empties_it_at_the_time_that_one_computes(tmp_path):
    outcome = simulate(tmp_path, with_battery(NO_RADIO, "4 J"))
    assert events(outcome) == [(pytest.approx(8.0), "cam")]
    battery = outcome.summary["energy"]["batteries"]["cam"]
    assert battery == {"capacity_j": 4.0, "left_j": pytest.approx(0, abs=1e-6), "empty_s": pytest.approx(8.0)}
    assert outcome.summary["energy"]["nodes"]["cam"]["total_j"] == pytest.approx(4.0)
    tasks = lines(outcome, "tasks.jsonl")
    late = [task for task in tasks if task["created_s"] > 8.0]
    assert late
    assert all((task["status"], task["reason"]) == ("lost", DEVICE_DOWN) for task in late)
    assert sum(task["status"] == "completed" for task in tasks) >= len(tasks) - len(late) - 1


def test_what_it_sends_and_receives_drains_it_sooner(tmp_path):
    outcome = simulate(tmp_path, with_battery(ONE, "4 J"))
    ((at_s, _),) = events(outcome)
    node = outcome.summary["energy"]["nodes"]["cam"]
    assert 0.05 < node["transfer_j"] < 1
    # By the samples that were known then: what a second's worth of bytes costs is the most that can be missing.
    per_second_j = node["transfer_j"] / at_s
    assert 4.0 - 1e-6 <= node["total_j"] <= 4.0 + 2 * per_second_j
    assert at_s == pytest.approx(8.0 - node["transfer_j"] / 0.5, abs=2 * per_second_j / 0.5)


def test_the_own_processor_drains_it_and_goes_with_it(tmp_path):
    text = CHAIN.partition("events:")[0].replace("energy: lte", "energy: 0 nJ/byte")
    text = text.replace("busy: 1.2 W}", "busy: 5 W}, battery: 7 J")
    outcome = simulate(tmp_path, text)
    energy = outcome.summary["energy"]
    work_flop = load_bundle("glyphs").profiles((2, 3, 5), "float16")[0].flop
    for at_s, device in events(outcome):
        number = device.removeprefix("cam-")
        own, processor = energy["nodes"][device], energy["nodes"][f"cam-cpu-{number}"]
        assert (own["up_s"], processor["up_s"]) == pytest.approx((at_s, at_s))
        used_j = own["total_j"] + processor["total_j"]
        assert 7 - 1e-6 <= used_j <= 7 + 4.6  # a second of computing at the most
        assert processor["busy_s"] >= work_flop / 1e8
    assert len(events(outcome)) == 2
    assert all(at_s < 20 for at_s, _ in events(outcome))


def test_a_device_stays_down_even_if_an_event_would_bring_it_up(tmp_path):
    text = with_battery(NO_RADIO, "4 J")
    text += "events:\n  - {at: 2 s, node: cam, state: down}\n  - {at: 4 s, node: cam, state: up}\n"
    text += "  - {at: 12 s, node: cam, state: down}\n  - {at: 15 s, node: cam, state: up}\n"
    outcome = simulate(tmp_path, text)
    assert events(outcome) == [(pytest.approx(10.0), "cam"), (15.0, "cam")]  # two seconds down used nothing
    assert events(outcome, "node-up") == [(4.0, "cam")]
    assert outcome.summary["energy"]["nodes"]["cam"]["total_j"] == pytest.approx(4.0)
    assert all(task["status"] == "lost" for task in lines(outcome, "tasks.jsonl") if task["created_s"] > 10)


def test_a_battery_that_lasts_says_what_is_left(tmp_path):
    outcome = simulate(tmp_path, with_battery(NO_RADIO, "0.01 Wh"))
    assert events(outcome) == []
    battery = outcome.summary["energy"]["batteries"]["cam"]
    assert battery == {"capacity_j": 36.0, "left_j": pytest.approx(26.0), "empty_s": None}
    last = [line for line in lines(outcome, "energy.jsonl") if line["node"] == "cam"][-1]
    assert last["battery_j"] == pytest.approx(26.0)
    assert outcome.summary["tasks"]["lost"] == 0
