"""Shared by the model tests: the shipped bundle and, where their packages are installed, the source images."""

import os

import pytest
import torch

from node_agent.errors import EnvironmentLacking
from node_agent.models import Bundle, load_bundle
from node_agent.models.families.glyphs.sources import Originals, read_originals


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def glyphs() -> Bundle:
    return load_bundle("glyphs")


@pytest.fixture(scope="session")
def deep() -> Bundle:
    return load_bundle("glyphs-deep")


@pytest.fixture(scope="session", params=["glyphs", "glyphs-deep"])
def shipped(request) -> Bundle:
    return load_bundle(request.param)


@pytest.fixture(scope="session")
def originals() -> Originals:
    try:
        return read_originals()
    except EnvironmentLacking as lacking:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"{lacking}: {lacking.hint}")
