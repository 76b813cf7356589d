"""The common part of devices' and servers' rounds: a round on the side of the offloader, and the slot's decision."""

from node_agent.core.config import NodeConfig
from node_agent.core.offloading.neighbour import Receiver
from node_agent.core.offloading.routing import Routing
from node_agent.core.outbox import Outbox
from node_agent.errors import InvalidState
from node_agent.records import DecisionRecord
from node_agent.wire import FlowPath, Offer, Report

Round = tuple[int, int]  # slot, round within the slot; both from 0


class Sweep:
    """A round on the side of the offloader: offers to all receivers, and the reports still awaited."""

    def __init__(self, config: NodeConfig, routing: Routing, outbox: Outbox) -> None:
        self._config = config
        self._routing = routing
        self._outbox = outbox
        self._round: Round = (-1, -1)
        self._awaited: set[str] = set()
        self.all_done = False  # all reports of the round say `done`
        self.stale = False  # a living receiver did not report in the round

    def offer(self, number: Round, paths: list[FlowPath], *, done: bool, last: bool) -> bool:
        """Send the offers of a round, and set the timer for its reports.

        A silent receiver gets one offer a slot, as a question whether it is back; more would only queue up.

        Args:
            number: the round.
            paths: the flow to divide among the receivers, by path: rate [task/s], thresholds passed.
            done: no device upstream needs a further round.
            last: this is the last round of the slot.

        Returns:
            False if no receiver is alive, so that no report will come.
        """
        self._round, self.all_done, self.stale = number, True, False
        self._awaited = {r.name for r in self._routing.receivers.values() if r.alive}
        self._routing.leaving_per_s = sum(flow for flow, _ in paths)
        for name, share in zip(self._routing.receivers, self._routing.row.tolist(), strict=True):
            if name not in self._awaited and number[1] > 0:
                continue
            split = tuple([(flow * share, passed) for flow, passed in paths])
            flow_per_s = sum([flow for flow, _ in split])
            return_s = self._routing.receivers[name].link.back_s if self._config.is_device else None
            byte_per_s = self._link_rate(self._routing.receivers[name])
            offer = Offer(*number, flow_per_s, split, self._outbox.now_s, done, last, return_s, byte_per_s)
            self._outbox.send_control(name, offer)
        stages_behind = 2 * self._config.stages - self._config.stage
        self._outbox.timer(("reports",), self._config.timeouts.round_s * stages_behind)
        return bool(self._awaited)

    def _link_rate(self, receiver: Receiver) -> float | None:
        """Return the rate of a link [B/s] for the budgets at both ends; None if there are no budgets."""
        budget, form = self._outbox.budget, self._config.onward_form
        if budget is None or form is None:
            return None
        byte_per_s = self._routing.byte_per_s(receiver, form.usual.byte_count)
        budget.learn(receiver.name, byte_per_s, self._outbox.now_s)
        return byte_per_s

    def report(self, peer: str, report: Report, received_s: float) -> bool:
        """Take a report that arrived at `received_s` [s]; return True if it was the last one awaited."""
        receiver = self._routing.receivers.get(peer)
        if receiver is None or (report.slot, report.round) != self._round:
            return False
        thresholds_left = self._config.stages - self._config.stage - 1  # stages from the receiver on that have one
        if {len(passed) for _, passed in report.onward_paths} != {thresholds_left}:
            self._outbox.note("unexpected-message", f"Report from {peer} with thresholds of another model")
            return False
        receiver.reported(report, received_s - report.sent_s if self._config.is_device else None)
        self.all_done = self.all_done and report.done
        if peer not in self._awaited:
            return False
        self._awaited.discard(peer)
        if self._awaited:
            return False
        self._outbox.cancel(("reports",))
        return True

    @property
    def awaiting(self) -> bool:
        """True while reports of the round are missing."""
        return bool(self._awaited)

    def give_up(self) -> None:
        """Stop waiting for reports of this round, and count it as missed by the receivers still awaited."""
        for name in sorted(self._awaited):
            self._routing.missed_round(name)
        self.stale = any(self._routing.receivers[name].alive for name in self._awaited)
        self._awaited.clear()

    def validate(self) -> None:
        """Raise InvalidState unless only receivers' reports are awaited, and a timer bounds the wait."""
        if strangers := self._awaited - self._routing.receivers.keys():
            raise InvalidState("sweep", f"reports of {sorted(strangers)} are awaited, who are no receivers")
        if self._awaited and min(self._round) < 0:
            raise InvalidState("sweep", f"reports of {sorted(self._awaited)} are awaited in no round: {self._round}")
        self._outbox.validate_timers(("reports",), {("reports",)} if self._awaited else set())

    def abandon(self) -> None:
        """Forget the round: a newer one has begun."""
        self._round = (-1, -1)
        self._awaited.clear()
        self._outbox.cancel(("reports",))


def decision(
    config: NodeConfig,
    routing: Routing,
    outbox: Outbox,
    number: Round,
    *,
    arrival_per_s: float,
    service_per_s: float | None,
    gap: float | None,
) -> DecisionRecord:
    """Return the record of a node's decision at the end of round `number`.

    Args:
        arrival_per_s: arrival rate, measured or announced [task/s].
        service_per_s: measured service rate [task/s]; None for a device.
        gap: a device's certified gap after its last round; None for a server, or if no round has ended.
    """
    return DecisionRecord(
        time_s=outbox.now_s,
        node=config.name,
        slot=number[0],
        rounds=number[1] + 1,
        offload=routing.shares(),
        threshold=routing.threshold,
        prices=routing.prices(),
        gap=gap,
        arrival_rate_per_s=arrival_per_s,
        service_rate_per_s=service_per_s,
        link_s={r.name: r.link.transfer_s for r in routing.receivers.values() if r.alive},
    )
