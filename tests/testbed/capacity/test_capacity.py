"""Whole searches in virtual time: probes, states, files, and the continuation of an interrupted search."""

import csv
import json
import math

import pytest

from node_agent.errors import InputError
from testbed.assertions import parse_assertion
from testbed.capacity import CapacityAsk, as_json, capacity
from testbed.capacity.load_search import LoadGrid, LoadSearch
from testbed.capacity.outcome import state_of, table_of
from testbed.capacity.probing import UnobservedCapacity
from testbed.cells.batch import CellsInterrupted, Options
from testbed.topology.overrides import load_overrides
from tests.docs.pages import rows
from tests.docs.reference import REFERENCE
from tests.testbed.compare.topology import write

POLICIES = ("dto-ee", "uniform")


class Seen(UnobservedCapacity):
    """An observer that records the probes, and interrupts before one of them."""

    def __init__(self, stop_after=None):
        self.begun_cells, self.rounds, self._stop_after = [], [], stop_after

    def searching(self, probes, most_left, brackets):
        self.rounds.append((probes, most_left, brackets))

    def begun(self, cell):
        self.begun_cells.append((cell.spec.label, cell.seed))
        if len(self.begun_cells) == self._stop_after:
            raise KeyboardInterrupt


def search(folder, out="out", *, observer=None, objective="p95 < 0.25 s", options=None, **ask):
    asked = CapacityAsk(POLICIES, [parse_assertion(objective)], **{"repeats": 2, "precision": 0.1} | ask)
    given = options or Options(simulate=True, jobs=1)
    return capacity(write(folder), asked, given, out=folder / out, observer=observer)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A search that several tests read, and none changes."""
    folder, seen = tmp_path_factory.mktemp("capacity"), Seen()
    return folder, search(folder, observer=seen), seen


def test_each_probe_is_a_run_at_its_load(done):
    _, found, seen = done
    assert len(found.probes) == len(seen.begun_cells) == sum(probes for probes, _, _ in seen.rounds)
    for probe in found.probes:
        run = found.directory / probe.run_directory
        manifest = json.loads((run / "manifest.json").read_text())
        summary = json.loads((run / "summary.json").read_text())
        assert manifest["seed"] == probe.seed
        assert manifest["overrides"] == [str(each) for each in load_overrides(probe.load)]
        assert probe.values == (summary["delay_s"]["p95"],)
        assert probe.holds is (summary["delay_s"]["p95"] < 0.25 and not probe.overloaded and not probe.lost)
    offered = {probe.load: 0 for probe in found.probes}
    for probe in found.probes:
        if (probe.policy, probe.seed) == ("dto-ee", 7):
            summary = json.loads((found.directory / probe.run_directory / "summary.json").read_text())
            offered[probe.load] = summary["tasks"]["offered"]
    known = [count for load, count in sorted(offered.items()) if count]
    assert known == sorted(known)
    assert len(known) > 2


def test_the_capacity_is_the_mean_of_the_crossings(done):
    _, found, _ = done
    assert found.complete
    for one in found.table:
        assert one.state == "found"
        probes = [probe for probe in found.probes if probe.policy == one.policy]
        for each in one.seeds:
            mine = [probe for probe in probes if probe.seed == each.seed]
            assert each.holds_at == max(probe.load for probe in mine if probe.holds)
            assert each.misses_at == min(probe.load for probe in mine if not probe.holds)
            assert each.capacity == pytest.approx(math.sqrt(each.holds_at * each.misses_at))
            assert each.probes == len(mine)
        assert one.load.mean == pytest.approx(sum(each.capacity for each in one.seeds) / 2)
        assert one.holds_on_all <= one.load.mean <= one.misses_on_all
    first, other = found.table
    assert first.first_ahead_by is None
    ratios = [a.capacity / b.capacity - 1 for a, b in zip(first.seeds, other.seeds, strict=True)]
    assert other.first_ahead_by.mean == pytest.approx(sum(ratios) / 2)


def test_the_progress_shows_how_far_each_search_has_come(done):
    _, found, seen = done
    assert [bracket.policy for bracket in seen.rounds[0][2]] == list(POLICIES)
    assert seen.rounds[0][2][0].holds_at is None
    assert seen.rounds[0][0] == 4
    last = {bracket.policy: bracket for bracket in seen.rounds[-1][2]}
    for one in found.table:
        assert last[one.policy].holds_at <= one.load.mean <= last[one.policy].misses_at
    assert all(probes <= most_left for probes, most_left, _ in seen.rounds)


def test_the_files_hold_the_figures(done):
    _, found, _ = done
    names = {path.name for path in found.directory.iterdir()}
    files = {"capacity.json", "capacity.csv", "capacity.png", "capacity.svg", "topology.yaml"}
    assert names == {*POLICIES, *files}
    assert json.loads((found.directory / "capacity.json").read_text()) == json.loads(json.dumps(as_json(found)))
    with (found.directory / "capacity.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert "loads that all seeds ran, and the capacity" in (found.directory / "capacity.svg").read_text()
    assert [float(row["load"]) for row in lines] == [probe.load for probe in found.probes]
    assert [float(row["delay_s.p95"]) for row in lines] == [probe.values[0] for probe in found.probes]


def test_the_reference_lists_the_fields_of_the_file(done):
    _, found, _ = done
    content = json.loads((found.directory / "capacity.json").read_text())
    parts = {"": content, ".table": content["table"][0], ".table.seeds": content["table"][0]["seeds"][0]}
    parts |= {".probes": content["probes"][0]}
    for name, part in parts.items():
        assert set(part) == {cells[0].strip("`") for cells in rows("\n".join(REFERENCE[f"capacity.json{name}"][1]()))}


def test_a_second_call_repeats_no_probe(done):
    folder, found, _ = done
    seen = Seen()
    assert search(folder, observer=seen) == found
    assert seen.begun_cells == []


def test_an_interrupted_search_goes_on(tmp_path, done):
    _, whole, _ = done
    with pytest.raises(CellsInterrupted, match=r"interrupted: \d+ probes are complete"):
        search(tmp_path, observer=Seen(stop_after=7))
    kept = json.loads((tmp_path / "out/capacity.json").read_text())
    assert not kept["complete"]
    assert {one["state"] for one in kept["table"]} == {"unfinished"}
    seen = Seen()
    found = search(tmp_path, observer=seen)
    assert found.table == whole.table
    assert len(seen.begun_cells) == len(whole.probes) - len(kept["probes"])
    assert len(kept["probes"]) >= 4


def test_an_objective_that_holds_everywhere_or_nowhere(tmp_path):
    bounds = {"search_from": 0.8, "search_to": 1.25, "repeats": 1}
    everywhere = search(tmp_path, "everywhere", objective="mean < 100 s", **bounds)
    nowhere = search(tmp_path, "nowhere", objective="mean < 1 ms", **bounds)
    for found, state in ((everywhere, "everywhere"), (nowhere, "nowhere")):
        assert {(one.state, one.load, one.offered_per_s) for one in found.table} == {(state, None, None)}
        assert (found.directory / "capacity.png").exists()
        drawn = (found.directory / "capacity.svg").read_text()
        assert "loads that all seeds ran" in drawn
        assert "and the capacity" not in drawn  # there is none
    assert everywhere.table[0].holds_on_all == 1.25
    assert nowhere.table[0].misses_on_all == 0.8


def test_a_load_of_the_user_is_the_load_at_1(tmp_path, done):
    _, whole, _ = done
    loaded = Options(simulate=True, jobs=1, overrides=load_overrides(2.0))
    found = search(tmp_path, options=loaded)
    assert found.offered_per_s == pytest.approx(2 * whole.offered_per_s)
    for mine, theirs in zip(found.table, whole.table, strict=True):
        assert mine.offered_per_s == pytest.approx(theirs.offered_per_s, rel=0.11)


def test_nothing_runs_where_the_input_is_wrong(tmp_path):
    for wrong in ({"search_from": 2.0, "search_to": 1.0}, {"precision": 0.0}, {"objective": "third: mean < 1 s"}):
        with pytest.raises(InputError):
            search(tmp_path, **wrong)
    assert not (tmp_path / "out").exists()


def test_states_over_several_seeds():
    grid = LoadGrid.between(0.5, 2.0, 0.2)

    def over(crossing):
        found = LoadSearch(grid)
        while (index := found.next()) is not None:
            found.outcomes[index] = grid.loads[index] < crossing
        return found

    assert state_of([over(1.0), over(1.3)]) == "found"
    assert state_of([over(9.0), over(9.0)]) == "everywhere"
    assert state_of([over(0.1), over(0.1)]) == "nowhere"
    assert state_of([over(1.0), over(9.0)]) == "mixed"
    assert state_of([over(1.0), LoadSearch(grid)]) == "unfinished"
    searches = {("a", 1): over(1.5), ("a", 2): over(1.5), ("b", 1): over(1.0), ("b", 2): over(9.0)}
    first, other = table_of(["a", "b"], [1, 2], searches, 10.0)
    assert first.offered_per_s == pytest.approx(10 * first.load.mean)
    assert (other.state, other.load, other.first_ahead_by) == ("mixed", None, None)


@pytest.mark.parametrize(
    ("objective", "noted"),
    [("in_time >= 90 %", True), ("p95 < 1 ms", False), ("accuracy >= 1 %", False), ("overloaded == false", False)],
)
def test_a_figure_that_no_run_has_is_named_as_the_reason(tmp_path, objective, noted):
    options = Options(simulate=True, jobs=1, duration_s=6.0)
    found = search(tmp_path, objective=objective, options=options, repeats=1, search_from=0.5, search_to=2.0)
    about = f"{objective}: no run of dto-ee, uniform has this figure"
    assert any(note.startswith(about) for note in found.notes) == noted
