"""Whole agreements: the repeats that count, the file, bad input, and a small network that really runs live."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from node_agent.errors import InputError
from testbed.agree import agree, as_json
from testbed.agree.repeats import gather
from testbed.agree.result_file import write_file
from testbed.cells.execution import Unobserved
from testbed.record.run_directory import read_manifest
from tests.testbed import small
from tests.testbed.agree.sides import UNIFORM, make_repeat, slower

ROOT = Path(__file__).parents[3]
LIVE = small.SMALL.replace("duration: 8 s", "duration: 14 s").replace("slot: 2 s", "slot: 1 s")


def gathered(folder, verdicts, text=UNIFORM, **options):
    """An agreement of simulated repeats whose live runs got these verdicts."""
    cells = []
    for seed, verdict in enumerate(verdicts, start=1):
        cell, plan = make_repeat(folder, text, seed=seed, verdict=verdict, **options)
        cells.append(replace(cell, repeat=seed - 1))
    return gather(folder, plan, tuple(range(1, len(cells) + 1)), cells)


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """An agreement of a single repeat, in which near-1 takes 1.2 times as long live."""
    return gathered(tmp_path_factory.mktemp("one"), ["held"], live=slower(1.2))


def test_one_repeat(one):
    (repeat,) = one.repeats
    assert (repeat.seed, repeat.fidelity, repeat.reasons, repeat.counted) == (1, "held", (), True)
    assert (repeat.live.run_directory, repeat.simulated.run_directory) == ("seed-1/live", "seed-1/simulated")
    assert one.complete
    figure = one.figures["delay_mean_s"]
    assert (figure.live, figure.simulated) == pytest.approx((repeat.live.delay_mean_s, repeat.simulated.delay_mean_s))
    assert figure.difference.low > 0
    assert one.notes == (
        "intervals (95 %) are over tasks, resampled in 11 blocks of one slot (2 s) of both runs alike; rough with fewer"
        " than 20",
        "they exclude differences from run to run: -n 3 or more gives intervals over repeats",
    )


def test_the_file_holds_all_of_it(one):
    write_file(one)
    content = json.loads((one.directory / "agree.json").read_text())
    assert content == json.loads(json.dumps(as_json(one), allow_nan=False))
    assert (content["schema"], content["kind"], content["complete"]) == (1, "dtoee-agreement", True)
    described = Path(sys.modules["testbed.agree.result_file"].__file__).read_text().split('"""')[1]
    for field in content:
        assert field in described, f"{field} is not described"
    for name in content["figures"]:
        assert (
            name.replace("stage_1", "stage_H")
            .replace("stage_2", "stage_H")
            .replace("share_1", "share_H")
            .replace("share_2", "share_H")
            in described
        ), f"{name} is not described"
    assert set(content["figures"]["lost"]) == {"live", "simulated", "difference", "ratio", "basis", "units"}
    assert set(content["decisions"]["every"]) == {"node", "slots", "probabilities", "thresholds"}


def test_three_repeats_are_what_intervals_are_over(tmp_path):
    found = gathered(tmp_path, ["held"] * 3, live=slower(1.2))
    figure = found.figures["delay_mean_s"]
    apart = [repeat.live.delay_mean_s - repeat.simulated.delay_mean_s for repeat in found.repeats]
    assert (figure.basis, figure.units) == ("repeats", 3)
    assert figure.difference.mean == pytest.approx(sum(apart) / 3)
    assert (figure.difference.low, figure.difference.high) == pytest.approx((min(apart), max(apart)))
    assert found.notes[0] == "intervals (95 %) are over 3 repeats, rough with so few, and rather too narrow"


def test_what_did_not_hold_is_left_out(tmp_path):
    found = gathered(tmp_path, ["held", "broken"], live=slower(1.2))
    assert [repeat.counted for repeat in found.repeats] == [True, False]
    assert found.repeats[1].reasons == ("it was late",)
    assert found.figures["delay_mean_s"].live == pytest.approx(found.repeats[0].live.delay_mean_s)
    assert found.notes[0] == "left out of the figures, because the live run did not hold: seed 2"


@pytest.mark.parametrize("verdict", ["strained", "broken", "unknown"])
def test_where_none_held_the_figures_are_shown_with_a_warning(tmp_path, verdict):
    found = gathered(tmp_path, [verdict])
    assert found.repeats[0].counted
    assert found.figures["delay_mean_s"].difference.mean == 0.0
    assert found.notes[0].startswith("no live run is known to have held")


def test_nothing_complete_has_no_figures(one):
    plan_of = make_repeat(one.directory / "other", UNIFORM)[1]
    none = gather(one.directory, plan_of, (1,), [])
    assert (none.complete, none.repeats, none.figures, none.decisions, none.notes) == (False, (), {}, None, ())
    json.dumps(as_json(none))


def test_too_few_slots_have_no_interval_and_say_so(tmp_path):
    found = gathered(tmp_path, ["held"], text=UNIFORM.replace("duration: 24 s", "duration: 6 s"))
    assert found.figures["delay_mean_s"].difference.low is None
    assert found.notes[0].startswith("no intervals: they need tasks from 5 slots (2 s each) after the warm-up")


def test_overload_is_told(tmp_path):
    found = gathered(tmp_path, ["held"], UNIFORM.replace("rate: 5 /s", "rate: 30 /s"))
    assert found.repeats[0].live.overloaded
    for way in ("live", "simulated"):
        assert f"tasks piled up {way} (seed 1): delays only reflect how long the run was" in found.notes


def write(folder, text=LIVE):
    path = folder / "small.yaml"
    path.write_text(text)
    return path


@pytest.mark.root
def test_bad_input_runs_nothing(tmp_path):
    path, out = write(tmp_path), tmp_path / "out"

    def refused(said, topology=path, **options):
        with pytest.raises(InputError, match=said):
            agree(topology, **{"out": out} | options)

    refused("none.yaml: cannot be read", tmp_path / "none.yaml")
    refused("0 repeats cannot be run", repeats=0)
    refused("there is no policy 'no-such'", policy="no-such")
    refused("leave no room for 2 repeats", seed=2**63 - 1, repeats=2)
    refused("cannot be read twice", Path("/dev/null"))
    assert not out.exists()
    out.mkdir()
    (out / "thesis.tex").touch()
    refused(r"out is not empty and holds no agreement \(agree.json\)")
    assert [entry.name for entry in out.iterdir()] == ["thesis.tex"]


class Told(Unobserved):
    """An observer that records its calls."""

    def __init__(self):
        self.kept, self.said, self.shares = None, [], []

    def planned(self, directory, runs, kept, jobs):  # noqa: ARG002 - the observer's signature
        self.kept = runs, kept

    def begun(self, cell):
        self.said.append(("begun", cell.name))

    def advanced(self, cell, share):  # noqa: ARG002
        self.shares.append(share)

    def ended(self, cell):
        self.said.append(("ended", cell.name))


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.usefixtures("leaves_nothing")
def test_a_small_network_live_agrees_with_its_simulation(tmp_path):
    path, out, told = write(tmp_path), tmp_path / "out", Told()
    found = agree(path, out=out, observer=told)
    (repeat,) = found.repeats
    manifests = [read_manifest(out / side.run_directory) for side in (repeat.live, repeat.simulated)]
    assert [one["backends"]["network"] == "simulated" for one in manifests] == [False, True]
    traces = {(out / side.run_directory / "trace.jsonl").read_bytes() for side in (repeat.live, repeat.simulated)}
    assert len(traces) == 1
    assert (told.kept, told.said) == ((1, 0), [("begun", "dto-ee, seed 1"), ("ended", "dto-ee, seed 1")])
    assert len(told.shares) > 3
    assert sorted(told.shares) == told.shares
    ratio = found.figures["delay_mean_s"].ratio
    width = ratio.high - ratio.low  # about four standard deviations
    assert width < 0.2
    # Three standard deviations, small if decisions agree; the 4 % allow for the time that agents take at each hop.
    assert abs(ratio.mean - 1) < 0.75 * width + 0.04, ratio
    assert found.figures["stage_1_service_s"].basis == "slots"
    assert found.figures["stage_1_service_s"].ratio.mean == pytest.approx(1, abs=0.08)
    assert found.repeats[0].fidelity in ("held", "strained")
    # Asked again, it keeps both runs; the seed after them, and another policy, are others.
    told = Told()
    assert agree(path, out=out, observer=told) == found
    assert (told.kept, told.said) == ((1, 1), [])
    with pytest.raises(InputError, match="another policy: the topology's own and not uniform"):
        agree(path, out=out, policy="uniform")


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.usefixtures("leaves_nothing")
def test_ctrl_c_keeps_what_is_complete_and_says_how_to_go_on(tmp_path):
    path, out = write(tmp_path, LIVE.replace("duration: 14 s", "duration: 4 s")), tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, "-c", "from cli.main import main; main()", "agree", path, "--out", out, "-n", "40", "--json"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    deadline_s = time.monotonic() + 60
    while not (out / "seed-2" / "live" / "manifest.json").exists():
        assert time.monotonic() < deadline_s
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout) == (130, "")
    assert "Traceback" not in stderr
    assert "interrupted: 1 of 40 repeats are complete" in stderr
    assert f"hint: to go on, give the same command with --out {out}" in stderr
    content = json.loads((out / "agree.json").read_text())
    assert (content["complete"], [repeat["seed"] for repeat in content["repeats"]]) == (False, [1])
    told = Told()
    assert agree(path, out=out, repeats=2, observer=told).complete
    assert (told.kept, [name for _, name in told.said]) == ((2, 1), ["dto-ee, seed 2"] * 2)
