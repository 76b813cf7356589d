"""A small decoder with random weights from a file, and the real one where its package is installed."""

from dataclasses import replace

import pytest

from node_agent.errors import EnvironmentLacking
from node_agent.models.families.smollm import lessons, package
from node_agent.models.families.smollm.decoder import SMOLLM2_135M
from node_agent.models.families.smollm.gguf import Gguf, read_gguf
from node_agent.models.families.smollm.small_llama import SmolLM
from tests.node_agent.models.families.smollm.files import TINY, write


@pytest.fixture(scope="session")
def content(tmp_path_factory) -> Gguf:
    return read_gguf(write(tmp_path_factory.mktemp("tiny") / "tiny.gguf"))


@pytest.fixture(scope="session")
def network(content) -> SmolLM:
    network = SmolLM(TINY, (1, 2, 3), 20).fold()
    network.fill(content)
    return network


@pytest.fixture(scope="module")
def few_prompts():
    """While this is in force, training answers fewer prompts than the recipe says."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lessons, "TRAINING_PROMPTS", 100)
        patch.setattr(lessons, "CALIBRATION_PROMPTS", 10)
        yield


@pytest.fixture(scope="session")
def real() -> SmolLM:
    """The whole model as the package has it, for texts of up to 4,096 tokens; its early heads are not trained."""
    try:
        package.model_file()
    except EnvironmentLacking as lacking:
        pytest.skip(f"{lacking} ({lacking.hint})")
    network = SmolLM(replace(SMOLLM2_135M, context=4096)).fold()
    network.borrow()
    return network
