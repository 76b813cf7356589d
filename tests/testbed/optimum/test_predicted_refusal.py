"""Prediction of bounds that are too low, against delays worked out by hand."""

import numpy as np
import pytest

from node_agent.models import load_bundle
from testbed.optimum.flow_model import flow_model
from testbed.optimum.predicted_refusal import least_delays_s, predicted_refusals
from testbed.sizes import result_bytes, task_bytes
from testbed.topology import resolve_text
from tests.testbed.optimum.flow_models import random_model
from tests.testbed.simulated import lines, simulate

TEXT = """
name: low
model: {name: glyphs, cut: [3, 5]}
policy: {name: computing-first, parameters: {threshold: 0.8}}
slot: 2 s
duration: 10 s
warm_up: 0 s
devices:
  cam: {count: 3, rate: 2 /s, delay_bound: BOUND}
  eye: {rate: 1 /s}
servers:
  near: {stage: 1, capacity: 0.5 GFLOP/s}
  far: {stage: 1, capacity: 5 GFLOP/s}
  core: {stage: 2, capacity: 0.6 GFLOP/s}
links:
  - {from: [cam, eye], to: near, rate: 8 Mbit/s, delay: 10 ms}
  - {from: [cam, eye], to: far, rate: 8 Mbit/s, delay: 100 ms}
  - {from: [near, far], to: core, rate: 80 Mbit/s, delay: 5 ms}
"""
CUT, ACTIVATION = (3, 5), "float32"
MODEL = load_bundle("glyphs")
PROFILES = MODEL.profiles(CUT, ACTIVATION)
TASK_S, RESULT_S = task_bytes(1, PROFILES[0].input_bytes) * 1e-6 + 0.01, result_bytes(1) * 1e-6 + 0.01
AT_ONCE_S = TASK_S + PROFILES[0].flop / 0.5e9 + RESULT_S  # out at the first exit, by way of `near`


def said(bound_ms, text=TEXT):
    return list(predicted_refusals(resolve_text(text.replace("BOUND", f"{bound_ms:.3f} ms")), MODEL))


def test_below_the_delay_of_the_first_exit_every_task_is_refused():
    assert said(AT_ONCE_S * 1e3 - 0.1) == [
        f"'cam-1' and 2 more devices will refuse every task: even if it leaves at the first exit, a task takes "
        f"{AT_ONCE_S * 1e3:.3g} ms in an empty network, above the bound of {round(AT_ONCE_S * 1e3 - 0.1, 3):g} ms"
    ]


def test_above_it_the_thresholds_of_the_policy_matter():
    (sentence,) = said(AT_ONCE_S * 1e3 + 0.1)
    assert sentence.startswith("at thresholds of 0.8, 'cam-1' and 2 more devices would refuse every task: it takes")
    scenario = resolve_text(TEXT.replace("BOUND", "1 s"))
    flows = flow_model(scenario, PROFILES, MODEL.exit_table(CUT))
    deep_s = least_delays_s(flows, 0.8)[0]
    assert said(deep_s * 1e3 - 0.1) == [
        sentence.rpartition(" ")[0].rpartition(" ")[0] + f" {round(deep_s * 1e3 - 0.1, 3):g} ms"
    ]
    assert said(deep_s * 1e3 + 0.1) == []


def test_by_hand_with_one_exit_after_the_other():
    """Of the tasks, I go on to `core`: another link, another service and another way back."""
    flows = flow_model(resolve_text(TEXT.replace("BOUND", "1 s")), PROFILES, MODEL.exit_table(CUT))
    remaining = float(np.mean(MODEL.exit_table(CUT).confidence[:, 0] < 0.8))
    onward_s = 0.005 + task_bytes(2, PROFILES[1].input_bytes) * 1e-7 + PROFILES[1].flop / 0.6e9
    # The result from core passes two links: the slower one takes its bytes, the other one that of a segment.
    back_s = 0.015 + result_bytes(2) * 1e-6 + result_bytes(2) * 1e-7
    first_s = TASK_S + PROFILES[0].flop / 0.5e9
    expected_s = first_s + (1 - remaining) * RESULT_S + remaining * (onward_s + back_s)
    assert least_delays_s(flows, 0.8) == pytest.approx([expected_s] * 4, rel=1e-6)
    assert least_delays_s(flows, 0.0) == pytest.approx([AT_ONCE_S] * 4, rel=1e-6)


def test_a_bound_may_be_too_low_for_a_part_of_the_run():
    text = TEXT + "events:\n  - {at: 4 s, server: near, capacity: x0.5}\n  - {at: 6 s, server: near, capacity: x1}\n"
    sentences = said(AT_ONCE_S * 1e3 + 5, text)
    assert sentences[0].startswith("at thresholds") is False
    assert [sentence.partition(": ")[0] for sentence in sentences if "first exit" in sentence] == ["from 4 to 6 s"]


def test_without_a_bound_nothing_is_said():
    assert said(1, TEXT.replace(", delay_bound: BOUND", "")) == []


def test_what_is_predicted_comes_true(tmp_path):
    """Only tasks that came before the first reports are admitted."""
    bound = f"{AT_ONCE_S * 1e3 - 1:.3f} ms"
    outcome = simulate(tmp_path, TEXT.replace("BOUND", bound))
    admitted = [task for task in lines(outcome, "tasks.jsonl") if task["status"] == "completed"]
    assert {task["device"] for task in admitted if task["created_s"] > 0.5} == {"eye"}


@pytest.mark.parametrize("seed", range(5))
def test_no_way_is_faster_than_the_least_delay(seed):
    """Of random ways through random networks; with every task leaving at the first exit, the least is a minimum."""
    model = random_model(seed)
    network, rng = model.network, np.random.default_rng(seed)
    least_s, at_once_s = least_delays_s(model, 0.7), least_delays_s(model, 0.0)
    first = network.tiers[0]
    arrive_s = first.transfer_s + 1 / network.service_per_s[0][first.receivers]
    device = np.arange(len(first.receivers))[:, None]
    ways_s = np.where(first.exists, arrive_s + model.return_s[0][first.receivers, device], np.inf)
    assert at_once_s == pytest.approx(ways_s.min(-1))
    thresholds = network.uniform_thresholds(*(0.7,) * (network.stages - 1))
    remaining = network.flows(network.speed_rows(), thresholds).remaining
    for _ in range(50):
        for start in range(len(least_s)):
            assert _random_way_s(model, remaining, start, rng) >= least_s[start] - 1e-12


def _random_way_s(model, remaining, start, rng):
    """The mean delay of a task that takes one way, chosen at random, for as long as it continues."""
    delay_s, continues, at = 0.0, 1.0, start
    for stage, tier in enumerate(model.network.tiers):
        k = rng.choice(np.nonzero(tier.exists[at])[0])
        server = tier.receivers[at, k]
        ratio = remaining[stage][server]
        own_s = tier.transfer_s[at, k] + 1 / model.network.service_per_s[stage][server]
        delay_s += continues * (own_s + (1 - ratio) * model.return_s[stage][server, start])
        continues, at = continues * ratio, server
    return delay_s
