"""Command lines in the pages are ones that the commands accept: verbs, options, topologies and policies."""

import re
import shlex

import click
import pytest

from node_agent.policies import make_policy, parse_policy, take_label
from testbed.compare.specs import split_policies
from tests.bench import __main__ as benches
from tests.docs.command_options import every_command
from tests.docs.pages import ROOT, written_pages

COMMANDS = dict(every_command())
CALL = re.compile(r"(?:\.venv/bin/)?dtoee-testbed +([a-z][^`\n|;&>]*)")
BENCH = re.compile(r"-m tests\.bench((?: +[\w.-]+)*)")
PAGES = [page for page in written_pages() if CALL.search(page.read_text(encoding="utf-8"))]
PLACEHOLDERS = re.compile(r"[A-Z_]+|[$./<\[].*|\.\.\.")  # FILE, $RUN, /tmp/first, <time>, ...
OTHERS = {  # options of other programs that pages speak of
    "--dev", "--torch-index", "--index-url", "--keep", "--render", "--list", "--net", "--privileged", "--cap-add",
    "--security-opt", "--help", "--version",
}  # fmt: skip


def calls(text: str) -> list[list[str]]:
    """The words after `dtoee-testbed` of each call in a text."""
    return [shlex.split(found.strip().rstrip(".,:)}")) for found in CALL.findall(text)]


def fault(words: list[str]) -> str | None:
    """What is wrong with a call; None if nothing is."""
    name = " ".join(words[:2]) if " ".join(words[:2]) in COMMANDS else words[0]
    if name not in COMMANDS:
        is_group = any(known.startswith(f"{name} ") for known in COMMANDS)
        return None if is_group and len(words) == 1 else f"no command {name}"
    options = {word: each for each in COMMANDS[name].params if isinstance(each, click.Option) for word in each.opts}
    rest = words[len(name.split()) :]
    for position, word in enumerate(rest):
        if word.startswith("-") and word not in options and word != "--help":
            return f"{name} has no option {word}"
        if word.startswith("topologies/") and "*" not in word and not (ROOT / word.split(":")[0]).exists():
            return f"there is no {word}"
        if word in ("-p", "--policy", "--policies") and position + 1 < len(rest):
            found = _policies_fault(rest[position + 1])
            if found:
                return found
    return None


def _policies_fault(text: str) -> str | None:
    for one in split_policies(text):
        if PLACEHOLDERS.fullmatch(one) or one.split(":")[0].endswith(".py"):
            continue
        name, parameters = parse_policy(one)
        make_policy(name, take_label(name, parameters)[1])
    return None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_calls_in_a_page_are_accepted(page):
    text = page.read_text(encoding="utf-8")
    faults = [f"{words}: {said}" for words in calls(text) if (said := fault(words))]
    assert faults == []


@pytest.mark.parametrize("page", written_pages(), ids=lambda page: page.name)
def test_options_that_a_page_names_exist(page):
    known = {word for command in COMMANDS.values() for each in command.params for word in each.opts} | OTHERS
    spans = re.findall(r"`([^`\n]+)`", page.read_text(encoding="utf-8"))
    named = {word for span in spans for word in re.findall(r"(?<![\w-])--[a-z][a-z-]+", span)
             if not span.startswith(("uv ", "pip ", "apt"))}  # fmt: skip
    assert named - known == set()


@pytest.mark.parametrize("page", written_pages(), ids=lambda page: page.name)
def test_benches_that_a_page_names_exist(page):
    for words in BENCH.findall(page.read_text(encoding="utf-8")):
        for word in words.split():
            assert word.startswith("--") or word.isupper() or word in {*benches.BENCHES, *benches.GROUPS}, word


def test_wrong_calls_would_be_noticed():
    assert fault(["run", "topologies/quickstart.yaml", "--seeds", "3"]) == "run has no option --seeds"
    assert fault(["simulat", "x"]) == "no command simulat"
    assert fault(["simulate", "topologies/gone.yaml"]) == "there is no topologies/gone.yaml"
    assert fault(["trace", "generate-link", "--out", "FILE"]) is None
    assert calls("`dtoee-testbed compare X -p dto-ee -n 5`, and") == [["compare", "X", "-p", "dto-ee", "-n", "5"]]


def test_every_command_has_its_line():
    page = (ROOT / "docs/commands.md").read_text(encoding="utf-8")
    head = page[: page.index("## run")]
    assert [name for name in COMMANDS if f"`{name}" not in head] == []
