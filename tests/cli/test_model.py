import json

import pytest
from click.testing import CliRunner

from cli.model import command
from node_agent.errors import InputError


def invoke(*arguments: str):
    return CliRunner().invoke(command, list(arguments))


def test_list_shows_the_shipped_model():
    assert "glyphs" in invoke("list").stdout
    models = json.loads(invoke("list", "--json").stdout)["models"]
    assert [model["name"] for model in models] == ["glyphs"]
    assert list(models[0]["accuracy"]) == ["2", "3", "4", "5"]
    assert len(models[0]["classes"]) == 20


def test_profile_tells_cost_and_accuracy_of_every_sub_model():
    report = json.loads(invoke("profile", "glyphs", "--cut", "2,4,5", "--activation", "float16", "--json").stdout)
    assert [stage["blocks"] for stage in report["stages"]] == ["1-2", "3-4", "5"]
    assert report["stages"][0]["input_bytes"] == 1024
    assert report["stages"][0]["output_bytes"] == 24 * 16 * 16 * 2
    assert all(stage["cpu_s"] > 0 and stage["flop"] > 1e6 for stage in report["stages"])
    accuracy = [stage["accuracy"] for stage in report["stages"]]
    assert accuracy == sorted(accuracy)
    assert all(sum(row["exit_share"]) == pytest.approx(1) for row in report["thresholds"])


def test_profile_prints_a_table_that_fits_a_terminal():
    lines = invoke("profile").stdout.splitlines()
    assert any("MFLOP" in line for line in lines)
    assert max(len(line.rstrip()) for line in lines) <= 80


def test_an_unreadable_cut_is_a_usage_error():
    done = invoke("profile", "--cut", "2,x")
    assert done.exit_code == 2
    assert "such as 2,3,5" in done.stderr


@pytest.mark.parametrize("arguments", [("profile", "nothing"), ("profile", "--cut", "1,5")])
def test_unknown_models_and_impossible_cuts_end_in_input_errors(arguments):
    error = invoke(*arguments).exception
    assert isinstance(error, InputError)
    assert error.hint


def test_train_leaves_a_folder_with_content_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    assert isinstance(invoke("train", "--out", str(tmp_path)).exception, InputError)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
