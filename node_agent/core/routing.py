"""What an offloader knows of its receivers, and how it spreads its tasks over them."""

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
from node_agent.wire import MOST_THRESHOLD, Assignment, Report

SILENT_AFTER = 2  # rounds without an answer

# Stands for a receiver that has not reported yet: plans leave it out, a choice for a single task takes it as it is.
UNHEARD = Report(
    slot=0, round=0, marginal_s=0.0, best_s=0.0, local_s=0.0, onward_s=0.0, onward_delay_s=0.0, curvature_s2=0.0,
    offloaders=1, arrival_per_s=0.0, service_per_s=1.0, variability=0.0, threshold=0.0, remaining_ratio=0.0,
    backlog=0, onward_paths=((1.0, ()),), offer_s=0.0, done=False,
)  # fmt: skip


@dataclass(slots=True)
class Receiver:
    """One receiver as its offloader sees it."""

    name: str
    link: LinkTime = field(default_factory=LinkTime)
    report: Report | None = None
    missed: int = 0  # rounds in a row it did not answer
    suspect: bool = False  # it left a task unacknowledged and has not been heard since
    told_backlog: int = 0  # tasks before it or in service, as it last said
    unacked: int = 0  # tasks sent there that it has not taken over yet
    sent_in_slot: int = 0  # tasks sent there since the start of the slot
    sent: int = 0  # in the slot before
    # (1 - I) (ret - mean ret): what its results cost this device beyond the mean of all devices, which it reports [s]
    return_correction_s: float = 0.0

    @property
    def backlog(self) -> int:
        """Tasks there as last told, and those on their way."""
        return self.told_backlog + self.unacked

    def set_out(self) -> None:
        """A task is on its way there."""
        self.sent_in_slot += 1
        self.unacked += 1

    def settle(self, told: int | None = None) -> None:
        """A task on its way has been taken over (and the receiver `told` its queue) or is given up."""
        self.unacked -= 1
        if told is not None:
            self.told_backlog = told

    def reported(self, report: Report, back_s: float | None) -> None:
        """It has reported; to a device, the report was `back_s` on its way, as a result from there would be."""
        self.report = report
        self.link.observe_small(report.offer_s)
        self.told_backlog = report.backlog
        if back_s is not None:
            exiting = 1 - report.remaining_ratio
            self.return_correction_s = exiting * (self.link.observe_back(back_s) - report.return_s)

    @property
    def exit_return_s(self) -> float:
        """Mean time that a task sent there pays for a result that leaves there, (1 - I) ret, as far as known [s]."""
        if self.report is None:
            return 0.0
        return (1 - self.report.remaining_ratio) * self.report.return_s + self.return_correction_s

    @property
    def alive(self) -> bool:
        """Whether tasks may be sent there."""
        return self.missed < SILENT_AFTER and not self.suspect

    def validate(self) -> None:
        """Raise InvalidState if a count or a time is negative."""
        refuse_negative(
            f"receiver {self.name}", missed=self.missed, told_backlog=self.told_backlog, unacked=self.unacked,
            sent_in_slot=self.sent_in_slot, sent=self.sent,
        )  # fmt: skip
        if not math.isfinite(self.return_correction_s):
            raise InvalidState(f"receiver {self.name}", f"return_correction_s is {self.return_correction_s}")
        self.link.validate(self.name)


class Routing:
    """The row of offloading probabilities of one node, its receivers, and the policy that joins the two."""

    def __init__(self, config: NodeConfig, outbox: Outbox) -> None:
        policy = make_policy(config.policy, config.parameters, theta_s=config.theta_s)
        self.policy = CheckedPolicy(policy, config.policy)
        self.threshold: float | None = (
            None if config.is_device or config.is_last_stage else self.policy.first_threshold
        )
        self.receivers = {name: Receiver(name) for name in config.receivers}
        self._order = tuple(self.receivers.values())
        count = len(self._order)
        # The one place where the row is kept: policies get it and give the next one.
        self.row: Array = np.full(count, 1 / count) if count else np.zeros(0)
        self.leaving_per_s = 0.0  # w, rate of the tasks that leave this node, as announced in this round
        self._slot_s = config.slot_s
        self._outbox = outbox
        self._random = random.Random(f"{config.seed}/{config.name}")
        self._drawn_from: tuple[Array, list[bool]] | None = None  # what `_cumulative` was made of
        self._cumulative: list[float] = []
        self._weighed: Prospect | None = None  # by which the row was weighed last

    def choose(self, avoid: Collection[str] = ()) -> Receiver | None:
        """A receiver for one task, as the policy has it; None if all living ones are to be avoided."""
        usable = [r.alive and r.name not in avoid for r in self._order]
        if not any(usable):
            return None
        if self.policy.status_every_s is None:
            chosen = self._draw(usable)
        else:
            chosen = self._pick([r for r, usable_now in zip(self._order, usable, strict=True) if usable_now])
        return chosen

    def _draw(self, usable: list[bool]) -> Receiver:
        """One of the usable receivers, by the row as it is executed; by chance where the row has none of them."""
        if self._drawn_from is None or self._drawn_from[0] is not self.row or self._drawn_from[1] != usable:
            weights = np.where(usable, self.policy.executed(self.row), 0.0)
            if weights.sum() <= 0:
                weights = np.array(usable, dtype=np.float64)
            self._cumulative = list(accumulate(weights.tolist()))
            self._drawn_from = (self.row, usable)
        return self._random.choices(self._order, cum_weights=self._cumulative)[0]

    def _pick(self, usable: list[Receiver]) -> Receiver:
        """One of the usable receivers, by the state of their queues."""
        shares = dict(zip(self.receivers, self.policy.executed(self.row).tolist(), strict=True))
        candidates = [
            Candidate(
                share=shares[r.name],
                link_s=r.link.transfer_s,
                backlog=r.backlog,
                service_per_s=(r.report or UNHEARD).service_per_s,
                onward_delay_s=(r.report or UNHEARD).onward_delay_s + r.return_correction_s,
                exit_return_s=r.exit_return_s,
            )
            for r in usable
        ]
        return usable[self.policy.pick(candidates, self._random)]

    def told_backlog(self, name: str, backlog: int) -> None:
        """A receiver has said how many tasks are before it or in service."""
        receiver = self.receivers.get(name)
        if receiver is not None:
            receiver.told_backlog = backlog

    def start_slot(self) -> None:
        """A new slot begins: what was sent in the last one is known now."""
        for receiver in self._order:
            receiver.sent, receiver.sent_in_slot = receiver.sent_in_slot, 0
        self.policy.start_slot()

    def any_receiver(self) -> Receiver:
        """Any receiver, for a task that has nowhere better to go."""
        return self._random.choice(self._order)

    def heard(self, name: str) -> bool:
        """A receiver has given a sign of life; True if it had been given up."""
        receiver = self.receivers.get(name)
        if receiver is None or (receiver.missed == 0 and not receiver.suspect):
            return False
        back = not receiver.alive
        if back:
            self._outbox.note("receiver-back", f"{name} answers again")
            receiver.told_backlog = 0  # what is on its way there stays so until it is acknowledged or given up
        receiver.missed, receiver.suspect = 0, False
        return back

    def lost_contact(self, receiver: Receiver, why: str) -> None:
        """A receiver left a task unacknowledged: nothing is sent there until it is heard again."""
        if receiver.alive:
            self._outbox.note("receiver-silent", f"{receiver.name}: {why}")
        receiver.suspect = True

    def missed_round(self, name: str) -> None:
        """A receiver did not answer in a round."""
        receiver = self.receivers[name]
        receiver.missed += 1
        if receiver.missed == SILENT_AFTER and not receiver.suspect:
            self._outbox.note("receiver-silent", f"{name}: no report in {SILENT_AFTER} rounds")

    def move_threshold(self, view: ThresholdView) -> bool:
        """Let the policy move the threshold; True if it has."""
        self.threshold = self.policy.move_threshold(view)
        return self.threshold != view.threshold

    def follow(self, assignment: Assignment) -> None:
        """Do as the coordinator of a central policy has decided; without shares the row stays."""
        if assignment.shares:
            row = np.array([assignment.shares.get(name, 0.0) for name in self.receivers])
            if row.sum() > 0:
                self.row = row / row.sum()
            else:  # a policy's plan is checked where it is made: this is no coordinator of ours
                self._outbox.note("unexpected-message", "Assignment without a share for any receiver of this node")
        if self.threshold is not None and assignment.threshold is not None:
            self.threshold = assignment.threshold

    def update_row(self, prospect: Prospect) -> None:
        """Let the policy move the row in answer to the reports of a round.

        What it gives to dead receivers goes to the living ones in proportion, so that the flow which is announced to
        them is the one that comes.

        Raises:
            PolicyFailed: the policy's answer is no row, or has nothing for any receiver that lives.
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
        """Restrict the row to the receivers that can be planned with, and price it; None if there are none.

        `prices` are those of the last time. `stale`: a living receiver did not answer this round.
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
        """What is known of the receivers now; links are priced at the flow that the row sends over them."""
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
        """Which receivers can be planned with: those that answer and have reported at least once."""
        return [r.alive and r.report is not None for r in self._order]

    def _link_marginal_s(self, receiver: Receiver, p: float) -> float:
        """What one more task per second adds to the time on a link, at the planned flow w p: t' of a queued link.

        The part of a task's time that a small message does not need is transmission, and waiting for earlier tasks
        at the flow that was sent; without the waiting, the flow that is planned can be priced.
        """
        link, sent_per_s = receiver.link, receiver.sent / self._slot_s
        return measured_link_marginal_s(link.transfer_s, link.small_s, sent_per_s, self.leaving_per_s * p)

    def validate(self, under_way: Mapping[str, int]) -> None:
        """Raise InvalidState unless the row sums to one and the tasks counted per receiver are those `under_way`."""
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
        """The row as it is executed, by receiver."""
        row = self.policy.executed(self.row)
        return {name: float(p) for name, p in zip(self.receivers, row, strict=True)}

    def prices(self) -> dict[str, float]:
        """Marginal cost of each living receiver when the row was last weighed, its link included [s]."""
        if self._weighed is None:
            return {}
        return {receiver.name: receiver.delta_s for receiver in self._weighed.receivers if receiver.alive}
