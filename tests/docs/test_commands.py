"""The command lines, options and topology keys that the pages state exist."""

import json
import re
import shlex
from collections.abc import Iterator
from typing import Any

import click
import pytest
import yaml

from cli.main import COMMANDS, commands
from testbed.topology import load_topology
from testbed.topology.topology_file import topology_json_schema_text
from tests.docs.command_options import every_command
from tests.docs.pages import ROOT, code_blocks, texts

PAGES = texts()
PROGRAM = re.compile(r"^\s*(?:[A-Z_]+=\S+ )*(?:sudo )?(?:\S*/)?dtoee-testbed(?: (.*))?$")
ELSEWHERE = {
    "--durations",
    "--index-url",
    "--net",
    "--privileged",
    "--cap-add",
    "--security-opt",
    "--rm",
    "--dashboard-address",
}
"""Options of pip, pytest, nsenter, Dask and container engines that pages name."""


def inline(text: str) -> Iterator[str]:
    """The text of each pair of backticks, outside of code blocks."""
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    for code in re.findall(r"`([^`]+)`", prose):
        yield " ".join(code.split())


def command_lines(text: str) -> Iterator[str]:
    """The arguments of `dtoee-testbed` in code blocks and between backticks; also lines that begin with a verb."""
    lines = [line for _, block in code_blocks(text) for line in block.replace("\\\n", " ").splitlines()]
    for line in (*lines, *inline(text)):
        for part in re.split(r" && |; ", re.sub(r"\s+#.*", "", line)):
            if (found := PROGRAM.match(re.split(r" [|>&] | 2>", part)[0])) is not None:
                yield found[1] or ""
    for code in inline(text):
        verb, _, rest = code.partition(" ")
        if verb in COMMANDS and re.match(r"-|[A-Z_|]+\b", rest):
            yield code


def wrong_in(line: str) -> str | None:
    """The first word of a command line that does not exist, in words; None if the line can be parsed."""
    context = click.Context(commands)
    words = shlex.split(line)
    command: click.Command = commands
    while words and isinstance(command, click.Group) and not words[0].startswith("-"):
        found = [command.get_command(context, name) for name in words[0].split("|")]
        if None in found:
            return f"no command {words[0]}"
        assert found[0] is not None
        command, words = found[0], words[1:]
    options = {name: each for each in command.params for name in (*each.opts, *each.secondary_opts)
               if isinstance(each, click.Option)}  # fmt: skip
    arguments = 0
    while words:
        word = words.pop(0)
        name, _, value = word.partition("=")
        if name in ("--help", "-h"):
            continue
        if not word.startswith("-"):
            arguments += 1
        elif name not in options:
            return f"no option {name}"
        elif not options[name].is_flag and not value:
            if not words:
                return f"{name} has no value"
            words.pop(0)
    most = sum(each.nargs if each.nargs > 0 else 99 for each in command.params if isinstance(each, click.Argument))
    return f"{arguments} arguments, {most} at most" if arguments > most else None


LINES = sorted({(page, line) for page, text in PAGES.items() for line in command_lines(text)})


@pytest.mark.parametrize(("page", "line"), LINES)
def test_a_command_line_of_a_page_can_be_parsed(page, line):
    assert wrong_in(line.replace("[", "").replace("]", "")) is None, page


def test_command_lines_are_found_and_judged():
    assert len(LINES) > 20
    assert list(command_lines("    ./setup.sh && .venv/bin/dtoee-testbed run A.yaml | tee log\n")) == ["run A.yaml"]
    assert wrong_in("walk topology.yaml") == "no command walk"
    assert wrong_in("topology mend A.yaml") == "no command mend"
    assert wrong_in("run A.yaml --fast") == "no option --fast"
    assert wrong_in("run A.yaml B.yaml") == "2 arguments, 1 at most"
    assert wrong_in("run A.yaml --seed") == "--seed has no value"
    assert wrong_in("compare A.yaml -p a,b -n 3 --simulate") is None


def known_options() -> set[str]:
    """All options of the command line, of the benches and of setup.sh."""
    known = {name for _, command in every_command() for each in command.params for name in each.opts}
    known |= {name for each in commands.params for name in each.opts} | {"--help"} | ELSEWHERE
    for path in ("tests/bench/__main__.py", "tests/__main__.py", "setup.sh", ".ci/run", ".ci/long"):
        if (ROOT / path).exists():
            known |= set(re.findall(r"--[a-z][\w-]+", (ROOT / path).read_text(encoding="utf-8")))
    return known


@pytest.mark.parametrize("page", PAGES)
def test_every_option_that_a_page_names_exists(page):
    named = {word for code in inline(PAGES[page]) for word in re.findall(r"(?<![\w-])--[a-z][\w-]*", code)}
    assert sorted(named - known_options()) == []


def properties(schema: Any) -> set[str]:
    """The names of all keys that the schema of topologies knows, at any depth."""
    found: set[str] = set()
    if isinstance(schema, dict):
        found |= set(schema.get("properties", {}))
        for each in schema.values():
            found |= properties(each)
    elif isinstance(schema, list):
        for each in schema:
            found |= properties(each)
    return found


KEYS = properties(json.loads(topology_json_schema_text()))
NAMED = ("devices", "servers", "parameters")  # below them stand names that the user gives


def unknown_keys(content: Any, *, names: bool = False) -> set[str]:
    """The keys of a piece of a topology that no topology has."""
    if isinstance(content, list):
        return {key for each in content for key in unknown_keys(each)}
    if not isinstance(content, dict):
        return set()
    found = set() if names else {str(key) for key in content} - KEYS
    for key, each in content.items():
        if key != "parameters":
            found |= unknown_keys(each, names=key in NAMED and not names)
    return found


def pieces(text: str) -> Iterator[Any]:
    """The topologies of a page, and the pieces of them: YAML blocks, and maps between backticks."""
    for language, block in code_blocks(text):
        if language == "yaml" and "jobs" not in (piece := yaml.safe_load(block)):  # no workflow of a CI service
            yield piece
    for code in inline(text):
        if re.match(r"\{[a-z_]+: ", code):
            yield yaml.safe_load(code)


YAML = [(page, number, piece) for page, text in PAGES.items() for number, piece in enumerate(pieces(text))]


@pytest.mark.parametrize(("page", "number", "piece"), YAML, ids=[f"{page}-{number}" for page, number, _ in YAML])
def test_the_keys_of_a_topology_in_a_page_exist(page, number, piece):
    assert unknown_keys(piece) == set(), f"{page}, piece {number}"


@pytest.mark.parametrize("page", PAGES)
def test_a_whole_topology_in_a_page_is_valid(page, tmp_path):
    for language, block in code_blocks(PAGES[page]):
        content = yaml.safe_load(block) if language == "yaml" else None
        if isinstance(content, dict) and {"name", "devices", "servers", "links"} <= content.keys():
            file = tmp_path / "topology.yaml"
            file.write_text(block, encoding="utf-8")
            load_topology(file).resolve()


def test_an_unknown_key_is_noticed():
    assert unknown_keys({"devices": {"cam": {"rate": "1 /s", "speed": 3}}, "colour": 1}) == {"speed", "colour"}
    assert unknown_keys([{"at": "1 s", "link": ["a", "b"], "rate": "x2"}]) == set()
