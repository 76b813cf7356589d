"""Keys, and a scheduler with two workers, for the tests of clusters."""

import pytest

from testbed.cells.cluster.keys import make_keys
from tests.testbed.cells.cluster.machines import machines


@pytest.fixture(scope="session")
def keys(tmp_path_factory):
    """The folder of a cluster's keys."""
    folder = tmp_path_factory.mktemp("cluster") / "keys"
    make_keys(folder)
    return folder


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory, keys):
    """A scheduler with two workers, which several tests use and none changes."""
    with machines(tmp_path_factory.mktemp("machines"), keys) as found:
        found.start_worker()
        found.start_worker()
        yield found
