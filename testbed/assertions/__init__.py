"""Assertions on the figures of a run: `p95 < 600 ms`, `accuracy >= 0.85`, `lost == 0`."""

from testbed.assertions.assertion import Assertion, Outcome, parse_assertion

__all__ = ["Assertion", "Outcome", "parse_assertion"]
