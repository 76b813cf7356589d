"""The runs of a sweep: policies with parameters, directories, and runs that several points share."""

from pathlib import Path

import pytest

from node_agent.errors import InputError
from testbed.cells.batch import Options
from testbed.cells.policy_specs import read_specs
from testbed.sweep.axis import parse_axis
from testbed.sweep.cell_layout import OWN, place_of, plan_sweep, with_parameters
from testbed.sweep.design import grid
from testbed.topology.overrides import Override
from tests.testbed.compare.topology import write


def laid_out(folder, stated, policies=(), seeds=(7, 8), **options):
    axes = [parse_axis(text) for text in stated]
    points = grid(axes)
    specs = read_specs(policies) if policies else (OWN,)
    planned = plan_sweep(write(folder), axes, points, specs, Options(simulate=True, **options))
    return planned.lay_out(axes, seeds, Path("out"))


def test_parameters_go_into_the_text_of_a_policy():
    spec = read_specs(["dto-ee:label=ours,threshold=0.5,adapt_thresholds=false"])[0]
    changed = with_parameters(spec, {"threshold": "0.9"})
    assert changed.text == "dto-ee:label=ours,threshold=0.9,adapt_thresholds=false"
    assert (changed.label, changed.folder) == (spec.label, spec.folder)
    assert with_parameters(spec, {}) is spec


def test_a_parameter_is_part_of_the_policy_or_of_the_topology():
    axes = [parse_axis("theta=1 s"), parse_axis("policy.threshold=0.8")]
    point = grid(axes)[0]
    own = place_of(axes, point, OWN)
    assert own.overrides == (Override("theta", "1 s"), Override("policy.threshold", "0.8"))
    other = place_of(axes, point, read_specs(["fixed-threshold"])[0])
    assert (other.overrides, other.spec.text) == ((Override("theta", "1 s"),), "fixed-threshold:threshold=0.8")
    assert other.words == ("theta=1 s", "policy.threshold=0.8")


def test_every_cell_has_its_own_directory_settings_and_name(tmp_path):
    plan = laid_out(tmp_path, ["theta=1 s,2 s", "load=x0.5,x1"], ["dto-ee", "uniform"])
    assert len(plan.cells) == len({cell.path for cell in plan.cells}) == 2 * 2 * 2 * 2
    cell = plan.cells_at[1, "uniform"][0]
    assert cell.path == Path("out/theta=1s_load=x1/uniform/seed-7")
    assert cell.name == "theta=1 s, load=x1, uniform, seed 7"
    assert cell.settings.overrides == (Override("theta", "1 s"), Override("load", "x1"))
    assert [each.seed for each in plan.cells_at[3, "dto-ee"]] == [7, 8]
    assert [each.seed for each in plan.cells[:8]] == [7] * 8  # repeat by repeat
    assert plan.cells[0].path.parts[1:3] != plan.cells[8].path.parts[1:3]  # the order rotates


def test_a_policy_without_a_swept_parameter_runs_once(tmp_path):
    plan = laid_out(tmp_path, ["policy.most_rounds=5,50"], ["dto-ee", "uniform"], seeds=(7,))
    assert len(plan.cells) == 3
    assert plan.cells_at[0, "uniform"] == plan.cells_at[1, "uniform"]
    assert plan.cells_at[0, "uniform"][0].path == Path("out/uniform/seed-7")
    assert {cell.spec.text for cell in plan.cells} == {"dto-ee:most_rounds=5", "dto-ee:most_rounds=50", "uniform"}


def test_the_topologys_own_policy_has_its_label(tmp_path):
    plan = laid_out(tmp_path, ["policy.threshold=0.6,0.8"], seeds=(7,))
    assert [spec.label for spec in plan.specs] == [plan.first.scenario.policy.label]
    assert len(plan.cells) == 2


def test_folders_that_would_be_equal_are_told_apart(tmp_path):
    plan = laid_out(tmp_path, ["model.cut=[2, 5],[2,5]"], seeds=(7,))
    folders = {cell.path.parts[1] for cell in plan.cells}
    assert len(folders) == 2
    assert "model.cut=-2-5" in {folder[:14] for folder in folders}


@pytest.mark.parametrize(
    ("stated", "policies", "said"),
    [
        (["theta=1 s,soon"], ["dto-ee"], "--set theta=soon: `theta`: 'soon' is not a time"),
        (["thet=1 s"], ["dto-ee"], "has no thet"),
        (["theta=1..4 s"], ["dto-ee"], "--set theta=1..4 s: `theta`: a range (1..4 s) is not allowed here"),
        (["policy.sharpness=1,2"], ["dto-ee", "uniform"], "none of dto-ee, uniform has a parameter 'sharpness'"),
        (["policy.threshold=0.5,1.5"], ["dto-ee"], "threshold"),
        (["policy.nonsense=1"], [], "has no parameter 'nonsense'"),
    ],
)
def test_values_that_do_not_fit_are_refused_before_any_run(tmp_path, stated, policies, said):
    with pytest.raises(InputError) as caught:
        laid_out(tmp_path, stated, policies)
    assert said in str(caught.value)
