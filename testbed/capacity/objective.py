"""The objective of a capacity: bounds on figures of a run, all of which must hold."""

from collections.abc import Sequence
from dataclasses import dataclass

from node_agent.errors import InputError
from testbed.assertions import Assertion, parse_assertion
from testbed.cells.cell_figures import CellFigures

DELAYS = ("delay_s.", "utility")
"""How paths in summary.json begin that mean nothing if tasks pile up, or are lost."""


@dataclass(frozen=True, slots=True)
class Objective:
    """What must hold: one assertion, or several together."""

    assertions: tuple[Assertion, ...]

    @classmethod
    def read(cls, texts: Sequence[str]) -> "Objective":
        """Read assertions such as `p95 < 0.5 s`. Raises InputError if there is none, or one cannot be read."""
        if not texts:
            raise InputError("a capacity needs an objective", hint="for example --slo 'p95 < 0.5 s'")
        return cls(tuple(parse_assertion(text) for text in texts))

    def holds(self, found: CellFigures) -> bool:
        """True if all assertions hold in a run.

        A figure that is missing counts as missed. So does a bound on delay or utility, whatever the figure is, in a run
        that was overloaded or lost tasks: its figures are those of the tasks that got through.
        """
        return all(self.holds_one(assertion, found) for assertion in self.assertions)

    def holds_one(self, assertion: Assertion, found: CellFigures) -> bool:
        """True if this assertion holds in a run; see `holds`."""
        lost = found.summary.get("tasks", {}).get("lost") or 0
        if assertion.path.startswith(DELAYS) and (found.overloaded or lost):
            return False
        return assertion.check(found.summary).holds
