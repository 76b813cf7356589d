"""Values for JSON, which has neither infinity nor NaN."""

import math
from collections.abc import Mapping


def without_infinities(value: object) -> object:
    """Return `value` with None for each number that is not finite, also inside mappings, lists and tuples.

    >>> without_infinities({"load": float("inf"), "delays": (0.5, float("nan"))})
    {'load': None, 'delays': [0.5, None]}
    """
    if isinstance(value, Mapping):
        return {key: without_infinities(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [without_infinities(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
