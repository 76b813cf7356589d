"""CITATION.cff says what pyproject.toml says, and names no person as an author of this software."""

import tomllib
from pathlib import Path

import yaml

from testbed import __version__

ROOT = Path(__file__).parents[2]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_version_and_licence_are_those_of_the_project():
    assert str(CITATION["version"]) == PROJECT["version"] == __version__
    assert CITATION["license"] == PROJECT["license"]
    assert CITATION["title"].startswith(PROJECT["name"])


def test_it_is_a_citation_file_of_software():
    assert str(CITATION["cff-version"]) == "1.2.0"
    assert CITATION["type"] == "software"
    assert {"message", "title", "authors"} <= CITATION.keys()


def test_the_author_is_an_entity():
    assert CITATION["authors"] == [{"name": "dtoee-testbed contributors"}]


def test_the_paper_is_referenced():
    (paper,) = CITATION["references"]
    assert paper["url"].endswith("2412.08284")
    assert paper["authors"][0]["family-names"] == "Xie"


def test_the_changelog_has_this_version():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"\n## {PROJECT['version']}" in changelog
