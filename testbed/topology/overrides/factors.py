"""Factors of overrides: `x1.5` multiplies a quantity, a range or a number of a topology."""

import re
from decimal import Decimal

from testbed.units import parse_factor

_NUMBER = r"(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][+-]?\d+)?"
_UPPER = r"\d+(?:\.\d+)?(?:[eE][+-]?\d+)?"  # see `units`: an upper end does not begin with a dot
_SPAN = re.compile(rf"\s*({_NUMBER})(?:\.\.({_UPPER}))?(\s*[^\d\s.].*)?", re.ASCII)
_LONGEST = 16  # digits before an exponent is shorter


def read_factor(text: str) -> Decimal:
    """Return the factor of a text such as `x1.5`, exactly. Raises QuantityError if it is none from 0 to 1e6."""
    parse_factor(text)
    return Decimal(text.strip().lstrip("x×").strip())


def times(stated: object, factor: Decimal) -> object:
    """Return a value of a topology, multiplied without rounding.

    Raises:
        ValueError: the value is no quantity, range or number.
    """
    if isinstance(stated, bool) or not isinstance(stated, int | float | str):
        raise ValueError(stated)
    if isinstance(stated, int | float):
        product = Decimal(str(stated)) * factor
        return int(product) if product == product.to_integral_value() else float(product)
    found = _SPAN.fullmatch(stated)
    if found is None:
        raise ValueError(stated)
    low, high, unit = found.groups()
    ends = [decimal_text(Decimal(end) * factor) for end in (low, high) if end is not None]
    return f"{'..'.join(ends)}{unit or ''}"


def decimal_text(value: Decimal) -> str:
    """Write a number as topologies state it: `3.6`, or with an exponent if that is much shorter."""
    plain = format(value.normalize(), "f")
    return plain if len(plain) <= _LONGEST else str(value.normalize())
