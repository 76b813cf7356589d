"""Pictures of traces: what they show, for traces of any size."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from node_agent.errors import InputError
from testbed.trace.inspection.trace_picture import draw_link, draw_workload
from testbed.trace.inspection.workload_summary import Gathered
from testbed.trace.link_trace import LinkTrace
from testbed.trace.workload import Arrival


def gathered(arrivals: list[Arrival]) -> Gathered:
    found = Gathered()
    found.add_arrivals(arrivals)
    return found


WORKLOADS = {
    "none": [],
    "one": [Arrival(0.0, "cam", 1)],
    "two together": [Arrival(0.0, "cam", 1)] * 2,
    "short": [Arrival(n / 1e5, "cam", 1) for n in range(50)],
    "regular": [Arrival(float(n), "cam", 1) for n in range(300)],
    "long": [Arrival(n * 90.0, f"a$b_{n % 40}", 1) for n in range(5000)],
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("keyed", [True, False])
@pytest.mark.parametrize("name", WORKLOADS)
def test_any_workload_has_a_picture(tmp_path: Path, name: str, keyed: bool) -> None:
    path = tmp_path / "t.png"
    draw_workload(gathered(WORKLOADS[name]), name, path, keyed=keyed)
    with Image.open(path) as picture:
        assert picture.size == (1650, 960)
        assert np.asarray(picture.convert("L")).std() > 5


def test_an_svg_says_what_it_shows_and_is_always_alike(tmp_path: Path) -> None:
    for name in ("a.svg", "b.SVG"):
        draw_workload(gathered(WORKLOADS["long"]), "long", tmp_path / name)
    text = (tmp_path / "a.svg").read_text()
    assert text.startswith("<?xml")
    for words in ("mean 0.0111/s", "28 more", "exponential of equal mean", "steps of 5e+03 s", "a$b_0", "(40 devices)"):
        assert words in text, words


def test_a_link_has_a_picture_of_all_that_it_states(tmp_path: Path) -> None:
    trace = LinkTrace((0.0, 1.0), 3.0, (1.0, 2.0), (0.1, 0.2), None, (0.0, 0.1))
    draw_link(trace, "bus", tmp_path / "t.svg")
    text = (tmp_path / "t.svg").read_text()
    for words in ("rate [Mbit/s]", "delay [ms]", "loss [%]", "bus"):
        assert words in text
    draw_link(LinkTrace((0.0,), 3.0, None, (0.1,)), "bus", tmp_path / "t.png")
    assert (tmp_path / "t.png").read_bytes().startswith(b"\x89PNG")


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    for name in ("t.jpg", "t", "t.png.gz"):
        with pytest.raises(InputError, match=r"a picture ends in \.png or \.svg"):
            draw_workload(Gathered(), "t", tmp_path / name)
    with pytest.raises(InputError, match="cannot be written"):
        draw_workload(Gathered(), "t", tmp_path / "no" / "t.png")
