"""The reports of a server's queue between rounds: at a fixed interval, or by need.

Acknowledgements, reports and statuses state the server's unfinished work. Between them an offloader predicts it
(`queue_estimate`). The server runs the same prediction for every offloader. With an error e of the work, the
offloader's price is wrong by e / (1-rho), for about that long. At its flow f it then sends f e / (1-rho) tasks. So a
status is expected to save the delay f (e / (1-rho))^2, and is sent if that reaches `WORTH_S`. A changed service rate is
sent at once, also while the first late task is still in service. Statuses to an offloader keep a least distance in
time, and the budget of control messages (`core.budget`). A server without tasks sends nothing.

Decision 095: a device refuses by queues that are at most some 0.1 s old
(docs/decisions/095-admission-by-predicted-delay.md).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from node_agent.core.config import NodeConfig
from node_agent.core.events import Event, TimerFired
from node_agent.core.offloading.routing import MUCH_CHANGED, Routing
from node_agent.core.outbox import Outbox
from node_agent.core.server import ServerTasks
from node_agent.dtoee.queue_state import mean_wait_s, work_after_s
from node_agent.dtoee.queueing import RHO_EXTENSION
from node_agent.errors import InvalidState, refuse_negative
from node_agent.wire import Ack, Offer, Report, Status

STATUS_EVERY_S = 0.1  # time between two reports of a queue to devices with a bound, unless the policy states one [s]
WORTH_S = 0.005  # delay that a status must be expected to save [s]
LATE_S = 0.002  # a service is late only if it takes at least this much longer than the mean [s]

LATE = TimerFired(("late",))  # the present task takes longer than usual


@dataclass(slots=True)
class Told:
    """The knowledge of an offloader about this server's queue."""

    flow_per_s: float = 0.0  # flow that it has announced [task/s]
    work_s: float = 0.0  # unfinished work as last stated [s]
    at_s: float = 0.0  # when [s]
    service_per_s: float | None = None  # service rate as last stated [task/s]; None: none
    status_s: float = -math.inf  # when the last status was sent [s]


class Statuses:
    """Reports the server's queue to its offloaders, if the policy chooses by queues or devices have a delay bound."""

    def __init__(
        self, config: NodeConfig, routing: Routing, tasks: ServerTasks,
        onward: Callable[[], tuple[float | None, float]], outbox: Outbox,
    ) -> None:  # fmt: skip
        """`onward` returns I (None before the first round) and the mean time of a result to its device [s]."""
        self._config = config
        self._routing = routing
        self._tasks = tasks
        self._onward = onward
        self._outbox = outbox
        self._told = {name: Told() for name in config.offloaders}
        self._counts = (0, 0)  # tasks arrived and served at the last review
        self._by_need = routing.policy.fresh and routing.policy.status_every_s is not None
        self._least_s = routing.policy.status_every_s or 0.0  # time between two statuses by need to an offloader [s]

    @property
    def every_s(self) -> float | None:
        """Time between two periodic reports [s]; None if no offloader needs any."""
        every_s = None if self._by_need else self._routing.policy.status_every_s
        return STATUS_EVERY_S if every_s is None and self._config.bounded else every_s

    def await_next(self) -> None:
        """Set the timer of the next periodic report, if there is one."""
        if self.every_s is not None:
            self._outbox.timer(("status",), self.every_s)

    def send(self) -> None:
        """Send the periodic reports."""
        periodic = self._routing.policy.status_every_s is not None and not self._by_need
        for offloader in self._config.offloaders if periodic else self._config.bounded:
            self._outbox.send_control(offloader, self._status())
        self.await_next()

    def _status(self, *, rate: bool = True) -> Status:
        tasks = self._tasks
        status = Status(tasks.backlog)
        if self._by_need:
            per_s = tasks.service_rate_per_s if rate else None
            status = Status(tasks.backlog, per_s, work_s=tasks.work_s, sent_s=self._outbox.now_s)
        if self._config.bounded:
            remaining_ratio, return_s = self._onward()
            onward_s = None if remaining_ratio is None else self._routing.onward_delay_s(remaining_ratio, return_s)
            status = Status(tasks.backlog, tasks.service_rate_per_s, onward_s, status.work_s, status.sent_s)
        return status

    def offered(self, peer: str, offer: Offer) -> None:
        """Take the flow that an offloader announces."""
        if peer in self._told:
            self._told[peer].flow_per_s = offer.flow_per_s

    def after(self, event: Event) -> None:
        """After each event: note the queues that messages have stated, and send statuses by need."""
        if not self._by_need:
            return
        for peer, message in self._outbox.messages():
            told = self._told.get(peer)
            if told is not None and isinstance(message, Ack | Report):
                told.work_s, told.at_s = self._tasks.work_s, self._outbox.now_s
                if isinstance(message, Report):
                    told.service_per_s = message.service_per_s
        counts = (self._tasks.arrived, self._tasks.served)
        if counts != self._counts or event == LATE:
            self._counts = counts
            self._review()

    def _review(self) -> None:
        """Send a status to each offloader that would estimate the queue too badly."""
        tasks, now_s, budget = self._tasks, self._outbox.now_s, self._outbox.budget
        work_s, per_s = tasks.work_s, tasks.service_rate_per_s
        varied = tasks.service.variability, tasks.arrival_variability
        total_per_s = sum([told.flow_per_s for told in self._told.values()])
        inside_per_s = min(total_per_s, RHO_EXTENSION * per_s)
        slack, mean_s = 1 - inside_per_s / per_s, mean_wait_s(inside_per_s, per_s, *varied)
        for name, told in self._told.items():
            if told.flow_per_s <= 0 or now_s - told.status_s < self._least_s:
                continue
            known_per_s = told.service_per_s or per_s
            changed = not 1 / MUCH_CHANGED < per_s / known_per_s < MUCH_CHANGED
            # The work, and the estimate, are at most this. It saves the estimate for most offloaders.
            error_s = max(work_s, told.work_s, mean_s) / slack
            if not changed and told.flow_per_s * error_s * error_s >= WORTH_S:
                others_per_s = total_per_s - told.flow_per_s
                expected_s = work_after_s(told.work_s, now_s - told.at_s, others_per_s, known_per_s, *varied)
                error_s = abs(expected_s - work_s) / slack
            worth = told.flow_per_s * error_s * error_s >= WORTH_S
            if (changed or worth) and (budget is None or budget.allows(name, now_s)):
                self._outbox.send_control(name, self._status(rate=changed))
                told.work_s, told.at_s, told.status_s = work_s, now_s, now_s
                if changed or told.service_per_s is None:
                    told.service_per_s = per_s
        self._await_late()

    def _await_late(self) -> None:
        """Set the timer that looks at the present task when it is late, if there is a task."""
        in_service_s = self._tasks.in_service_s
        if in_service_s is not None:
            longest_s = max(1 / self._tasks.service.rate_per_s(), in_service_s)
            self._outbox.timer(LATE.key, MUCH_CHANGED * longest_s + LATE_S - in_service_s)

    def validate(self) -> None:
        """Raise InvalidState if a flow or a time is negative, or no number."""
        for name, told in self._told.items():
            refuse_negative(f"told {name}", flow_per_s=told.flow_per_s, work_s=told.work_s)
            if told.at_s > self._outbox.now_s:
                raise InvalidState(f"told {name}", f"stated at {told.at_s} s, which is to come")
