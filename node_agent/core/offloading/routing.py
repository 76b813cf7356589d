"""Routing: an offloader's view of its receivers, and the row by which it spreads its tasks over them."""

import dataclasses
import random
from collections.abc import Collection, Mapping

import numpy as np
from msgspec.structs import replace

from node_agent.core.config import NodeConfig
from node_agent.core.offloading.neighbour import FREE, SILENT_AFTER, UNHEARD, Receiver
from node_agent.core.offloading.spreading import spreading
from node_agent.core.outbox import Outbox
from node_agent.dtoee.queueing import Array, measured_link_marginal_s, transmission_s
from node_agent.errors import InvalidState, refuse_negative
from node_agent.policies import make_policy
from node_agent.policies.answers import ROW_TOLERANCE, WrongAnswer
from node_agent.policies.base import KnownReceiver, Prospect, ThresholdView
from node_agent.policies.checked import CheckedPolicy
from node_agent.wire import MOST_THRESHOLD, Assignment, Status

EXPIRY_SLOTS = 5  # slots after which a receiver's prices no longer count
MUCH_CHANGED = 1.2  # factor of a change of the service rate from which the row reacts at once

FASTEST_BYTE_PER_S = 1.25e9  # 10 Gbit/s: a higher rate is an error of measurement [B/s]


class Routing:
    """A node's receivers, its row of offloading probabilities over them, and the policy that sets the row."""

    def __init__(self, config: NodeConfig, outbox: Outbox) -> None:
        policy = make_policy(config.policy, config.parameters, theta_s=config.theta_s)
        self.policy = CheckedPolicy(policy, config.policy)
        self.threshold: float | None = None if config.is_device or config.is_last_stage else self.policy.first_threshold
        expiry_s = EXPIRY_SLOTS * config.slot_s
        self.receivers = {
            name: Receiver(name, expiry_s=expiry_s, price=config.hop_prices.get(name, FREE))
            for name in config.receivers
        }
        self._order = tuple(self.receivers.values())
        count = len(self._order)
        # Only kept here: a policy is given the row and returns the next one.
        self.row: Array = np.full(count, 1 / count) if count else np.zeros(0)
        self.changed = False  # a receiver has fallen silent or come back since the flag was last cleared
        self.leaving_per_s = 0.0  # w, announced rate of the tasks that leave this node in this round [task/s]
        self._slot_s = config.slot_s
        self._outbox = outbox
        self._random = random.Random(f"{config.seed}/{config.name}")
        self._spreading = spreading(config.draws, count, self._random)
        self._drawn_from: tuple[Array, list[bool]] | None = None  # row and usable receivers that `_spreading` follows
        self._weighed: Prospect | None = None  # prospect of the last `weigh`
        self.view: ThresholdView | None = None  # after the last round of a server, if its policy prices exits
        self._priced_row = self.row  # at that time: the row that the receivers' arrival rates include

    def choose(self, avoid: Collection[str] = ()) -> Receiver | None:
        """Return the receiver that the policy chooses for a task; None if all living receivers are in `avoid`."""
        usable = [r.alive and r.name not in avoid for r in self._order]
        if not any(usable):
            return None
        by_row = self.policy.status_every_s is None
        return self._draw(usable) if by_row else self._pick(self._candidates(usable))

    def _draw(self, usable: list[bool]) -> Receiver:
        """Draw a usable receiver from the row as executed; uniformly, if the row gives none of them any weight."""
        if self._draws_change(usable):
            self._follow(self.policy.executed(self.row), usable)
        return self._order[self._spreading.one()]

    def _draws_change(self, usable: list[bool]) -> bool:
        return self._drawn_from is None or self._drawn_from[0] is not self.row or self._drawn_from[1] != usable

    def _follow(self, row: Array, usable: list[bool]) -> None:
        weights = np.where(usable, row, 0.0)
        if weights.sum() <= 0:
            weights = np.array(usable, dtype=np.float64)
        self._spreading.follow(weights.tolist())
        self._drawn_from = (self.row, usable)

    def _candidates(self, usable: list[bool]) -> list[Receiver]:
        """Return the receivers of which the policy picks one: all usable ones, or those drawn by the row.

        In the second case the first one follows the row, as without a choice.

        Receivers that only the floor keeps in the row are drawn, too, but rarely: one of them may have become cheap.
        """
        most = self.policy.choices
        if not most:
            return [r for r, usable_now in zip(self._order, usable, strict=True) if usable_now]
        if self._draws_change(usable):
            self._follow(self.row, usable)
        planned = self._spreading.one()
        others = range(len(usable)) if sum(usable) <= most else self._spreading.several(most)
        return [self._order[k] for k in (planned, *(k for k in others if k != planned and usable[k]))]

    def _pick(self, usable: list[Receiver]) -> Receiver:
        """Let the policy pick one of some usable receivers by the state of the queues."""
        shares = dict(zip(self.receivers, self.policy.executed(self.row).tolist(), strict=True))
        now_s, fresh = self._outbox.now_s, self.policy.fresh
        candidates = [r.candidate(shares[r.name], now_s, fresh=fresh) for r in usable]
        return usable[self.policy.pick(candidates, self._random)]

    def status(self, name: str, status: Status) -> None:
        """Take a receiver's status. The policy reacts at once if the receiver's service rate has changed much."""
        receiver = self.receivers.get(name)
        if receiver is None:
            return
        known_per_s = 0.0 if receiver.report is None else receiver.report.service_per_s
        if receiver.stated(status, self._outbox.now_s) and receiver.report is not None:
            change = receiver.report.service_per_s / known_per_s
            if max(change, 1 / change) >= MUCH_CHANGED and receiver.alive:
                self._react()

    def _react(self) -> None:
        """Let the policy move the row at once, within the living receivers."""
        now = self.prospect(stale=False)
        scaled = [
            known._replace(report=replace(known.report, arrival_per_s=known.report.arrival_per_s * receiver.flow_scale))
            for known, receiver in zip(now.receivers, self._order, strict=True)
        ]
        prospect = Prospect(tuple(scaled), now.stale, now.leaving_per_s)
        row = np.where(prospect.alive, self.policy.react(self.row, prospect), 0.0)
        if row.sum() > 0:
            self.row = row / row.sum()
        for receiver, p, priced in zip(self._order, self.row.tolist(), self._priced_row.tolist(), strict=True):
            receiver.flow_scale = p / priced if priced > 0 else 1.0

    def onward_delay_s(self, remaining_ratio: float, return_s: float) -> float:
        """Return the mean time that a task, or its result, still needs after this server, as the queues are now [s].

        (1 - I) ret + I sum_k p_k delay_k over the receivers that are known; ret alone without one: every task exits.

        Args:
            remaining_ratio: I, share of the tasks that continue, 0..1.
            return_s: ret, mean time of a result from here to its device [s].
        """
        total_s = kept = 0.0
        for receiver, share in zip(self._order, self.policy.executed(self.row).tolist(), strict=True):
            delay_s = receiver.predicted_delay_s(self._outbox.now_s, fresh=self.policy.fresh)
            if share > 0 and delay_s is not None:
                total_s, kept = total_s + share * delay_s, kept + share
        if self.threshold is None or not kept:
            return return_s
        return (1 - remaining_ratio) * return_s + remaining_ratio * total_s / kept

    def task_threshold(self, receiver: Receiver | None) -> float | None:
        """Return the threshold of a task that goes to `receiver` if it goes on; None at the last stage.

        It is the server's own without a receiver, and before the first round.
        """
        view, threshold = self.view, self.threshold
        if receiver is None or view is None or threshold is None:
            return threshold
        if view.threshold != threshold:  # it has moved since
            view = self.view = dataclasses.replace(view, threshold=threshold)
        candidate = receiver.candidate(self.shares()[receiver.name], self._outbox.now_s, fresh=self.policy.fresh)
        return self.policy.task_threshold(view, candidate)

    def start_slot(self) -> None:
        """Begin a slot whose rounds follow: count anew, and prepare the policy."""
        self.count_slot()
        self.policy.start_slot()

    def count_slot(self) -> None:
        """Begin a slot: the tasks sent in the last one become `sent`."""
        for receiver in self._order:
            receiver.sent, receiver.sent_in_slot = receiver.sent_in_slot, 0

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
            receiver.returned()
            self.changed = True
        receiver.missed, receiver.suspect = 0, False
        return back

    def lost_contact(self, receiver: Receiver, why: str) -> None:
        """Give up a receiver that does not answer: no task is sent to it until it does."""
        if receiver.alive:
            self._outbox.note("receiver-silent", f"{receiver.name}: {why}")
            self.changed = True
        receiver.suspect = True

    def missed_round(self, name: str) -> None:
        """Count a round in which a receiver did not answer."""
        receiver = self.receivers[name]
        receiver.missed += 1
        if receiver.missed == SILENT_AFTER and not receiver.suspect:
            self._outbox.note("receiver-silent", f"{name}: no report in {SILENT_AFTER} rounds")
            self.changed = True

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
        self._priced_row = self.row
        for receiver, known, p in zip(self._order, self._weighed.receivers, self.row.tolist(), strict=True):
            receiver.own_per_s, receiver.flow_scale = self.leaving_per_s * p, 1.0
            receiver.link_waiting_s = known.link_marginal_s - known.link_s
        return self._weighed

    def prospect(self, *, stale: bool) -> Prospect:
        """Return the present knowledge of the receivers, with links priced at the flow that the row sends over them."""
        known = zip(self._order, self._plannable(), self.row.tolist(), strict=True)
        receivers = tuple(
            [
                KnownReceiver(
                    r.name, alive, r.report or UNHEARD, r.link.transfer_s, self._link_marginal_s(r, p),
                    r.link.byte_per_s, r.sent, r.return_correction_s, r.energy_s,
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

    def byte_per_s(self, receiver: Receiver, task_bytes: int) -> float:
        """Return the rate of a link [B/s]: measured with larger probes, or by the times of tasks and small messages.

        Args:
            receiver: the receiver at the end of the link.
            task_bytes: usual size of a task's tensor [B].
        """
        link = receiver.link
        if link.byte_per_s > 0:
            return link.byte_per_s
        busy_s = float(transmission_s(link.transfer_s, link.small_s, receiver.sent / self._slot_s))
        return task_bytes / max(busy_s, task_bytes / FASTEST_BYTE_PER_S)

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
        self._spreading.validate()
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
