"""Pictures of lines: files, repeatability, crosses for points without a mean, and labels that do not overlap."""

import matplotlib as mpl
import pytest
from matplotlib.image import imread

from testbed.cells.intervals import Estimate
from testbed.cells.line_picture import Axis, Line, Panel, Point, apart, draw_lines

X, Y = Axis("load factor"), Axis("mean delay [ms]", 1e3)


def line(label, *means, number=0, **options):
    points = tuple(
        Point(float(x), None if mean is None else Estimate(mean, mean * 0.9, mean * 1.1))
        for x, mean in enumerate(means, start=1)
    )
    return Line(label, points, number, **options)


def svg(panels, path, **options):
    with mpl.rc_context({"svg.fonttype": "none"}):  # text stays text
        return draw_lines(panels, X, Y, path, **options)[1].read_text()


def test_both_files_hold_the_picture_and_repeat_themselves(tmp_path):
    panels = [Panel((line("ours", 0.2, 0.3), line("other", 0.3, 0.5, number=1)))]
    png, vector = draw_lines(panels, X, Y, tmp_path / "picture")
    assert (png.name, vector.name) == ("picture.png", "picture.svg")
    assert imread(png).std() > 0.01  # something is drawn
    first = png.read_bytes(), vector.read_bytes()
    draw_lines(panels, X, Y, tmp_path / "picture")
    assert (png.read_bytes(), vector.read_bytes()) == first


def test_labels_axes_title_and_remark_are_written(tmp_path):
    text = svg([Panel((line("ours", 0.2), line("other", 0.3, number=1)), "theta 1 s")], tmp_path / "one",
               title="small, simulated", remark="mean and 95 % interval")  # fmt: skip
    for words in ("ours", "other", "theta 1 s", "load factor", "mean delay [ms]", "small, simulated", "95 % interval"):
        assert words in text


def test_each_full_row_of_panels_has_labels_once(tmp_path):
    panels = [Panel((line("ours", 0.2, 0.3),), f"panel {number}") for number in range(5)]
    text = svg(panels, tmp_path / "five")
    assert text.count(">ours<") == 1
    assert text.count(">panel ") == 5


def test_a_picture_without_any_mean_has_crosses_and_labels(tmp_path):
    text = svg([Panel((line("ours", None, None), line("other", None, number=1)))], tmp_path / "none")
    assert ">ours<" in text
    assert ">other<" in text
    assert text.count("#0072b2") > text.count("#d55e00") > 1  # two crosses and a label, one cross and a label


@pytest.mark.parametrize("y", [Y, Axis("mean delay [ms]", 1e3, logarithmic=True)])
def test_scales_words_and_single_points_can_be_drawn(tmp_path, y):
    cuts = Axis("model.cut", ticks=((1.0, "[1, 2]"), (2.0, "[2, 3]")))
    bound = Line("bound", (Point(1.0, 0.1), Point(2.0, 0.2)), bound=True)
    lines = (line("ours", 0.2, None, joined=False), line("other", 0.3, 0.5, number=20), bound)
    with mpl.rc_context({"svg.fonttype": "none"}):
        text = draw_lines([Panel(lines)], cuts, y, tmp_path / "scaled")[1].read_text()
    assert "[1, 2]" in text
    assert "bound" in text


@pytest.mark.parametrize(
    ("wanted", "step", "places"),
    [
        ([], 0.1, []),
        ([0.5], 0.1, [0.5]),
        ([0.9, 0.1], 0.2, [0.9, 0.1]),
        ([0.5, 0.5], 0.2, [0.4, 0.6]),
        ([0.5, 0.5, 0.55], 0.1, [0.41667, 0.51667, 0.61667]),
        ([0.3, 0.35, 0.5], 0.2, [0.18333, 0.38333, 0.58333]),  # two that touch push the third
    ],
)
def test_labels_move_apart_and_stay_near(wanted, step, places):
    assert apart(wanted, step) == pytest.approx(places, abs=1e-5)
