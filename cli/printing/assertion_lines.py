"""The outcomes of assertions as a table on standard output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cli.printing.columns import Lines, print_table

if TYPE_CHECKING:
    from testbed.assertions import Finding


def print_findings(findings: Sequence[Finding], *, of_policies: bool = False) -> None:
    """Print the outcomes of assertions; nothing if there are none. `of_policies` adds a column for the policy."""
    if findings:
        print_table(finding_lines(findings, of_policies=of_policies), title="Assertions", left=range(1 + of_policies))


def finding_lines(findings: Sequence[Finding], *, of_policies: bool = False) -> Lines:
    """Table of outcomes: figure, value, bound, holds or missed, and the distance to the bound."""
    lines = [[*["policy"] * of_policies, "figure", "value", "bound", "outcome", "by"]]
    for one in findings:
        outcome = "holds" if one.holds else "MISSED"
        cells = [one.figure, one.value_in_words, one.bound_in_words, outcome, one.margin_in_words]
        lines.append([*[one.policy] * of_policies, *cells])
    return lines
