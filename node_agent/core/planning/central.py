"""Central planning: one node, the coordinator, collects every node's state, plans for all, and assigns each its row.

Only policies with `central` set use it (`CentralPolicy`). Once a slot every node sends the coordinator its rate and its
link times as measured. The coordinator passes them to its planner, which runs in parallel to the node's own work and
takes the time that the policy states. Then it sends each node its row and threshold. States and assignments are
messages over the emulated network, so collecting states, planning and sending assignments are part of what such a
policy costs.
"""

from collections.abc import Mapping

from node_agent.core.config import NodeConfig
from node_agent.core.offloading.routing import Routing
from node_agent.core.outbox import Outbox
from node_agent.errors import InvalidState
from node_agent.problem import Problem
from node_agent.wire import Assignment, State

COLLECT_PATIENCE = 4.0  # longest wait for the states of a slot, in timeouts of a round


class Member:
    """The part of every node: sends its state and follows its assignment."""

    def __init__(self, config: NodeConfig, routing: Routing, outbox: Outbox) -> None:
        self._coordinator = config.coordinator
        self._name = config.name
        self._routing = routing
        self._outbox = outbox

    def tell(self, slot: int, rate_per_s: float, variability: float, return_s: float = 0.0) -> State | None:
        """Send the state of a new slot to the coordinator. If this node is the coordinator, return it instead.

        Args:
            slot: the new slot.
            rate_per_s: a device's arrival rate, or a server's service rate [task/s].
            variability: squared coefficient of variation of the service time; 0 for a device.
            return_s: a server's mean time of a result to its device [s].
        """
        if self._coordinator is None:
            return None
        link_s = {r.name: r.link.transfer_s for r in self._routing.receivers.values()}
        back_s = {r.name: r.link.back_s for r in self._routing.receivers.values() if r.link.back_s is not None}
        state = State(slot, rate_per_s, variability, link_s, back_s, return_s)
        if self._coordinator == self._name:
            return state
        self._outbox.send_control(self._coordinator, state)
        return None

    def assigned(self, peer: str, assignment: Assignment) -> None:
        """Follow an assignment; one that is not from the coordinator is ignored."""
        if peer == self._coordinator:
            self._routing.follow(assignment)


class Coordinator:
    """The part of the coordinator: collects states, starts the planner, sends assignments."""

    def __init__(self, config: NodeConfig, routing: Routing, outbox: Outbox) -> None:
        self._config = config
        self._routing = routing
        self._outbox = outbox
        self._slot = -1
        self._states: dict[str, State] = {}
        self._awaited: set[str] = set()
        self._planning = False

    def state(self, peer: str, state: State) -> None:
        """Take a node's state; once all awaited nodes of the slot have sent theirs, plan."""
        if peer not in self._config.places:
            return
        if state.slot > self._outbox.now_s / self._config.slot_s + 1:
            self._outbox.note("unexpected-message", f"State from {peer} of slot {state.slot}, which is far off")
            return
        if state.slot > self._slot:
            # Wait for the nodes that reported in the slot before; at first for all.
            self._awaited = {name for name, told in self._states.items() if told.slot == self._slot} or {
                *self._config.places
            }
            self._slot = state.slot
            rounds_s = self._config.timeouts.round_s * 2 * self._config.stages
            self._outbox.timer(("plan",), min(COLLECT_PATIENCE * rounds_s, self._config.slot_s / 2))
        self._states[peer] = state
        if state.slot == self._slot and peer in self._awaited:
            self._awaited.discard(peer)
            if not self._awaited:
                self._outbox.cancel(("plan",))
                self._plan()

    def timer(self) -> None:
        """Plan without the states that are still missing."""
        self._awaited.clear()
        self._plan()

    def _plan(self) -> None:
        if self._planning:
            self._outbox.note("plan-late", f"slot {self._slot} begins before the plan of the last one is ready")
            return
        self._planning = True
        config = self._config
        # Keep nodes that missed one slot; drop those silent for longer.
        fresh = {name: told for name, told in self._states.items() if told.slot >= self._slot - 1}
        self._outbox.plan(Problem(self._slot, config.stages, config.places, fresh, config.theta_s))

    def planned(self, assignments: Mapping[str, Assignment]) -> None:
        """Send the planner's assignments, by node, to the nodes; follow the one of this node."""
        self._planning = False
        for name, assignment in assignments.items():
            if name == self._config.name:
                self._routing.follow(assignment)
            else:
                self._outbox.send_control(name, assignment)

    def validate(self) -> None:
        """Raise InvalidState unless states are of known nodes, none of a later slot, and a timer bounds the wait."""
        if strangers := (self._states.keys() | self._awaited) - self._config.places.keys():
            raise InvalidState("coordinator", f"{sorted(strangers)} are no nodes")
        if later := {name: told.slot for name, told in self._states.items() if told.slot > self._slot}:
            raise InvalidState("coordinator", f"it is slot {self._slot}, but states are of {later}")
        self._outbox.validate_timers(("plan",), {("plan",)} if self._awaited else set())
