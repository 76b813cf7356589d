"""The points of a sweep: all combinations of its axes' values, or a Latin hypercube over them."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from node_agent.errors import InputError
from node_agent.suggest import closest
from testbed.sweep.axis import KeyAxis
from testbed.wording import counted

MOST_POINTS = 10_000
FIXED_KEYS = {
    "seed": "the repeats have seeds of their own: -n and --seed",
    "policy": "policies are stated with -p; their parameters are keys: policy.threshold=0.6,0.8",
    "policy.name": "policies are stated with -p",
    "policy.label": "policies are stated with -p, with label= for another name",
}


@dataclass(frozen=True, slots=True)
class DesignPoint:
    """A point: the text of each axis's value, in the order of the axes."""

    values: tuple[str, ...]


def check_axes(axes: Sequence[KeyAxis]) -> None:
    """Raise InputError if there is no axis, one occurs twice, or a key cannot be swept."""
    if not axes:
        raise InputError("a sweep needs a key and its values", hint="for example --set theta=1s,2s,4s")
    keys = [axis.key for axis in axes]
    for key in keys:
        if key in FIXED_KEYS:
            raise InputError(f"{key} cannot be swept", hint=FIXED_KEYS[key])
        if keys.count(key) > 1:
            raise InputError(f"{key} is swept twice", hint=f"state all its values at once: {key}=V1,V2")


def grid(axes: Sequence[KeyAxis]) -> tuple[DesignPoint, ...]:
    """Return all combinations; the last axis changes quickest.

    Raises:
        InputError: they are too many, or an axis is an interval that no topology can state.
    """
    for axis in axes:
        if axis.interval is not None and axis.interval.mark:
            hint = "add a number for a grid, as in x0.5..x1.5:5, or draw from it with --sample N"
            raise InputError(f"{axis.key}={axis.values[0]}: an interval of factors is no value", hint=hint)
    count = int(np.prod([len(axis.values) for axis in axes], dtype=np.float64))
    if count > MOST_POINTS:
        raise InputError(f"the grid has {count} points", hint=f"{MOST_POINTS} at most; --sample N takes N of them")
    return tuple(DesignPoint(values) for values in itertools.product(*(axis.values for axis in axes)))


def sample(axes: Sequence[KeyAxis], count: int, seed: int) -> tuple[DesignPoint, ...]:
    """Return a Latin hypercube of `count` points (M. McKay, R. Beckman, W. Conover, 1979).

    Each axis is cut into `count` strips of equal probability, and each strip has one point. An axis with a list of
    values takes each of them equally often, as near as can be.

    Raises:
        InputError: `count` is below 2 or too many, or no axis has an interval and a grid has fewer points.
    """
    if not 2 <= count <= MOST_POINTS:
        raise InputError(f"a sample of {count} points", hint=f"2 to {MOST_POINTS}")
    if all(axis.interval is None for axis in axes) and (most := math.prod(len(axis.values) for axis in axes)) < count:
        hint = "state an interval to draw from, as in load=x0.5..x1.5, or leave out --sample"
        raise InputError(f"a sample of {count} points, and only {counted(most, 'combination')} of values", hint=hint)
    from scipy.stats import qmc  # noqa: PLC0415 - slow to load

    shares = qmc.LatinHypercube(len(axes), seed=np.random.default_rng(seed)).random(count)
    return tuple(
        DesignPoint(tuple(_value_at(axis, float(share)) for axis, share in zip(axes, row, strict=True)))
        for row in shares
    )


def _value_at(axis: KeyAxis, share: float) -> str:
    if axis.interval is not None:
        return axis.interval.at(share, whole=axis.whole)
    return axis.values[min(int(share * len(axis.values)), len(axis.values) - 1)]


def known_key(key: str, axes: Sequence[KeyAxis]) -> KeyAxis:
    """Return the axis of a key. Raises InputError if the sweep has no such key."""
    for axis in axes:
        if axis.key == key:
            return axis
    guess = closest(key, [axis.key for axis in axes])
    known = ", ".join(axis.key for axis in axes)
    raise InputError(f"{key} is no key of this sweep", hint=f"did you mean {guess}?" if guess else f"it has {known}")
