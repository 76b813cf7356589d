"""On networks made so that one place is the bottleneck, the explanation names it."""

import pytest

from testbed.explain.explained_run import read_explained
from testbed.explain.explanation import explain
from testbed.live.experiment import Experiment
from testbed.record.reading import read_lines
from testbed.record.run_directory import TASKS
from testbed.record.task_line import TaskLine
from testbed.run.observer import SilentObserver
from testbed.run.planning import plan_run
from tests.testbed.explain.limited import BASE, LIMITED
from tests.testbed.simulated import simulate

LIVE = ("server of stage 1", "link between servers", "server that dies")


@pytest.mark.parametrize("case", LIMITED)
def test_the_bottleneck_is_named(tmp_path, case):
    text, limited = LIMITED[case]
    outcome = simulate(tmp_path, text)
    found = explain(outcome.run_directory)
    assert found.bottleneck is not None
    assert (found.bottleneck.kind, found.bottleneck.name) == limited
    assert found.bottleneck is found.places[0]
    waiting_s = sum(found.parts_s[part] for part in ("machine", "retries", "link_wait", "queueing"))
    back_s = sum(place.waited_s for place in found.places) - waiting_s
    assert -1e-9 < back_s < 0.1 * found.mean_s, "what is left are results that waited for links"
    assert found.mean_s == pytest.approx(outcome.summary["delay_s"]["mean"], abs=1e-9)
    assert found.parts_s == pytest.approx(outcome.summary["parts_s"], abs=1e-12)
    assert found.fairness == outcome.summary["fairness"]
    if found.span is not None:
        assert found.span.share >= 0.8


def test_a_span_names_the_event(tmp_path):
    text, _ = LIMITED["server that slows down"]
    span = explain(simulate(tmp_path, text).run_directory).span
    assert (span.from_s, span.until_s) == (12.0, 16.0)
    assert span.events[0] == "near-2: 0.075 GFLOP/s at 12 s"


def test_where_tasks_wait_nowhere_nothing_is_a_bottleneck(tmp_path):
    found = explain(simulate(tmp_path, BASE).run_directory)
    assert found.bottleneck is None
    assert found.span is None
    assert found.longest == "service"
    far = BASE.replace("rate: 40 Mbit/s, delay: 4 ms", "rate: 40 Mbit/s, delay: 300 ms")
    found = explain(simulate(tmp_path / "far", far).run_directory)
    assert found.bottleneck is None
    assert found.longest in ("transfer", "return")


@pytest.mark.root
@pytest.mark.company
@pytest.mark.usefixtures("leaves_nothing")
@pytest.mark.parametrize("case", LIVE)
def test_live_the_bottleneck_is_named_and_no_task_misses_its_delay(tmp_path, case):
    text, limited = LIMITED[case]
    topology = tmp_path / "topology.yaml"
    topology.write_text(text)
    outcome = Experiment(plan_run(topology, out=tmp_path / "run", duration_s=16.0), SilentObserver()).run()
    run = read_explained(outcome.run_directory)
    completed = [task for task in read_lines(outcome.run_directory / TASKS, TaskLine) if task.delay_s is not None]
    assert len(completed) > 150
    for task in completed:
        parts = run.splits[task.id].parts
        assert min(parts) >= 0
        assert sum(parts) == pytest.approx(task.delay_s, abs=1e-6)
    assert sum(outcome.summary["parts_s"].values()) == pytest.approx(outcome.summary["delay_s"]["mean"], abs=1e-6)
    found = explain(outcome.run_directory)
    assert (found.bottleneck.kind, found.bottleneck.name) == limited
