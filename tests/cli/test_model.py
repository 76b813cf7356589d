import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.model import command
from node_agent.errors import InputError
from node_agent.models import bundle
from node_agent.models.families.glyphs import sources
from testbed.record.claim import claim_directory


def invoke(*arguments: str):
    return CliRunner().invoke(command, list(arguments))


def test_list_shows_the_shipped_models():
    assert "glyphs-deep" in invoke("list").stdout
    models = json.loads(invoke("list", "--json").stdout)["models"]
    assert [model["name"] for model in models] == ["glyphs", "glyphs-deep"]
    assert [list(model["accuracy"]) for model in models] == [["2", "3", "4", "5"], ["2", "3", "4", "5", "7"]]
    assert [(len(model["classes"]), model["samples"]) for model in models] == [(20, 2000)] * 2


def test_profile_tells_cost_and_accuracy_of_every_sub_model():
    report = json.loads(invoke("profile", "glyphs", "--cut", "2,4,5", "--activation", "float16", "--json").stdout)
    assert [stage["blocks"] for stage in report["stages"]] == ["1-2", "3-4", "5"]
    assert report["stages"][0]["input_bytes"] == 1024
    assert report["stages"][0]["output_bytes"] == 24 * 16 * 16 * 2
    assert all(stage["cpu_s"] > 0 and stage["flop"] > 1e6 for stage in report["stages"])
    accuracy = [stage["accuracy"] for stage in report["stages"]]
    assert accuracy == sorted(accuracy)
    assert all(sum(row["exit_share"]) == pytest.approx(1) for row in report["thresholds"])


def test_profile_of_the_deep_model_has_five_stages():
    report = json.loads(invoke("profile", "glyphs-deep", "--cut", "2,3,4,5,7", "--json").stdout)
    assert [stage["blocks"] for stage in report["stages"]] == ["1-2", "3", "4", "5", "6-7"]
    assert all(len(row["exit_share"]) == 5 for row in report["thresholds"])


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


def test_train_knows_recipes_by_name_only(tmp_path):
    error = invoke("train", "nothing", "--out", str(tmp_path / "new")).exception
    assert isinstance(error, InputError)
    assert "glyphs-deep" in error.hint


def test_a_folder_beside_the_shipped_models_is_no_recipe(tmp_path, monkeypatch):
    """Such a model may come from a user or from a later version."""
    shipped = Path(bundle.__file__).parent
    for name in ("glyphs", "mine"):
        shutil.copytree(shipped / "glyphs", tmp_path / "models" / name)
    monkeypatch.setattr(bundle, "_SHIPPED", tmp_path / "models")
    assert "mine" in bundle.available_models()
    error = invoke("train", "mine", "--out", str(tmp_path / "new")).exception
    assert isinstance(error, InputError)
    assert "no recipe" in str(error)


def test_train_leaves_a_folder_with_content_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "check_sources", lambda: None)
    (tmp_path / "notes.txt").write_text("mine")
    error = invoke("train", "--out", str(tmp_path)).exception
    assert isinstance(error, InputError)
    assert "is not empty" in str(error)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_train_leaves_a_folder_alone_that_another_command_is_about_to_fill(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "check_sources", lambda: None)
    claim = claim_directory(tmp_path / "out")
    error = invoke("train", "--out", str(tmp_path / "out")).exception
    assert isinstance(error, InputError)
    assert "another command is writing to the folder" in str(error)
    claim.release()
