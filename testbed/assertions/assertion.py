"""An assertion: a figure of summary.json, a comparison, and a bound."""

import math
import operator
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from node_agent.errors import InputError
from testbed.assertions.bounds import read_bound, read_word, write_number
from testbed.assertions.known_figures import KnownFigure, known_figure, short_figure
from testbed.record.run_figures import Figure, at_path

_COMPARISONS = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip
_FORM = re.compile(
    r"\s*(?:(?P<policy>\S.*?)\s*:\s*)?(?P<name>[A-Za-z_][\w-]*(?:\.[\w-]+)*)\s*"
    r"(?P<comparison><=|>=|==|!=|<|>)\s*(?P<bound>[^\s<>=!].*?)\s*",
    re.ASCII,
)
_SIGNS = str.maketrans({"≤": "<=", "≥": ">=", "≠": "!=", "\u00a0": " ", "\u202f": " "})
_MOST_CHARACTERS = 300
_EXAMPLES = "for example 'p95 < 600 ms', 'accuracy >= 85 %' or 'lost == 0'"


@dataclass(frozen=True, slots=True)
class Checked:
    """An assertion on one run.

    Attributes:
        value: the figure's value there, in the unit of summary.json; None if it has none, or is a word.
        holds: true if the assertion holds.
        margin: distance to the bound, in the unit of summary.json: above 0 if the assertion holds with room, below 0 if
            it is missed; None without a value, and for `!=`.
        word: the figure's value if it is a word: "true", "false", or a verdict.
    """

    value: float | None
    holds: bool
    margin: float | None = None
    word: str | None = None


@dataclass(frozen=True, slots=True)
class Assertion:
    """A bound on a figure of a run. `str` of it reads back as the same assertion.

    Decision 107: a figure without a value misses every bound
    (docs/decisions/107-no-value-misses-every-bound.md).

    Attributes:
        text: as the user wrote it.
        path: the figure's place in summary.json, with dots.
        comparison: one of < <= > >= == !=.
        bound: the number to which the figure is compared, in the unit of summary.json; 0 for a word.
        name: the figure as the user named it: a short name, or its path.
        word: the word to which the figure is compared; None for a number.
        policy: the label of the only policy that it concerns; None for every policy.
    """

    text: str
    path: str
    comparison: str
    bound: float
    name: str = ""
    word: str | None = None
    policy: str | None = None

    @property
    def figure(self) -> Figure | None:
        """The figure, if it has a short name."""
        return short_figure(self.path)

    @property
    def known(self) -> KnownFigure:
        """The kind of the figure, and the runs that have it."""
        return known_figure(self.path)

    @property
    def bound_in_words(self) -> str:
        """The comparison and the bound with its unit: `< 600 ms`."""
        return f"{self.comparison} {self.word or write_number(self.bound, self.known.kind)}"

    def __str__(self) -> str:
        return f"{f'{self.policy}: ' if self.policy else ''}{self.name or self.path} {self.bound_in_words}"

    def check(self, summary: Mapping[str, Any]) -> Checked:
        """Return the outcome on a run; a figure that is null counts as missed."""
        return self.outcome(at_path(summary, self.path))

    def outcome(self, value: object) -> Checked:
        """Return the outcome if the figure has this value; None, or a value of another kind, counts as missed."""
        compare = _COMPARISONS[self.comparison]
        if self.word is not None:
            found = str(value).lower() if isinstance(value, bool) else value
            known = isinstance(found, str)
            return Checked(None, known and bool(compare(found, self.word)), word=found if known else None)  # type: ignore[arg-type]
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return Checked(None, holds=False)
        return Checked(float(value), bool(compare(value, self.bound)), self._margin(float(value)))

    def _margin(self, value: float) -> float | None:
        if self.comparison in ("<", "<="):
            return self.bound - value
        if self.comparison in (">", ">="):
            return value - self.bound
        return -abs(value - self.bound) + 0.0 if self.comparison == "==" else None


def parse_assertion(text: str) -> Assertion:
    """Read an assertion and return it.

    Args:
        text: FIGURE COMPARISON BOUND, such as `p95 < 0.6 s`, `dto-ee: accuracy >= 85 %` or `fidelity.verdict == held`.
            Bounds without unit are in the unit of summary.json: seconds, 0 to 1, joules.

    Raises:
        InputError: it has another form, there is no such figure, or its bound is no value of the figure.
    """
    shown = repr(text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}…")
    found = _FORM.fullmatch(text.translate(_SIGNS)) if len(text) <= _MOST_CHARACTERS else None
    if found is None:
        equality = re.fullmatch(r"[^<>=!]+=[^<>=!]+", text)
        hint = f"for equality write ==; {_EXAMPLES}" if equality else _EXAMPLES
        raise InputError(f"{shown} is no assertion", hint=hint)
    policy, name, comparison, bound = found.group("policy", "name", "comparison", "bound")
    try:
        figure = known_figure(name)
        if not figure.words:
            return Assertion(text, figure.path, comparison, read_bound(bound, figure), name, None, policy)
        if comparison not in ("==", "!="):
            raise InputError(f"{name} is a word, which is only == or !=", hint=f"one of {', '.join(figure.words)}")
        return Assertion(text, figure.path, comparison, 0.0, name, read_word(bound, figure), policy)
    except InputError as error:
        raise InputError(f"{shown}: {error}", hint=error.hint) from None
