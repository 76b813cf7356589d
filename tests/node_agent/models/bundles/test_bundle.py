import fnmatch
import json
import pickle
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from node_agent.dtoee.exit_table import ExitTable
from node_agent.errors import InputError
from node_agent.exit_criteria import CRITERIA, score_of
from node_agent.models import Bundle, available_models, load_bundle, load_model
from node_agent.models.families.glyphs import GlyphsNetwork
from node_agent.models.families.glyphs.architecture import (
    GLYPHS,
    GLYPHS_DEEP,
    MOST_BLOCKS,
    MOST_CHANNELS,
    Architecture,
    architecture_of,
)
from node_agent.models.networks.cost import profile
from node_agent.models.networks.scoring import exit_scores
from node_agent.models.tensors import as_tensor
from node_agent.models.training.measure import measure_again
from tests.node_agent.models.own_models import STRIPES, trained, written

SHIPPED_BYTES_AT_MOST = 6_000_000
EXITS = GLYPHS.exits
CUTS = [(2, 5), (2, 3, 5), (2, 3, 4, 5)]
DEEP_CUTS = [(2, 7), (2, 4, 7), (2, 3, 4, 5, 7)]


@pytest.fixture
def copied(glyphs, tmp_path) -> Path:
    return Path(shutil.copytree(glyphs.folder, tmp_path / "copy"))


@pytest.fixture(scope="module")
def live(shipped) -> ExitTable:
    """The exits' answers on the evaluation samples, computed here from the shipped weights."""
    confidence, prediction = exit_scores(shipped.network(), shipped.evaluation)
    return ExitTable(confidence, prediction == shipped.evaluation.labels[:, None])


def all_exits_but(shipped: Bundle, left_out: int) -> tuple[tuple[int, ...], list[int]]:
    """A cut, and the columns of its exits in the tables."""
    columns = [column for column in range(len(shipped.exits)) if column != left_out]
    return tuple(shipped.exits[column] for column in columns), columns


def test_glyphs_is_shipped_and_whole(glyphs):
    assert "glyphs" in available_models()
    assert glyphs.name == "glyphs"
    assert glyphs.exits == EXITS
    samples = glyphs.evaluation
    assert glyphs.sample_count == len(samples) >= 1900
    assert samples.images.shape == (len(samples), 1, 32, 32)
    assert (samples.images.dtype, samples.labels.dtype) == (np.uint8, np.int64)
    assert set(samples.labels.tolist()) == set(range(20))
    assert samples.severity.min() >= 0
    assert samples.severity.max() <= 1
    table = glyphs.exit_table((2, 3, 4, 5))
    assert table.confidence.shape == table.correct.shape
    assert table.confidence.shape[0] >= 1900
    assert (table.confidence.dtype, table.correct.dtype) == (np.float64, np.bool_)


def test_glyphs_deep_is_shipped_and_offers_the_same_pictures(deep, glyphs):
    assert architecture_of(deep.card) == GLYPHS_DEEP
    assert deep.exits == GLYPHS_DEEP.exits
    assert architecture_of(glyphs.card) == GLYPHS
    assert deep.card["classes"] == glyphs.card["classes"]
    np.testing.assert_array_equal(deep.evaluation.images, glyphs.evaluation.images)
    np.testing.assert_array_equal(deep.evaluation.labels, glyphs.evaluation.labels)
    assert deep.file("evaluation.npz") == glyphs.file("evaluation.npz") == glyphs.folder / "evaluation.npz"
    assert (deep.folder / "LICENSES.md").read_bytes() == (glyphs.folder / "LICENSES.md").read_bytes()


def test_a_copy_of_a_model_that_shares_samples_is_whole(deep, glyphs, tmp_path):
    bundle = load_bundle(str(shutil.copytree(deep.folder, tmp_path / "copy")))
    np.testing.assert_array_equal(bundle.evaluation.images, glyphs.evaluation.images)
    assert bundle.sample_count == glyphs.sample_count


@pytest.mark.parametrize("lender", ["no-such-model", "../glyphs", "", 7, ["glyphs"]], ids=str)
def test_samples_are_shared_with_shipped_models_only(copied, lender):
    card = json.loads((copied / "card.json").read_text())
    (copied / "card.json").write_text(json.dumps(card | {"evaluation": lender}))
    with pytest.raises(InputError, match=r"card\.json: no model"):
        use_evaluation(load_bundle(str(copied)))


def test_a_model_that_shares_samples_itself_has_none_to_give(copied):
    card = json.loads((copied / "card.json").read_text())
    (copied / "card.json").write_text(json.dumps(card | {"evaluation": "glyphs-deep"}))
    with pytest.raises(InputError, match=r"glyphs-deep/evaluation\.npz"):
        use_evaluation(load_bundle(str(copied)))


def test_the_shipped_files_are_few_small_and_packaged(shipped):
    files = sorted(path.name for path in shipped.folder.iterdir())
    shared = ["evaluation.npz"] if shipped.name == "glyphs" else []
    assert files == sorted(
        [
            "LICENSES.md",
            "card.json",
            "criteria.npz",
            *shared,
            "evaluation_scores.npz",
            "exit_table.npz",
            "weights.safetensors",
        ]
    )
    # A link would be a file with a few letters where the version control or the archive knows no links.
    assert not any(path.is_symlink() for path in shipped.folder.iterdir())
    assert sum(path.stat().st_size for path in shipped.folder.iterdir()) < SHIPPED_BYTES_AT_MOST
    project = tomllib.loads((Path(__file__).parents[4] / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["package-data"]["node_agent.models"]
    assert all(any(fnmatch.fnmatch(f"{shipped.name}/{file}", pattern) for pattern in patterns) for file in files)


def test_the_notices_of_both_sources_travel_with_the_model(glyphs):
    notices = (glyphs.folder / "LICENSES.md").read_text(encoding="utf-8")
    assert "Copyright (c) 2025 SinaSR-6" in notices
    assert "Copyright (c) 2014-2026, Sebastian Raschka" in notices


def test_deeper_exits_are_clearly_better(glyphs):
    accuracy = glyphs.exit_table(EXITS).correct.mean(axis=0)
    assert accuracy[-1] >= 0.86
    assert accuracy[1] - accuracy[0] > 0.1
    assert accuracy[2] - accuracy[1] > 0.04
    assert accuracy[3] > accuracy[2]


def test_every_exit_of_the_deep_model_is_clearly_better_than_the_one_before_and_answers_somebody(deep):
    table = deep.exit_table(deep.exits)
    accuracy = table.correct.mean(axis=0)
    assert (np.diff(accuracy) > 0.01).all()
    assert accuracy[-1] >= 0.86
    for threshold in (0.5, 0.8, 0.95):
        share, _ = table.outcome([threshold] * 4)
        assert share.min() > 0.02


def test_the_table_of_a_cut_holds_the_columns_of_its_exits(glyphs):
    whole, chosen = glyphs.exit_table(EXITS), glyphs.exit_table((2, 4, 5))
    np.testing.assert_array_equal(chosen.confidence, whole.confidence[:, [0, 2, 3]])
    np.testing.assert_array_equal(chosen.correct, whole.correct[:, [0, 2, 3]])
    with pytest.raises(InputError):
        glyphs.exit_table((1, 5))


@pytest.mark.parametrize("threshold", [0.5, 0.8, 0.95])
def test_live_sub_models_match_the_table_within_statistical_error(shipped, live, threshold):
    for positions in DEEP_CUTS if shipped.name == "glyphs-deep" else CUTS:
        columns = [shipped.exits.index(block) for block in positions]
        thresholds = [threshold] * (len(positions) - 1)
        table = shipped.exit_table(positions)
        share, accuracy = table.outcome(thresholds)
        live_share, live_accuracy = ExitTable(live.confidence[:, columns], live.correct[:, columns]).outcome(thresholds)
        # Two independent samples: 4 standard errors of the difference, which 75 comparisons miss by chance once in 200.
        variance = 1 / len(table) + 1 / len(live)
        for ours, theirs in zip([*share, accuracy], [*live_share, live_accuracy], strict=True):
            assert abs(ours - theirs) < 4 * np.sqrt(max(theirs * (1 - theirs), 0.01) * variance)


def test_sub_models_one_task_at_a_time_answer_as_the_whole_network(shipped, live):
    positions, columns = all_exits_but(shipped, 2)
    samples, sub_models = shipped.evaluation, shipped.sub_models(positions, "float32")
    rows = np.linspace(0, len(samples) - 1, 60).astype(int)
    for row in rows:
        tensor = as_tensor(samples.images[row : row + 1])
        for column, sub_model in zip(columns, sub_models, strict=True):
            outcome = sub_model.infer(tensor)
            assert (outcome.prediction == samples.labels[row]) == live.correct[row, column]
            assert outcome.confidence == pytest.approx(live.confidence[row, column], abs=1e-4)
            tensor = outcome.activation


def test_the_stored_scores_are_the_answers_of_the_weights(shipped):
    confidence, prediction = exit_scores(shipped.network(), shipped.evaluation)
    stored = shipped.scores(shipped.exits)
    np.testing.assert_allclose(stored.confidence, confidence, atol=1e-5)
    assert (stored.prediction != prediction).sum() <= 1  # a tie may fall otherwise on another processor
    positions, columns = all_exits_but(shipped, 1)
    chosen = shipped.scores(positions)
    np.testing.assert_array_equal(chosen.prediction, stored.prediction[:, columns])
    np.testing.assert_array_equal(chosen.confidence, stored.confidence[:, columns])
    with pytest.raises(InputError):
        shipped.scores((1, 5))


@pytest.mark.parametrize("activation", ["float32", "float16"])
def test_the_costs_in_the_card_are_those_of_the_sub_models(shipped, activation):
    last = shipped.exits[-1:]
    for positions in (last, (3, *last), (2, 3, *last), shipped.exits):
        sub_models = shipped.sub_models(positions, activation)
        assert shipped.profiles(positions, activation) == profile(sub_models)
        assert shipped.input_forms(positions, activation) == tuple(sub_model.input_form for sub_model in sub_models)
        assert shipped.sample_costs(positions, activation) is None
        flop = [sub_model.flop(sub_model.example()) for sub_model in sub_models]
        assert flop == [cost.flop for cost in shipped.profiles(positions, activation)]


@pytest.mark.parametrize(
    "changed",
    [
        {"strides": [1, 2, 1, 2]},
        {"strides": [1, 2, 1, 2, 3]},
        {"strides": [1, 2, 1, 2, 0]},
        {"strides": [1, 2, 1, 2, "1"]},
        {"strides": []},
        {"strides": [1, 2, 1, 2, 1], "channels": [16, 24, 32, 64, 10**9]},
        {"strides": [1, 2, 1, 2, 1], "channels": None},
        {"strides": [1, 2, 1, 2, 1], "exits": [2, 3, 4]},
        {"strides": [1, 2, 1, 2, 1], "exits": [3, 2, 5]},
        {"strides": [1, 2, 1, 2, 1], "exits": [0, 5]},
        {"exits": [2, 3, 5]},
    ],
    ids=str,
)
def test_a_card_that_tells_no_possible_architecture_is_refused(copied, changed):
    card = json.loads((copied / "card.json").read_text())
    assert "strides" not in card  # the first cards had none: they mean glyphs
    (copied / "card.json").write_text(json.dumps(card | changed))
    with pytest.raises(InputError, match=r"card\.json"):
        load_bundle(str(copied)).network()


@pytest.mark.parametrize(
    "beyond",
    [
        {"channels": [16, 24, 32, 64, MOST_CHANNELS + 1], "strides": [1, 2, 1, 2, 1]},
        {"channels": [1] * (MOST_BLOCKS + 1), "strides": [1] * (MOST_BLOCKS + 1), "exits": [MOST_BLOCKS + 1]},
    ],
    ids=["channels", "blocks"],
)
def test_an_architecture_beyond_the_bounds_is_refused_before_a_network_is_made(copied, beyond):
    card = json.loads((copied / "card.json").read_text())
    (copied / "card.json").write_text(json.dumps(card | beyond))
    with pytest.raises(InputError, match=r"card\.json"):
        load_bundle(str(copied)).network()


def test_the_largest_network_that_a_card_may_tell_fits_any_machine():
    import torch

    exits = tuple(range(1, MOST_BLOCKS + 1))
    channels = tuple(MOST_CHANNELS - block % 2 for block in exits)  # they change, so every block has a shortcut
    with torch.device("meta"):
        network = GlyphsNetwork(Architecture(channels, (1,) * MOST_BLOCKS, exits), folded=True)
    assert sum(tensor.nbytes for tensor in network.state_dict().values()) < 100e6


def test_weights_of_another_architecture_are_refused(copied):
    card = json.loads((copied / "card.json").read_text())
    other = {"channels": [16, 24, 32, 64, 128], "strides": [1, 2, 1, 2, 1]}
    (copied / "card.json").write_text(json.dumps(card | other))
    with pytest.raises(InputError, match=r"weights\.safetensors"):
        load_bundle(str(copied)).network()


def test_a_bundle_without_scores_and_costs_reckons_them(copied, glyphs):
    (copied / "evaluation_scores.npz").unlink()
    card = json.loads((copied / "card.json").read_text())
    del card["costs"]
    (copied / "card.json").write_text(json.dumps(card))
    older = load_bundle(str(copied))
    assert older.profiles((2, 3, 5), "float16") == glyphs.profiles((2, 3, 5), "float16")
    np.testing.assert_allclose(older.scores((2, 3, 5)).confidence, glyphs.scores((2, 3, 5)).confidence, atol=1e-5)


@pytest.mark.parametrize(
    "costs",
    [
        [], {}, {"blocks": []},
        {"input_shape": [1, 1, 32, 32], "blocks": [], "exits": {}},
        {"input_shape": [1, -1], "blocks": [], "exits": {}},
        {"input_shape": [1], "blocks": [{"flop": -1, "parameters_bytes": 0, "output_shape": [1]}], "exits": {}},
    ],
)  # fmt: skip
def test_costs_that_do_not_fit_the_model_are_refused(copied, costs):
    card = json.loads((copied / "card.json").read_text())
    (copied / "card.json").write_text(json.dumps(card | {"costs": costs}))
    with pytest.raises(InputError, match=r"card\.json: costs"):
        load_bundle(str(copied)).profiles((2, 5), "float32")


def test_float16_transport_changes_less_than_one_prediction_in_a_hundred(glyphs):
    inputs = glyphs.inputs((2, 3, 5), "float32")
    answers = {}
    for activation in ("float32", "float16"):
        sub_models = glyphs.sub_models((2, 3, 5), activation)
        answers[activation] = []
        for sample in range(400):
            tensor = inputs.tensor(sample)
            for sub_model in sub_models:
                outcome = sub_model.infer(tensor)
                tensor = outcome.activation
            answers[activation].append(outcome.prediction)
    changed = np.mean(np.array(answers["float32"]) != np.array(answers["float16"]))
    assert changed < 0.01


def test_confidence_means_the_probability_of_being_right(live):
    gap = live.confidence.mean(axis=0) - live.correct.mean(axis=0)
    # A temperature fits the scale, not the shape: the weakest exit remains underconfident and sends a few tasks deeper.
    assert np.abs(gap).max() < 0.08
    for column in range(live.confidence.shape[1]):
        sure = live.confidence[:, column] > 0.8
        assert abs(live.confidence[sure, column].mean() - live.correct[sure, column].mean()) < 0.05


def test_severe_images_are_harder_for_every_exit(shipped, live):
    mild, severe = shipped.evaluation.severity < 0.3, shipped.evaluation.severity > 0.7
    assert (live.correct[mild].mean(axis=0) > live.correct[severe].mean(axis=0) + 0.1).all()


def test_reading_tables_and_samples_does_not_import_torch():
    script = (
        "import sys; from node_agent.models import load_bundle\n"
        "bundle = load_bundle('glyphs')\n"
        "bundle.scores((2, 3, 5)); bundle.profiles((2, 5), 'float16'); bundle.input_forms((2, 5), 'float16')\n"
        "bundle.exit_table((2, 3, 5)); bundle.evaluation; bundle.sample_count; bundle.exits\n"
        "print([name for name in ('torch', 'scipy', 'safetensors') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["no-such-model", "/no/such/folder", "", "../models"])
def test_unknown_models_are_refused_with_the_known_names(name):
    with pytest.raises(InputError) as caught:
        load_bundle(name or "''")
    assert "glyphs" in caught.value.hint


def test_a_bundle_loads_from_its_folder(copied, glyphs):
    bundle = load_bundle(str(copied))
    assert bundle.name == "copy"
    np.testing.assert_array_equal(bundle.evaluation.images, glyphs.evaluation.images)
    assert len(bundle.sub_models((2, 5), "float32")) == 2


@pytest.mark.parametrize(
    "card",
    ["", "[1]", "{}", '{"exits": []}', '{"schema": 1, "exits": ["2"]}', '{"schema": 2, "exits": [2, 5]}', "\xff"],
)
def test_malformed_cards_are_refused(copied, card):
    (copied / "card.json").write_bytes(card.encode("latin-1"))
    with pytest.raises(InputError) as caught:
        load_bundle(str(copied))
    assert "model train MODEL --out DIR, where MODEL is glosses or glyphs or glyphs-deep or smollm" in caught.value.hint


def test_a_damaged_shipped_model_names_the_command_that_makes_it(deep, tmp_path, monkeypatch):
    shutil.copytree(deep.folder, tmp_path / "glyphs-deep")
    (tmp_path / "glyphs-deep" / "exit_table.npz").write_text("../glyphs/exit_table.npz")
    monkeypatch.setattr("node_agent.models.bundles.shipped.SHIPPED", tmp_path)
    with pytest.raises(InputError, match=r"exit_table\.npz") as caught:
        load_bundle("glyphs-deep").exit_table((2, 7))
    assert caught.value.hint.startswith("reinstall the package")
    assert caught.value.hint.endswith("model train glyphs-deep --out DIR")


def use_table(bundle: Bundle) -> None:
    bundle.exit_table((2, 5))


def use_evaluation(bundle: Bundle) -> None:
    assert bundle.evaluation


def use_weights(bundle: Bundle) -> None:
    bundle.sub_models((2, 5), "float32")


def use_scores(bundle: Bundle) -> None:
    bundle.scores((2, 5))


USES = {
    "exit_table.npz": use_table, "evaluation.npz": use_evaluation, "weights.safetensors": use_weights,
    "evaluation_scores.npz": use_scores,
}  # fmt: skip


@pytest.mark.parametrize("file", USES)
@pytest.mark.parametrize("damage", ["missing", "empty", "cut short", "text"])
def test_damaged_files_are_refused(copied, file, damage):
    if (file, damage) == ("evaluation_scores.npz", "missing"):
        return  # as in bundles of an earlier version
    path = copied / file
    whole = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes({"empty": b"", "cut short": whole[: len(whole) // 2], "text": b"hello there\n" * 9}[damage])
    with pytest.raises(InputError, match=file):
        USES[file](load_bundle(str(copied)))


def test_a_pickle_in_place_of_an_array_is_refused(copied):
    (copied / "exit_table.npz").write_bytes(pickle.dumps({"conf": 1}))
    with pytest.raises(InputError):
        use_table(load_bundle(str(copied)))
    np.savez(copied / "exit_table.npz", conf=np.array([{}], dtype=object), correct=np.array([True]))
    with pytest.raises(InputError):
        use_table(load_bundle(str(copied)))


@pytest.mark.parametrize(
    ("conf", "correct"),
    [
        (np.full((5, 3), 0.5), np.ones((5, 3), bool)),
        (np.full((5, 4), 0.5), np.ones((4, 4), bool)),
        (np.full((5, 4), 0.5), np.ones((5, 4), int)),
        (np.full((5, 4), 1.5), np.ones((5, 4), bool)),
        (np.full((5, 4), np.nan), np.ones((5, 4), bool)),
        (np.full((0, 4), 0.5), np.ones((0, 4), bool)),
        (np.full((5, 4), "x"), np.ones((5, 4), bool)),
    ],
)
def test_tables_of_the_wrong_shape_type_or_range_are_refused(copied, conf, correct):
    np.savez(copied / "exit_table.npz", conf=conf, correct=correct)
    with pytest.raises(InputError):
        use_table(load_bundle(str(copied)))


@pytest.mark.parametrize(
    ("conf", "prediction"),
    [
        (np.full((5, 4), 0.5), np.ones((5, 4), int)),
        (np.full((2000, 3), 0.5), np.ones((2000, 3), int)),
        (np.full((2000, 4), 0.5), np.full((2000, 4), 0.5)),
        (np.full((2000, 4), 1.5), np.ones((2000, 4), int)),
        (np.full((2000, 4), np.nan), np.ones((2000, 4), int)),
        (np.full((2000, 4), 0.5), np.full((2000, 4), -1)),
        (np.full((2000, 4), 0.5), np.full((2000, 4), 20)),
    ],
)
def test_scores_of_the_wrong_shape_type_or_range_are_refused(copied, conf, prediction):
    np.savez(copied / "evaluation_scores.npz", conf=conf, prediction=prediction)
    with pytest.raises(InputError, match=r"evaluation_scores\.npz"):
        use_scores(load_bundle(str(copied)))


def test_evaluation_arrays_that_do_not_fit_each_other_are_refused(copied, glyphs):
    samples = glyphs.evaluation
    np.savez(copied / "evaluation.npz", images=samples.images[:5], labels=samples.labels[:4], severity=np.zeros(5))
    with pytest.raises(InputError):
        use_evaluation(load_bundle(str(copied)))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_no_numbers_are_refused_by_file_and_tensor(copied, value):
    """With NaN in it a model answers one class for every picture, 4 % of them right."""
    from safetensors.numpy import load_file, save_file

    load_bundle(str(copied)).check_weights()
    tensors = load_file(copied / "weights.safetensors")
    name = sorted(tensors)[3]
    spoilt = tensors[name].copy()
    spoilt.flat[:2] = value
    save_file(tensors | {name: spoilt}, copied / "weights.safetensors")
    said = rf"copy/weights\.safetensors: tensor {name}: 2 of {spoilt.size} weights are NaN or infinite"
    with pytest.raises(InputError, match=said) as caught:
        use_weights(load_bundle(str(copied)))
    assert "model train" in caught.value.hint
    with pytest.raises(InputError, match=said):
        load_bundle(str(copied)).check_weights()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"labels": [0, 1, -1]}, "labels"), ({"labels": [0, 1, 20]}, "labels"),
        ({"severity": [0.1, np.nan, 0.2]}, "severity"), ({"severity": [0.1, np.inf, 0.2]}, "severity"),
    ],
)  # fmt: skip
def test_samples_that_no_model_could_answer_are_refused(copied, glyphs, changed, said):
    arrays = {"images": glyphs.evaluation.images[:3], "labels": [0, 1, 19], "severity": [0.1, 0.2, 0.3]}
    np.savez(copied / "evaluation.npz", **arrays)
    use_evaluation(load_bundle(str(copied)))
    np.savez(copied / "evaluation.npz", **arrays | changed)
    with pytest.raises(InputError, match=rf"evaluation\.npz: {said}"):
        use_evaluation(load_bundle(str(copied)))


def test_a_stage_without_work_is_refused(copied):
    card = json.loads((copied / "card.json").read_text())
    for part in (*card["costs"]["blocks"], *card["costs"]["exits"].values()):
        part["flop"] = 0
    (copied / "card.json").write_text(json.dumps(card))
    with pytest.raises(InputError, match=r"card\.json: costs: stage 1 has no work"):
        load_bundle(str(copied)).profiles((2, 5), "float32")


def test_weights_of_another_network_are_refused(copied):
    import torch
    from safetensors.torch import save_file

    save_file({"something": torch.zeros(3)}, copied / "weights.safetensors")
    with pytest.raises(InputError, match=r"weights\.safetensors"):
        use_weights(load_bundle(str(copied)))


def test_the_card_tells_the_accuracies_of_the_files_beside_it(shipped, live):
    stated = json.loads((shipped.folder / "card.json").read_text())["accuracy"]
    table = shipped.exit_table(shipped.exits).correct.mean(axis=0)
    assert list(stated["exit_table"].values()) == pytest.approx(table.tolist())
    assert list(stated["evaluation"].values()) == pytest.approx(live.correct.mean(axis=0).tolist(), abs=0.002)


@pytest.mark.parametrize("name", ["entropy", "margin", "patience"])
def test_live_scores_are_those_that_are_stored(shipped, name):
    """Sub-models answer task by task; their scores are those of the files, and the exit table's are alike."""
    positions, _ = all_exits_but(shipped, 1)
    judged = shipped.judged_by(name)
    assert judged is not shipped
    stored, sub_models, exits = judged.scores(positions), judged.sub_models(positions, "float32"), len(positions)
    for sample in range(0, judged.sample_count, 50):
        tensor, passed = judged.inputs(positions, "float32").tensor(sample), []
        for column, sub_model in enumerate(sub_models):
            answer = sub_model.infer(tensor)
            score = score_of(judged.criterion, passed, answer.confidence, answer.prediction, exits)
            assert answer.prediction == stored.prediction[sample, column]
            assert score == pytest.approx(stored.confidence[sample, column], abs=1e-4)
            passed.append((answer.confidence, answer.prediction))
            tensor = answer.activation
    table = judged.exit_table(positions)
    np.testing.assert_allclose(stored.confidence.mean(axis=0), table.confidence.mean(axis=0), atol=0.05)
    assert not np.array_equal(table.confidence, shipped.exit_table(positions).confidence)
    np.testing.assert_array_equal(table.correct, shipped.exit_table(positions).correct)


def test_patience_counts_the_exits_of_the_cut(glyphs):
    patient = glyphs.judged_by("patience")
    for positions in CUTS:
        scores = patient.scores(positions)
        same = scores.prediction[:, 1:] == scores.prediction[:, :-1]
        assert (scores.confidence[:, 0] == 1 / len(positions)).all()
        np.testing.assert_array_equal(scores.confidence[:, 1] == 2 / len(positions), same[:, 0])
        np.testing.assert_array_equal(scores.alone, glyphs.scores(positions).confidence)


@pytest.mark.parametrize("name", ["entropy", "margin", "patience"])
def test_an_older_bundle_lacks_scores_until_it_is_measured_again(copied, glyphs, name):
    """Older bundles have confidences only; measuring adds the rest, and all else stays to the last bit."""
    (copied / "criteria.npz").unlink()
    bundle = load_bundle(str(copied))
    np.testing.assert_array_equal(bundle.exit_table(EXITS).confidence, glyphs.exit_table(EXITS).confidence)
    bundle.check()
    with pytest.raises(InputError, match=f"has no {name} scores") as caught:
        bundle.judged_by(name).exit_table(EXITS)
    assert "dtoee-testbed model measure" in caught.value.hint


def test_measuring_again_adds_the_scores_of_all_criteria(tmp_path):
    text = f"{written(tmp_path)}:Stripes"
    folder, cut = trained(text, epochs=1), (1, 2)
    first = {name: load_model(text).judged_by(name) for name in CRITERIA}
    before = {name: (one.exit_table(cut).confidence, one.scores(cut).confidence) for name, one in first.items()}
    fingerprint = load_model(text).fingerprint()
    assert len({one.fingerprint() for one in first.values()}) == 2, "the further scores count where they are used"
    (folder / "criteria.npz").unlink()
    files = {file.name: file.read_bytes() for file in folder.iterdir()}
    measure_again(load_model(text))
    for name, (confidence, scores) in before.items():
        again = load_model(text).judged_by(name)
        np.testing.assert_allclose(again.exit_table(cut).confidence, confidence, atol=1e-6)
        np.testing.assert_allclose(again.scores(cut).confidence, scores, atol=1e-6)
    assert {name: (folder / name).read_bytes() for name in files} == files
    assert {file.name for file in folder.iterdir()} == {*files, "criteria.npz"}
    assert load_model(text).fingerprint() == fingerprint
    with np.load(folder / "exit_table.npz") as whole:
        table = dict(whole)
    np.savez_compressed(folder / "exit_table.npz", conf=table["conf"], correct=~table["correct"])
    with pytest.raises(InputError, match="made of other samples"):
        measure_again(load_model(text))
    (folder / "criteria.npz").unlink()
    np.savez_compressed(folder / "exit_table.npz", conf=table["conf"][1:], correct=table["correct"][1:])
    with pytest.raises(InputError, match=r"made of other samples .* and not"):
        measure_again(load_model(text))


PREPARED = """
    @classmethod
    def prepare(cls, recipe, progress):
        from node_agent.models.networks.early_exit import EpochReport
        from node_agent.models.training.labelled import split_samples
        if progress is not None:
            progress(EpochReport(1, 2, what="prompt"))
        return split_samples(type("Source", (cls,), {"samples": cls.drawn}), recipe)


class Head"""


def test_measuring_again_prepares_the_samples_as_training_does(tmp_path):
    source = STRIPES.replace("def samples", "def drawn").replace("\n\nclass Head", PREPARED, 1)
    text, reports = f"{written(tmp_path, source)}:Stripes", []
    table = trained(text, epochs=1) / "exit_table.npz"
    with np.load(table) as whole:
        np.savez_compressed(table, conf=whole["conf"], correct=whole["correct"])
    measure_again(load_model(text), reports.append)
    assert [report.what for report in reports] == ["prompt"]
    assert load_model(text).judged_by("margin").exit_table((1, 2)).confidence.shape == (len(np.load(table)["conf"]), 2)


def test_a_folder_that_cannot_be_measured_again_is_made_again_by_a_command_that_exists(copied):
    card = json.loads((copied / "card.json").read_text())
    (copied / "card.json").write_text(json.dumps({**card, "training": None}))
    with pytest.raises(InputError, match="does not state its training") as caught:
        measure_again(load_bundle(str(copied)))
    assert "model train MODEL --out DIR, where MODEL is glosses" in caught.value.hint


@pytest.mark.parametrize(
    ("array", "value", "said"),
    [("table_entropy", 1.5, "table_entropy: confidences outside"),
     ("table_prediction", 99, "table_prediction: classes"),
     ("scores_margin", np.nan, "scores_margin: confidences outside"), ("table_margin", None, "criteria.npz has 1999")],
)  # fmt: skip
def test_damaged_scores_of_a_criterion_are_refused(copied, array, value, said):
    with np.load(copied / "criteria.npz") as whole:
        arrays = dict(whole)
    if value is None:
        arrays[array] = arrays[array][1:]
    else:
        arrays[array][3, 1] = value
    np.savez_compressed(copied / "criteria.npz", **arrays)
    with pytest.raises(InputError, match=said):
        load_bundle(str(copied)).check()


def test_int8_activations_hardly_change_the_answers(shipped):
    positions, _ = all_exits_but(shipped, 1)
    exact, stages = shipped.scores(positions), shipped.sub_models(positions, "int8")
    profiles, forms = shipped.profiles(positions, "int8"), shipped.input_forms(positions, "int8")
    assert [profile.output_bytes * 4 for profile in profiles] == [
        profile.output_bytes for profile in shipped.profiles(positions, "float32")
    ]
    same = moved = 0
    rows = range(0, shipped.sample_count, 20)
    for sample in rows:
        tensor = shipped.inputs(positions, "int8").tensor(sample)
        for column, (stage, form) in enumerate(zip(stages, forms, strict=True)):
            assert form.fits(tensor.form)
            assert len(tensor.data) == profiles[column].input_bytes
            answer = stage.infer(tensor)
            same += answer.prediction == exact.prediction[sample, column]
            moved += abs(answer.confidence - exact.confidence[sample, column])
            tensor = answer.activation
    count = len(rows) * len(positions)
    assert same >= 0.98 * count
    assert 0 < moved / count < 0.005
