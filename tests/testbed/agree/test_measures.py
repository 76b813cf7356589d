"""Figures of tasks: computed by hand, and on simulated runs with a known disturbance."""

import json

import numpy as np
import pytest

from node_agent.errors import InputError, TestbedError
from node_agent.models import load_bundle
from node_agent.wire import Handover
from testbed.agree.measures import STEPS, TaskFrame, task_figures
from testbed.agree.recorded_pair import Recorded, read_pair, read_run
from testbed.record.task_line import HopLine
from tests.testbed.agree.sides import UNIFORM, make_repeat, sides_of, slower
from tests.testbed.record.task_lines import task_line

FRAME = TaskFrame(warm_up_s=2.0, slot_s=2.0, stages=2)


def task(number, created_s, hops, completed_s, **fields):
    values = {"offers": (Handover("a", created_s + 0.01),), "exit_stage": len(hops), "completed_s": completed_s}
    delay_s = None if completed_s is None else completed_s - created_s
    return task_line(number, created_s=created_s, delay_s=delay_s, hops=hops, **values | fields)


def test_figures_by_hand():
    """A task before the warm-up, a task that leaves at each stage, a lost task and two refused ones."""
    early = task(0, 1.0, (HopLine("a", 1.1, 1.1, 1.2, 1.2, 0.0),), 9.0)
    first = task(1, 3.0, (HopLine("a", 3.05, 3.15, 3.35, 3.36, 0.0),), 3.40, correct=False)
    second = task(
        2, 5.0, (HopLine("a", 5.03, 5.03, 5.23, 5.24, 0.0), HopLine("b", 5.30, 5.60, 6.00, 6.00, 0.0)), 6.10,
    )  # fmt: skip
    lost = task(3, 6.0, (), None)
    refused = [task(number, created_s, (), None, status="refused") for number, created_s in ((4, 0.5), (5, 7.0))]
    live = Recorded([early, first, second, lost, *refused], [])
    figures = task_figures(FRAME, [(live, Recorded([], []))])
    expected = {
        "delay_mean_s": (0.4 + 1.1) / 2, "delay_p50_s": 0.75, "delay_p95_s": 0.4 + 0.95 * 0.7,
        "accuracy": 0.5, "exit_share_1": 0.5, "exit_share_2": 0.5, "lost": 1.0, "offering_s": 0.01,
        "refused": 2.0, "goodput": 1 / 4,
        "stage_1_transfer_s": (0.04 + 0.02) / 2, "stage_1_queue_s": 0.05, "stage_1_service_s": 0.2,
        "stage_1_sending_s": 0.01, "stage_1_return_s": 0.04, "stage_2_transfer_s": 0.06, "stage_2_queue_s": 0.3,
        "stage_2_service_s": 0.4, "stage_2_sending_s": 0.0, "stage_2_return_s": 0.1,
    }  # fmt: skip
    assert {name: figures[name].live for name in expected} == pytest.approx(expected)
    assert set(figures) - set(expected) == {"delay_p99_s"}
    assert all(one.simulated is None and one.difference is None for one in figures.values())


def test_a_second_offer_counts_as_offering():
    """The device waited 0.5 s for a server that did not answer."""
    offers = (Handover("a", 3.01), Handover("b", 3.51))
    once = task(0, 3.0, (HopLine("b", 3.6, 3.6, 3.7, 3.7, 0.0),), 3.8, offers=offers)
    figures = task_figures(FRAME, [(Recorded([once], []), Recorded([], []))])
    assert figures["offering_s"].live == pytest.approx(0.51)
    assert figures["stage_1_transfer_s"].live == pytest.approx(0.09)


@pytest.fixture(scope="module")
def disturbed(tmp_path_factory):
    """Two runs of the same workload; in the one in place of the live run, near-1 takes 1.2 times as long."""
    cell, _ = make_repeat(tmp_path_factory.mktemp("disturbed"), UNIFORM, live=slower(1.2))
    return tuple(side.path for side in sides_of(cell))


def test_steps_add_up_to_the_delay(disturbed):
    """The sum of the means of all steps, each weighted by the number of its tasks, is the mean delay."""
    run = read_run(disturbed[0])
    for stage in (1, 2):
        left = [each for each in run.tasks if each.exit_stage == stage]
        figures = task_figures(FRAME, [(Recorded(left, []), Recorded(left, []))])
        names = ["offering_s", f"stage_{stage}_return_s"]
        names += [f"stage_{passed}_{step}_s" for passed in range(1, stage + 1) for step in STEPS[:4]]
        total_s = sum(figures[name].live for name in names)
        assert total_s == pytest.approx(figures["delay_mean_s"].live, abs=1e-9)
        assert figures["delay_mean_s"].difference.mean == 0.0


def test_a_known_disturbance_is_found_where_it_is(disturbed):
    live, simulated = read_pair(*disturbed)
    figures = task_figures(FRAME, [(live, simulated)])
    for name, path in zip(("live", "simulated"), disturbed, strict=True):
        summary = json.loads((path / "summary.json").read_text())
        assert getattr(figures["delay_mean_s"], name) == pytest.approx(summary["delay_s"]["mean"])
        assert getattr(figures["delay_p95_s"], name) == pytest.approx(summary["delay_s"]["p95"])
        assert getattr(figures["accuracy"], name) == pytest.approx(summary["accuracy"])
        assert getattr(figures["exit_share_2"], name) == pytest.approx(summary["exit_share"]["2"])
        assert getattr(figures["lost"], name) == 0
    # A fifth of near-1's service time, by the share of its tasks; the service time is work / capacity.
    counted = [each for each in simulated.tasks if each.created_s >= 2.0]
    share = np.mean([each.hops[0].node == "near-1" for each in counted])
    service_s = load_bundle("glyphs").profiles((3, 5), "float32")[0].flop / 0.5e9
    added = figures["stage_1_service_s"].difference
    assert added.mean == pytest.approx(0.2 * share * service_s, rel=1e-6)
    assert 0 < added.low < added.mean < added.high
    assert figures["stage_1_queue_s"].difference.mean > 0, "others waited behind"
    assert figures["stage_2_service_s"].difference.mean == pytest.approx(0.0, abs=1e-12)
    assert figures["stage_1_transfer_s"].difference.mean == pytest.approx(0.0, abs=1e-3)
    assert figures["delay_mean_s"].ratio.low > 1.0
    assert figures["delay_mean_s"].basis == "slots"
    assert figures["delay_mean_s"].units == 11  # 22 s in slots of 2 s


def test_runs_of_other_tasks_are_no_pair(disturbed, tmp_path):
    cell, _ = make_repeat(tmp_path, UNIFORM, seed=2)
    with pytest.raises(TestbedError, match="had different tasks: task 0 is another one"):
        read_pair(disturbed[0], sides_of(cell)[1].path)
    tasks = sides_of(cell)[1].path / "tasks.jsonl"
    whole = tasks.read_bytes().splitlines(keepends=True)
    last = max(whole, key=lambda line: json.loads(line)["id"])
    tasks.write_bytes(b"".join(line for line in whole if line is not last))
    with pytest.raises(TestbedError, match=f"{len(whole)} tasks and {len(whole) - 1}"):
        read_pair(*(side.path for side in sides_of(cell)))
    tasks.write_text('{"id": 1}\n')
    with pytest.raises(InputError, match=r"tasks.jsonl:1: not as this version records it: .*missing"):
        read_run(sides_of(cell)[1].path)
    tasks.unlink()
    with pytest.raises(InputError, match=r"tasks.jsonl: cannot be read: No such file"):
        read_run(sides_of(cell)[1].path)
