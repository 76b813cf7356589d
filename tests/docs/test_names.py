"""Benches, policies and topologies that the pages name exist; every command has its line in docs/commands.md."""

import re

import pytest

from node_agent.policies import make_policy, parse_policy, take_label
from testbed.cells.policy_specs import split_policies
from tests.bench.__main__ import BENCHES, GROUPS
from tests.docs.command_options import every_command
from tests.docs.pages import ROOT, texts

PAGES = texts()
BENCH = re.compile(r"-m tests\.bench((?: +[\w.-]+)*)")
POLICIES = re.compile(r"dtoee-testbed[^`\n]* (?:-p|--policy) ([a-z][\w:=.,/-]*)")
TOPOLOGY = re.compile(r"(?<![\w/.])topologies/[a-z][\w-]*\.(?:yaml|json)")


@pytest.mark.parametrize("page", PAGES)
def test_benches_that_a_page_names_exist(page):
    named = [word for words in BENCH.findall(PAGES[page]) for word in words.split()]
    names = [word for word in named if not (word.startswith("-") or word.isupper())]
    assert set(names) <= {*BENCHES, *GROUPS, "watch_view"}


@pytest.mark.parametrize("page", PAGES)
def test_topologies_that_a_page_names_exist(page):
    assert [name for name in TOPOLOGY.findall(PAGES[page]) if not (ROOT / name).is_file()] == []


@pytest.mark.parametrize("page", PAGES)
def test_policies_that_a_page_runs_exist(page):
    for one in (policy for text in POLICIES.findall(PAGES[page]) for policy in split_policies(text)):
        if ".py:" not in one:
            name, parameters = parse_policy(one)
            make_policy(name, take_label(name, parameters)[1])


def test_every_command_has_its_line():
    page = PAGES["docs/commands.md"]
    head = page[: page.index("\n## run")]
    assert [name for name, _ in every_command() if f"`{name}" not in head] == []
