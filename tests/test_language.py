"""Docstrings, comments and pages are plain English, as far as patterns can say."""

import pytest

from tests.docs.pages import ROOT, written_pages
from tests.language import Text, faults, faults_of, page_texts, python_texts

PACKAGES = ("cli", "dtoee_testbed", "node_agent", "testbed", "tests")
# Files of an earlier version stay as they were.
MODULES = sorted(path for name in PACKAGES for path in (ROOT / name).rglob("*.py") if "a9cbd93/" not in str(path))


@pytest.mark.parametrize("files", [MODULES, written_pages()], ids=["modules", "pages"])
def test_they_keep_the_rules(files):
    assert [fault for path in files for fault in faults(path)] == []


@pytest.mark.parametrize(
    "words",
    [
        "Agents tell the parent how they are.",
        "A node that was told to stop drains its queue first.",
        "Servers hear of a change one slot later.",
        "The bound that a run has to have met.",
        "It leaves aside links without tasks.",
        "The lock takes along what its owner holds.",
        "Whoever holds the lock removes the files.",
        "A run of so many seconds.",
        "The same.",
        "The folder that the process started in.",
        "What the link carries.",
        "Whether the run has ended.",
        "One that is due.",
        f"The server {'waits and ' * 18} ends.",
    ],
)
def test_these_are_refused(words):
    assert list(faults_of(words))


@pytest.mark.parametrize(
    "words",
    [
        "Agents report their state to the parent.",
        "Stop the node after it has drained its queue.",
        "Return the share of frames that are lost, 0 to 1.",
        "What should a reader do?",
        "The first slot is short; the second one is not, and both count.",
        "Tasks whose confidence is too low go on.",
        "Remove what a killed run left behind, then the ledger itself.",
    ],
)
def test_these_are_not(words):
    assert list(faults_of(words)) == []


def test_a_module_has_docstrings_and_comments_as_texts():
    source = '''"""Its first.

Two
lines.
"""

X = 1  # behind code
# a comment
# of two lines


def f():
    "Its own."
'''
    found = list(python_texts(source))
    assert [text.words for text in found] == ["Its first.", "Two lines.", "Its own.", "a comment of two lines"]
    assert found[1] == Text(3, "Two lines.")
    assert found[3].line == 8


def test_a_page_has_prose_only():
    page = (
        "# Title\n\nA sentence.\n\n```\nwhat code tells\n```\n\n| what | told |\n\n    what a drawing tells\n\n"
        "<!-- figures x: y -->\ntold\n<!-- end of figures -->\n\n- one item\n- another\n  item\n"
    )
    assert [text.words for text in page_texts(page)] == ["A sentence.", "one item", "another item"]
