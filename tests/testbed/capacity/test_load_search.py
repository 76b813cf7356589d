"""The search for a crossing on a grid of loads."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_agent.errors import InputError
from testbed.capacity.load_search import LoadGrid, LoadSearch, common

GRID = LoadGrid.between(0.1, 10.0, 0.025)


def finish(search: LoadSearch, crossing: float) -> list[float]:
    """Probe until the search is over; the objective holds below `crossing`. Return the loads probed."""
    probed: list[float] = []
    enough = search.most_left
    while (index := search.next()) is not None:
        assert search.most_left > 0
        enough = min(enough, search.most_left + len(probed))
        probed.append(search.grid.loads[index])
        search.outcomes[index] = search.grid.loads[index] < crossing
    assert search.most_left == 0
    assert len(probed) <= enough
    return probed


def test_the_grid_has_the_bounds_and_the_topology_s_own_load():
    assert GRID.loads[0] == 0.1
    assert GRID.loads[-1] == 10.0
    assert GRID.loads[GRID.first] == 1.0
    ratios = [b / a for a, b in zip(GRID.loads[1:-2], GRID.loads[2:-1], strict=True)]
    assert ratios == pytest.approx([1.025] * len(ratios), rel=2e-4)
    assert LoadGrid.between(2.0, 4.0, 0.5).loads == (2.0, 2.25, 3.375, 4.0)
    assert LoadGrid.between(2.0, 4.0, 0.5).first == 0


@pytest.mark.parametrize(("low", "high", "precision"), [
    (2.0, 1.0, 0.1), (1.0, 1.0, 0.1), (0.0, 1.0, 0.1), (1.0, math.inf, 0.1), (0.5, 2.0, 0.0), (0.5, 2.0, 0.9),
])  # fmt: skip
def test_grids_that_cannot_be(low, high, precision):
    with pytest.raises(InputError):
        LoadGrid.between(low, high, precision)


@given(st.floats(0.1001, 10.0), st.sampled_from([0.01, 0.025, 0.2]))
def test_a_search_encloses_the_crossing_with_neighbours(crossing, precision):
    search = LoadSearch(LoadGrid.between(0.1, 10.0, precision))
    probed = finish(search, crossing)
    holds, misses = search.holds, search.misses
    assert len(set(probed)) == len(probed)
    assert misses == holds + 1
    assert search.grid.loads[holds] < crossing <= search.grid.loads[misses]
    assert search.capacity == pytest.approx(crossing, rel=precision)


@pytest.mark.parametrize(("crossing", "most"), [(1.0, 7), (1.7, 7), (0.3, 9), (5.0, 9)])
def test_few_probes_are_needed(crossing, most):
    assert len(finish(LoadSearch(GRID), crossing)) <= most


def test_a_search_that_crosses_nowhere_ends_at_its_bound():
    everywhere, nowhere = LoadSearch(GRID), LoadSearch(GRID)
    assert finish(everywhere, 11.0)[-1] == 10.0
    assert finish(nowhere, 0.05)[-1] == 0.1
    assert (everywhere.capacity, everywhere.misses) == (None, None)
    assert (nowhere.capacity, nowhere.holds) == (None, None)


def test_a_search_that_continues_asks_for_the_same_loads():
    whole = finish(LoadSearch(GRID), 1.7)
    begun = LoadSearch(GRID)
    for load in whole[:3]:
        index = begun.next()
        assert begun.grid.loads[index] == load
        begun.outcomes[index] = load < 1.7
    assert finish(begun, 1.7) == whole[3:]


def test_what_holds_on_all_seeds():
    searches = [LoadSearch(GRID) for _ in range(3)]
    for search, crossing in zip(searches, (1.2, 1.7, 2.4), strict=True):
        finish(search, crossing)
    low, high = common(searches)
    assert low < 1.2 <= low * 1.026
    assert high / 1.026 < 2.4 <= high
    everywhere = LoadSearch(GRID)
    finish(everywhere, 20.0)
    assert common([*searches, everywhere]) == (low, None)
