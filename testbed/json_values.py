"""What JSON can say: it knows neither infinity nor NaN."""

import math
from collections.abc import Mapping


def without_infinities(value: object) -> object:
    """`value` with None in place of each number that is not finite, inside mappings, lists and tuples, too.

    >>> without_infinities({"load": float("inf"), "delays": (0.5, float("nan"))})
    {'load': None, 'delays': [0.5, None]}
    """
    if isinstance(value, Mapping):
        return {key: without_infinities(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [without_infinities(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
