"""Assertions on the figures of a run: `p95 < 600 ms`, `accuracy >= 0.85`, `lost == 0`."""

from testbed.assertions.assertion import Assertion, Checked, parse_assertion
from testbed.assertions.assertion import Checked as Outcome
from testbed.assertions.outcomes import AssertionsMissed, Finding, findings_of, policy_findings, refuse_missed

__all__ = [
    "Assertion",
    "AssertionsMissed",
    "Checked",
    "Finding",
    "Outcome",
    "findings_of",
    "parse_assertion",
    "policy_findings",
    "refuse_missed",
]
