"""The difference between figures of two runs, with intervals from blocks that both runs share.

Live and simulated runs have the same tasks. So a resample takes the same blocks from both, and what chance does to both
alike cancels in the difference.

Decision 079: resamples draw blocks of one slot, not single tasks (docs/decisions/079-blocks-of-one-slot.md).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from testbed.cells.intervals import SEED, Estimate, bounds, estimate

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Statistic = Literal["mean", "sum"] | float  # a number is a quantile (0..1)
Unit = Literal["slots", "devices"]  # the kind of a block
Basis = Literal["repeats", "slots", "devices"]

FEWEST_REPEATS = 3  # from this number on, intervals are over repeats
FEWEST_BLOCKS = 5  # with fewer blocks there is no interval
RESAMPLES = 2_000


@dataclass(frozen=True, slots=True)
class Values:
    """The values of a figure in one run, (n,), and the number of the block of each, (n,)."""

    value: Floats
    block: Ints


@dataclass(frozen=True, slots=True)
class ComparedFigure:
    """A figure of live and simulated runs, and its difference.

    Intervals come from resampling `units` units of the kind `basis`.
    """

    live: float | None  # the figure of the live runs; None if it does not exist
    simulated: float | None  # the figure of the simulated runs; None if it does not exist
    difference: Estimate | None  # live - simulated; None if one of the two does not exist
    ratio: Estimate | None  # live / simulated; None if one of the two does not exist
    basis: Basis | None  # the unit of resampling: repeats, blocks of one slot, or devices; None without an interval
    units: int  # the number of such units; 0 without an interval


@dataclass(frozen=True, slots=True)
class Single:
    """A figure over live and simulated runs together; its interval comes from `units` units of the kind `basis`."""

    estimate: Estimate | None  # the figure; None if it does not exist
    basis: Basis | None  # the unit of resampling, as in a `ComparedFigure`
    units: int  # the number of such units; 0 without an interval


def compare_values(statistic: Statistic, unit: Unit, pairs: Sequence[tuple[Values, Values]]) -> ComparedFigure:
    """Compare live with simulated values; `pairs` has one (live, simulated) per repeat.

    From FEWEST_REPEATS repeats on, figures are means over repeats, and intervals reflect how much repeats differ. With
    fewer, all values are pooled, and intervals come from blocks.
    """
    each = [(taken(statistic, live), taken(statistic, simulated)) for live, simulated in pairs]
    whole = [(live, simulated) for live, simulated in each if live is not None and simulated is not None]
    if len(whole) == len(pairs) >= FEWEST_REPEATS:
        ratios = [live / simulated for live, simulated in whole if simulated]
        return ComparedFigure(
            live=float(np.mean([live for live, _ in whole])),
            simulated=float(np.mean([simulated for _, simulated in whole])),
            difference=estimate([live - simulated for live, simulated in whole]),
            ratio=estimate(ratios) if len(ratios) == len(whole) else None,
            basis="repeats",
            units=len(whole),
        )
    sides = [pooled([pair[side] for pair in pairs]) for side in (0, 1)]
    live, simulated = (_per_repeat(statistic, taken(statistic, side), len(pairs)) for side in sides)
    if live is None or simulated is None:
        return ComparedFigure(live, simulated, None, None, None, 0)
    difference, ratio = live - simulated, live / simulated if simulated else None
    resampled, blocks = resample(statistic, sides)
    if resampled is None:
        known = None if ratio is None else Estimate(ratio)
        return ComparedFigure(live, simulated, Estimate(difference), known, None, 0)
    of_live, of_simulated = (_scaled(statistic, one, len(pairs)) for one in resampled)
    return ComparedFigure(
        live=live,
        simulated=simulated,
        difference=Estimate(difference, *bounds(of_live - of_simulated)),
        ratio=None if ratio is None or not of_simulated.all() else Estimate(ratio, *bounds(of_live / of_simulated)),
        basis=unit,
        units=blocks,
    )


def mean_of(unit: Unit, repeats: Sequence[Values]) -> Single:
    """The mean of values over live and simulated runs together, with its interval as in `compare_values`."""
    each = [value for one in repeats if (value := taken("mean", one)) is not None]
    if len(each) == len(repeats) >= FEWEST_REPEATS:
        return Single(estimate(each), "repeats", len(each))
    together = pooled(repeats)
    mean = taken("mean", together)
    if mean is None:
        return Single(None, None, 0)
    resampled, blocks = resample("mean", [together])
    if resampled is None:
        return Single(Estimate(mean), None, 0)
    return Single(Estimate(mean, *bounds(resampled[0])), unit, blocks)


def taken(statistic: Statistic, values: Values) -> float | None:
    """The statistic of the values; None without any value."""
    if not values.value.size:
        return None
    if statistic == "mean":
        return float(values.value.mean())
    if statistic == "sum":
        return float(values.value.sum())
    return float(np.quantile(values.value, statistic))


def pooled(repeats: Sequence[Values]) -> Values:
    """The values of several repeats together; blocks of different repeats stay different."""
    width = 1 + max((int(one.block.max()) for one in repeats if one.block.size), default=0)
    return Values(
        np.concatenate([one.value for one in repeats]),
        np.concatenate([one.block + number * width for number, one in enumerate(repeats)]),
    )


def resample(statistic: Statistic, sides: Sequence[Values]) -> tuple[list[Floats] | None, int]:
    """The statistic of each side in r resamples, (r,) each, and the number of blocks.

    A resample takes the same blocks from all sides. The result is (None, 0) if an interval would have no meaning: fewer
    than FEWEST_BLOCKS blocks, or all values equal.
    """
    names, numbers = np.unique(np.concatenate([side.block for side in sides]), return_inverse=True)
    values = np.concatenate([side.value for side in sides])
    if names.size < FEWEST_BLOCKS or (values == values[0]).all():
        return None, 0
    random = np.random.default_rng([SEED, names.size])
    times = random.multinomial(names.size, np.full(names.size, 1 / names.size), size=RESAMPLES)
    found, begin = [], 0
    for side in sides:
        end = begin + side.value.size
        found.append(_resampled(statistic, side.value, numbers[begin:end], times))
        begin = end
    exists = np.all([np.isfinite(one) for one in found], axis=0)  # a resample may hold no value of a side
    return ([one[exists] for one in found], names.size) if exists.mean() > 0.5 else (None, 0)


def _resampled(statistic: Statistic, values: Floats, block: Ints, times: Ints) -> Floats:
    """The statistic in each resample, (r,); resample r takes block b `times[r, b]` times. NaN without any value."""
    blocks = times.shape[1]
    if statistic in ("mean", "sum"):
        sums = times @ np.bincount(block, values, blocks)
        if statistic == "sum":
            return np.asarray(sums, dtype=np.float64)
        counts = times @ np.bincount(block, minlength=blocks)
        return np.asarray(np.divide(sums, counts, out=np.full(sums.size, np.nan), where=counts > 0), dtype=np.float64)
    order = np.argsort(values, kind="stable")
    ordered, block = values[order], block[order]
    return np.array([_quantile(ordered, np.cumsum(row[block]), float(statistic)) for row in times])


def _quantile(ordered: Floats, upto: Ints, q: float) -> float:
    """The quantile q, interpolated as NumPy does, where the first i + 1 values occur `upto[i]` times together."""
    count = int(upto[-1])
    if not count:
        return float("nan")
    place = (count - 1) * q
    below = int(place)
    low, high = ordered[np.searchsorted(upto, [below, min(below + 1, count - 1)], side="right")]
    return float(low + (place - below) * (high - low))


def _per_repeat(statistic: Statistic, value: float | None, repeats: int) -> float | None:
    return value / repeats if value is not None and statistic == "sum" else value


def _scaled(statistic: Statistic, values: Floats, repeats: int) -> Floats:
    return values / repeats if statistic == "sum" else values
