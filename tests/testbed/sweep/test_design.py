"""The points of a sweep: all combinations, or one in each strip of every axis."""

import pytest

from node_agent.errors import InputError
from testbed.sweep.axis import measured, parse_axis
from testbed.sweep.design import check_axes, grid, known_key, sample


def axes(*texts):
    return [parse_axis(text) for text in texts]


def test_a_grid_has_all_combinations_and_the_last_key_changes_quickest():
    points = grid(axes("load=x1,x2", "theta=1 s,2 s,3 s"))
    assert [point.values for point in points] == [
        ("x1", "1 s"), ("x1", "2 s"), ("x1", "3 s"), ("x2", "1 s"), ("x2", "2 s"), ("x2", "3 s"),
    ]  # fmt: skip


def test_a_sample_has_one_point_in_each_strip_and_depends_on_the_seed():
    stated = axes("theta=0..10 s", "load=x1..x2", "devices.cam.count=1..5", "draws=smooth,random")
    points = sample(stated, 10, 7)
    assert sample(stated, 10, 7) == points
    assert sample(stated, 10, 8) != points
    thetas, loads = ([measured(point.values[axis])[0] for point in points] for axis in (0, 1))
    assert sorted(int(theta) for theta in thetas) == list(range(10))
    assert sorted(int((load - 1) * 10) for load in loads) == list(range(10))
    for axis, each in ((2, 2), (3, 5)):  # as often as each other
        drawn = [point.values[axis] for point in points]
        assert {drawn.count(value) for value in drawn} == {each}


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        ([], "a sweep needs a key"),
        (["theta=1 s", "theta=2 s"], "theta is swept twice"),
        (["seed=1,2"], "seed cannot be swept"),
        (["policy=ngto,uniform"], "policy cannot be swept"),
        (["policy.name=ngto"], "policy.name cannot be swept"),
    ],
)
def test_axes_that_cannot_be_swept(stated, said):
    with pytest.raises(InputError, match=said):
        check_axes(axes(*stated))


def test_bounds():
    with pytest.raises(InputError, match=r"load=x1\.\.x2: an interval of factors is no value"):
        grid(axes("load=x1..x2"))
    with pytest.raises(InputError, match="the grid has 1000000 points"):
        grid(axes("theta=1..2 s:1000", "slot=1..2 s:1000"))
    for count in (1, 10_001):
        with pytest.raises(InputError, match=f"a sample of {count} points"):
            sample(axes("theta=1..2 s"), count, 1)
    with pytest.raises(InputError, match="a sample of 7 points, and only 6 combinations of values"):
        sample(axes("load=x1,x2", "theta=1..3 s:3"), 7, 1)
    assert len(sample(axes("load=x1,x2", "theta=1..3 s:3"), 6, 1)) == 6


def test_unknown_keys_get_a_hint():
    assert known_key("theta", axes("theta=1 s")).key == "theta"
    with pytest.raises(InputError, match="thet is no key of this sweep") as caught:
        known_key("thet", axes("theta=1 s", "load=x1"))
    assert caught.value.hint == "did you mean theta?"
    with pytest.raises(InputError, match="no key") as caught:
        known_key("zzz", axes("theta=1 s", "load=x1"))
    assert caught.value.hint == "it has theta, load"
