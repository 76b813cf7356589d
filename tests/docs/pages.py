"""The pages as tests read them: tables, code blocks, headings and links."""

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
README = ROOT / "README.md"
BLOCK = re.compile(
    r"<!-- (?P<kind>figures|fields) (?P<name>[\w.-]+)[^>]*-->\n(?P<content>.*?)<!-- end of (?P=kind) -->", re.DOTALL
)
"""A rendered block, see `tests.bench.pages`."""
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def written_pages() -> list[Path]:
    """README, every page under docs/ and the other pages in the root folder."""
    return [*sorted(ROOT.glob("*.md")), *sorted(DOCS.rglob("*.md"))]


def texts() -> dict[str, str]:
    """The text of each page, by its path in the repository."""
    return {page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8") for page in written_pages()}


def by_hand(text: str) -> str:
    """A page without fenced code and rendered blocks; its lines keep their numbers."""
    for pattern in (_FENCE, BLOCK):
        text = pattern.sub(lambda match: "\n" * match[0].count("\n"), text)
    return text


def section(text: str, heading: str) -> str:
    """The text below a heading, until the next heading of any level."""
    found = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#+ |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found is not None, f"no heading {heading!r}"
    return found[1]


def rows(text: str) -> list[list[str]]:
    """The cells of each row of the tables in a text, without heads and rulers."""
    found: list[list[str]] = []
    before = ""
    for line in text.splitlines():
        if line.startswith("|---"):
            found.pop()  # the head
        elif line.startswith("|"):
            cells = re.split(r"(?<!\\)\|", line.strip("|"))
            found.append([cell.strip() for cell in cells])
        before = line
    assert not before.startswith("|---")
    return found


def code_blocks(text: str) -> Iterator[tuple[str, str]]:
    """Language and content of fenced and of indented code blocks."""
    yield from _FENCE.findall(text)
    for block in re.findall(r"(?:^    .*\n|^\n)+", _FENCE.sub("", text), re.MULTILINE):
        if block.strip():
            yield "", block


def python_blocks(text: str) -> list[str]:
    """The fenced Python blocks of a page."""
    return [block for language, block in _FENCE.findall(text) if language == "python"]


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.*)$", _FENCE.sub("", text), re.MULTILINE):
        base = re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")
        number, anchor = 0, base
        while anchor in found:
            number += 1
            anchor = f"{base}-{number}"
        found.add(anchor)
    return found


def links(text: str) -> list[str]:
    """The targets of a page's links, those in code left out."""
    prose = re.sub(r"`[^`\n]*`", "", _FENCE.sub("", text))
    return re.findall(r"\]\(([^)\s]+)\)", prose)
