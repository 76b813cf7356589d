"""The configuration phase of a slot: rounds of offers towards the last stage and reports back.

A round begins at the devices: each sends its receivers the flow that it plans to send them. A server that has the
offers of all its offloaders knows its arrival rate, and sends offers to its own receivers. The last stage answers with
marginal costs. Every node whose receivers have all reported computes its own marginal cost (DTO-R), reports it, and
updates its row (DTO-O).

Devices start further rounds until each has certified a small gap, or a gap that falls no further, or until the rounds
or the time are used up. Their last offers announce the end. Nodes wait for a silent neighbour in SILENT_AFTER rounds,
then skip it until it answers again.
"""

import msgspec

from node_agent.core.config import NodeConfig
from node_agent.core.device import DeviceTasks
from node_agent.core.events import TimerKey
from node_agent.core.offloading.neighbour import SILENT_AFTER
from node_agent.core.offloading.routing import Routing
from node_agent.core.outbox import Outbox
from node_agent.core.planning.pricing import PricedServer, Pricing
from node_agent.core.planning.sweep import Round, Sweep, decision
from node_agent.core.returns import ReturnTimes
from node_agent.core.server import ServerTasks
from node_agent.dtoee.exit_table import ExitTable
from node_agent.errors import InvalidState, refuse_negative
from node_agent.policies.base import Prospect
from node_agent.wire import Offer, Report

ROUNDS_LEFT = 1.5  # a round is the last one if the slot has no time for more than this many like the one before
SETTLE_ROUNDS = 4  # a phase ends at a server that has waited for this many rounds of the greatest length in vain


class DeviceRounds:
    """A device's side of the configuration phase: it starts the rounds and ends them."""

    def __init__(self, config: NodeConfig, routing: Routing, tasks: DeviceTasks, outbox: Outbox) -> None:
        self._config = config
        self._routing = routing
        self._tasks = tasks
        self._outbox = outbox
        self._sweep = Sweep(config, routing, outbox)
        self._number: Round = (-1, -1)
        self._slot_end_s = 0.0
        self._round_began_s = 0.0
        self._rate_per_s = config.declared_rate_per_s
        self._gaps: list[float] = []  # after each round of this slot
        self._decided = True
        self._done = False
        self._last = False

    def start_slot(self, slot: int, *, at_rest: bool) -> None:
        """Begin the configuration phase of a slot; one that is still going on ends with its present row.

        A device at rest plays one round only: it announces its small flow, and that servers need not wait for it. It
        takes part again from the first slot after a task.
        """
        if not self._decided:
            self._decide()
        self._rate_per_s = self._tasks.rate.update(self._outbox.now_s)
        self._slot_end_s = (slot + 1) * self._config.slot_s
        self._gaps, self._decided, self._done = [], False, at_rest
        self._routing.start_slot()
        self._start_round((slot, 0), last=at_rest or self._routing.policy.most_rounds == 1)

    def _start_round(self, number: Round, *, last: bool) -> None:
        self._number, self._last, self._round_began_s = number, last, self._outbox.now_s
        if not self._sweep.offer(number, [(self._rate_per_s, ())], done=self._done, last=last):
            self._outbox.cancel(("reports",))  # no receiver to wait for: the next slot tries again

    def report(self, peer: str, report: Report, received_s: float) -> None:
        """Take a receiver's report that arrived at `received_s` [s]; the last one ends the round."""
        if self._sweep.report(peer, report, received_s):
            self._end_round()

    def look(self) -> None:
        """Do nothing: measurements count when the next slot begins."""

    def timer(self, _key: TimerKey) -> None:
        """End the round without the reports that are missing."""
        self._sweep.give_up()
        self._end_round()

    def _end_round(self) -> None:
        policy, slot, played = self._routing.policy, self._number[0], self._number[1] + 1
        prospect = self._routing.weigh(stale=self._sweep.stale)
        if prospect is None:
            return  # no receiver answers: the next slot tries again
        self._gaps.append(policy.gap(self._routing.row, prospect))  # the gap of the row that has just been priced
        if not self._last or policy.most_rounds == 1:
            self._routing.update_row(prospect)
        if self._last:
            self._decide()
            return
        agreed = self._done and self._sweep.all_done and played >= policy.move_every
        self._done = policy.settled(self._gaps)
        round_s = self._outbox.now_s - self._round_began_s
        late = self._outbox.now_s + ROUNDS_LEFT * round_s >= self._slot_end_s
        self._start_round((slot, played), last=agreed or late or played + 1 >= policy.most_rounds)

    def _decide(self) -> None:
        self._decided = True
        self._outbox.publish(
            decision(
                self._config,
                self._routing,
                self._outbox,
                self._number,
                arrival_per_s=self._rate_per_s,
                service_per_s=None,
                gap=self._gaps[-1] if self._gaps else None,
            )
        )

    def validate(self) -> None:
        """Raise InvalidState if there are more rounds than the policy allows, or more gaps than ended rounds."""
        refuse_negative("rounds", rate_per_s=self._rate_per_s, slot_end_s=self._slot_end_s)
        played, most = self._number[1] + 1, self._routing.policy.most_rounds
        if played > most or len(self._gaps) > max(0, played):
            raise InvalidState("rounds", f"round {played} of at most {most}, with the gaps {self._gaps}")
        self._sweep.validate()


class ServerRounds:
    """A server's side of the configuration phase: it answers offers with reports, and moves its threshold in turn."""

    def __init__(
        self, config: NodeConfig, routing: Routing, tasks: ServerTasks, returns: ReturnTimes, table: ExitTable,
        outbox: Outbox,
    ) -> None:  # fmt: skip
        self._config = config
        self._routing = routing
        self._tasks = tasks
        self._outbox = outbox
        self._sweep = Sweep(config, routing, outbox)
        self.pricing = Pricing(config, routing, tasks, returns, table, outbox)
        self._offers = self.pricing.offers
        self._number: Round = (-1, -1)
        self._offer_s: dict[str, float] = {}
        self._awaited: set[str] = set()
        self._missed = dict.fromkeys(config.offloaders, 0)
        self._moved_in_round: Round = (-1, -1)
        self._decided_slot = -1
        self.remaining_ratio: float | None = None  # I, share of its tasks that continue; None before the first round

    def offer(self, peer: str, offer: Offer, received_s: float) -> None:
        """Take an offloader's offer that arrived at `received_s` [s]; the last one awaited continues the sweep."""
        number = (offer.slot, offer.round)
        if peer not in self._missed or number < self._number:
            return
        self._missed[peer] = 0
        self._offer_s[peer] = received_s - offer.sent_s
        if number > self._number:
            self._begin(number)
        self._offers.take(peer, offer)
        if peer in self._awaited:
            self._awaited.discard(peer)
            if not self._awaited:
                self._outbox.cancel(("offers",))
                self._sweep_on()

    def _begin(self, number: Round) -> None:
        if number[0] > self._number[0]:
            if self._number[0] >= 0:
                self._decide()  # has no effect if the last slot was decided already
            self._routing.start_slot()
            self._tasks.calibrate_if_idle()
            # If it changed during the slot, the rounds would not settle.
            self.pricing.backlog = self._tasks.backlog
        self._number = number
        self._sweep.abandon()
        answering = (name for name, missed in self._missed.items() if missed < SILENT_AFTER)
        self._awaited = {name for name in answering if not self._rests(name)}
        self._outbox.timer(("offers",), self._config.timeouts.round_s * self._config.stage)
        self._outbox.cancel(("settle",))

    def _rests(self, name: str) -> bool:
        """True if an offloader has announced that no further offer comes in this slot; its last offer stays valid."""
        offer = self._offers.get(name)
        return offer is not None and offer.last and offer.slot == self._number[0] and offer.round < self._number[1]

    def look(self) -> None:
        """Do nothing: measurements count when the next round begins."""

    def timer(self, key: TimerKey) -> None:
        """Go on without missing offers or reports, or end a phase in which no further round has come."""
        if key == ("offers",):
            for name in self._awaited:
                self._missed[name] += 1
                if self._missed[name] >= SILENT_AFTER:
                    self._offers.drop(name)
            self._awaited.clear()
            self._sweep_on()
        elif key == ("reports",):
            self._sweep.give_up()
            self._end_round()
        elif key == ("settle",):
            self._decide()

    def _sweep_on(self) -> None:
        """Send offers for the flow that continues; answer at once at the last stage, or without a receiver."""
        if self._routing.threshold is None:
            self._end_round()
            return
        inflow = self._offers.inflow
        if not self._sweep.offer(self._number, self.pricing.onward_paths(), done=inflow.done, last=inflow.last):
            self._outbox.cancel(("reports",))
            self._end_round()

    def report(self, peer: str, report: Report, received_s: float) -> None:
        """Take a receiver's report that arrived at `received_s` [s]; the last one ends the round."""
        if self._sweep.report(peer, report, received_s):
            self._end_round()

    def _end_round(self) -> None:
        inflow = self._offers.inflow
        priced = self.pricing.price(stale=self._sweep.stale)
        if priced.prospect is not None and not inflow.last:
            self._move_threshold(priced.prospect)
        self.remaining_ratio = min(1.0, priced.load.remaining_ratio)
        self._answer(priced)
        # The row of the last round has been priced and certified, so it stays. A policy of one round updates it here.
        if priced.prospect is not None and (not inflow.last or self._routing.policy.most_rounds == 1):
            self._routing.update_row(priced.prospect)
        if inflow.last:
            self._decide()
        else:
            waits = SETTLE_ROUNDS * 2 * self._config.stages
            self._outbox.timer(("settle",), waits * self._config.timeouts.round_s)

    def _answer(self, priced: PricedServer) -> None:
        done = self._offers.inflow.done
        if priced.prospect is not None:
            done = done and self._sweep.all_done and not self._moved_lately()
        report = self.pricing.report(self._number, priced, done=done)
        for peer, offer in self._offers.items():
            if (offer.slot, offer.round) == self._number:
                self._outbox.send_control(peer, msgspec.structs.replace(report, offer_s=self._offer_s[peer]))

    def _moved_lately(self) -> bool:
        slot, played = self._moved_in_round
        return slot == self._number[0] and self._number[1] - played < self._routing.policy.move_every

    def _move_threshold(self, prospect: Prospect) -> None:
        """Let the policy move the threshold, if it is this server's turn.

        A few servers of each stage may move at a time, since gains are predicted for fixed thresholds of all others.

        Decision 007: a predicted gain above the hysteresis moves a threshold, and no move is taken back
        (docs/decisions/007-threshold-moves-are-predicted.md).
        """
        slot, played = self._number
        policy, peers = self._routing.policy, self._config.peers_in_stage
        turns = min(policy.move_turns, peers)
        turn = (slot + played // policy.move_every) % turns
        if (played + 1) % policy.move_every or self._config.rank % turns != turn:
            return
        if self.pricing.move_threshold(prospect, turns):
            self._moved_in_round = self._number

    def _decide(self) -> None:
        self._outbox.cancel(("settle",))
        if self._decided_slot == self._number[0]:
            return
        self._decided_slot = self._number[0]
        self._outbox.publish(
            decision(
                self._config,
                self._routing,
                self._outbox,
                self._number,
                arrival_per_s=self.pricing.arrival_per_s,
                service_per_s=self._tasks.service_rate_per_s,
                gap=None,
            )
        )

    def validate(self) -> None:
        """Raise InvalidState unless offers come from offloaders that answer, and a timer bounds the wait for others."""
        refuse_negative("rounds", backlog=self.pricing.backlog)
        refuse_negative("rounds missed", **self._missed)
        silent = {name for name, missed in self._missed.items() if missed >= SILENT_AFTER}
        if wrong := (dict(self._offers.items()).keys() | self._awaited) - (self._missed.keys() - silent):
            raise InvalidState("rounds", f"{sorted(wrong)} are silent or no offloaders, but have a part in the round")
        numbers = {name: (offer.slot, offer.round) for name, offer in self._offers.items()}
        early = {name: number for name, number in numbers.items() if number > self._number}
        if early or any(numbers.get(name) == self._number for name in self._awaited):
            awaited = f"{sorted(self._awaited)} are awaited"
            raise InvalidState("rounds", f"in round {self._number}, {awaited}, with the offers {numbers}")
        if self._awaited:
            self._outbox.validate_timers(("offers",), {("offers",)})
        if self._decided_slot > self._number[0] or self._moved_in_round > self._number:
            decided = f"slot {self._decided_slot} is decided, the threshold moved in {self._moved_in_round}"
            raise InvalidState("rounds", f"in round {self._number}, {decided}")
        self._offers.validate()
        self._sweep.validate()
