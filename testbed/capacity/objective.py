"""The objective of a capacity: bounds on figures of a run, all of which must hold."""

from collections.abc import Sequence
from dataclasses import dataclass

from node_agent.errors import InputError
from testbed.assertions import Assertion
from testbed.cells.cell_figures import CellFigures

DELAYS = ("delay_s.", "utility")
"""How paths in summary.json begin that mean nothing if tasks pile up, or are lost."""


@dataclass(frozen=True, slots=True)
class Objective:
    """What must hold: one assertion, or several together."""

    assertions: tuple[Assertion, ...]

    def check_policies(self, policies: Sequence[str]) -> None:
        """Raise InputError if a policy has no assertion, or an assertion names none of these policies (labels)."""
        if not self.assertions:
            raise InputError("a capacity needs an objective", hint="for example --slo 'p95 < 500 ms'")
        for assertion in self.assertions:
            if assertion.policy is not None and assertion.policy not in policies:
                hint = f"there are {', '.join(policies)}"
                raise InputError(f"{assertion.text!r} concerns {assertion.policy}, which does not run", hint=hint)
        for policy in policies:
            if not any(assertion.policy in (None, policy) for assertion in self.assertions):
                raise InputError(f"no objective concerns {policy}", hint="state one without the name of a policy")

    def holds(self, found: CellFigures, policy: str) -> bool:
        """True if all assertions that concern a policy hold in a run of it.

        A figure that is missing counts as missed. So does a bound on delay or utility, whatever the figure is, in a run
        that was overloaded or lost tasks: its figures are those of the tasks that got through.
        """
        ours = [assertion for assertion in self.assertions if assertion.policy in (None, policy)]
        return all(_holds(assertion, found) for assertion in ours)


def _holds(assertion: Assertion, found: CellFigures) -> bool:
    lost = found.summary.get("tasks", {}).get("lost") or 0
    if assertion.path.startswith(DELAYS) and (found.overloaded or lost):
        return False
    return assertion.check(found.summary).holds
