"""Figures that are gathered piece by piece against those of the whole."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.trace.inspection import workload_summary
from testbed.trace.inspection.gap_counts import GapCounts
from testbed.trace.inspection.rate_curve import MOST_STEPS, RateCurve
from testbed.trace.inspection.window_counts import WindowCounts
from testbed.trace.inspection.workload_summary import OTHERS, Gathered, summarise, top
from testbed.trace.workload import Arrival

pieces = st.lists(st.lists(st.integers(0, 400), max_size=12), min_size=1, max_size=8)


def in_pieces(lengths: list[list[int]]) -> list[np.ndarray]:
    """Sorted times in pieces: the numbers are gaps."""
    flat = np.cumsum([0, *(gap for piece in lengths for gap in piece)])[1:]
    return np.split(flat, np.cumsum([len(piece) for piece in lengths])[:-1])


@given(pieces, st.integers(1, 500))
@settings(deadline=None)
def test_the_dispersion_of_pieces_is_that_of_the_whole(lengths: list[list[int]], window: int) -> None:
    counts = WindowCounts(window)
    for piece in in_pieces(lengths):
        counts.add(piece)
    ticks = np.concatenate(in_pieces(lengths))
    span = int(ticks[-1]) if len(ticks) else 0
    windows = span // window
    expected = None
    if windows >= 2:
        end = windows * window
        inside = ticks[(ticks < end) | ((ticks == end) & (span == end))]
        whole, _ = np.histogram(inside, bins=windows, range=(0, end))
        expected = whole.var(ddof=1) / whole.mean() if whole.any() else None
    found = counts.dispersion(span)
    assert found == (None if expected is None else pytest.approx(expected, abs=1e-9))


@given(pieces)
@settings(deadline=None)
def test_the_gaps_of_pieces_are_those_of_the_whole(lengths: list[list[int]]) -> None:
    gathered = GapCounts()
    for piece in in_pieces(lengths):
        gathered.add(piece)
    gaps = np.diff(np.concatenate(in_pieces(lengths)))
    if len(gaps):
        assert gathered.mean_s == pytest.approx(gaps.mean() * 1e-6)
        assert gathered.none == (gaps == 0).sum()
    if len(gaps) >= 2 and gaps.any():
        assert gathered.variation == pytest.approx(gaps.std() / gaps.mean())
    bounds_s, shares = gathered.longer()
    for bound_s, share in zip(bounds_s, shares, strict=True):
        # The steps of the distribution are those of the bounds, but for gaps that equal a bound to rounding.
        least, most = ((gaps >= bound_s * 1e6 * factor).mean() for factor in (1.0001, 0.9999))
        assert least <= share <= most


@given(st.lists(st.integers(0, 10**13), min_size=1, max_size=40).map(sorted))
@settings(deadline=None)
def test_the_rate_curve_loses_no_arrival(ticks: list[int]) -> None:
    curve = RateCurve()
    for tick in ticks:
        curve.add(np.array([tick]))
    whole = RateCurve()
    whole.add(np.array(ticks))
    assert curve.step_ticks == whole.step_ticks
    assert curve.counts.tolist() == whole.counts.tolist()
    assert len(curve.counts) == MOST_STEPS
    assert curve.counts.sum() == len(ticks)
    assert curve.step_ticks == 1000 or ticks[-1] >= MOST_STEPS * curve.step_ticks / 10
    expected = np.bincount(np.array(ticks) // curve.step_ticks, minlength=MOST_STEPS)
    assert curve.counts.tolist() == expected.tolist()


def test_regular_gaps_are_not_bursty_and_pairs_are() -> None:
    regular = summarise([Arrival(n / 10, "a", 0) for n in range(1000)], window_s=1.0)
    assert regular["gaps"]["variation"] == pytest.approx(0, abs=1e-6)
    assert regular["gaps"]["burstiness"] == pytest.approx(-1, abs=1e-6)
    assert regular["windows"]["1"] == 0
    pairs = summarise([Arrival(n // 2, "a", 0) for n in range(1000)], window_s=1.0)
    assert pairs["gaps"]["variation"] == pytest.approx(1, abs=0.01)
    assert pairs["gaps"]["none"] == 500
    assert pairs["peak_per_s"] == pytest.approx(20)
    assert pairs["step_s"] == 0.1


def test_chunks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = np.random.default_rng(1)
    times_s = np.round(np.sort(chance.uniform(0, 500, 5000)), 6).tolist()
    arrivals = [Arrival(time_s, f"d-{n % 7}", n % 90) for n, time_s in enumerate(times_s)]
    whole = summarise(arrivals, window_s=2.0)
    monkeypatch.setattr(workload_summary, "_CHUNK", 13)
    parts = summarise(iter(arrivals), window_s=2.0)
    assert parts["samples"] == whole["samples"] == 90
    assert parts["devices"] == whole["devices"]
    assert parts["windows"] == whole["windows"]
    assert parts["gaps"] == pytest.approx(whole["gaps"])


def test_devices_beyond_a_number_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workload_summary, "MOST_NAMES", 3)
    found = summarise([Arrival(n, f"d-{n % 5}", n) for n in range(50)], window_s=1.0)
    assert list(found["devices"]) == [OTHERS, "d-0", "d-1", "d-2"]
    assert found["devices"][OTHERS] == {"tasks": 20, "rate_per_s": pytest.approx(20 / 49), "dispersion": None}
    assert found["samples"] == 3
    assert top(found["devices"], 2) == [OTHERS, "d-0"]


def test_nothing_has_no_figures() -> None:
    found = Gathered().summary()
    assert found["all"] == {"tasks": 0, "rate_per_s": 0.0, "dispersion": None}
    assert found["gaps"] == {"mean_s": None, "variation": None, "burstiness": None, "none": 0}
    assert found["peak_per_s"] == 0
    one = summarise([Arrival(0.0, "a", 1)], window_s=1.0)
    assert (one["all"]["tasks"], one["gaps"]["mean_s"]) == (1, None)
    assert not any(math.isnan(value) for value in one["windows"].values() if value is not None)
