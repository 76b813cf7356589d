"""An examination of this machine: everything that a run uses is tried, in throw-away namespaces and groups."""

from testbed.doctor.examination import examine, require_possible
from testbed.doctor.finding import Finding, State

__all__ = ["Finding", "State", "examine", "require_possible"]
