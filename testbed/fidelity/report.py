"""Did the emulation hold? What is reported of it: the verdict, its reasons, and what they rest on.

- held: what the machine added is within the noise of the measurement; the figures can be taken as they are.
- strained: it shows, a little: differences of a few per cent between runs may come from the machine.
- broken: it dominates somewhere; the figures describe this machine, too.
- unknown: there was nothing to judge.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from node_agent.errors import TestbedError
from testbed.fidelity.evidence import Evidence
from testbed.fidelity.figures import figures_of
from testbed.host.load import HostUse

Verdict = Literal["held", "strained", "broken", "unknown"]
VERDICTS: tuple[Verdict, ...] = ("held", "strained", "broken")  # by level; without anything to judge: unknown


class EmulationBroken(TestbedError):
    """The emulation did not hold, and the user wanted it to."""

    exit_code = 5


@dataclass(frozen=True, slots=True)
class FidelityReport:
    """The verdict, why (the gravest first, what explains it last), and what it rests on."""

    verdict: Verdict
    reasons: tuple[str, ...]
    evidence: Evidence
    expectation: Mapping[str, object] = field(default_factory=dict)  # what holding the run against it gave

    def as_dict(self) -> dict[str, object]:
        """The `fidelity` of summary.json: times and rates emulated, CPU times real; numbers are finite, or None."""
        judged = {"verdict": self.verdict, "reasons": list(self.reasons), **self.expectation}
        return {**judged, **figures_of(self.evidence)}


@dataclass(frozen=True, slots=True)
class FidelityState:
    """How the emulation of a run stands: the verdict so far, and the machine since the state before."""

    report: FidelityReport
    host: HostUse


def refuse_broken(report: FidelityReport) -> None:
    """Raise EmulationBroken if that is the verdict, or if there was nothing to judge."""
    if report.verdict == "broken":
        hint = "a larger time_scale, fewer nodes or a less busy machine"
        raise EmulationBroken(f"the emulation did not hold: {report.reasons[0]}", hint=hint)
    if report.verdict == "unknown":
        hint = "a longer run, or less load: tasks must be completed after the warm-up"
        raise EmulationBroken(f"whether the emulation held is unknown: {report.reasons[0]}", hint=hint)
