"""Every page is in the index, and every link leads somewhere."""

import re
from pathlib import Path

import pytest

from tests.docs import decisions
from tests.docs.pages import DOCS, README, ROOT, anchors, links, written_pages

PAGES = {page.relative_to(ROOT).as_posix(): page for page in written_pages()}


def target(page: Path, link: str) -> tuple[Path, str]:
    """The file that a link of a page leads to, and the anchor in it."""
    path, _, anchor = link.partition("#")
    return (page.parent / path).resolve() if path else page, anchor


def broken(page: Path, text: str) -> list[str]:
    wrong = []
    for link in links(text):
        if re.match(r"https?://|mailto:", link):
            continue
        file, anchor = target(page, link)
        if not file.exists():
            wrong.append(f"{link}: there is no such file")
        elif anchor and anchor not in anchors(file.read_text(encoding="utf-8")):
            wrong.append(f"{link}: there is no such heading")
    return wrong


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name):
    assert broken(PAGES[name], PAGES[name].read_text(encoding="utf-8")) == []


def test_a_broken_link_is_noticed():
    text = "[a](gone.md), [b](docs/fidelity.md#gone) and [c](docs/fidelity.md#the-verdict), `[d](code.md)`"
    assert broken(README, text) == [
        "gone.md: there is no such file", "docs/fidelity.md#gone: there is no such heading",
    ]  # fmt: skip


def test_every_page_is_in_the_index():
    index = DOCS / "README.md"
    listed = {target(index, link)[0] for link in links(index.read_text(encoding="utf-8"))}
    indices = {index, decisions.FOLDER / "README.md"}
    wanted = {page for page in PAGES.values() if page.parent != decisions.FOLDER} - indices
    assert sorted(page.name for page in wanted - listed) == []
    assert decisions.FOLDER / "README.md" in listed
