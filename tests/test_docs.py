"""The pages speak of code that exists: every file they name, and every name that they say a file holds."""

import re

import pytest

from tests.docs.constants import names_in
from tests.docs.pages import ROOT, written_pages

PAGES = written_pages()
OF_RUNS = {"policy.py", "runs/"}  # files and folders that runs make
TO_WRITE = re.compile(r"(.*/)?(its|my|your)_\w+\.py")  # names of files that a reader is to write
# `path/to/file.py`: `name`, `name`
HOLDS = re.compile(r"`([\w/]+\.py)`(?::\s((?:`\w+`(?:,\s+| and )?)+))?")


def claims(text: str) -> list[tuple[str, str | None]]:
    """The files that a page names, and the names that it says they hold."""
    found: list[tuple[str, str | None]] = []
    for path, names in HOLDS.findall(text):
        if path in OF_RUNS or TO_WRITE.fullmatch(path):
            continue
        found.append((path, None))
        found += [(path, name) for name in re.findall(r"`(\w+)`", names)]
    return found


def test_pages_name_files_and_what_they_hold():
    found = [claim for page in PAGES for claim in claims(page.read_text())]
    assert len(found) > 50
    assert any(name is not None for _, name in found)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_what_a_page_names_is_there(page):
    text = page.read_text()
    found = claims(text)
    for folder in set(re.findall(r"`([a-z_]+(?:/[a-z_]+)*/)`", text)) - OF_RUNS:
        assert (ROOT / folder).is_dir() or any(ROOT.glob(f"*/*/{folder}")), f"{page.name} names {folder}"
    for path, name in found:
        assert (ROOT / path).is_file(), f"{page.name} names {path}"
        assert name is None or name in names_in(ROOT / path), f"{page.name}: {path} has no {name}"


def test_a_wrong_claim_would_be_noticed():
    text = "(`node_agent/dtoee/queueing.py`: `queue_cost`,\n`no_such`) and `testbed/gone.py`"
    assert claims(text) == [
        ("node_agent/dtoee/queueing.py", None), ("node_agent/dtoee/queueing.py", "queue_cost"),
        ("node_agent/dtoee/queueing.py", "no_such"), ("testbed/gone.py", None),
    ]  # fmt: skip
    assert "no_such" not in names_in(ROOT / "node_agent/dtoee/queueing.py")
    assert not (ROOT / "testbed/gone.py").exists()
