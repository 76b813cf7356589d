"""Planning by need: nodes exchange offers and reports when something has changed, and are silent otherwise.

There is no configuration phase. An offloader plays a round whenever it has a reason: the rate of its own tasks has
changed, a receiver reports another price or another service rate, falls silent or comes back, or the row still has a
gap. A round is an offer to every receiver and a report from each. A receiver answers at once, unless its own flow has
changed: then it first plays a round of its own, so that a price counts all that lies behind it.

A slot is only an interval of reporting. In every slot each offloader plays at least one round, by which neighbours
notice that they are alive, and publishes its decision. Rows, thresholds and prices carry over.

Offloaders that move at the same time share receivers. So a receiver waits a little for the others that may be moving,
and prices the sum of all. It never waits for one whose last offer says that it is at rest: that offer stays valid.

Decision 101: each offloader plays rounds of its own when something has changed
(docs/decisions/101-nodes-plan-when-something-has-changed.md).
"""

from abc import ABC, abstractmethod

import msgspec

from node_agent.core.budget import Budget
from node_agent.core.config import NodeConfig
from node_agent.core.device import DeviceTasks
from node_agent.core.events import TimerKey
from node_agent.core.offloading.routing import Routing
from node_agent.core.outbox import Outbox
from node_agent.core.planning.pricing import PricedServer, Pricing
from node_agent.core.planning.sweep import Round, Sweep, decision
from node_agent.core.returns import ReturnTimes
from node_agent.core.server import ServerTasks
from node_agent.dtoee.exit_table import ExitTable
from node_agent.errors import InvalidState, refuse_negative
from node_agent.policies.base import Prospect
from node_agent.wire import FlowPath, Offer, Report

NEWS = 0.05  # relative change of a price or a flow that others must learn of
LEAST_PAUSE_S = 0.01  # between two rounds of an offloader [s]
PAUSE_GROWTH = 1.25  # of the pause after every round that leaves a gap
MOST_PAUSE_SLOTS = 0.25  # longest pause, in slots
GATHER = 2.5  # how long a server waits for other moving offloaders, in times of their offers
SILENT_SLOTS = 3.5  # an offer that is older than this many slots no longer counts
REST_SLOTS = 3  # a device at rest plays a round in every slot whose number is a multiple of this


class OwnRounds(ABC):
    """The rounds of an offloader: one at a time, with pauses that grow while a gap does not close."""

    def __init__(self, config: NodeConfig, routing: Routing, outbox: Outbox) -> None:
        self._config = config
        self._routing = routing
        self._outbox = outbox
        self._sweep = Sweep(config, routing, outbox)
        self._slot = -1  # until the first one begins
        self._played = 0  # rounds of this slot
        self._playing = False
        self._wanted = False
        self._began_s = 0.0
        self._pause_s = LEAST_PAUSE_S
        self._gaps: list[float] = []  # of this burst: after each of its rounds
        self._decided = True
        self._budget = outbox.budget = Budget(routing.policy.message_share)

    # Reasons

    def want(self) -> None:
        """Play a round as soon as the pause is over; during a round, another one after it."""
        if self._playing:
            self._wanted = True
            return
        now_s = self._outbox.now_s
        waits_s = [self._budget.wait_s(r.name, now_s) for r in self._routing.receivers.values() if r.alive]
        due_s = max(self._began_s + self._pause_s, now_s + max(waits_s, default=0.0))
        if now_s >= due_s:
            self._play()
        else:
            self._outbox.timer(("round",), due_s - now_s)

    def news(self) -> None:
        """Play a round because something has changed: momentum and pause start anew."""
        if self._slot >= 0:  # else the run has not started
            self._begin_burst()
            self.want()

    def _begin_burst(self) -> None:
        if not self._gaps and not self._playing:
            self._routing.policy.start_slot()
        self._pause_s = LEAST_PAUSE_S

    # A round

    def _play(self) -> None:
        self._outbox.cancel(("round",))
        self._wanted, self._began_s = False, self._outbox.now_s
        number = (self._slot, self._played)
        self._played += 1
        self._playing = self._sweep.offer(number, self._outflow(), done=self._at_rest, last=False)
        if not self._playing:
            self._outbox.cancel(("reports",))
            self._end()

    @abstractmethod
    def _outflow(self) -> list[FlowPath]:
        """Return the flow to divide among the receivers, by path."""

    @property
    def _at_rest(self) -> bool:
        """True if the row needs no further round, as far as it is known when a round begins."""
        return bool(self._gaps) and self._routing.policy.settled(self._gaps)

    def report(self, peer: str, report: Report, received_s: float) -> None:
        """Take a receiver's report that arrived at `received_s` [s]: the last answer of a round, or news."""
        if self._sweep.report(peer, report, received_s):
            self._end()
        elif not self._playing and self._gap() > self._routing.policy.stop_gap():
            self.news()

    def _gap(self) -> float:
        """Return the share of the mean price that the row itself could still save, at the last reports."""
        prospect = self._routing.prospect(stale=False)
        if not prospect.alive.any():
            return 0.0
        shares, ahead = prospect.living(self._routing.row)
        mean = sum([p * delta for p, delta in zip(shares, ahead.delta_s, strict=True)])
        return (mean - min(ahead.delta_s)) / mean if mean > 0 else 0.0

    def timer(self, key: TimerKey) -> None:
        """Begin a round that was delayed, or end one without the reports that are missing."""
        if key == ("round",):
            self._play()
        else:
            self._sweep.give_up()
            self._end()

    def _end(self) -> None:
        """End the round: price it, move on, and play another one while the row has a gap."""
        self._playing = False
        moved = self._settle()
        if not self._decided and (self._at_rest or self._played > self._routing.policy.most_rounds):
            self._decide()
        if self._wanted or moved:
            self._wanted = False
            self._pause_s = min(self._pause_s * PAUSE_GROWTH, MOST_PAUSE_SLOTS * self._config.slot_s)
            self.want()
        else:
            self._gaps.clear()
            self._pause_s = LEAST_PAUSE_S

    @abstractmethod
    def _settle(self) -> bool:
        """Price the row after a round and move it; return True if another round is needed."""

    def _move_row(self, prospect: Prospect) -> bool:
        """Move the row unless it needs no step; return True if it moved."""
        self._gaps.append(self._gap())
        if self._at_rest:
            return False
        self._routing.update_row(prospect)
        return True

    # Slots

    def _next_slot(self, slot: int) -> None:
        if not self._decided:
            self._decide()
        self._slot, self._played, self._decided = slot, 0, False
        self._routing.count_slot()
        if not self._gaps and not self._playing:  # a gap that has stalled keeps the row for the rest of the slot only
            self._routing.policy.start_slot()

    @abstractmethod
    def _decide(self) -> None:
        """Publish the decision of the slot."""

    def validate(self) -> None:
        """Raise InvalidState unless a round in play awaits its reports, and the next one waits for its end."""
        refuse_negative("rounds", played=self._played, pause_s=self._pause_s, slot=self._slot + 1)
        if self._playing != self._sweep.awaiting:
            raise InvalidState("rounds", f"in play: {self._playing}, reports awaited: {self._sweep.awaiting}")
        if self._wanted and not self._playing:
            raise InvalidState("rounds", "another round is wanted after this one, but none is in play")
        if self._playing:
            self._outbox.validate_timers(("round",), set())
        self._sweep.validate()
        self._budget.validate(self._outbox.now_s)


class DevicePlanning(OwnRounds):
    """The plan of a device."""

    def __init__(self, config: NodeConfig, routing: Routing, tasks: DeviceTasks, outbox: Outbox) -> None:
        super().__init__(config, routing, outbox)
        self._tasks = tasks
        self._rate_per_s = config.declared_rate_per_s
        self._certified: float | None = None  # gap of the last round, with all that lies ahead

    def start_slot(self, slot: int, *, at_rest: bool) -> None:
        """Begin a slot: measure the rate of the tasks, and play a round; at rest, only in some slots."""
        self._next_slot(slot)
        self._rate_per_s = self._tasks.rate.update(self._outbox.now_s)
        if not at_rest or slot % REST_SLOTS == 0:
            self.want()

    def look(self) -> None:
        """Play a round if the rate of the tasks has changed by more than chance."""
        if self._tasks.rate.changed:
            self._tasks.rate.changed = False
            self._rate_per_s = self._tasks.rate.per_s
            self.news()

    def validate(self) -> None:
        """Raise InvalidState if the rate of the tasks is no rate, or the rounds contradict themselves."""
        refuse_negative("rounds", rate_per_s=self._rate_per_s)
        super().validate()

    def _outflow(self) -> list[FlowPath]:
        return [(self._rate_per_s, ())]

    def _settle(self) -> bool:
        prospect = self._routing.weigh(stale=self._sweep.stale)
        if prospect is None:
            return False
        self._certified = self._routing.policy.gap(self._routing.row, prospect)
        return self._move_row(prospect)

    def _decide(self) -> None:
        self._decided = True
        self._outbox.publish(
            decision(
                self._config, self._routing, self._outbox, (self._slot, max(0, self._played - 1)),
                arrival_per_s=self._rate_per_s, service_per_s=None, gap=self._certified,
            )
        )  # fmt: skip


class ServerPlanning(OwnRounds):
    """The plan of a server: answers offers, and moves its own row and threshold."""

    def __init__(
        self, config: NodeConfig, routing: Routing, tasks: ServerTasks, returns: ReturnTimes, table: ExitTable,
        outbox: Outbox,
    ) -> None:  # fmt: skip
        super().__init__(config, routing, outbox)
        self._tasks = tasks
        self.pricing = Pricing(config, routing, tasks, returns, table, outbox)
        self._offers = self.pricing.offers
        self._waiting: dict[str, Round] = {}  # offers to be answered, by offloader
        self._known_s: dict[str, float] = {}  # price that each offloader knows [s]
        self._offer_s: dict[str, float] = {}
        self._moving: set[str] = set()  # offloaders that have not come to rest
        self._rate_per_s = config.declared_rate_per_s  # service rate at the last look [task/s]
        self.remaining_ratio: float | None = None  # I, share of its tasks that continue; None before the first round

    def offer(self, peer: str, offer: Offer, received_s: float) -> None:
        """Take an offloader's offer that arrived at `received_s` [s], and answer it now or soon."""
        self._offers.take(peer, offer)
        self._offer_s[peer] = received_s - offer.sent_s
        if offer.byte_per_s is not None:
            self._budget.learn(peer, offer.byte_per_s, self._outbox.now_s)
        self._waiting[peer] = (offer.slot, offer.round)
        (self._moving.discard if offer.done else self._moving.add)(peer)
        if offer.slot > self._slot:
            self._begin_slot(offer.slot)
            self.want()
        if self._playing:
            return
        if self._moving <= self._waiting.keys():
            self._gathered()
        else:
            self._outbox.timer(("gather",), GATHER * max([self._offer_s[name] for name in self._moving]))

    def _begin_slot(self, slot: int) -> None:
        self._next_slot(slot)
        self._tasks.calibrate_if_idle()
        for name, offer in list(self._offers.items()):
            if self._outbox.now_s - offer.sent_s > SILENT_SLOTS * self._config.slot_s:
                self._offers.drop(name)
                self._moving.discard(name)
                self._waiting.pop(name, None)

    def _gathered(self) -> None:
        """Answer the offers at hand, after a round of this server if its own flow has changed."""
        self._outbox.cancel(("gather",))
        if self._playing:
            return
        if self._flow_has_changed():
            self._begin_burst()
            self._play()
        else:
            self._answer(self.pricing.price(stale=self._sweep.stale))

    def _flow_has_changed(self) -> bool:
        flow_per_s, offered_per_s = sum([flow for flow, _ in self._outflow()]), self._routing.leaving_per_s
        return abs(flow_per_s - offered_per_s) > NEWS * max(flow_per_s, offered_per_s)

    def _outflow(self) -> list[FlowPath]:
        return self.pricing.onward_paths() if self._routing.threshold is not None else []

    def _play(self) -> None:
        if self._routing.threshold is None:  # the last stage has no rounds of its own
            self._outbox.cancel(("round",))
            self._wanted = False
            self._settle()
            if not self._decided:
                self._decide()
            return
        super()._play()

    def _settle(self) -> bool:
        priced = self.pricing.price(stale=self._sweep.stale)
        moved = False
        if priced.prospect is not None:
            moved = self._move_threshold(priced.prospect)
        self.remaining_ratio = min(1.0, priced.load.remaining_ratio)
        self._answer(priced)
        if priced.prospect is not None:
            moved = self._move_row(priced.prospect) or moved
        return moved or self._flow_has_changed()

    def _move_threshold(self, prospect: Prospect) -> bool:
        policy, peers = self._routing.policy, self._config.peers_in_stage
        turns = min(policy.move_turns, peers)
        turn = int(self._outbox.now_s / self._config.timeouts.round_s) % turns
        return self._config.rank % turns == turn and self.pricing.move_threshold(prospect, turns)

    def _answer(self, priced: PricedServer) -> None:
        """Report the price to those who wait for it, and to those who know a price that is no longer right."""
        report = self.pricing.report((self._slot, self._played), priced, done=self._at_rest or not self._gaps)
        for peer, offer in self._offers.items():
            waits = self._waiting.pop(peer, None) is not None
            known_s = self._known_s.get(peer)
            changed = known_s is None or abs(report.marginal_s - known_s) > NEWS * known_s
            if waits or (changed and self._budget.allows(peer, self._outbox.now_s)):
                self._known_s[peer] = report.marginal_s
                answer = msgspec.structs.replace(
                    report, slot=offer.slot, round=offer.round, offer_s=self._offer_s[peer]
                )  # fmt: skip
                self._outbox.send_control(peer, answer)

    def look(self) -> None:
        """Price the server anew after its own measurements have changed, and report the price if it has."""
        rate_per_s = self._tasks.service_rate_per_s
        if abs(rate_per_s - self._rate_per_s) > NEWS * self._rate_per_s and not self._playing and self._offers:
            self._rate_per_s = rate_per_s
            self._answer(self.pricing.price(stale=False))

    def timer(self, key: TimerKey) -> None:
        """Answer without the offers that have not come, or handle a timer of the rounds."""
        if key == ("gather",):
            self._gathered()
        else:
            super().timer(key)

    def _decide(self) -> None:
        self._decided = True
        self._outbox.publish(
            decision(
                self._config, self._routing, self._outbox, (self._slot, max(0, self._played - 1)),
                arrival_per_s=self.pricing.arrival_per_s, service_per_s=self._tasks.service_rate_per_s, gap=None,
            )
        )  # fmt: skip

    def validate(self) -> None:
        """Raise InvalidState unless only known offers wait for a report, and they wait for a round or the timer."""
        refuse_negative(
            "rounds", backlog=self.pricing.backlog, rate_per_s=self._rate_per_s
        )  # fmt: skip
        offloaders = {name for name, _ in self._offers.items()}
        if strangers := (self._waiting.keys() | self._moving) - offloaders:
            raise InvalidState("rounds", f"{sorted(strangers)} wait or move, but their offers are not known")
        if self._waiting and not self._playing and ("gather",) not in self._outbox.timers:
            raise InvalidState("rounds", f"{sorted(self._waiting)} wait for a report that nothing will send")
        self._offers.validate()
        super().validate()
