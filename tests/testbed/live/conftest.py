"""Fixtures of the tests of live agents."""

import pytest

from tests.testbed.live.stage import Stage


@pytest.fixture
def stage(tmp_path):
    made = Stage(tmp_path)
    yield made
    made.end()
    assert made.alive() == []
