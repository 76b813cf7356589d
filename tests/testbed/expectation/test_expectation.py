"""Expected delays: those of the run if it was undisturbed, and of an undisturbed machine if it was not."""

import numpy as np
import pytest

from testbed.expectation import expected_delays, steps_of
from tests.testbed import onboard, small
from tests.testbed.expectation.runs import delays_s, findings_of, tasks_of, world_of
from tests.testbed.simulated import simulate
from tests.testbed.varying import VaryingGlyphs

US = 1e-6
# With a fixed plan, tasks go the same ways whatever the nodes measure.
SMALL = small.SMALL.replace("policy: dto-ee", "policy: uniform").replace("duration: 8 s", "duration: 20 s")
EVENTS = """
events:
  - {at: 5 s, server: near-1, capacity: x0.4}
  - {at: 7 s, server: near-1, capacity: x2}
  - {at: 9 s, link: [cam-1, near-1], rate: 2 Mbit/s, delay: 40 ms}
  - {at: 15 s, link: [cam-1, near-1], rate: 20 Mbit/s, delay: 10 ms}
"""
SWITCHED = SMALL.replace(
    "  - {from: [near-1, near-2], to: core, rate: 30 Mbit/s, delay: 5 ms}",
    "  - {from: [near-1, near-2], to: hub, rate: 30 Mbit/s, delay: 5 ms}\n"
    "  - {from: hub, to: core, rate: 10 Mbit/s, delay: 2 ms}\nswitches: [hub]",
)


def expected_of(outcome, model=None):
    world, tasks = world_of(outcome.run_directory, model), tasks_of(outcome)
    steps = steps_of(world, tasks)
    (only,) = expected_delays(world, tasks, steps.failed).draws
    return tasks, steps, np.array([only[task.id] for task in tasks])


ONBOARD = onboard.SHARED.replace("policy: dto-ee", "policy: uniform").replace("[2, 3, 5]", "[3, 4, 5]")


@pytest.mark.parametrize(
    "text", [SMALL, SMALL + EVENTS, SWITCHED, ONBOARD], ids=["steady", "events", "switched", "onboard"]
)
@pytest.mark.parametrize("model", [None, VaryingGlyphs()], ids=["same costs", "varying costs"])
def test_an_undisturbed_run_is_what_was_expected(tmp_path, text, model):
    tasks, steps, expected_s = expected_of(simulate(tmp_path, text, model=model), model)
    assert len(tasks) > 100
    # Rounds and acknowledgements share the links; a number in a header may be a few bytes longer.
    np.testing.assert_allclose(expected_s, delays_s(tasks), atol=1e-3)
    assert abs(expected_s.mean() / delays_s(tasks).mean() - 1) < 1e-3
    assert {step.step for step in steps.late} == {"offering", "transfer", "queue", "service", "sending", "return"}
    assert max(abs(step.late_s) for step in steps.late) < 1e-3
    assert max(abs(step.late_s) for step in steps.late if step.step in ("service", "sending")) < 10 * US


def test_what_a_sample_costs_is_expected_of_it(tmp_path):
    """With the mean costs for all samples, services and transfers would come too early or too late."""
    model = VaryingGlyphs()
    outcome = simulate(tmp_path, SMALL, model=model)
    world, tasks = world_of(outcome.run_directory, model), tasks_of(outcome)
    costs = model.sample_costs((3, 5), "float32")
    of_sample = {task.sample: world.task_bytes((task.device,), task.sample) for task in tasks}
    assert len(set(of_sample.values())) > 50
    headers = {size - 2 * costs.length[sample, 0] for sample, size in of_sample.items()}
    assert max(headers) - min(headers) <= 10, "a uint16 number has two bytes"
    for task in tasks:
        for stage, hop in enumerate(task.hops):
            capacity = {"near-1": 0.5e9, "near-2": 0.3e9, "core": 0.6e9}[hop.node]
            service_s = costs.flop[task.sample, stage] / capacity
            assert hop.finished_s - hop.started_s == pytest.approx(service_s)
            assert world.served_by_s(hop.node, hop.started_s, task.sample) == pytest.approx(hop.finished_s)
    world._sample_costs = None
    steps = steps_of(world, tasks)
    (blind,) = expected_delays(world, tasks, steps.failed).draws
    off_s = np.abs(np.array([blind[task.id] for task in tasks]) - delays_s(tasks))
    assert np.median(off_s) > 0.01


def test_what_a_server_was_held_up_by_is_not_expected_of_those_behind_it_either(tmp_path):
    """near-1 stands still for a second in one of its services, as if its process had been stopped."""
    calm = simulate(tmp_path / "calm", SMALL)
    served = []

    def held_up(server, paced_s):
        if server == "near-1":
            served.append(server)
            if len(served) == 40:
                return paced_s + 1.0
        return paced_s

    disturbed = simulate(tmp_path / "disturbed", SMALL, service_time=held_up)
    tasks, steps, expected_s = expected_of(disturbed)
    calm_s, disturbed_s = delays_s(tasks_of(calm)), delays_s(tasks)
    assert disturbed_s.mean() > 1.05 * calm_s.mean()
    assert (disturbed_s - calm_s > 0.2).sum() >= 3, "those behind waited, too"
    np.testing.assert_allclose(expected_s, calm_s, atol=2e-3)
    late = [step for step in steps.late if step.late_s > 0.01]
    assert [(step.step, step.path) for step in late] == [("service", ("near-1",))]
    assert late[0].late_s == pytest.approx(1.0, abs=1e-6)


def test_what_waits_for_a_node_that_is_down_is_expected_when_it_is_up_again(tmp_path):
    """Offers wait in their connections; when the copies are served, they hold up other tasks, as on any machine."""
    events = "\nevents:\n  - {at: 6 s, node: near-1, state: down}\n  - {at: 9 s, node: near-1, state: up}"
    outcome, findings = findings_of(tmp_path, SMALL + events)
    delays = delays_s([task for task in tasks_of(outcome) if task.completed_s is not None])
    assert (delays > 1.0).any(), "some were offered to a node that was down"
    assert outcome.summary["tasks"]["duplicates"] >= 3
    # A node that comes up probes its links before it takes the messages that wait for it.
    assert {figure.name for figure in findings.figures if abs(figure.off) > 0.015} == set()
    waited = [each for each in findings.lateness.paths if each.where[1] == "near-1"]
    assert max(each.worst_s for each in waited) < 0.1


def test_refused_tasks_are_in_no_expectation(tmp_path):
    """Only tasks that were admitted loaded the network, and a refused one is not unfinished."""
    bounded = SMALL.replace("rate: 5 /s", "rate: 30 /s, delay_bound: 300 ms")
    outcome, findings = findings_of(tmp_path, bounded)
    counts = outcome.summary["tasks"]
    assert counts["refused"] > 50
    assert counts["lost"] == 0
    assert not findings.unfinished
    assert set(findings.expected_s) == {task.id for task in tasks_of(outcome) if task.status == "completed"}
    assert {figure.name for figure in findings.figures if abs(figure.off) > 0.015} == set()


def test_tasks_carry_their_answers_under_patience(tmp_path):
    """11 bytes for each exit that a task has passed, and 9 for the name of the field."""
    worlds = []
    for number, criterion in enumerate(("confidence", "patience")):
        text = SMALL.replace("cut: [3, 5]", f"cut: [3, 5], criterion: {criterion}")
        outcome = simulate(tmp_path / str(number), text, duration_s=4.0)
        worlds.append(world_of(outcome.run_directory))
    plain, patient = worlds
    assert patient.task_bytes(("cam-1",)) == plain.task_bytes(("cam-1",))
    assert patient.task_bytes(("cam-1", "near-1")) == plain.task_bytes(("cam-1", "near-1")) + 9 + 11
