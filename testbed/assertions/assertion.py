"""An assertion: a figure of summary.json, a comparison, and a bound."""

import operator
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from node_agent.errors import InputError
from testbed.record.run_figures import BY_NAME, at_path

_COMPARISONS = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip
_FORM = re.compile(r"\s*([A-Za-z_][\w.-]*)\s*(<=|>=|==|!=|<|>)\s*(\S.*?)\s*")


@dataclass(frozen=True, slots=True)
class Outcome:
    """An assertion on one run: the figure's value there (None if it has none) and whether it holds."""

    value: float | None
    holds: bool


@dataclass(frozen=True, slots=True)
class Assertion:
    """A bound on a figure of a run.

    Attributes:
        text: as the user wrote it.
        path: the figure's place in summary.json, with dots.
        comparison: one of < <= > >= == !=.
        bound: what the figure is compared with, in the unit of summary.json.
    """

    text: str
    path: str
    comparison: str
    bound: float

    def check(self, summary: Mapping[str, Any]) -> Outcome:
        """Return the outcome on a run; a figure that is null counts as missed."""
        value = at_path(summary, self.path)
        if not isinstance(value, int | float):
            return Outcome(None, holds=False)
        return Outcome(float(value), bool(_COMPARISONS[self.comparison](value, self.bound)))


def parse_assertion(text: str) -> Assertion:
    """Read an assertion such as `p95 < 0.6 s`.

    Raises:
        InputError: it has another form, or its bound is no number.
    """
    found = _FORM.fullmatch(text)
    if found is None:
        raise InputError(f"{text!r} is no assertion", hint="for example 'p95 < 0.6 s' or 'accuracy >= 0.85'")
    name, comparison, bound = found.groups()
    figure = BY_NAME.get(name)
    try:
        value = float(bound.removesuffix("s"))
    except ValueError:
        raise InputError(f"{text!r}: {bound} is no number", hint="for example 'p95 < 0.6 s'") from None
    return Assertion(text, figure.path if figure is not None else name, comparison, value)
