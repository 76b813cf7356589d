"""Command-line options that take quantities with units, written as in topology files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from testbed.units import Dimension

DURATION_HELP = "How long tasks arrive: '90 s', '2 min', or a bare number of seconds.  [default: the topology's]"


def seconds(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """Callback of an option that takes a time above zero: `60 s`, `2 min`, or a bare number of seconds; gives seconds.

    Raises:
        click.BadParameter: the value is not such a time.
    """
    from testbed.units import PERIOD

    if value is None:
        return None
    try:
        float(value)
    except ValueError:
        text = value
    else:
        text = f"{value} s"
    return _read(text, PERIOD, ctx, param)


def bit_rate(ctx: click.Context, param: click.Parameter, value: str) -> float:
    """Callback of an option that takes a bit rate, such as `8 Mbit/s`; returns Mbit/s."""
    from testbed.units import BIT_RATE

    return _read(value, BIT_RATE, ctx, param)


def share(ctx: click.Context, param: click.Parameter, value: str) -> float:
    """Callback of an option that takes a share, such as `5 %`; returns 0..1."""
    from testbed.units import SHARE

    return _read(value, SHARE, ctx, param)


def factor(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """Callback of an option that takes a factor, such as `x1.2`."""
    from testbed.units import QuantityError, parse_factor

    try:
        return None if value is None else parse_factor(value)
    except QuantityError as error:
        raise click.BadParameter(f"{error} ({error.hint})", ctx, param) from None


def finite(ctx: click.Context, param: click.Parameter, value: float) -> float:
    """Callback of an option that takes a finite number; click's own ranges accept `nan`."""
    from math import isfinite

    if not isfinite(value):
        raise click.BadParameter(f"{value} is not a finite number", ctx, param)
    return value


def _read(text: str, dimension: Dimension, ctx: click.Context, param: click.Parameter) -> float:
    from testbed.units import QuantityError, parse_quantity

    try:
        return parse_quantity(text, dimension)
    except QuantityError as error:
        raise click.BadParameter(f"{error}; {error.hint}", ctx, param) from None
