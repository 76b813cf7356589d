"""The plan of a run and its outcome. Planning makes plans; live and simulated runs carry them out."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from node_agent.models.interface import Model
from node_agent.policies.loading import is_file
from testbed.assertions import Assertion, findings_of
from testbed.fidelity.report import FidelityReport
from testbed.network.emulated import BackendChoice
from testbed.record.claim import Claim
from testbed.record.run_directory import Recorder
from testbed.scenario import Scenario
from testbed.topology.overrides import Override
from testbed.trace.workload import Arrival


@dataclass(frozen=True, slots=True)
class Plan:
    """A run with all its choices made.

    Attributes:
        scenario: the resolved topology.
        topology_text: the text of the topology that runs: the file's, or with its values replaced by `overrides`.
        original_text: the file's text.
        arrivals: the workload, sorted by time.
        model: the model.
        run_directory: where the run is recorded.
        run_id: the run's id, unique on this machine.
        backend: the network backend to use.
        facts: fields for the manifest, about how the run was started.
        require_fidelity: end the run before it begins if the links measure wrong.
        debug: every node, and a simulation itself, checks its state after each event.
        link_traces: the contents of the network traces, by the path that the topology states.
        overrides: what replaced values of the file.
        assertions: bounds on the figures, whose outcomes summary.json states.
        claim: keeps other commands out of the run directory, until `release` or as long as the plan exists.
    """

    scenario: Scenario
    topology_text: str
    original_text: str
    arrivals: Sequence[Arrival]
    model: Model
    run_directory: Path
    run_id: str
    backend: BackendChoice
    facts: dict[str, Any]
    require_fidelity: bool = False
    debug: bool = False
    link_traces: Mapping[str, bytes] = field(default_factory=dict)
    overrides: tuple[Override, ...] = ()
    assertions: tuple[Assertion, ...] = ()
    claim: Claim | None = None

    @property
    def topology_sha256(self) -> str:
        """A hash of the topology file, without overrides, and its network traces (SHA-256 in hex)."""
        digest = sha256(self.original_text.encode())
        for name in sorted(self.link_traces):
            digest.update(name.encode() + b"\0" + sha256(self.link_traces[name]).digest())
        return digest.hexdigest()

    def recorder(self, *, flush_lines: bool = True) -> Recorder:
        """Begin to record the run. Raises RecordingError or OSError if its directory cannot be written."""
        recorder = Recorder(
            self.run_directory,
            topology_text=self.topology_text,
            arrivals=self.arrivals,
            labels=self.model.labels,
            policy_file=self.policy_file,
            link_traces=self.link_traces,
            deadlines_s=self.scenario.deadlines_s,
            flush_lines=flush_lines,
        )
        recorder.describe(run_id=self.run_id, policy=self.scenario.policy.name, **self.facts)
        return recorder

    def release(self) -> None:
        """Release the run directory. Call this when the run has ended: the files in it now keep other runs out."""
        if self.claim is not None:
            self.claim.release()

    @property
    def link_traces_sha256(self) -> dict[str, str]:
        """A hash of each network trace (SHA-256 in hex), by the path that the topology states."""
        return {name: sha256(content).hexdigest() for name, content in self.link_traces.items()}

    @property
    def borrowed(self) -> dict[str, str]:
        """The fields of summary.json on what is not usual of a model: `answers`, `costs`, `criterion`, `labels`."""
        model = self.model
        stated = {"answers": model.answers, "costs": model.costs, "criterion": model.other_criterion}
        stated["labels"] = model.labels_are
        return {field: words for field, words in stated.items() if words is not None}

    def completed(self, figures: Mapping[str, object]) -> dict[str, object]:
        """Return the content of summary.json: the figures, what is not usual of the model, outcomes of assertions."""
        summary = {**figures, **self.borrowed}
        if not self.assertions:
            return summary
        return {**summary, "assertions": [asdict(finding) for finding in findings_of(self.assertions, summary)]}

    @property
    def policy_file(self) -> Path | None:
        """The file of the user's own policy; None for a built-in policy."""
        name = self.scenario.policy.name
        return Path(name.rpartition(":")[0]) if is_file(name) else None


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a run.

    Attributes:
        run_directory: where the run was recorded.
        summary: the content of summary.json; None if the run ended before it began.
        exit_reason: "completed" or "interrupted".
        report: the verdict on the emulation; None for a simulation.
    """

    run_directory: Path
    summary: dict[str, object] | None
    exit_reason: str
    report: FidelityReport | None = None


def new_run_id() -> str:
    """Draw a random id of eight hex digits."""
    return secrets.token_hex(4)
