"""Suggestions for an unknown name: the known name that was meant, if one is similar."""

import pytest

from node_agent.policies import policy_names
from node_agent.suggest import advice, closest, listed


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("dtoee", "dto-ee"),
        ("DTO-EE", "dto-ee"),
        ("dto_ee", "dto-ee"),
        ("dto-ee2c", "dto-ee-2c"),
        ("dto", "dto-ee"),
        ("jsq", None),
        ("computing_first", "computing-first"),
        ("computng-first", "computing-first"),
        ("FixedThreshold", "fixed-threshold"),
        ("fixed threshold", "fixed-threshold"),
        ("uniform2", "uniform"),
        ("", None),
    ],
)
def test_a_policy_is_known_again(word: str, meant: str | None) -> None:
    assert closest(word, policy_names()) == meant


def test_without_a_likeness_the_known_names_are_listed() -> None:
    assert advice("x", ["near", "core"]) == "known: near, core"
    assert advice("x", ["near"], "name a server") == "name a server"
    assert advice("naer", ["near", "core"], "name a server") == "did you mean near?"
    assert listed(map(str, range(10))) == "0, 1, 2, 3, 4, 5, 6, 7, … (10 in all)"


def test_of_equal_names_the_first_is_taken() -> None:
    assert closest("a-1", ["a1", "a_1"]) == "a1"
    assert closest("a-1", ["a_1", "a1"]) == "a_1"
