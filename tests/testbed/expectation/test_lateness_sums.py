"""Lateness summed by path and by node: every step counts, and no large network makes a large file."""

import json

import pytest

from testbed.expectation.lateness_sums import MOST_KEPT, LatenessSums
from testbed.expectation.steps import Lateness


def late(step, path, late_s):
    return Lateness(0, step, path, 1.0, late_s)


def test_messages_are_summed_by_path_and_the_rest_by_node():
    lateness = LatenessSums.of(
        [
            late("transfer", ("a", "b"), 0.001), late("transfer", ("a", "b"), 0.0015), late("return", ("b", "a"), 2.0),
            late("transfer", ("a", "c"), -0.5), late("offering", ("a",), 0.25), late("queue", ("b",), 1.0),
            late("service", ("b",), -0.25), late("sending", ("b",), 0.5),
        ]
    ).as_dict()  # fmt: skip
    assert lateness["paths"] == [
        {"path": ["b", "a"], "late_s": 2.0, "worst_s": 2.0, "steps": 1},
        {"path": ["a", "c"], "late_s": -0.5, "worst_s": -0.5, "steps": 1},
        {"path": ["a", "b"], "late_s": pytest.approx(0.0025), "worst_s": 0.0015, "steps": 2},
    ]
    assert lateness["nodes"] == [
        {"node": "b", "late_s": 1.25, "worst_s": 1.0, "steps": 3},
        {"node": "a", "late_s": 0.25, "worst_s": 0.25, "steps": 1},
    ]
    assert (lateness["other_paths"], lateness["other_nodes"]) == (None, None)


def test_of_a_large_network_the_worst_places_are_kept_and_the_rest_is_summed():
    paths, nodes = 3 * MOST_KEPT, MOST_KEPT + 2
    steps = [late("transfer", (f"d{k}", "s"), 0.001 * k) for k in range(paths)]
    steps += [late("service", (f"s{k}",), 1.0) for k in range(nodes)]
    lateness = LatenessSums.of(steps).as_dict()
    assert len(lateness["paths"]) == len(lateness["nodes"]) == MOST_KEPT
    assert lateness["paths"][0]["path"] == [f"d{paths - 1}", "s"]
    others = lateness["other_paths"]
    assert (others["places"], others["steps"]) == (2 * MOST_KEPT, 2 * MOST_KEPT)
    assert others["late_s"] == pytest.approx(sum(0.001 * k for k in range(2 * MOST_KEPT)))
    assert others["worst_s"] == pytest.approx(0.001 * (2 * MOST_KEPT - 1))
    assert lateness["other_nodes"] == {"places": 2, "late_s": 2.0, "worst_s": 1.0, "steps": 2}
    everything = sum(each["late_s"] for each in lateness["paths"]) + others["late_s"]
    assert everything == pytest.approx(sum(0.001 * k for k in range(paths)))
    assert len(json.dumps(lateness)) < 20_000


def test_a_run_without_steps_has_none():
    assert LatenessSums.of([]).as_dict() == {"paths": [], "other_paths": None, "nodes": [], "other_nodes": None}
