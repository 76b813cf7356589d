"""Whole frontiers in virtual time: runs, points, bounds, files, and the continuation of an interrupted one."""

import csv
import json

import numpy as np
import pytest

from node_agent.errors import InputError
from testbed.cells.batch import CellsInterrupted, Options
from testbed.frontier import FrontierAsk, as_json, frontier
from testbed.frontier.frontier import UnobservedFrontier
from testbed.frontier.leads import lead
from testbed.optimum.bound import bound_for_run
from testbed.record.run_figures import BY_NAME
from tests.testbed.compare.topology import SMALL, write

POLICIES = ("dto-ee", "uniform", "first-exit")
THETAS_S, THRESHOLDS = (0.1, 1.0, 8.0), (0.4, 0.8)


class Seen(UnobservedFrontier):
    """An observer that records runs and bounds, and interrupts at one of them."""

    def __init__(self, stop_at_run=None, stop_at_bound=None):
        self.runs, self.bounds = [], []
        self._stop_at_run, self._stop_at_bound = stop_at_run, stop_at_bound

    def begun(self, cell):
        self.runs.append(cell.name)
        if len(self.runs) == self._stop_at_run:
            raise KeyboardInterrupt

    def bounding(self, bounds, kept):
        self.bounds = [f"{kept} of {bounds}"]

    def bounded(self):
        self.bounds.append("one more")
        if len(self.bounds) - 1 == self._stop_at_bound:
            raise KeyboardInterrupt


def trace(folder, out="out", *, text=SMALL, observer=None, options=None, **ask):
    asked = FrontierAsk(**{"policies": POLICIES, "repeats": 2, "thetas_s": THETAS_S, "thresholds": THRESHOLDS} | ask)
    given = options or Options(simulate=True, jobs=1)
    return frontier(write(folder, text), asked, given, out=folder / out, observer=observer)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A frontier that several tests read, and none changes."""
    folder, seen = tmp_path_factory.mktemp("frontier"), Seen()
    return folder, trace(folder, observer=seen), seen


def test_every_policy_runs_at_its_values_on_the_same_seeds(done):
    _, found, seen = done
    assert len(seen.runs) == len(found.rows) == 2 * (3 + 2 + 1)
    assert [(one.policy, one.parameter, one.value) for one in found.points] == [
        *(("dto-ee", "theta", theta_s) for theta_s in THETAS_S),
        *(("uniform", "threshold", threshold) for threshold in THRESHOLDS),
        ("first-exit", None, None),
    ]
    traces = {}
    for row in found.rows:
        run = found.directory / row.run_directory
        manifest = json.loads((run / "manifest.json").read_text())
        summary = json.loads((run / "summary.json").read_text())
        assert manifest["seed"] == row.seed
        assert summary["theta_s"] == (row.value if row.parameter == "theta" else found.theta_s)
        if row.parameter == "threshold":
            assert manifest["policy_parameters"]["threshold"] == row.value
        assert row.figures["mean"] == summary["delay_s"]["mean"]
        traces.setdefault(row.seed, set()).add((run / "trace.jsonl").read_bytes())
    assert {seed: len(each) for seed, each in traces.items()} == {7: 1, 8: 1}


def test_points_are_means_and_the_pareto_sets_those_of_the_means(done):
    _, found, _ = done
    for point in found.points:
        rows = [row for row in found.rows if (row.policy, row.value) == (point.policy, point.value)]
        assert point.cost.mean == pytest.approx(np.mean([row.figures["mean"] for row in rows]))
        assert point.accuracy.mean == pytest.approx(np.mean([row.figures["accuracy"] for row in rows]))
        assert point.cost.low <= point.cost.mean <= point.cost.high
    for point in found.points:

        def beaten(others, point=point):
            return any(
                other is not point and other.accuracy.mean >= point.accuracy.mean and other.cost.mean <= point.cost.mean
                for other in others
            )

        assert point.on_best is not beaten(found.points)
        assert point.on_frontier is not beaten([one for one in found.points if one.policy == point.policy])
    assert sum(point.on_frontier for point in found.points) >= 4


def test_the_first_policy_is_compared_with_each_other_one_and_with_the_best_plans(done):
    _, found, _ = done
    assert [one.other for one in found.leads] == ["uniform", "first-exit", "the best plans of optimum, played"]
    by_seed = {
        policy: {
            seed: tuple(
                np.array([row.figures[name] for row in found.rows if (row.policy, row.seed) == (policy, seed)])
                for name in ("accuracy", "mean")
            )
            for seed in found.seeds
        }
        for policy in ("dto-ee", "uniform")
    }
    assert found.leads[0] == lead("uniform", by_seed["dto-ee"], by_seed["uniform"], by_ratio=True)
    assert found.leads[0].at_equal_accuracy.reduction.mean > 0


def test_bounds_are_those_of_optimum_on_the_same_tasks(done):
    _, found, seen = done
    assert seen.bounds == ["0 of 6", *["one more"] * 6]
    run = found.directory / next(row.run_directory for row in found.rows if row.value == 1.0 and row.seed == 8)
    wanted, _ = bound_for_run(run)
    (ours,) = [one for one in found.optima if (one.theta_s, one.seed) == (1.0, 8)]
    assert ours.utility_bound_s == pytest.approx(wanted.overall.utility_bound_s)
    assert ours.played_delay_mean_s == pytest.approx(wanted.played.mean_delay_s)
    mean = np.mean([one.utility_bound_s for one in found.optima if one.theta_s == 1.0])
    assert [one.theta_s for one in found.bounds] == list(THETAS_S)
    assert found.bounds[1].utility_bound_s == pytest.approx(mean)
    for point in found.points:
        lines = [one.theta_s * point.accuracy.mean - one.utility_bound_s for one in found.bounds]
        assert point.bound == pytest.approx(max(lines))
        assert point.cost.mean > 0.8 * point.bound  # a policy that looks at queues may be a little below it


def test_the_files_hold_the_figures(done):
    _, found, _ = done
    files = {"frontier.json", "frontier.csv", "frontier-points.csv", "frontier.png", "frontier.svg", "topology.yaml"}
    assert {path.name for path in found.directory.iterdir()} == {*POLICIES, "optimum", *files}
    assert json.loads((found.directory / "frontier.json").read_text()) == json.loads(json.dumps(as_json(found)))
    with (found.directory / "frontier.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["delay_p95_s"]) for row in rows] == [row.figures["p95"] for row in found.rows]
    with (found.directory / "frontier-points.csv").open(newline="") as file:
        points = list(csv.DictReader(file))
    assert [float(one["accuracy_low"]) for one in points] == [one.accuracy.low for one in found.points]
    assert [float(one["delay_mean_s"]) for one in points] == [one.cost.mean for one in found.points]
    drawn = (found.directory / "frontier.svg").read_text()
    assert "<svg" in drawn


def test_a_second_call_repeats_nothing(done):
    folder, found, _ = done
    seen = Seen()
    assert trace(folder, observer=seen) == found
    assert (seen.runs, seen.bounds) == ([], ["6 of 6"])


def test_another_figure_has_no_bound(done):
    folder, found, _ = done
    seen = Seen()
    other = trace(folder, observer=seen, figure="p95")
    assert seen.runs == []
    assert (other.bounds, other.optima, seen.bounds) == ((), (), [])
    for point in other.points:
        rows = [row for row in found.rows if (row.policy, row.value) == (point.policy, point.value)]
        assert point.cost.mean == pytest.approx(np.mean([row.figures["p95"] for row in rows]))
        assert point.bound is None


@pytest.mark.parametrize("stop", [{"stop_at_run": 5}, {"stop_at_bound": 2}])
def test_an_interrupted_frontier_goes_on(tmp_path, done, stop):
    _, whole, _ = done
    with pytest.raises(CellsInterrupted, match=r"interrupted: \d+ of 12 runs and \d of 6 bounds are complete"):
        trace(tmp_path, observer=Seen(**stop))
    begun = json.loads((tmp_path / "out/frontier.json").read_text())
    assert not begun["complete"]
    seen = Seen()
    found = trace(tmp_path, observer=seen)
    assert found.complete
    assert found.points == whole.points
    assert found.leads == whole.leads
    assert len(seen.runs) == 12 - len(begun["rows"])
    assert seen.bounds[0] == f"{len(begun['optima'])} of 6"


def test_another_topology_makes_new_bounds(tmp_path, done):
    """A bound in the directory that belongs to other inputs is computed again."""
    _, whole, _ = done
    file = tmp_path / "out/optimum/theta-1/seed-7.json"
    file.parent.mkdir(parents=True)
    kept = json.loads((whole.directory / "optimum/theta-1/seed-7.json").read_text())
    kept["inputs"]["topology_sha256"], kept["found"]["utility_bound_s"] = "another", 99.0
    (tmp_path / "out/frontier.json").write_text((whole.directory / "frontier.json").read_text())
    file.write_text(json.dumps(kept))
    found = trace(tmp_path, policies=["uniform"], repeats=1)
    (ours,) = [one for one in found.optima if one.theta_s == 1.0]
    assert ours == next(one for one in whole.optima if (one.theta_s, one.seed) == (1.0, 7))


def test_overloaded_points_are_excluded_and_named(tmp_path):
    """Without early exits the last stage is flooded."""
    text = SMALL.replace("core: {stage: 2, capacity: 0.6", "core: {stage: 2, capacity: 0.15")
    found = trace(tmp_path, text=text, policies=["dto-ee", "uniform"], thresholds=(0.3, 1.0), repeats=1)
    flooded = [point for point in found.points if point.overloaded_runs]
    assert [(one.policy, one.value) for one in flooded] == [("uniform", 1.0)]
    assert (flooded[0].accuracy, flooded[0].cost, flooded[0].on_frontier) == (None, None, False)
    assert any("excluded everywhere: uniform at threshold 1 (1 of 1 runs)" in note for note in found.notes)
    assert "no point" not in found.leads[0].trouble


@pytest.mark.parametrize(("ask", "said"), [
    ({"figure": "goodput"}, "no frontier against goodput: higher is better"),
    ({"figure": "offered"}, "no frontier against offered"),
    ({"figure": "nonsense"}, "no figure 'nonsense'"),
    ({"policies": ["dto-ee", "dto-ee"]}, "listed twice"),
    ({"policies": []}, "no policy"),
    ({"thetas_s": [0.0]}, "out of range"),
    ({"thetas_s": None, "points": 101}, "101 points"),
    ({"repeats": 2000}, "cannot be carried out"),
])  # fmt: skip
def test_nothing_runs_where_the_input_is_wrong(tmp_path, ask, said):
    with pytest.raises(InputError, match=said):
        trace(tmp_path, **ask)
    assert not (tmp_path / "out").exists()


def test_figures_that_should_be_small_can_stand_beside_accuracy():
    assert {"mean", "p95", "missed", "lost"} <= {name for name, each in BY_NAME.items() if each.better == "lower"}
