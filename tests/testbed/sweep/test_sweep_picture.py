"""The pictures of a sweep: which lines and panels they have, on which axes, and what marks doubtful figures."""

from pathlib import Path

import matplotlib as mpl
import pytest

from node_agent.errors import InputError
from testbed.cells.intervals import Estimate
from testbed.compare.table import PolicyFigures
from testbed.sweep.axis import measured, parse_axis
from testbed.sweep.design import grid
from testbed.sweep.point_figures import swept_key
from testbed.sweep.sweep_files import write_files
from testbed.sweep.sweep_picture import Plot, default_plots, draw_plots, parse_plot
from testbed.sweep.sweep_result import Sweep, SweepPoint


def figures(policy, mean, **fields):
    one = None if mean is None else Estimate(mean, mean * 0.9, mean * 1.1)
    values = {
        "policy": policy, "runs": 3, "overloaded_runs": 0, "offered": 300, "lost": 0, "delay_mean_s": one,
        "delay_p95_s": one, "accuracy": one, "utility_s": one, "exit_share": (), "first_ahead_by": None,
        "figures": {"mean": one, "accuracy": one, "utility": one},
    }  # fmt: skip
    return PolicyFigures(**values | fields)


def swept(folder, texts, policies, table, **fields):
    """A sweep of these axes; `table` returns the figures of a policy at a point."""
    axes = [parse_axis(text) for text in texts]
    keys = tuple(swept_key(axis, axis.values) for axis in axes)
    points = []
    for number, point in enumerate(grid(axes)):
        stated = dict(zip((key.key for key in keys), point.values, strict=True))
        values = {key.key: measured(stated[key.key])[0] if key.unit is not None else stated[key.key] for key in keys}
        points.append(SweepPoint(number, values, stated, 3, {}, tuple(table(policy, number) for policy in policies)))
    stated = {
        "directory": folder, "topology": "small", "topology_sha256": "", "mode": "simulated", "sampled": None,
        "seeds": (1, 2, 3), "policies": tuple(policies), "stated": tuple(policies), "overrides": (), "keys": keys,
        "complete": True, "points": tuple(points), "rows": (),
    }  # fmt: skip
    return Sweep(**stated | fields)


def text_of(sweep, *plots):
    with mpl.rc_context({"svg.fonttype": "none"}):  # text stays text
        names = draw_plots(sweep, plots)
    return next((sweep.directory / name).read_text() for name in names if name.endswith(".svg"))


def texts(svg):
    return [line.split(">")[1].split("<")[0] for line in svg.splitlines() if line.strip().startswith("<text")]


def test_policies_are_lines_and_other_keys_are_panels(tmp_path):
    sweep = swept(
        tmp_path, ["load=x0.5..x1.5:3", "theta=1 s,3 s"], ["dto-ee", "ngto"], lambda _, number: figures(_, 0.1 + number)
    )
    said = texts(text_of(sweep, Plot("load", "mean")))
    assert {"theta 1 s", "theta 3 s", "load factor", "mean delay [ms]", "small, simulated"} <= set(said)
    assert (said.count("dto-ee"), said.count("ngto")) == (1, 1)  # once in a row of panels
    assert "mean and 95 % interval of 3 repeats" in said


def test_with_one_policy_the_next_key_makes_the_lines(tmp_path):
    sweep = swept(tmp_path, ["load=x0.5..x1.5:3", "theta=1 s,3 s", "slot=2 s"], ["ngto"], lambda p, _: figures(p, 0.1))
    said = texts(text_of(sweep, Plot("load", "accuracy")))
    assert (said.count("theta 1 s"), said.count("theta 3 s")) == (1, 1)
    assert "small, ngto, slot 2 s, simulated" in said
    assert "accuracy [%]" in said


def test_values_without_numbers_are_places_with_words(tmp_path):
    sweep = swept(tmp_path, ["model.cut=[2, 5],[3, 5]"], ["ngto"], lambda p, number: figures(p, 0.1 + number))
    said = texts(text_of(sweep, Plot("model.cut", "mean")))
    assert {"[2, 5]", "[3, 5]", "model.cut"} <= set(said)


def test_overload_gaps_and_doubt_are_explained(tmp_path):
    def table(policy, number):
        return [figures(policy, 0.1), figures(policy, None, overloaded_runs=1), figures(policy, 0.2, unheld_runs=1)][
            number
        ]

    said = texts(text_of(swept(tmp_path, ["theta=1 s,2 s,3 s"], ["ngto"], table), Plot("theta", "mean")))
    assert "mean and 95 % interval of 3 repeats; × overloaded, no mean; hollow: not all runs count" in said
    said = texts(
        text_of(
            swept(tmp_path, ["theta=1 s,2 s"], ["ngto"], lambda p, n: figures(p, None if n else 0.1)),
            Plot("theta", "mean"),
        )
    )
    assert "mean and 95 % interval of 3 repeats; gaps: no run counts" in said


def test_a_figure_that_no_run_has_gets_a_note_and_no_picture(tmp_path):
    sweep = swept(tmp_path, ["theta=1 s,2 s"], ["ngto"], lambda p, number: figures(p, 0.1 + number))
    written = write_files(sweep, [Plot("theta", "energy"), Plot("theta", "mean")])
    assert written.pictures == ("sweep-theta-mean.png", "sweep-theta-mean.svg")
    assert not list(tmp_path.glob("*energy*"))
    assert "no picture of energy against theta: no run that counts has this figure" in written.notes


def test_a_sample_has_points_of_all_policies_in_one_panel(tmp_path):
    sweep = swept(
        tmp_path, ["load=x0.5..x1.5:3", "theta=1 s,3 s"], ["dto-ee", "ngto"], lambda p, n: figures(p, 0.1 + n),
        sampled=6, seeds=(1,),
    )  # fmt: skip
    said = texts(text_of(sweep, Plot("load", "mean")))
    assert {"● dto-ee", "■ ngto", "one repeat, no intervals"} <= set(said)
    assert not [words for words in said if words.startswith("theta")]


def test_wide_values_and_delays_have_logarithmic_axes(tmp_path):
    sweep = swept(tmp_path, ["theta=100 ms,1 s,10 s"], ["ngto"], lambda p, n: figures(p, 0.1 * 10**n))
    said = texts(text_of(sweep, Plot("theta", "mean")))
    assert "theta [s]" in said  # values in different units: the base unit
    assert {"0.1", "1", "10"} <= set(said)
    assert {"100", "1000", "10000"} <= set(said) or {"0.1", "10"} <= set(said)


def test_more_panels_than_fit_are_counted(tmp_path):
    sweep = swept(
        tmp_path, ["load=x1,x2", "theta=1..14 s:14"], ["dto-ee", "ngto"], lambda p, number: figures(p, 0.1 + number)
    )
    assert "mean and 95 % interval of 3 repeats; 2 further panels not shown" in texts(
        text_of(sweep, Plot("load", "mean"))
    )


def test_units_are_shown_as_they_were_stated(tmp_path):
    sweep = swept(tmp_path, ["servers.a.capacity=0.2..0.4 GFLOP/s:3"], ["ngto"], lambda p, _: figures(p, 0.1))
    said = texts(text_of(sweep, Plot("servers.a.capacity", "mean")))
    assert "servers.a.capacity [GFLOP/s]" in said
    assert {"0.2", "0.3", "0.4"} <= set(said)
    assert sweep.points[0].values["servers.a.capacity"] == 2e8


def test_plots_are_read_and_have_defaults():
    axes = [parse_axis("slot=1 s"), parse_axis("links.a:b.rate=1 Mbit/s,2 Mbit/s")]
    assert default_plots(axes) == [Plot("links.a:b.rate", "mean"), Plot("links.a:b.rate", "accuracy")]
    assert default_plots(axes[:1]) == []
    assert parse_plot("p95", axes) == Plot("slot", "p95")
    assert parse_plot("links.a:b.rate:p95", axes) == Plot("links.a:b.rate", "p95")
    assert Path(Plot("devices.*.rate", "mean").name).name == "sweep-devices.all.rate-mean"
    with pytest.raises(InputError, match="there is no figure 'acuracy'") as caught:
        parse_plot("slot:acuracy", axes)
    assert caught.value.hint == "did you mean accuracy?"
