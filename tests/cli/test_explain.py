"""`explain`: the bottleneck and the way of a task, in words and as JSON; wrong directories in one line."""

import json

import pytest

from cli.printing.explain_lines import place_sentences, verdict_sentences
from cli.printing.parts_bar import LETTERS, bar_of_parts, legend_of_parts
from testbed.breakdown.parts import PART_NAMES
from testbed.explain.explanation import explain
from testbed.explain.places import WaitingPlace
from tests.cli.called import exit_code_of
from tests.testbed.explain.limited import BASE, LIMITED
from tests.testbed.simulated import simulate


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    text, _ = LIMITED["server that slows down"]
    return simulate(tmp_path_factory.mktemp("run"), text).run_directory


@pytest.fixture
def called(capsys):
    """A function that gives a command, and returns its exit code, output and errors."""

    def call(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = exit_code_of(*arguments)
        return code, *capsys.readouterr()

    return call


def test_it_names_the_bottleneck_with_figures(called, run):
    code, out, err = called("explain", str(run))
    assert (code, err) == (0, "")
    text = " ".join(out.split())
    assert "Bottleneck server near-2, busy " in text
    assert "Tasks queued there for" in text
    assert "10 % more capacity would save" in text
    assert "began between 12 and 16 s: near-2: 0.075 GFLOP/s at 12 s" in text
    assert "Jain's index" in text
    assert max(map(len, out.splitlines())) <= 80


def test_json_has_all_figures(called, run):
    code, out, _ = called("explain", str(run), "--json")
    content = json.loads(out)
    assert code == 0
    assert content["bottleneck"]["name"] == ["near-2"]
    assert sum(content["parts_s"].values()) == pytest.approx(content["mean_s"])
    assert {group["name"] for group in content["groups"]["exits"]} == {"stage 1", "stage 2", "stage 3"}
    for kind in ("exits", "devices", "slots"):
        groups = content["groups"][kind]
        assert sum(group["tasks"] for group in groups) == content["tasks"]
        mean_s = sum(group["mean_s"] * group["tasks"] for group in groups) / content["tasks"]
        assert mean_s == pytest.approx(content["mean_s"])


def test_a_task_hop_by_hop(called, run):
    code, out, _ = called("explain", str(run), "slowest")
    assert code == 0
    assert "queueing  near-2" in out
    assert "way back" in out
    task = json.loads(called("explain", str(run), "slowest", "--json")[1])
    assert sum(step["took_s"] for step in task["steps"]) == pytest.approx(task["delay_s"])


def test_where_nothing_is_a_bottleneck(tmp_path):
    said = " ".join(verdict_sentences(explain(simulate(tmp_path, BASE).run_directory)))
    assert said.startswith("none: the largest part of the delay is service, ")


def test_every_kind_of_place_has_its_words():
    lossy = WaitingPlace("link", ("a", "b"), 0.2, 0.5, 0.01, 0.1, 0.001, 0.002, repairs_s=0.15, loses=True)
    assert "150 ms of it come from frames that the link loses" in " ".join(place_sentences(lossy))
    late = WaitingPlace("link", ("a", "b"), 0.2, 0.5, 0.01, 0.1, 0.001, retries_s=0.1)
    assert "100 ms of it are retries" in " ".join(place_sentences(late))
    silent = WaitingPlace("receiver", ("b",), 0.2, 0.5, tasks=3)
    assert "retries: receiver b did not answer" in " ".join(place_sentences(silent))
    assert "this machine was late" in " ".join(place_sentences(WaitingPlace("machine", (), 0.2, 0.5)))


def test_wrong_directories_and_tasks(called, run, tmp_path):
    code, _, err = called("explain", str(tmp_path / "none"))
    assert code == 3
    assert "manifest.json" in err
    code, _, err = called("explain", str(run), "123456")
    assert code == 3
    assert "no task '123456'" in err


@pytest.mark.parametrize("verb", ["compare", "agree", "sweep", "frontier", "capacity"])
def test_a_directory_of_several_runs_names_some_of_them(called, tmp_path, verb):
    (tmp_path / f"{verb}.json").write_text("{}")
    inside = tmp_path / "dto-ee" / "seed-1"
    inside.mkdir(parents=True)
    (inside / "manifest.json").write_text("{}")
    code, _, err = called("explain", str(tmp_path))
    assert code == 3
    assert "holds several runs" in err
    assert str(inside) in err


@pytest.mark.parametrize("width", [3, 10, 69])
def test_a_bar_has_its_width_and_a_letter_for_each_part(width):
    parts_s = dict(zip(PART_NAMES, (0.0, 0.01, 0.02, 0.03, 0.1, 0.2, 0.0001), strict=True))
    bar = bar_of_parts(parts_s, width)
    assert len(bar) == width
    assert "M" not in bar
    if width == 69:
        assert bar.count("S") == pytest.approx(67 * 0.2 / 0.3601, abs=1)
        assert set(bar[1:-1]) == set("RTLQS")
    assert len(set(LETTERS.values())) == len(PART_NAMES)
    assert bar_of_parts(dict.fromkeys(PART_NAMES, 0.0), width) == f"[{' ' * (width - 2)}]"


def test_a_legend_fits_and_leaves_out_what_is_nothing():
    lines = legend_of_parts({"machine": 0.0, "service": 0.2, "queueing": 0.1, "transfer": 0.004}, 40)
    assert all(len(line) <= 40 for line in lines)
    assert lines == ["S service 200 ms (66 %)", "Q queueing 100 ms (33 %)", "T transfer 4.0 ms (1.3 %)"]
