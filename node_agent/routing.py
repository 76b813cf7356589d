"""What an offloader knows of its receivers, and how it spreads its tasks over them."""

import random
from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np

from node_agent.config import NodeConfig
from node_agent.dtoee.queueing import Array, Mask
from node_agent.estimators import LinkTime
from node_agent.outbox import Outbox
from node_agent.policies import make_policy
from node_agent.policies.base import Prospect
from node_agent.wire import Report

SILENT_AFTER = 2  # rounds without an answer


@dataclass(slots=True)
class Receiver:
    """One receiver as its offloader sees it."""

    name: str
    link: LinkTime = field(default_factory=LinkTime)
    report: Report | None = None
    missed: int = 0  # rounds in a row it did not answer
    suspect: bool = False  # it left a task unacknowledged and has not been heard since

    @property
    def alive(self) -> bool:
        """Whether tasks may be sent there."""
        return self.missed < SILENT_AFTER and not self.suspect


class Routing:
    """The row of offloading probabilities of one node, its receivers, and the policy that joins the two."""

    def __init__(self, config: NodeConfig, outbox: Outbox) -> None:
        self.policy = make_policy(config.policy, config.parameters, theta_s=config.theta_s)
        self.threshold: float | None = (
            None if config.is_device or config.is_last_stage else self.policy.first_threshold
        )
        self.receivers = {name: Receiver(name) for name in config.receivers}
        self._order = tuple(self.receivers.values())
        count = len(self._order)
        self.row: Array = np.full(count, 1 / count) if count else np.zeros(0)
        self._outbox = outbox
        self._random = random.Random(f"{config.seed}/{config.name}")

    @property
    def alive(self) -> Mask:
        """Which receivers can be planned with: they answer, and have reported at least once; shape (K,)."""
        return np.array([r.alive and r.report is not None for r in self._order], dtype=np.bool_)

    def choose(self, avoid: Collection[str] = ()) -> Receiver | None:
        """Draw a receiver for one task from the row; None if all living ones are to be avoided."""
        usable = [r.alive and r.name not in avoid for r in self._order]
        weights = np.where(usable, self.policy.executed(self.row), 0.0)
        if weights.sum() <= 0:
            weights = np.array(usable, dtype=np.float64)
        if weights.sum() <= 0:
            return None
        return self._random.choices(self._order, weights.tolist())[0]

    def any_receiver(self) -> Receiver:
        """Any receiver, for a task that has nowhere better to go."""
        return self._random.choice(self._order)

    def heard(self, name: str) -> bool:
        """A receiver has given a sign of life; True if it had been given up."""
        receiver = self.receivers.get(name)
        if receiver is None:
            return False
        back = not receiver.alive
        if back:
            self._outbox.note("receiver-back", f"{name} answers again")
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

    def update_row(self, prospect: Prospect) -> None:
        """Let the policy move the row in answer to the reports of a round."""
        self.row = self.policy.update_row(self.row, prospect)

    def prospect(self, *, stale: bool) -> Prospect | None:
        """What is known of the receivers now; None if none of them can be planned with."""
        alive = self.alive
        if not alive.any():
            return None
        reports = [r.report for r in self._order]
        self._restrict_row(alive)

        def column(name: str) -> Array:
            return np.array([getattr(report, name) if report else 0.0 for report in reports])

        return Prospect(
            names=tuple(self.receivers),
            alive=alive,
            stale=stale,
            link_s=np.array([r.link.transfer_s for r in self._order]),
            link_byte_per_s=np.array([r.link.byte_per_s for r in self._order]),
            marginal_s=column("marginal_s"),
            best_s=column("best_s"),
            local_s=column("local_s"),
            onward_s=column("onward_s"),
            curvature_s2=column("curvature_s2"),
            service_per_s=column("service_rate_per_s"),
            paths=tuple(report.onward_paths if report else ((1.0, ()),) for report in reports),
        )

    def _restrict_row(self, alive: Mask) -> None:
        kept = np.where(alive, self.row, 0.0)
        self.row = kept / kept.sum() if kept.sum() > 0 else alive / alive.sum()

    def shares(self) -> dict[str, float]:
        """The row as it is executed, by receiver."""
        row = self.policy.executed(self.row)
        return {name: float(p) for name, p in zip(self.receivers, row, strict=True)}

    def prices(self) -> dict[str, float]:
        """Marginal cost of each receiver that has reported, its link included [s]."""
        return {
            r.name: r.link.transfer_s + r.report.marginal_s for r in self._order if r.report is not None
        }
