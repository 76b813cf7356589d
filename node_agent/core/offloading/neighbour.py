"""A receiver as its offloader sees it: link, last report, and the tasks that are known to be there."""

import math
from dataclasses import dataclass, field

from msgspec.structs import replace

from node_agent.core.config import HopPrice
from node_agent.core.estimators import LinkTime
from node_agent.core.offloading.queue_estimate import Flow, QueueEstimate
from node_agent.dtoee.queue_state import work_error_s
from node_agent.dtoee.queueing import server_cost
from node_agent.errors import InvalidState, refuse_negative
from node_agent.policies.base import Candidate
from node_agent.wire import Ack, Report, Status

SILENT_AFTER = 2  # a neighbour is silent after this many rounds in a row without an answer

# Stands for the report of a receiver without one. Plans skip such a receiver; choices for one task use these values.
UNHEARD = Report(
    slot=0, round=0, marginal_s=0.0, best_s=0.0, local_s=0.0, onward_s=0.0, onward_delay_s=0.0, curvature_s2=0.0,
    offloaders=1, arrival_per_s=0.0, service_per_s=1.0, variability=0.0, threshold=0.0, remaining_ratio=0.0,
    backlog=0, onward_paths=((1.0, ()),), offer_s=0.0, done=False,
)  # fmt: skip
FREE = HopPrice()
UNSTATED = Status(backlog=0)  # stands for the status of a receiver that has sent none


@dataclass(slots=True)
class Receiver:
    """A receiver as its offloader sees it."""

    name: str
    link: LinkTime = field(default_factory=LinkTime)
    report: Report | None = None  # the last one; a later status may have replaced its service rate
    report_as_sent: Report | None = None  # the last one as it came
    missed: int = 0  # rounds in a row without an answer
    suspect: bool = False  # it left a task unacknowledged, and no message has come from it since
    told_backlog: int = 0  # tasks waiting or in service, as it last reported
    status: Status | None = None  # the last one
    unacked: int = 0  # tasks sent to it and not yet acknowledged
    queue: QueueEstimate = field(default_factory=QueueEstimate)  # unfinished work there
    own_per_s: float = 0.0  # own flow among the arrivals in its report [task/s]
    flow_scale: float = 1.0  # change of these arrivals since, if all offloaders have changed their rows alike
    rate_at_s: float = -math.inf  # when it stated the service rate in `report` [s]
    link_waiting_s: float = 0.0  # marginal time of the link beyond its transfer time, at the planned flow [s]
    expiry_s: float = math.inf  # age from which its prices no longer count [s]
    sent_in_slot: int = 0  # tasks sent to it since the start of the slot
    sent: int = 0  # tasks sent to it in the slot before
    # (1 - I) (ret - mean ret): time of its results to this device, beyond the mean over all devices in its report [s]
    return_correction_s: float = 0.0
    price: HopPrice = FREE  # of the energy of a task that is sent to it

    @property
    def energy_s(self) -> float:
        """Priced energy of a task that is sent to it: on its way, and in its service at the present rate [s]."""
        if self.price is FREE:
            return 0.0
        return self.price.link_s + self.price.computing / (self.report or UNHEARD).service_per_s

    @property
    def backlog(self) -> int:
        """Tasks at the receiver as last reported, plus those on their way."""
        return self.told_backlog + self.unacked

    def set_out(self, now_s: float) -> None:
        """Count a task that is sent to it at `now_s` [s]."""
        self.sent_in_slot += 1
        self.unacked += 1
        self.queue.sent(now_s)

    def settle(self, sent_s: float, ack: Ack | None = None) -> None:
        """Stop counting the task sent at `sent_s` [s] as on its way: it is given up, or acknowledged by `ack`."""
        self.unacked -= 1
        self.queue.settled(sent_s)
        if ack is not None:
            self._told(ack.backlog, ack.work_s, ack.received_s)

    def _told(self, backlog: int, work_s: float | None, at_s: float) -> None:
        """Take a statement of its queue, made at `at_s` [s], unless a later one is known."""
        per_s = (self.report or UNHEARD).service_per_s
        if self.queue.told(backlog / per_s if work_s is None else work_s, at_s):
            self.told_backlog = backlog

    def stated(self, status: Status, now_s: float) -> bool:
        """Take a status that arrived at `now_s` [s]. Returns True if it changes the service rate.

        The last report then has the new rate, and the price of the receiver's own queue at that rate.
        """
        self.status = status
        at_s = now_s if status.sent_s is None else status.sent_s
        report, per_s = self.report, status.service_per_s
        changed = report is not None and per_s not in (None, report.service_per_s) and at_s >= self.rate_at_s
        if report is not None and per_s is not None and changed:
            load, varied = report.arrival_per_s, (report.variability, report.arrival_variability)
            added_s = (
                server_cost(load, per_s, *varied).slope_s - server_cost(load, report.service_per_s, *varied).slope_s
            )
            self.report = replace(
                report, service_per_s=per_s, local_s=max(0.0, report.local_s + added_s),
                marginal_s=max(0.0, report.marginal_s + added_s), best_s=max(0.0, report.best_s + added_s),
            )  # fmt: skip
            self.rate_at_s = at_s
        self._told(status.backlog, status.work_s, at_s)
        return changed

    def returned(self) -> None:
        """Forget the state of a receiver that answers again; tasks on their way still count until they are settled."""
        self.status, self.report, self.told_backlog = None, self.report_as_sent, 0
        self.queue.forget()

    def reported(self, report: Report, back_s: float | None) -> None:
        """Take a report. At a device, `back_s` is the time that the report was on its way, as a result would be [s]."""
        self.report = self.report_as_sent = report
        self.rate_at_s = report.sent_s
        self.link.observe_small(report.offer_s)
        self._told(report.backlog, report.work_s, report.sent_s)
        if back_s is not None:
            exiting = 1 - report.remaining_ratio
            self.return_correction_s = exiting * (self.link.observe_back(back_s) - report.return_s)

    @property
    def exit_return_s(self) -> float:
        """Mean time of results that exit at the receiver, per task sent to it, (1 - I) ret [s]; 0 if not known yet."""
        if self.report is None:
            return 0.0
        return (1 - self.report.remaining_ratio) * self.report.return_s + self.return_correction_s

    def candidate(self, share: float, now_s: float, *, fresh: bool = False) -> Candidate:
        """Return the receiver as a candidate for one task.

        Args:
            share: its share of the executed row.
            now_s: the present time [s].
            fresh: bring its queue up to date.
        """
        report, status = self.report or UNHEARD, self.status or UNSTATED
        service_per_s, onward_s = report.service_per_s, status.onward_delay_s
        if self.report is None and status.service_per_s is not None:
            service_per_s = status.service_per_s
        plain = Candidate(
            share=share,
            link_s=self.link.transfer_s,
            backlog=self.backlog,
            service_per_s=service_per_s,
            onward_delay_s=(report.onward_delay_s if onward_s is None else onward_s) + self.return_correction_s,
            exit_return_s=self.exit_return_s,
            energy_s=self.energy_s,
            onward_energy_s=report.beyond_energy_s,
        )
        return self._brought_up_to_date(plain, report, now_s) if fresh else plain

    def _brought_up_to_date(self, plain: Candidate, report: Report, now_s: float) -> Candidate:
        arrival_per_s, variability = report.arrival_per_s * self.flow_scale, report.variability
        back_s = self.link.small_s if self.link.back_s is None else self.link.back_s
        # A task that should have been acknowledged shows that the link, or the receiver, takes longer now.
        link_s = max(plain.link_s, self.queue.overdue_s(now_s, back_s))
        others_per_s = max(0.0, report.arrival_per_s - self.own_per_s) * self.flow_scale
        flow = Flow(others_per_s, plain.service_per_s, variability, report.arrival_variability)
        work_s = self.queue.at(now_s + link_s, plain.link_s, now_s - back_s, flow)
        return Candidate(
            share=plain.share,
            link_s=link_s,
            backlog=work_s * plain.service_per_s,
            service_per_s=plain.service_per_s,
            onward_delay_s=plain.onward_delay_s,
            exit_return_s=plain.exit_return_s,
            energy_s=plain.energy_s,
            onward_energy_s=plain.onward_energy_s,
            work_s=work_s,
            work_error_s=work_error_s(now_s + link_s - self.queue.at_s, *flow),
            age_s=self.queue.age_s(now_s),
            link_marginal_s=link_s + self.link_waiting_s,
            arrival_per_s=arrival_per_s,
            variability=variability,
            arrival_variability=report.arrival_variability,
            onward_marginal_s=report.marginal_s - report.local_s + self.return_correction_s,
            current=self.report is not None and now_s - report.sent_s <= self.expiry_s,
        )

    def predicted_delay_s(self, now_s: float, *, fresh: bool = False) -> float | None:
        """Delay of a task that is sent to it now [s]; None if it has not reported yet, or does not answer."""
        known = self.report is not None and self.alive
        return self.candidate(0.0, now_s, fresh=fresh).predicted_delay_s if known else None

    @property
    def alive(self) -> bool:
        """True if tasks may be sent to it."""
        return self.missed < SILENT_AFTER and not self.suspect

    def validate(self) -> None:
        """Raise InvalidState if a count or a time is negative or no number."""
        refuse_negative(
            f"receiver {self.name}", missed=self.missed, told_backlog=self.told_backlog, unacked=self.unacked,
            sent_in_slot=self.sent_in_slot, sent=self.sent, own_per_s=self.own_per_s,
        )  # fmt: skip
        if len(self.queue.under_way_s) != self.unacked:
            sent = f"{len(self.queue.under_way_s)} tasks on their way, but {self.unacked} not acknowledged"
            raise InvalidState(f"receiver {self.name}", sent)
        self.queue.validate(self.name)
        if not math.isfinite(self.return_correction_s):
            raise InvalidState(f"receiver {self.name}", f"return_correction_s is {self.return_correction_s}")
        self.link.validate(self.name)
