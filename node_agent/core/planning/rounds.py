"""The configuration phase of a slot: rounds of offers towards the last stage and reports back.

A round begins at the devices: each sends its receivers the flow that it plans to send them. A server that has the
offers of all its offloaders knows its arrival rate, and sends offers to its own receivers. The last stage answers with
marginal costs. Every node whose receivers have all reported computes its own marginal cost (DTO-R), reports it, and
updates its row (DTO-O).

Devices start further rounds until each has certified a small gap, or a gap that falls no further, or until the rounds
or the time are used up. Their last offers announce the end. Nodes wait for a silent neighbour in SILENT_AFTER rounds,
then skip it until it answers again.
"""

from typing import NamedTuple

import msgspec

from node_agent.core.config import NodeConfig
from node_agent.core.device import DeviceTasks
from node_agent.core.events import TimerKey
from node_agent.core.offloading.neighbour import SILENT_AFTER
from node_agent.core.offloading.routing import Routing
from node_agent.core.outbox import Outbox
from node_agent.core.planning.sweep import Round, Sweep, decision
from node_agent.core.returns import ReturnTimes
from node_agent.core.server import ServerTasks
from node_agent.dtoee import receiver as dto_r
from node_agent.dtoee import thresholds
from node_agent.dtoee.exit_table import ExitTable
from node_agent.dtoee.queueing import server_cost
from node_agent.errors import InvalidState, refuse_negative
from node_agent.policies.base import Prospect, ThresholdView
from node_agent.wire import FlowPath, Offer, Report

ROUNDS_LEFT = 1.5  # a round is the last one if the slot has no time for more than this many like the one before
USUAL_BACKLOG = 2.0  # a queue of this many times the mean (plus one task) is still chance
LEAST_FLOW_PER_S = 1e-9  # weight of devices that offer nothing, so that a mean over them exists
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


class Inflow(NamedTuple):
    """The sum of the offers of a server's offloaders."""

    arrival_per_s: float  # planned arrival rate [task/s]
    paths: tuple[FlowPath, ...]  # that rate by path: rate [task/s], thresholds passed on the way here
    done: bool  # no device upstream needs a further round
    last: bool  # no further offer comes in this slot
    return_s: float  # mean time of a result to the devices that announced one, weighted by their flows [s]


class ServerRounds:
    """A server's side of the configuration phase: it answers offers with reports, and moves its threshold in turn."""

    def __init__(
        self, config: NodeConfig, routing: Routing, tasks: ServerTasks, returns: ReturnTimes, table: ExitTable,
        outbox: Outbox,
    ) -> None:  # fmt: skip
        self._config = config
        self._routing = routing
        self._tasks = tasks
        self._returns = returns
        self._table = table
        self._outbox = outbox
        self._sweep = Sweep(config, routing, outbox)
        self._overload = dto_r.Overload()
        self._number: Round = (-1, -1)
        self._offers: dict[str, Offer] = {}
        self._inflow: Inflow | None = None  # sum of these offers, cached; None after a change
        self._offer_s: dict[str, float] = {}
        self._awaited: set[str] = set()
        self._missed = dict.fromkeys(config.offloaders, 0)
        self._moved_in_round: Round = (-1, -1)
        self._decided_slot = -1
        self.remaining_ratio: float | None = None  # I, share of its tasks that continue; None before the first round
        self._backlog = 0  # at the start of the slot; if it changed during the slot, the rounds would not settle

    @property
    def arrival_per_s(self) -> float:
        """Arrival rate that the offloaders have announced [task/s]."""
        return self._announced.arrival_per_s

    @property
    def _announced(self) -> Inflow:
        if self._inflow is None:
            self._inflow = self._taken_together()
        return self._inflow

    def _taken_together(self) -> Inflow:
        arrival_per_s, done, last = 0.0, True, True
        returning, measured = 0.0, 0.0
        merged: dict[tuple[float, ...], float] = {}
        for offer in self._offers.values():
            arrival_per_s += offer.flow_per_s
            done, last = done and offer.done, last and offer.last
            if offer.return_s is not None:
                weight = offer.flow_per_s + LEAST_FLOW_PER_S
                returning, measured = returning + weight * offer.return_s, measured + weight
            for flow, passed in offer.paths:
                if len(passed) == self._config.stage - 1:
                    merged[passed] = merged.get(passed, 0.0) + flow
        paths = tuple([(flow, passed) for passed, flow in merged.items()])
        return_s = returning / measured if measured else 0.0
        return Inflow(arrival_per_s, paths, done, last, return_s)

    @property
    def return_s(self) -> float:
        """Mean time of a result from here to its device [s]: announced by the devices, or measured behind stage 1."""
        return self._announced.return_s if self._config.stage == 1 else self._returns.mean_s

    def offer(self, peer: str, offer: Offer, received_s: float) -> None:
        """Take an offloader's offer that arrived at `received_s` [s]; the last one awaited continues the sweep."""
        number = (offer.slot, offer.round)
        if peer not in self._missed or number < self._number:
            return
        self._missed[peer] = 0
        self._offer_s[peer] = received_s - offer.sent_s
        if number > self._number:
            self._begin(number)
        self._offers[peer], self._inflow = offer, None
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
            self._backlog = self._tasks.backlog
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

    def timer(self, key: TimerKey) -> None:
        """Go on without missing offers or reports, or end a phase in which no further round has come."""
        if key == ("offers",):
            for name in self._awaited:
                self._missed[name] += 1
                if self._missed[name] >= SILENT_AFTER:
                    self._offers.pop(name, None)
                    self._inflow = None
            self._awaited.clear()
            self._sweep_on()
        elif key == ("reports",):
            self._sweep.give_up()
            self._end_round()
        elif key == ("settle",):
            self._decide()

    def _load(self, remaining_ratio: float) -> dto_r.Load:
        """Return the load at which this server is priced: the announced flow, and the backlog beyond it.

        Decision 006: a backlog above what the announced flow explains counts as arrivals that clear it within the slot
        (docs/decisions/006-piled-up-work-counts-as-arrivals.md).
        """
        service_per_s, announced_per_s = self._tasks.service_rate_per_s, self.arrival_per_s
        variability, arrivals = self._tasks.service.variability, self._tasks.arrival_variability
        expected = server_cost(announced_per_s, service_per_s, variability, arrivals).tasks
        piled_up = max(0.0, self._backlog - USUAL_BACKLOG * (1 + expected))
        arrival_per_s = announced_per_s + piled_up / self._config.slot_s
        return dto_r.Load(arrival_per_s, service_per_s, variability, remaining_ratio, self.return_s, arrivals)

    def _sweep_on(self) -> None:
        """Send offers for the flow that continues; answer at once at the last stage, or without a receiver."""
        if self._routing.threshold is None:
            self._end_round()
            return
        inflow = self._announced
        onward = thresholds.continue_paths(self._table, inflow.paths, self._routing.threshold)
        if not self._sweep.offer(self._number, onward, done=inflow.done, last=inflow.last):
            self._outbox.cancel(("reports",))
            self._end_round()

    def report(self, peer: str, report: Report, received_s: float) -> None:
        """Take a receiver's report that arrived at `received_s` [s]; the last one ends the round."""
        if self._sweep.report(peer, report, received_s):
            self._end_round()

    def _end_round(self) -> None:
        inflow, threshold = self._announced, self._routing.threshold
        prospect = None if threshold is None else self._routing.weigh(stale=self._sweep.stale)
        if threshold is None or prospect is None:  # the last stage, or no receiver answers: every task exits here
            load = self._load(0.0)
            cost = dto_r.marginal_cost(load, self._overload, (), None)
        else:
            remaining = thresholds.remaining_ratio(self._table, self._config.stage, inflow.paths, threshold)
            load = self._load(remaining)
            cost = dto_r.marginal_cost(load, self._overload, *prospect.living(self._routing.row))
            if not inflow.last:
                self._move_threshold(inflow.paths, prospect)
        self.remaining_ratio = min(1.0, load.remaining_ratio)
        self._answer(load, cost, prospect)
        # The row of the last round has been priced and certified, so it stays. A policy of one round updates it here.
        if prospect is not None and (not inflow.last or self._routing.policy.most_rounds == 1):
            self._routing.update_row(prospect)
        if inflow.last:
            self._decide()
        else:
            waits = SETTLE_ROUNDS * 2 * self._config.stages
            self._outbox.timer(("settle",), waits * self._config.timeouts.round_s)

    def _answer(self, load: dto_r.Load, cost: dto_r.MarginalCost[float], prospect: Prospect | None) -> None:
        threshold, row = self._routing.threshold, self._routing.row
        # Without a receiver, every task exits here, as at threshold 0.
        onward_paths: list[FlowPath] = [(1.0, (0.0,) * (self._config.stages - self._config.stage))]
        inflow = self._announced
        done, exiting = inflow.done, max(0.0, 1 - load.remaining_ratio)
        onward_delay_s = exiting * load.return_s
        if threshold is not None and prospect is not None:
            known = [receiver.report.onward_paths for receiver in prospect.receivers]
            onward_paths = thresholds.paths_from(threshold, row.tolist(), known)
            done = done and self._sweep.all_done and not self._moved_lately()
            onward_delay_s += load.remaining_ratio * prospect.mean_delay_s(row)
        report = Report(
            slot=self._number[0],
            round=self._number[1],
            marginal_s=cost.marginal_s,
            best_s=cost.best_s,
            local_s=cost.local_s,
            onward_s=cost.onward_s,
            onward_delay_s=onward_delay_s,
            curvature_s2=cost.curvature_s2,
            offloaders=len(self._offers),
            arrival_per_s=inflow.arrival_per_s,
            service_per_s=load.service_per_s,
            variability=load.variability,
            threshold=thresholds.NEVER if threshold is None else threshold,
            remaining_ratio=min(1.0, load.remaining_ratio),
            backlog=self._tasks.backlog,
            onward_paths=tuple(onward_paths),
            offer_s=0.0,  # set below: the only field that differs between offloaders
            done=done,
            return_s=load.return_s,
            sent_s=self._outbox.now_s,
            arrival_variability=load.arrival_variability,
            work_s=self._tasks.work_s,
        )
        for peer, offer in self._offers.items():
            if (offer.slot, offer.round) == self._number:
                self._outbox.send_control(peer, msgspec.structs.replace(report, offer_s=self._offer_s[peer]))

    def _moved_lately(self) -> bool:
        slot, played = self._moved_in_round
        return slot == self._number[0] and self._number[1] - played < self._routing.policy.move_every

    def _move_threshold(self, paths: tuple[FlowPath, ...], prospect: Prospect) -> None:
        """Let the policy move the threshold, if it is this server's turn.

        A few servers of each stage may move at a time, since gains are predicted for fixed thresholds of all others.

        Decision 007: a predicted gain above the hysteresis moves a threshold, and no move is taken back
        (docs/decisions/007-threshold-moves-are-predicted.md).
        """
        slot, played = self._number
        policy, threshold, peers = self._routing.policy, self._routing.threshold, self._config.peers_in_stage
        turns = min(policy.move_turns, peers)
        turn = (slot + played // policy.move_every) % turns
        if threshold is None or (played + 1) % policy.move_every or self._config.rank % turns != turn:
            return
        view = ThresholdView(
            self._table, self._config.stage, paths, self.arrival_per_s,
            prospect.onward(self._routing.row, self.return_s), threshold, movers=-(-peers // turns),
        )  # fmt: skip
        if self._routing.move_threshold(view):
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
                arrival_per_s=self.arrival_per_s,
                service_per_s=self._tasks.service_rate_per_s,
                gap=None,
            )
        )

    def validate(self) -> None:
        """Raise InvalidState unless offers come from offloaders that answer, and a timer bounds the wait for others."""
        refuse_negative("rounds", backlog=self._backlog)
        refuse_negative("rounds missed", **self._missed)
        silent = {name for name, missed in self._missed.items() if missed >= SILENT_AFTER}
        if wrong := (self._offers.keys() | self._awaited) - (self._missed.keys() - silent):
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
        if self._inflow is not None and self._inflow != (inflow := self._taken_together()):
            raise InvalidState("rounds", f"the offers announce {inflow}, but {self._inflow} is kept")
        self._sweep.validate()
