"""The energy of a task on a hop: its bytes on the way to a receiver, and its service there; and what that is worth.

    energy of hop (i, j) = J/byte * bytes of the task + (busy - idle) W of j * service time            [J]

It is linear in the flow of the hop, so it is the hop's marginal cost, times the price of energy. Results, control
messages and idle power are not in it: no plan changes them much.

Decision 113: priced energy is a constant cost of a hop, and the offloader adds it
(docs/decisions/113-energy-is-a-cost-of-a-hop.md).
"""

from collections.abc import Sequence
from typing import NamedTuple

from node_agent.core.config import HopPrice
from node_agent.models.data_types import SubModelProfile
from testbed.energy.carried_bytes import CarriedBytes
from testbed.network.routes import Ways
from testbed.scenario import Scenario
from testbed.sizes import task_bytes


class HopEnergy(NamedTuple):
    """The energy of a task that an offloader sends to a receiver."""

    link_j: float  # of its bytes on their way [J]
    computing_w: float  # power that its service adds at the receiver [W]

    def of_task_j(self, service_per_s: float) -> float:
        """Return the energy of a task [J] if the receiver serves this many tasks a second."""
        return self.link_j + self.computing_w / service_per_s


class HopEnergies:
    """The energy of the hops of a scenario, at the rates that its links have in it."""

    def __init__(self, scenario: Scenario, profiles: Sequence[SubModelProfile], ways: Ways | None = None) -> None:
        """Read the powers and links of a scenario.

        Args:
            scenario: the scenario.
            profiles: costs of the sub-models; stage h at index h - 1.
            ways: the routes of the scenario at its start, if it has changed since.
        """
        self._carried = CarriedBytes(scenario, ways)
        self._servers = {server.name: server for server in scenario.servers}
        self._bytes = [task_bytes(h, profile.input_bytes) for h, profile in enumerate(profiles, start=1)]

    def of(self, offloader: str, receiver: str) -> HopEnergy:
        """Return the energy of a task that `offloader` sends to `receiver`."""
        server = self._servers[receiver]
        paid_j = self._carried.energy_j(offloader, receiver, self._bytes[server.stage - 1])
        return HopEnergy(sum(paid_j.values()), 0.0 if server.power is None else server.power.computing_w)


def hop_prices(scenario: Scenario, profiles: Sequence[SubModelProfile]) -> dict[str, dict[str, HopPrice]]:
    """Return what the energy of a task to each receiver is worth, by offloader; empty if energy has no price.

    Args:
        scenario: the scenario.
        profiles: costs of the sub-models; stage h at index h - 1.
    """
    price = scenario.energy_price_s_per_j
    if price == 0:
        return {}
    energies = HopEnergies(scenario, profiles)

    def priced(offloader: str, receiver: str) -> HopPrice:
        energy = energies.of(offloader, receiver)
        return HopPrice(price * energy.link_j, price * energy.computing_w)

    return {
        offloader: {receiver: priced(offloader, receiver) for receiver in receivers}
        for offloader, receivers in scenario.offload_to.items()
    }
