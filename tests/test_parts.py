"""`python -m tests` and `python -m tests --long` together run every test once."""

import re
from itertools import combinations

import pytest
from _pytest.mark.expression import Expression

from tests.__main__ import ALONE, LONG, PARTS, QUICK, ROOT, SIDE_BY_SIDE, TOGETHER, Part, command, main

MARKS = ("root", "timing", "company", "slow")


@pytest.mark.parametrize(
    "marks", [set(chosen) for count in range(len(MARKS) + 1) for chosen in combinations(MARKS, count)]
)
def test_every_test_is_in_one_part(marks):
    """Whatever its marks are."""
    found = [part.name for part in PARTS if Expression.compile(part.select).evaluate(lambda name, **_: name in marks)]
    assert len(found) == 1


def test_the_quick_ones_leave_out_only_the_slow():
    assert set(PARTS) - set(QUICK) == {LONG}
    assert LONG.select == "slow"


@pytest.mark.parametrize("part", [ALONE, LONG])
def test_what_needs_the_machine_for_itself_does_not_run_side_by_side(part):
    assert not any("numprocesses" in word or word.startswith("-n") for word in command(part))
    assert any("numprocesses" in word for word in command(SIDE_BY_SIDE))


@pytest.mark.parametrize(
    ("codes", "ends_with"),
    [
        ({}, 0),
        ({SIDE_BY_SIDE: 1}, 1),
        ({ALONE: 1}, 1),
        ({TOGETHER: 5}, 0),
        (dict.fromkeys(QUICK, 5), 1),
        ({ALONE: 2}, 2),
    ],
)
def test_the_exit_code_is_that_of_the_worst_part(monkeypatch, codes: dict[Part, int], ends_with):
    ran = []
    monkeypatch.setattr("tests.__main__.run", lambda part, _: ran.append(part) or codes.get(part, 0))
    assert main([]) == ends_with
    assert ran == list(QUICK)


def test_further_arguments_go_to_pytest(monkeypatch):
    given = []
    monkeypatch.setattr("tests.__main__.run", lambda part, arguments: given.append((part, arguments)) or 0)
    assert main(["--long", "-k", "relay"]) == 0
    assert given == [(LONG, ["-k", "relay"])]
    assert list(command(LONG, ["-k", "relay"]))[-2:] == ["-k", "relay"]


def test_the_scripts_call_what_readme_says():
    """Each in its own line, as README's `&&` runs one after the other."""
    command = re.search(r"\.\/setup\.sh --dev && (.*python -m tests)$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert command
    quick, long = ((ROOT / ".ci" / name).read_text().splitlines() for name in ("run", "long"))
    assert "./setup.sh --dev" in quick
    assert "./setup.sh --dev" in long
    assert quick[-1] == command[1]
    assert long[-1] == f"{command[1]} --long"
