"""Decisions stand in docs/decisions/, one page each; the code keeps one sentence and the link."""

import re
from pathlib import Path

import pytest

from tests.docs import decisions
from tests.docs.pages import ROOT

PAGES = decisions.pages()
PACKAGES = ("cli", "dtoee_testbed", "node_agent", "testbed", "tests")
# This module has examples of links; tests/compatibility has files of earlier versions, which stay as they were.
EXCEPTED = ("tests/test_decisions.py", "tests/compatibility/")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
SOURCES = [path for path in MODULES if not path.relative_to(ROOT).as_posix().startswith(EXCEPTED)]
SOURCES.append(ROOT / "pyproject.toml")
HEADINGS = ["Context", "Options", "Figures", "Decision"]
# `Decision 012: one sentence (docs/decisions/012-title.md).`, broken into lines anywhere, as comments are.
LINK = re.compile(r"Decision (\d{3}): (.{1,400}?) ?\((docs/decisions/[\w.-]+\.md)\)")
# No figures, a command that prints them, or the admission that there is none; some follow from numbers that are given.
ORIGIN = re.compile(
    r"^None\b|\.venv/bin/|`dtoee-testbed |[Pp]rinted|\bby\s+hand\b|follows? from|nothing was measured|none was measured"
)


def links(text: str) -> list[tuple[str, str, str]]:
    """Number, sentence and page of each decision that a module names."""
    return [match.groups() for match in LINK.finditer(re.sub(r"\s*\n\s*(#\s?)?", " ", text))]


LINKS = {path: links(path.read_text(encoding="utf-8")) for path in SOURCES}


def faults(page: Path, linked: set[str]) -> list[str]:
    """The faults of a page; `linked`: the pages that modules name."""
    text = page.read_text(encoding="utf-8")
    number = page.name[:3]
    found = []
    if not re.match(rf"# {number} \S", text):
        found.append(f"the title does not begin with {number}")
    if re.findall(r"^## (.*)$", text, re.MULTILINE) != HEADINGS:
        found.append(f"the headings are not {HEADINGS}")
    figures = text.partition("## Figures")[2].partition("## Decision")[0]
    if not ORIGIN.search(figures.strip()):
        found.append("nothing says where its figures come from")
    where = re.findall(r"`([\w.-]+/[\w./-]+)`", text.partition("**Where:**")[2].partition("\n\n")[0])
    if not where or not all((ROOT / path).exists() for path in where):
        found.append("it does not name the files that it is about, or these are gone")
    if f"docs/decisions/{page.name}" not in linked and any(path.endswith((".py", ".toml")) for path in where):
        found.append("no module links to it")
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_says_what_was_decided_and_where(page):
    assert faults(page, {link for found in LINKS.values() for _, _, link in found}) == []


def test_pages_are_numbered_from_one():
    assert [int(page.name[:3]) for page in PAGES] == list(range(1, len(PAGES) + 1))


def faults_of_links(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8")
    noted = len(re.findall(r"\bDecision(?: \d+)?:", text))
    found = [] if noted == len(LINKS[path]) else ["a decision without its page"]
    for number, sentence, link in LINKS[path]:
        if not (Path(link).name.startswith(f"{number}-") and (ROOT / link).is_file()):
            found.append(f"no page {link} of decision {number}")
        if re.search(r"\d (?:us|MiB|times)\b", sentence):
            found.append(f"figures belong into the page: {sentence}")
    return [f"{path.relative_to(ROOT)}: {fault}" for fault in found]


def test_modules_link_to_the_pages_of_their_decisions():
    assert [fault for path in SOURCES for fault in faults_of_links(path)] == []


def test_the_index_lists_every_page():
    index = (decisions.FOLDER / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"\]\((\d{3}-[\w.-]+\.md)\)", index) == [page.name for page in PAGES]


def test_a_wrong_page_is_noticed(tmp_path):
    page = tmp_path / "007-a-title.md"
    page.write_text("# 8 A title\n\n**Where:** `testbed/gone.py`\n\n## Context\n## Options\n## Decision\n")
    assert len(faults(page, set())) == 5


def test_links_are_found_across_lines():
    text = """
    Decision 012: one heap
    for all (docs/decisions/012-one.md).
    # Decision 013: two
    # lines
    # (docs/decisions/013-b.md).
    """
    assert links(text) == [
        ("012", "one heap for all", "docs/decisions/012-one.md"),
        ("013", "two lines", "docs/decisions/013-b.md"),
    ]
