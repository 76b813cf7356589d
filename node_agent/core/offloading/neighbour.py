"""A receiver as its offloader sees it: link, last report, and the tasks that are known to be there."""

import math
from dataclasses import dataclass, field

from node_agent.core.estimators import LinkTime
from node_agent.errors import InvalidState, refuse_negative
from node_agent.policies.base import Candidate
from node_agent.wire import Report, Status

SILENT_AFTER = 2  # a neighbour is silent after this many rounds in a row without an answer

# Stands for the report of a receiver without one. Plans skip such a receiver; choices for one task use these values.
UNHEARD = Report(
    slot=0, round=0, marginal_s=0.0, best_s=0.0, local_s=0.0, onward_s=0.0, onward_delay_s=0.0, curvature_s2=0.0,
    offloaders=1, arrival_per_s=0.0, service_per_s=1.0, variability=0.0, threshold=0.0, remaining_ratio=0.0,
    backlog=0, onward_paths=((1.0, ()),), offer_s=0.0, done=False,
)  # fmt: skip
UNSTATED = Status(backlog=0)  # stands for the status of a receiver that has sent none


@dataclass(slots=True)
class Receiver:
    """A receiver as its offloader sees it."""

    name: str
    link: LinkTime = field(default_factory=LinkTime)
    report: Report | None = None  # the last one
    missed: int = 0  # rounds in a row without an answer
    suspect: bool = False  # it left a task unacknowledged, and no message has come from it since
    told_backlog: int = 0  # tasks waiting or in service, as it last reported
    status: Status | None = None  # the last one
    unacked: int = 0  # tasks sent to it and not yet acknowledged
    sent_in_slot: int = 0  # tasks sent to it since the start of the slot
    sent: int = 0  # tasks sent to it in the slot before
    # (1 - I) (ret - mean ret): time of its results to this device, beyond the mean over all devices in its report [s]
    return_correction_s: float = 0.0

    @property
    def backlog(self) -> int:
        """Tasks at the receiver as last reported, plus those on their way."""
        return self.told_backlog + self.unacked

    def set_out(self) -> None:
        """Count a task that is sent to it."""
        self.sent_in_slot += 1
        self.unacked += 1

    def settle(self, told: int | None = None) -> None:
        """Stop counting a task as on its way: it is given up, or acknowledged with the receiver's new backlog."""
        self.unacked -= 1
        if told is not None:
            self.told_backlog = told

    def reported(self, report: Report, back_s: float | None) -> None:
        """Take a report. At a device, `back_s` is the time that the report was on its way, as a result would be [s]."""
        self.report = report
        self.link.observe_small(report.offer_s)
        self.told_backlog = report.backlog
        if back_s is not None:
            exiting = 1 - report.remaining_ratio
            self.return_correction_s = exiting * (self.link.observe_back(back_s) - report.return_s)

    @property
    def exit_return_s(self) -> float:
        """Mean time of results that exit at the receiver, per task sent to it, (1 - I) ret [s]; 0 if not known yet."""
        if self.report is None:
            return 0.0
        return (1 - self.report.remaining_ratio) * self.report.return_s + self.return_correction_s

    def candidate(self, share: float) -> Candidate:
        """Return the receiver as a candidate for one task; `share` is its share of the executed row."""
        report, status = self.report or UNHEARD, self.status or UNSTATED
        service_per_s, onward_s = status.service_per_s, status.onward_delay_s
        return Candidate(
            share=share,
            link_s=self.link.transfer_s,
            backlog=self.backlog,
            service_per_s=report.service_per_s if service_per_s is None else service_per_s,
            onward_delay_s=(report.onward_delay_s if onward_s is None else onward_s) + self.return_correction_s,
            exit_return_s=self.exit_return_s,
        )

    @property
    def predicted_delay_s(self) -> float | None:
        """Delay of a task that is sent to it now [s]; None if it has not reported yet, or does not answer."""
        return self.candidate(0.0).predicted_delay_s if self.report is not None and self.alive else None

    @property
    def alive(self) -> bool:
        """True if tasks may be sent to it."""
        return self.missed < SILENT_AFTER and not self.suspect

    def validate(self) -> None:
        """Raise InvalidState if a count or a time is negative or no number."""
        refuse_negative(
            f"receiver {self.name}", missed=self.missed, told_backlog=self.told_backlog, unacked=self.unacked,
            sent_in_slot=self.sent_in_slot, sent=self.sent,
        )  # fmt: skip
        if not math.isfinite(self.return_correction_s):
            raise InvalidState(f"receiver {self.name}", f"return_correction_s is {self.return_correction_s}")
        self.link.validate(self.name)
