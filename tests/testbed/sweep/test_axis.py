"""Axes of a sweep: values, grids and intervals as text, and their numbers in base units."""

import pytest

from node_agent.errors import InputError
from testbed.sweep.axis import Interval, axis_of, measured, parse_axis, split_values


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("theta=1s", ("1s",)),
        ("theta=1 s, 250 ms", ("1 s", "250 ms")),
        ("model.cut=[2, 3, 5],[2,4,5]", ("[2, 3, 5]", "[2,4,5]")),
        ("devices.cam={rate: 1 /s, count: 2},{rate: 2 /s}", ("{rate: 1 /s, count: 2}", "{rate: 2 /s}")),
        ("name='a, b',c", ("'a, b'", "c")),
        ("load=x0.5..x1.5:5", ("x0.5", "x0.75", "x1", "x1.25", "x1.5")),
        ("load=x0.5..1.5:3", ("x0.5", "x1", "x1.5")),
        ("theta=1..4 s:4", ("1 s", "2 s", "3 s", "4 s")),
        ("devices.*.rate=1..4 /s:2", ("1 /s", "4 /s")),
        ("policy.threshold=0.6..0.9:4", ("0.6", "0.7", "0.8", "0.9")),
        ("theta=0..1 s:4", ("0 s", "0.333333 s", "0.666667 s", "1 s")),
        ("theta=100 ms,1..2 s:2", ("100 ms", "1 s", "2 s")),
        ("devices.*.rate=1..4 /s", ("1..4 /s",)),
        ("servers.a.capacity=1e8..3e8 FLOP/s:2", ("100000000 FLOP/s", "300000000 FLOP/s")),
    ],
)
def test_values(text, values):
    assert parse_axis(text).values == values


@pytest.mark.parametrize(
    ("text", "interval", "whole"),
    [
        ("theta=1..4 s", Interval("", 1.0, 4.0, "s"), False),
        ("load=x0.5..x1.5", Interval("x", 0.5, 1.5, ""), False),
        ("devices.cam.count=1..6", Interval("", 1.0, 6.0, ""), True),
        ("policy.threshold=0.5..1", Interval("", 0.5, 1.0, ""), False),
        ("theta=1..4 s:3", None, False),
        ("theta=1..4 s,5 s", None, False),
        ("theta=1 s", None, False),
    ],
)
def test_an_interval_alone_can_be_sampled(text, interval, whole):
    axis = parse_axis(text)
    assert (axis.interval, axis.whole) == (interval, whole)


def test_values_of_an_interval_are_rounded_and_whole_numbers_are_equally_likely():
    assert Interval("x", 0.5, 1.5, "").at(1 / 3) == "x0.833333"
    assert Interval("", 0.0, 1.0, "s").at(1e-9) == "0.000000001 s"
    whole = [Interval("", 1.0, 3.0, "").at(share / 300, whole=True) for share in range(300)]
    assert {value: whole.count(value) for value in whole} == {"1": 100, "2": 100, "3": 100}
    assert Interval("", 1.0, 3.0, "").at(1.0, whole=True) == "3"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("theta", "no KEY=VALUE"),
        ("theta=", "no KEY=VALUE"),
        ("theta=1 s,", "a value is empty"),
        ("theta=,1 s", "a value is empty"),
        ("model.cut=[2, 3", "] is missing"),
        ("name='a", "' is missing"),
        ("theta=1 s,1 s", "theta takes the value 1 s twice"),
        ("theta=1 s,1..2 s:2", "theta takes the value 1 s twice"),
        ("theta=1..4 s:1", "a grid of 1 values"),
        ("theta=1..4 s:1001", "a grid of 1001 values"),
        ("theta=4..1 s:3", "does not run upwards"),
    ],
)
def test_what_cannot_be_read_is_refused(text, said):
    with pytest.raises(InputError) as caught:
        parse_axis(text)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("key", "parameter"),
    [
        ("policy.threshold", "threshold"),
        ("policy.parameters.threshold", "threshold"),
        ("policy.name", None),
        ("policy", None),
        ("theta", None),
        ("policy.a.b", None),
    ],
)
def test_parameters_of_policies(key, parameter):
    assert parse_axis(f"{key}=1,2").parameter == parameter


def test_values_of_python_become_text():
    assert axis_of("theta", "1..3 s:2").values == ("1 s", "3 s")
    assert axis_of("model.cut", [[2, 3, 5], [2, 4, 5]]).values == ("[2, 3, 5]", "[2, 4, 5]")
    assert axis_of("policy.threshold", [0.5, 0.7]).values == ("0.5", "0.7")
    assert axis_of("theta", ["1 s", "2 s"]).values == ("1 s", "2 s")
    with pytest.raises(InputError, match="theta has no values"):
        axis_of("theta", [])


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("250 ms", (0.25, "s")),
        ("2 Gbit/s", (2000.0, "Mbit/s")),
        ("0.4 GFLOP/s", (4e8, "FLOP/s")),
        ("30 /min", (0.5, "/s")),
        ("5 %", (0.05, "")),
        ("x1.5", (1.5, "x")),
        ("3", (3.0, "")),
        ("-1", (-1.0, "")),
        ("1..4 s", None),
        ("[2, 3]", None),
        ("smooth", None),
        ("xyz", None),
    ],
)
def test_numbers_in_base_units(text, found):
    assert measured(text) == found


def test_commas_inside_brackets_and_quotes_do_not_split():
    assert split_values('[a, [b, c]], "d, e", f', "x") == ["[a, [b, c]]", '"d, e"', "f"]
    assert split_values("it's,b", "x") == ["it's", "b"]
