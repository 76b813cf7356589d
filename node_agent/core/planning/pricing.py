"""A server's price: its load as announced, its marginal cost (DTO-R), and the report that carries them."""

from typing import NamedTuple

from msgspec import UNSET, UnsetType

from node_agent.core.config import NodeConfig
from node_agent.core.offloading.routing import Routing
from node_agent.core.outbox import Outbox
from node_agent.core.planning.inflow import Offers
from node_agent.core.planning.sweep import Round
from node_agent.core.returns import ReturnTimes
from node_agent.core.server import ServerTasks
from node_agent.dtoee import receiver as dto_r
from node_agent.dtoee import thresholds
from node_agent.dtoee.exit_table import ExitTable
from node_agent.dtoee.queueing import server_cost
from node_agent.policies.base import Prospect, ThresholdView
from node_agent.wire import FlowPath, Report

USUAL_BACKLOG = 2.0  # a queue of this many times the mean (plus one task) is still chance


class PricedServer(NamedTuple):
    """A server's load and price, and the receivers by which it is priced."""

    load: dto_r.Load
    cost: dto_r.MarginalCost[float]
    prospect: Prospect | None  # None at the last stage, or if no receiver answers: every task exits here


class Pricing:
    """Prices a server by the offers of its offloaders, its own measurements and the reports of its receivers."""

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
        self._overload = dto_r.Overload()
        self.offers = Offers(config.stage)
        self.backlog = 0  # tasks that count as piled up, see `_load`

    @property
    def arrival_per_s(self) -> float:
        """Arrival rate that the offloaders have announced [task/s]."""
        return self.offers.inflow.arrival_per_s

    @property
    def return_s(self) -> float:
        """Mean time of a result from here to its device [s]: announced by the devices, or measured behind stage 1."""
        return self.offers.inflow.return_s if self._config.stage == 1 else self._returns.mean_s

    def onward_paths(self) -> list[FlowPath]:
        """Return the flow that continues after this server, by path; the threshold must be set.

        Tasks leave a server at most as fast as it serves them. Without this bound, an overloaded server would announce
        more than comes, and thresholds would fall for the sake of idle servers behind it.
        """
        assert self._routing.threshold is not None
        onward = thresholds.continue_paths(self._table, self.offers.inflow.paths, self._routing.threshold)
        served = min(1.0, self._tasks.service_rate_per_s / max(self.arrival_per_s, 1e-9))
        return onward if served == 1 else [(flow * served, passed) for flow, passed in onward]

    def _load(self, remaining_ratio: float) -> dto_r.Load:
        """Return the load at which this server is priced: the announced flow, and the backlog beyond it.

        Decision 006: a backlog above what the announced flow explains counts as arrivals that clear it within the slot
        (docs/decisions/006-piled-up-work-counts-as-arrivals.md).
        """
        service_per_s, announced_per_s = self._tasks.service_rate_per_s, self.arrival_per_s
        variability, arrivals = self._tasks.service.variability, self._tasks.arrival_variability
        expected = server_cost(announced_per_s, service_per_s, variability, arrivals).tasks
        piled_up = max(0.0, self.backlog - USUAL_BACKLOG * (1 + expected))
        arrival_per_s = announced_per_s + piled_up / self._config.slot_s
        arrivals = max(arrivals, float(piled_up > 0))  # a steady stream's evenness says nothing of what has piled up
        return dto_r.Load(arrival_per_s, service_per_s, variability, remaining_ratio, self.return_s, arrivals)

    def price(self, *, stale: bool) -> PricedServer:
        """Price the server now.

        Args:
            stale: a living receiver did not answer in the last round.
        """
        threshold = self._routing.threshold
        prospect = None if threshold is None else self._routing.weigh(stale=stale)
        if threshold is None or prospect is None:  # the last stage, or no receiver answers: every task exits here
            load = self._load(0.0)
            return PricedServer(load, dto_r.marginal_cost(load, self._overload, (), None), None)
        remaining = thresholds.remaining_ratio(self._table, self._config.stage, self.offers.inflow.paths, threshold)
        load = self._load(remaining)
        if self._routing.policy.prices_exits:
            self._routing.view = self._view(prospect, threshold)
        cost = dto_r.marginal_cost(load, self._overload, *prospect.living(self._routing.row))
        return PricedServer(load, cost, prospect)

    def move_threshold(self, prospect: Prospect, turns: int) -> bool:
        """Let the policy move the threshold; return True if it did.

        Args:
            prospect: the server's receivers.
            turns: groups in which the servers of a stage move, one after the other.
        """
        threshold = self._routing.threshold
        assert threshold is not None
        return self._routing.move_threshold(
            self._view(prospect, threshold, movers=-(-self._config.peers_in_stage // turns))
        )

    def _view(self, prospect: Prospect, threshold: float, movers: int = 1) -> ThresholdView:
        """Return the state in which tasks exit, or the threshold moves together with those of `movers` servers."""
        row = self._routing.row
        return ThresholdView(
            self._table, self._config.stage, self.offers.inflow.paths, self.arrival_per_s,
            prospect.onward(row, self.return_s), threshold, movers, prospect.mean_price_s(row),
        )  # fmt: skip

    def report(self, number: Round, priced: PricedServer, *, done: bool) -> Report:
        """Return the report of a price; `offer_s` is to be set for each offloader."""
        load, cost, prospect = priced
        threshold, row = self._routing.threshold, self._routing.row
        # Without a receiver, every task exits here, as at threshold 0.
        onward_paths: list[FlowPath] = [(1.0, (0.0,) * (self._config.stages - self._config.stage))]
        onward_delay_s = max(0.0, 1 - load.remaining_ratio) * load.return_s
        onward_energy_s: float | UnsetType = UNSET
        if threshold is not None and prospect is not None:
            known = [receiver.report.onward_paths for receiver in prospect.receivers]
            onward_paths = thresholds.paths_from(threshold, row.tolist(), known)
            onward_delay_s += load.remaining_ratio * prospect.mean_delay_s(row)
            if self._config.hop_prices:
                onward_energy_s = load.remaining_ratio * prospect.mean_energy_s(row)
        return Report(
            slot=number[0],
            round=number[1],
            marginal_s=cost.marginal_s,
            best_s=cost.best_s,
            local_s=cost.local_s,
            onward_s=cost.onward_s,
            onward_delay_s=onward_delay_s,
            curvature_s2=cost.curvature_s2,
            offloaders=len(self.offers),
            arrival_per_s=self.arrival_per_s,
            service_per_s=load.service_per_s,
            variability=load.variability,
            threshold=thresholds.NEVER if threshold is None else threshold,
            remaining_ratio=min(1.0, load.remaining_ratio),
            backlog=self._tasks.backlog,
            onward_paths=tuple(onward_paths),
            offer_s=0.0,  # the only field that differs between offloaders
            done=done,
            return_s=load.return_s,
            sent_s=self._outbox.now_s,
            arrival_variability=load.arrival_variability,
            work_s=self._tasks.work_s,
            onward_energy_s=onward_energy_s,
        )
