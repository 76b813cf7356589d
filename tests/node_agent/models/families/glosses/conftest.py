"""The definitions of the nouns and MiniLM's weights, on machines that have them; and the shipped bundle."""

import os

import pytest

from node_agent.errors import EnvironmentLacking
from node_agent.models import Bundle, load_bundle
from node_agent.models.families.glosses import minilm, selection


def needed(read):
    """Return what a function reads; skip the test if a package is missing, except in CI."""
    try:
        return read()
    except EnvironmentLacking as lacking:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"{lacking}: {lacking.hint}")


@pytest.fixture(scope="session")
def texts() -> selection.Texts:
    return needed(selection.texts)


@pytest.fixture(scope="session")
def given():
    """MiniLM's weights by their published names."""
    return needed(minilm.weights)


@pytest.fixture(scope="session")
def bundle() -> Bundle:
    return load_bundle("glosses")
