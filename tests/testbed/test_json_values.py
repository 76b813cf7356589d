import json
import math

from testbed.json_values import without_infinities


def test_numbers_that_json_cannot_say_become_null_at_any_depth():
    value = {"a": math.inf, "b": [1.5, {"c": (-math.inf, math.nan, 2)}], "d": None, "e": "inf", "f": True}
    written = json.dumps(without_infinities(value), allow_nan=False)
    assert json.loads(written) == {"a": None, "b": [1.5, {"c": [None, None, 2]}], "d": None, "e": "inf", "f": True}
