"""Workers that differ from this machine are refused in one line that names the difference."""

from dataclasses import replace

import pytest

from node_agent.errors import EnvironmentLacking, InputError
from testbed.cells.batch import Options, check_plans, settings_of
from testbed.cells.cell import cells_of
from testbed.cells.cluster import errands
from testbed.cells.cluster.likeness import check_alike, code_sha256, identity, likeness
from testbed.cells.policy_specs import read_specs
from tests.testbed.compare.topology import write


@pytest.fixture
def cell(tmp_path):
    path, specs, options = write(tmp_path), read_specs(["uniform"]), Options(simulate=True)
    return cells_of(specs, [1], tmp_path, settings_of(path, check_plans(path, specs, options), options))[0]


def test_this_machine_is_like_itself(cell):
    found = likeness(cell)
    assert found.code_sha256 == code_sha256()
    assert found.topology_sha256 == cell.settings.topology_sha256
    assert found.model_sha256 == cell.settings.model_sha256
    check_alike("w", found, cell)


@pytest.mark.parametrize(
    ("fields", "error", "said"),
    [
        ({"code_sha256": "0"}, EnvironmentLacking, "worker w has other code of dtoee-testbed"),
        ({"versions": (("numpy", "1.0"),)}, EnvironmentLacking, r"worker w has numpy 1\.0, and this machine \d"),
        ({"versions": (("python", "3.99"),)}, EnvironmentLacking, r"worker w has python 3\.99, and this machine 3"),
        ({"topology_sha256": "0"}, InputError, "worker w: its topology differs"),
        ({"model_sha256": "0"}, InputError, "worker w: its model differs"),
        ({"message": "two\nlines"}, InputError, "worker w cannot use the inputs: two lines$"),
    ],
)
def test_a_difference_is_named(cell, fields, error, said):
    with pytest.raises(error, match=said) as caught:
        check_alike("w", replace(likeness(cell), **fields), cell)
    assert "\n" not in str(caught.value)
    assert caught.value.hint
    assert caught.value.exit_code == (4 if error is EnvironmentLacking else 3)


def test_live_runs_need_rights_there(cell):
    found = replace(likeness(cell), rights=False)
    check_alike("w", found, cell)
    live = replace(cell, settings=replace(cell.settings, simulate=False))
    with pytest.raises(EnvironmentLacking, match="may not make networks"):
        check_alike("w", found, live)
    check_alike("w", replace(found, rights=True), live)


def test_a_topology_that_cannot_be_read_is_reported(cell, tmp_path):
    (tmp_path / "small.yaml").write_text("nonsense: 1\n")
    found = likeness(cell)
    assert found.topology_sha256 is None
    assert found.message


def test_a_worker_that_joined_late_with_another_version_carries_out_nothing():
    """Each helper states its code and libraries; the errand states those of the client."""
    assert errands._helper("of another version") is None
    helper = errands._helper(identity())
    assert helper is not None
    helper.close()
