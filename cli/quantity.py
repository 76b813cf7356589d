"""Command-line options that take quantities with units, read as topology files are."""

from __future__ import annotations

import click


def seconds(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """Callback of an option that takes a time above zero: `60 s`, `2 min`, or a bare number of seconds."""
    from testbed.units import PERIOD, QuantityError, parse_quantity

    if value is None:
        return None
    try:
        float(value)
    except ValueError:
        text = value
    else:
        text = f"{value} s"
    try:
        return parse_quantity(text, PERIOD)
    except QuantityError as error:
        raise click.BadParameter(f"{error}; {error.hint}", ctx, param) from None
