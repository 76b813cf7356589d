"""The report on fidelity: the verdict, its reasons, and the evidence.

- held: the delay that the machine added is within the noise of the measurement; take the figures as they are.
- strained: it shows; differences of a few per cent between runs may come from the machine.
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
VERDICTS: tuple[Verdict, ...] = ("held", "strained", "broken")  # by level; `unknown` has none


class EmulationBroken(TestbedError):
    """The emulation did not hold, and the user required it (`--require-fidelity`)."""

    exit_code = 5


@dataclass(frozen=True, slots=True)
class FidelityReport:
    """The verdict, its reasons (the gravest first, explanations last), and its evidence."""

    verdict: Verdict
    reasons: tuple[str, ...]
    evidence: Evidence
    expectation: Mapping[str, object] = field(default_factory=dict)  # `Findings.as_dict`, after the run

    def as_dict(self) -> dict[str, object]:
        """Return the `fidelity` of summary.json: times and rates emulated, CPU times real; numbers finite, or None."""
        judged = {"verdict": self.verdict, "reasons": list(self.reasons), **self.expectation}
        return {**judged, **figures_of(self.evidence)}


@dataclass(frozen=True, slots=True)
class FidelityState:
    """The state of a run in progress: the verdict so far, and the use of the machine since the last state."""

    report: FidelityReport
    host: HostUse


def refuse_broken(report: FidelityReport) -> None:
    """Raise EmulationBroken if the verdict is broken, or unknown because there was nothing to judge."""
    if report.verdict == "broken":
        hint = "raise time_scale, use fewer nodes, or a less busy machine"
        raise EmulationBroken(f"the emulation did not hold: {report.reasons[0]}", hint=hint)
    if report.verdict == "unknown":
        hint = "run longer or with less load: tasks must be completed after the warm-up"
        raise EmulationBroken(f"whether the emulation held is unknown: {report.reasons[0]}", hint=hint)
