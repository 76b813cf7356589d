"""A table of a model's answers stands in for the model: simulations, optimum and comparisons are the same with it."""

import json
import re

import pytest

from node_agent.errors import InputError
from testbed.cells.execution import CellFailed, Unobserved
from testbed.compare import compare
from testbed.optimum.bound import bound_for
from testbed.topology import load_topology
from tests.testbed.simulated import QUICKSTART, lines, simulate
from tests.testbed.tables import table_of_glyphs

TEXT = QUICKSTART.read_text()
MODEL = re.compile(r"^model: .*$", re.MULTILINE)


def with_table(name: str, text: str = TEXT) -> str:
    """The quickstart with a table in place of its model."""
    found = MODEL.sub(f"model: {{table: {name}, activation: float16}}", text)
    assert found != text
    return found


@pytest.mark.parametrize("policy", ["dto-ee", "ngto", "join-shortest-queue"])
def test_a_simulation_decides_the_same_with_a_table_of_the_models_answers(tmp_path, policy):
    """To the last digit: same messages, same service times, same answers, so same decisions and delays."""
    (tmp_path / "table").mkdir()
    table_of_glyphs(tmp_path / "table" / "glyphs.npz", activation="float16")
    options = {"duration_s": 30.0, "seed": 3, "policy": policy}
    plain = simulate(tmp_path / "plain", TEXT, **options)
    looked_up = simulate(tmp_path / "table", with_table("glyphs.npz"), **options)
    for file in ("tasks.jsonl", "decisions.jsonl", "timeseries.jsonl"):
        assert lines(plain, file) == lines(looked_up, file), file
    assert len(lines(plain, "tasks.jsonl")) > 400
    same = {key: value for key, value in looked_up.summary.items() if key != "answers"}
    assert same == plain.summary
    assert looked_up.summary["answers"] == "recorded elsewhere"
    manifest = json.loads((looked_up.run_directory / "manifest.json").read_text())
    assert (manifest["answers"], manifest["costs"]) == ("recorded elsewhere", None)


def test_the_optimum_is_the_same_with_a_table(tmp_path):
    table_of_glyphs(tmp_path / "glyphs.npz", activation="float16")
    (tmp_path / "t.yaml").write_text(with_table("glyphs.npz"))
    optima = []
    for path in (QUICKSTART, tmp_path / "t.yaml"):
        scenario = load_topology(path).resolve()
        optima.append(bound_for(scenario, scenario.model.open(), thresholds=[0.8]))
    assert optima[0] == optima[1]


def test_a_comparison_says_that_answers_were_recorded_elsewhere(tmp_path):
    table_of_glyphs(tmp_path / "glyphs.npz")
    (tmp_path / "t.yaml").write_text(with_table("glyphs.npz"))
    options = {"repeats": 2, "simulate": True, "duration_s": 10.0, "out": tmp_path / "out"}
    comparison = compare(tmp_path / "t.yaml", ["dto-ee", "uniform"], **options)
    assert "answers: recorded elsewhere" in comparison.notes
    assert comparison.complete


def test_a_comparison_whose_model_has_changed_is_refused(tmp_path):
    """Runs of two models must not be averaged."""
    topology = tmp_path / "t.yaml"
    topology.write_text(with_table("glyphs.npz"))
    options = {"repeats": 1, "simulate": True, "duration_s": 10.0, "out": tmp_path / "out"}
    table_of_glyphs(tmp_path / "glyphs.npz")
    compare(topology, ["dto-ee", "uniform"], **options)
    table_of_glyphs(tmp_path / "glyphs.npz", model="glyphs-deep", cut=(2, 5, 7))
    with pytest.raises(InputError, match=r"dto-ee/seed-1 holds a run of another model"):
        compare(topology, ["dto-ee", "uniform"], **{**options, "repeats": 2})


def test_a_model_that_changes_during_a_comparison_ends_it(tmp_path):
    """For example a table that is written anew while runs are under way."""
    topology, table = tmp_path / "t.yaml", tmp_path / "glyphs.npz"
    topology.write_text(with_table("glyphs.npz"))
    table_of_glyphs(table)

    class Meddler(Unobserved):
        def begun(self, cell):  # noqa: ARG002
            table_of_glyphs(table, model="glyphs-deep", cut=(2, 5, 7))

    options = {"repeats": 1, "simulate": True, "duration_s": 10.0, "out": tmp_path / "out", "observer": Meddler()}
    with pytest.raises(CellFailed, match="the model glyphs has changed since the comparison began"):
        compare(topology, ["dto-ee", "uniform"], jobs=1, **options)


def test_a_comparison_takes_another_model_than_the_topologys(tmp_path):
    table_of_glyphs(tmp_path / "other.npz")
    options = {"repeats": 1, "simulate": True, "duration_s": 10.0, "model": str(tmp_path / "other.npz")}
    comparison = compare(QUICKSTART, ["uniform"], out=tmp_path / "out", **options)
    assert "answers: recorded elsewhere" in comparison.notes
    with pytest.raises(InputError, match="holds a run of another model"):
        compare(QUICKSTART, ["uniform"], out=tmp_path / "out", **{**options, "model": "glyphs"})
