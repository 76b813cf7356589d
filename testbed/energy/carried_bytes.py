"""The energy of bytes on their way: the links that they cross, the energy of a byte on each, and who pays it."""

from collections.abc import Mapping

from testbed.network.routes import Ways
from testbed.scenario import Direction, Event, Scenario


class CarriedBytes:
    """The energy of bytes between the nodes of a scenario, at the present rates of its links.

    A device at an end of a link pays for both directions, as their radio; if both ends are devices, the sender. Any
    other link pays for itself, under the name of its ends.
    """

    def __init__(self, scenario: Scenario, ways: Ways | None = None) -> None:
        """`ways` are the routes of the scenario at its start, if it has changed since."""
        self._links = scenario.links
        self._ways = ways or Ways(scenario)
        self._devices = frozenset(device.name for device in scenario.devices)
        self._rates: dict[Direction, float] = {}  # [Mbit/s]
        for link in scenario.links:
            for ends, shape in zip((link.ends, link.ends[::-1]), link.shapes, strict=True):
                self._rates[ends] = shape.rate_mbit_per_s
        self._legs: dict[Direction, tuple[tuple[int, Direction], ...]] = {}

    @property
    def payers(self) -> tuple[str, ...]:
        """The names of the links that pay for themselves, in the order of the file."""
        stated = [link.ends for link in self._links if link.energies is not None]
        return tuple(dict.fromkeys(_name(ends) for ends in stated if self._devices.isdisjoint(ends)))

    def change(self, event: Event) -> None:
        """Adopt the rates that an event gives to links."""
        for ends, shape in event.shapes.items():
            self._rates[ends] = shape.rate_mbit_per_s

    def energy_j(self, sender: str, receiver: str, byte_count: float) -> Mapping[str, float]:
        """Return the energy of bytes from a node to another [J], by who pays it; free links are missing."""
        paid: dict[str, float] = {}
        for number, ends in self._way(sender, receiver):
            link = self._links[number]
            if link.energies is not None:
                energy = link.energies[0 if ends == link.ends else 1]
                payer = self._payer(ends)
                paid[payer] = paid.get(payer, 0.0) + byte_count * energy.byte_j(self._rates[ends])
        return paid

    def _way(self, sender: str, receiver: str) -> tuple[tuple[int, Direction], ...]:
        """Return the links from a node to another: the number of each, and its ends in the direction of the way."""
        way = self._legs.get((sender, receiver))
        if way is None:
            hops = self._ways.hops(sender, receiver)
            way = tuple((number, self._from(vertex, number)) for vertex, number in hops)
            self._legs[sender, receiver] = way
        return way

    def _from(self, vertex: str, number: int) -> Direction:
        one, other = self._links[number].ends
        return (one, other) if vertex == one else (other, one)

    def _payer(self, ends: Direction) -> str:
        return next((end for end in ends if end in self._devices), _name(ends))


def _name(ends: Direction) -> str:
    """Return the name of a link, the same for both directions."""
    return " - ".join(sorted(ends))
