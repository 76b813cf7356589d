"""Routing: an offloader's view of its receivers, and the row by which it spreads its tasks over them."""

import math
import random
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from itertools import accumulate

import numpy as np

from node_agent.core.config import NodeConfig
from node_agent.core.estimators import LinkTime
from node_agent.core.outbox import Outbox
from node_agent.dtoee.queueing import Array, measured_link_marginal_s
from node_agent.errors import InvalidState, refuse_negative
from node_agent.policies import make_policy
from node_agent.policies.answers import ROW_TOLERANCE, WrongAnswer
from node_agent.policies.base import Candidate, KnownReceiver, Prospect, ThresholdView
from node_agent.policies.checked import CheckedPolicy
from node_agent.wire import MOST_THRESHOLD, Assignment, Report, Status

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


class Routing:
    """A node's receivers, its row of offloading probabilities over them, and the policy that sets the row."""

    def __init__(self, config: NodeConfig, outbox: Outbox) -> None:
        policy = make_policy(config.policy, config.parameters, theta_s=config.theta_s)
        self.policy = CheckedPolicy(policy, config.policy)
        self.threshold: float | None = None if config.is_device or config.is_last_stage else self.policy.first_threshold
        self.receivers = {name: Receiver(name) for name in config.receivers}
        self._order = tuple(self.receivers.values())
        count = len(self._order)
        # Only kept here: a policy is given the row and returns the next one.
        self.row: Array = np.full(count, 1 / count) if count else np.zeros(0)
        self.leaving_per_s = 0.0  # w, announced rate of the tasks that leave this node in this round [task/s]
        self._slot_s = config.slot_s
        self._outbox = outbox
        self._random = random.Random(f"{config.seed}/{config.name}")
        self._drawn_from: tuple[Array, list[bool]] | None = None  # row and usable receivers of `_cumulative`
        self._cumulative: list[float] = []
        self._weighed: Prospect | None = None  # prospect of the last `weigh`

    def choose(self, avoid: Collection[str] = ()) -> Receiver | None:
        """Return the receiver that the policy chooses for a task; None if all living receivers are in `avoid`."""
        usable = [r.alive and r.name not in avoid for r in self._order]
        if not any(usable):
            return None
        if self.policy.status_every_s is None:
            chosen = self._draw(usable)
        else:
            chosen = self._pick([r for r, usable_now in zip(self._order, usable, strict=True) if usable_now])
        return chosen

    def _draw(self, usable: list[bool]) -> Receiver:
        """Draw a usable receiver from the row as executed; uniformly, if the row gives none of them any weight."""
        if self._drawn_from is None or self._drawn_from[0] is not self.row or self._drawn_from[1] != usable:
            weights = np.where(usable, self.policy.executed(self.row), 0.0)
            if weights.sum() <= 0:
                weights = np.array(usable, dtype=np.float64)
            self._cumulative = list(accumulate(weights.tolist()))
            self._drawn_from = (self.row, usable)
        return self._random.choices(self._order, cum_weights=self._cumulative)[0]

    def _pick(self, usable: list[Receiver]) -> Receiver:
        """Let the policy pick a usable receiver by the state of the queues."""
        shares = dict(zip(self.receivers, self.policy.executed(self.row).tolist(), strict=True))
        candidates = [r.candidate(shares[r.name]) for r in usable]
        return usable[self.policy.pick(candidates, self._random)]

    def status(self, name: str, status: Status) -> None:
        """Take a receiver's status."""
        receiver = self.receivers.get(name)
        if receiver is not None:
            receiver.told_backlog, receiver.status = status.backlog, status

    def onward_delay_s(self, remaining_ratio: float, return_s: float) -> float:
        """Return the mean time that a task, or its result, still needs after this server, as the queues are now [s].

        (1 - I) ret + I sum_k p_k delay_k over the receivers that are known; ret alone without one: every task exits.

        Args:
            remaining_ratio: I, share of the tasks that continue, 0..1.
            return_s: ret, mean time of a result from here to its device [s].
        """
        total_s = kept = 0.0
        for receiver, share in zip(self._order, self.policy.executed(self.row).tolist(), strict=True):
            delay_s = receiver.predicted_delay_s
            if share > 0 and delay_s is not None:
                total_s, kept = total_s + share * delay_s, kept + share
        if self.threshold is None or not kept:
            return return_s
        return (1 - remaining_ratio) * return_s + remaining_ratio * total_s / kept

    def start_slot(self) -> None:
        """Begin a slot: the tasks sent in the last one become `sent`."""
        for receiver in self._order:
            receiver.sent, receiver.sent_in_slot = receiver.sent_in_slot, 0
        self.policy.start_slot()

    def any_receiver(self) -> Receiver:
        """Draw a receiver uniformly, for a task that no living receiver can take."""
        return self._random.choice(self._order)

    def heard(self, name: str) -> bool:
        """Take a sign of life from a receiver; return True if it had been given up."""
        receiver = self.receivers.get(name)
        if receiver is None or (receiver.missed == 0 and not receiver.suspect):
            return False
        back = not receiver.alive
        if back:
            self._outbox.note("receiver-back", f"{name} answers again")
            receiver.status = None
            receiver.told_backlog = 0  # tasks on their way still count until they are acknowledged or given up
        receiver.missed, receiver.suspect = 0, False
        return back

    def lost_contact(self, receiver: Receiver, why: str) -> None:
        """Give up a receiver that does not answer: no task is sent to it until it does."""
        if receiver.alive:
            self._outbox.note("receiver-silent", f"{receiver.name}: {why}")
        receiver.suspect = True

    def missed_round(self, name: str) -> None:
        """Count a round in which a receiver did not answer."""
        receiver = self.receivers[name]
        receiver.missed += 1
        if receiver.missed == SILENT_AFTER and not receiver.suspect:
            self._outbox.note("receiver-silent", f"{name}: no report in {SILENT_AFTER} rounds")

    def move_threshold(self, view: ThresholdView) -> bool:
        """Let the policy move the threshold; return True if it did."""
        self.threshold = self.policy.move_threshold(view)
        return self.threshold != view.threshold

    def follow(self, assignment: Assignment) -> None:
        """Follow an assignment of the coordinator. Without shares the row stays."""
        if assignment.shares:
            row = np.array([assignment.shares.get(name, 0.0) for name in self.receivers])
            if row.sum() > 0:
                self.row = row / row.sum()
            else:  # the coordinator checks its policy's plans, so this is a foreign one
                self._outbox.note("unexpected-message", "Assignment without a share for any receiver of this node")
        if self.threshold is not None and assignment.threshold is not None:
            self.threshold = assignment.threshold

    def update_row(self, prospect: Prospect) -> None:
        """Let the policy move the row after the reports of a round.

        Shares of dead receivers are divided among the living ones in proportion, so that the announced flow is the one
        that comes.

        Raises:
            PolicyFailed: the policy's answer is no row, or gives no share to any living receiver.
        """
        row = self.policy.update_row(self.row, prospect)
        lives = [receiver.alive for receiver in prospect.receivers]
        if not all(lives) and row[~prospect.alive].any():
            kept = np.where(prospect.alive, row, 0.0)
            if not kept.any():
                must = "something to a receiver that lives (see prospect.alive)"
                self.policy.fail("update_row", WrongAnswer("update_row", row, must))
            row = kept / kept.sum()
        self.row = row

    def weigh(self, *, stale: bool) -> Prospect | None:
        """Restrict the row to the living receivers that have reported, and price it.

        Args:
            stale: a living receiver did not answer in this round.

        Returns:
            The prospect, of which `prices` returns the prices from now on; None if there is no such
            receiver.
        """
        lives = self._plannable()
        if not any(lives):
            return None
        if not all(lives):
            kept = np.where(lives, self.row, 0.0)
            self.row = kept / kept.sum() if kept.sum() > 0 else np.array(lives) / sum(lives)
        self._weighed = self.prospect(stale=stale)
        return self._weighed

    def prospect(self, *, stale: bool) -> Prospect:
        """Return the present knowledge of the receivers, with links priced at the flow that the row sends over them."""
        known = zip(self._order, self._plannable(), self.row.tolist(), strict=True)
        receivers = tuple(
            [
                KnownReceiver(
                    r.name, alive, r.report or UNHEARD, r.link.transfer_s, self._link_marginal_s(r, p),
                    r.link.byte_per_s, r.sent, r.return_correction_s,
                )
                for r, alive, p in known
            ]
        )  # fmt: skip
        return Prospect(receivers, stale, self.leaving_per_s)

    def _plannable(self) -> list[bool]:
        """Return, for each receiver, True if it answers and has reported at least once."""
        return [r.alive and r.report is not None for r in self._order]

    def _link_marginal_s(self, receiver: Receiver, p: float) -> float:
        """Return the marginal time of a link at the planned flow w p: t' of a link that queues [s].

        A task takes longer than a small message by its transmission and by its wait for earlier tasks, at the flow that
        was sent. The formula removes that wait, and adds the wait at the planned flow.
        """
        link, sent_per_s = receiver.link, receiver.sent / self._slot_s
        return measured_link_marginal_s(link.transfer_s, link.small_s, sent_per_s, self.leaving_per_s * p)

    def validate(self, under_way: Mapping[str, int]) -> None:
        """Raise InvalidState unless the row sums to one, and the unacknowledged tasks per receiver are `under_way`."""
        for receiver in self._order:
            receiver.validate()
        counted = {name: receiver.unacked for name, receiver in self.receivers.items()}
        expected = {name: under_way.get(name, 0) for name in self.receivers}
        if counted != expected:
            raise InvalidState("routing", f"tasks on their way: {counted} counted, {expected} known")
        row, count = self.row.tolist(), len(self._order)
        if len(row) != count or (row and not (min(row) >= 0 and abs(sum(row) - 1) < ROW_TOLERANCE)):
            raise InvalidState("routing", f"the row {row} is not {count} probabilities that sum to one")
        if self._drawn_from is not None and (
            len(self._cumulative) != count or self._cumulative != sorted(self._cumulative) or self._cumulative[-1] <= 0
        ):
            raise InvalidState("routing", f"receivers are drawn by {self._cumulative}, which does not rise")
        refuse_negative("routing", leaving_per_s=self.leaving_per_s)
        if self.threshold is not None and not 0 <= self.threshold <= MOST_THRESHOLD:
            raise InvalidState("routing", f"the threshold is {self.threshold}, not within 0..{MOST_THRESHOLD:g}")

    def shares(self) -> dict[str, float]:
        """Return the row as executed: receiver -> probability."""
        row = self.policy.executed(self.row)
        return {name: float(p) for name, p in zip(self.receivers, row, strict=True)}

    def prices(self) -> dict[str, float]:
        """Return the marginal costs at the last `weigh`: living receiver -> price, its link included [s]."""
        if self._weighed is None:
            return {}
        return {receiver.name: receiver.delta_s for receiver in self._weighed.receivers if receiver.alive}
