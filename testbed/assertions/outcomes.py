"""The outcomes of assertions as results state them: on one run, and on all runs of each policy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from node_agent.errors import TestbedError
from testbed.assertions.assertion import Assertion, Checked, parse_assertion
from testbed.assertions.bounds import round_number
from testbed.assertions.known_figures import known_figure
from testbed.record.run_figures import at_path


class AssertionsMissed(TestbedError):
    """The run succeeded, but a figure misses a bound that was asserted."""

    exit_code = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of an assertion. Numbers are in the unit of summary.json: seconds, 0 to 1, joules.

    Attributes:
        policy: the policy's label.
        assertion: the assertion, as it reads back.
        figure: the figure: its short name, or its path in summary.json.
        value: the figure's value; None if it has none.
        bound: the number or word on the other side of the comparison.
        holds: true if the assertion holds. A figure without a value misses every bound.
        margin: distance to the bound: below 0 if it is missed; None without a number, and for !=.
    """

    policy: str
    assertion: str
    figure: str
    value: float | str | None
    bound: float | str
    holds: bool
    margin: float | None

    @classmethod
    def of(cls, assertion: Assertion, outcome: Checked, policy: str) -> "Finding":
        """Return the finding of an outcome for this policy's label."""
        return cls(
            policy,
            str(assertion),
            assertion.name or assertion.path,
            outcome.value if assertion.word is None else outcome.word,
            assertion.bound if assertion.word is None else assertion.word,
            outcome.holds,
            outcome.margin,
        )

    @property
    def value_in_words(self) -> str:
        """The value, rounded, with its unit; `none` if there is none."""
        if self.value is None:
            return "none"
        return self.value if isinstance(self.value, str) else round_number(self.value, known_figure(self.figure).kind)

    @property
    def bound_in_words(self) -> str:
        """The comparison and the bound with its unit."""
        return parse_assertion(self.assertion).bound_in_words

    @property
    def margin_in_words(self) -> str:
        """The distance to the bound without sign, to three digits; shares in points; `-` if there is none."""
        if self.margin is None:
            return "-"
        kind = known_figure(self.figure).kind
        text = round_number(abs(self.margin), kind, 3)
        return f"{text.removesuffix(' %')} points" if kind in ("share", "ratio") else text


def findings_of(assertions: Sequence[Assertion], summary: Mapping[str, Any]) -> list[Finding]:
    """Return the outcome of each assertion on a run; `summary` is the content of its summary.json."""
    return [Finding.of(assertion, assertion.check(summary), str(summary.get("policy", ""))) for assertion in assertions]


def policy_findings(
    assertions: Sequence[Assertion],
    policy: str,
    runs: Sequence[Mapping[str, Any]],
    counting: Sequence[Mapping[str, Any]],
) -> list[Finding]:
    """Return the outcome of each assertion on all runs of a policy; those on another policy are skipped.

    Counts are summed over all runs, other numbers are means over the runs that count. A word holds if it holds in every
    run. A figure that one of these runs lacks has no value.

    Args:
        assertions: what was asserted.
        policy: the policy's label.
        runs: the content of summary.json of each run.
        counting: those of the runs that count in means; none if the policy was overloaded.
    """
    return [
        Finding.of(assertion, _over_runs(assertion, runs, counting), policy)
        for assertion in assertions
        if assertion.policy in (None, policy)
    ]


def _over_runs(
    assertion: Assertion, runs: Sequence[Mapping[str, Any]], counting: Sequence[Mapping[str, Any]]
) -> Checked:
    kind = assertion.known.kind
    if assertion.word is not None:
        outcomes = [assertion.check(run) for run in runs]
        return next((each for each in outcomes if not each.holds), outcomes[0] if outcomes else assertion.outcome(None))
    values = [at_path(run, assertion.path) for run in (runs if kind == "count" else counting)]
    numbers = [float(value) for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if not numbers or len(numbers) < len(values):
        return assertion.outcome(None)
    return assertion.outcome(sum(numbers) if kind == "count" else sum(numbers) / len(numbers))


def refuse_missed(findings: Sequence[Finding]) -> None:
    """Raise AssertionsMissed if one of the assertions is missed."""
    missed = [finding for finding in findings if not finding.holds]
    if missed:
        first = missed[0]
        raise AssertionsMissed(
            f"{len(missed)} of {len(findings)} assertions missed: {first.assertion} ({first.value_in_words})"
        )
