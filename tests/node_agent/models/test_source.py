"""A model is opened once for as long as its files stay as they are."""

import shutil

import numpy as np
import pytest

from node_agent.models import load_bundle
from node_agent.models.source import CostSource, ModelSource
from tests.node_agent.models.answer_table.tables import npz


def test_a_bundle_is_read_again_after_a_change_of_a_file(tmp_path):
    folder = shutil.copytree(load_bundle("glyphs").folder, tmp_path / "mine")
    source = ModelSource(str(folder))
    first = source.open()
    assert source.open() is first
    rows = len(first.exit_table((5,)))
    with np.load(folder / "exit_table.npz") as arrays:
        fewer = {name: arrays[name][:100] for name in arrays}
    np.savez(folder / "exit_table.npz", **fewer)
    (folder / "criteria.npz").unlink()
    assert (rows, len(source.open().exit_table((5,)))) == (2000, 100)


def test_a_table_is_read_again_after_a_change_of_its_file(tmp_path):
    source = ModelSource(str(npz(tmp_path / "a.npz")))
    first = source.open().fingerprint()
    assert source.open().fingerprint() == first
    npz(tmp_path / "a.npz", plan_confidence=None, plan_correct=None)
    assert source.open().fingerprint() != first


@pytest.mark.parametrize("place", ["glyphs", "glyphs-deep"])
def test_costs_do_not_stick_to_the_model(place):
    plain, costed = ModelSource(place), ModelSource(place, CostSource("gpt2"))
    assert (plain.open().costs, costed.open().costs, plain.open().costs) == (None, "gpt2", None)
