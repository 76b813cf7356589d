"""Scenario -> names, addresses and command batches of its network. Pure: nothing here touches the system.

Every link is two veth pairs, joined in a middle namespace: end A = (port, middle) ... (middle, port) = end B.
Rates are limited at the ends, where a real card would queue. Delay, jitter, loss and the transmission time of each
frame are applied in the middle, by the kernel (netem) or by a process (relay). Both backends give the same network.

Decision 032: every link has veth pairs of its own (docs/decisions/032-veth-pair-per-link.md).

Everything lies in namespaces of its own, switches included. Nothing is made in the machine's root namespace, and all of
it disappears with the processes that hold the namespaces.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from ipaddress import IPv4Address

from node_agent.errors import InputError
from testbed.network.commands import (
    Batch,
    interface_up,
    rate_limit,
    segments_at_once,
    veth,
)
from testbed.network.routes import Forwarding, Route, forwarding, length_s, routes
from testbed.scenario import LinkShape, Scenario

FIRST_ADDRESS = IPv4Address("10.64.0.1")
LAST_ADDRESS = IPv4Address("10.127.255.254")
LOOPBACK = "127.0.0.1"
MIDDLE = "mid"


def scaled(shape: LinkShape, time_scale: float) -> LinkShape:
    """The shape in real time: with k seconds for each emulated one, rates divide by k, delay and jitter multiply."""
    return replace(
        shape,
        rate_mbit_per_s=shape.rate_mbit_per_s / time_scale,
        delay_s=shape.delay_s * time_scale,
        jitter_s=shape.jitter_s * time_scale,
    )


@dataclass(frozen=True, slots=True)
class Port:
    """An end of a link: `interface` in the namespace of `owner`, and its peer `middle` in the middle namespace."""

    owner: str
    interface: str
    mac: str
    middle: str
    middle_mac: str


@dataclass(frozen=True, slots=True)
class LinkLayout:
    """A link of the scenario with its two ports, in the order of its ends.

    `shapes`, in real time, are those of the directions from the first and from the second end.
    """

    index: int
    ends: tuple[str, str]
    ports: tuple[Port, Port]
    shapes: tuple[LinkShape, LinkShape]
    direct: bool  # no switch at either end

    def segments(self, shape: LinkShape) -> int:
        """The most segments that travel together as a superframe while the link has this shape.

        A single one if an end is a switch: a switch passes a superframe on only when all of it has arrived.
        Decision 027: superframes travel over direct links only (docs/decisions/027-superframes-on-direct-links.md).
        """
        return segments_at_once(shape) if self.direct else 1

    def port_of(self, owner: str) -> Port:
        """The port at the end named `owner`."""
        return self.ports[0] if self.ends[0] == owner else self.ports[1]

    def sides(self, sender: str | None = None) -> tuple[int, ...]:
        """The sides (0 or 1) whose end sends: both, or that of `sender`; InputError if `sender` is not an end."""
        if sender is None:
            return 0, 1
        if sender not in self.ends:
            message = f"{sender} is not an end of the link {self.ends[0]} - {self.ends[1]}"
            raise InputError(message, hint="name one of its two ends")
        return (self.ends.index(sender),)


class NetworkPlan:
    """Names, addresses, routes and command batches of a scenario's network.

    `nodes` are those with a place of their own. An own processor lives in its device's namespace, and has the loopback
    address there: only its device connects to it. Its own connections leave by the device's address.
    """

    def __init__(self, scenario: Scenario) -> None:
        """Plan the network of a scenario.

        Raises:
            InputError: a link joins an end to itself or to an unknown name, or there are too many nodes.
        """
        self.place_of = scenario.place_of
        self.nodes = tuple(name for name, place in self.place_of.items() if name == place)
        self.switches = scenario.switches
        self.time_scale = scenario.time_scale
        self.seed = scenario.seed
        self.short: dict[str, str] = {name: f"n{index}" for index, name in enumerate(self.nodes)}
        self.short |= {name: f"s{index}" for index, name in enumerate(self.switches)}
        if int(FIRST_ADDRESS) + len(self.nodes) > int(LAST_ADDRESS):
            raise InputError("too many nodes for the address range 10.64.0.0/10")
        self.address = {name: str(FIRST_ADDRESS + index) for index, name in enumerate(self.nodes)}
        self.address |= {name: LOOPBACK for name, place in self.place_of.items() if name != place}
        self.links = self._plan_links(scenario)
        # In emulated time, as in the simulation: scaling could round two equal lengths differently.
        self._lengths_s = [length_s(*link.shapes) for link in scenario.links]

    def _plan_links(self, scenario: Scenario) -> tuple[LinkLayout, ...]:
        used = dict.fromkeys(self.short, 0)
        planned = []
        for index, link in enumerate(scenario.links):
            for end in link.ends:
                if end not in used:
                    raise InputError(f"link {link.ends[0]} - {link.ends[1]}: there is no node or switch named {end}")
            if link.ends[0] == link.ends[1]:
                raise InputError(f"link {link.ends[0]} - {link.ends[1]} joins an end to itself")
            ports = []
            for side, owner in enumerate(link.ends):
                mac = f"02:{0x64 + (index >> 16):02x}:{index >> 8 & 255:02x}:{index & 255:02x}:{{}}:{side:02x}"
                name = f"{self.short[owner]}-eth{used[owner]}"
                ports.append(Port(owner, name, mac.format("00"), f"l{index}{'ab'[side]}", mac.format("01")))
                used[owner] += 1
            shapes = scaled(link.shapes[0], self.time_scale), scaled(link.shapes[1], self.time_scale)
            direct = not set(link.ends) & set(self.switches)
            planned.append(LinkLayout(index, link.ends, (ports[0], ports[1]), shapes, direct))
        return tuple(planned)

    def link_between(self, ends: tuple[str, str]) -> LinkLayout:
        """The link that joins two ends, named in either order; InputError if there is none."""
        for link in self.links:
            if set(link.ends) == set(ends):
                return link
        raise InputError(f"there is no link between {ends[0]} and {ends[1]}")

    @cached_property
    def routes(self) -> dict[str, list[Route]]:
        """Each node's static routes along the shortest paths (at the shapes the scenario starts with)."""
        return routes(self.nodes, set(self.switches), self._ends, self._lengths_s)

    @cached_property
    def forwarding(self) -> list[Forwarding]:
        """The static tables of all switches."""
        return forwarding(set(self.switches), self._ends, self._lengths_s)

    @cached_property
    def links_of(self) -> dict[str, list[LinkLayout]]:
        """The links at each node and switch."""
        found: dict[str, list[LinkLayout]] = {name: [] for name in self.short}
        for link in self.links:
            for end in link.ends:
                found[end].append(link)
        return found

    @property
    def _ends(self) -> list[tuple[str, str]]:
        return [link.ends for link in self.links]

    def veth_lines(self, pids: Mapping[str, int], middle_pid: int) -> list[str]:
        """ip lines that make every veth pair; `pids` maps the scenario's names to a process inside."""
        return [
            veth(port.interface, port.mac, pids[port.owner], port.middle, port.middle_mac, middle_pid)
            for link in self.links
            for port in link.ports
        ]

    def node_batch(self, node: str) -> Batch:
        """Settings, address, interfaces, neighbours, routes and rate limits of one node."""
        batch = Batch(node, settings=True)
        address = self.address[node]
        batch.ip += ["link set dev lo up", f"address add {address}/32 dev lo"]
        self._start_ports(node, batch)
        seen: set[tuple[str, str]] = set()
        for route in self.routes[node]:
            gateway = self.address[route.next_hop]
            interface = self.links[route.links[0]].port_of(node).interface
            if (gateway, interface) not in seen:
                # Permanent, so that no address resolution ever runs on a link.
                seen.add((gateway, interface))
                mac = self.links[route.links[-1]].port_of(route.next_hop).mac
                batch.ip.append(f"neighbour add {gateway} lladdr {mac} dev {interface} nud permanent")
            batch.ip.append(
                f"route add {self.address[route.destination]}/32 via {gateway} dev {interface} onlink src {address}"
            )
        return batch

    def switch_batch(self, switch: str) -> Batch:
        """Bridge, ports, static forwarding table and rate limits of one switch.

        The bridge floods nothing, so that no frame circulates where switches form a ring.
        """
        bridge = self.short[switch]
        batch = Batch(switch, settings=True)
        batch.ip.append(f"link add name {bridge} type bridge stp_state 0 mcast_snooping 0")
        self._start_ports(switch, batch)
        for link in self.links_of[switch]:
            name = link.port_of(switch).interface
            batch.ip.append(f"link set dev {name} master {bridge}")
            batch.ip.append(
                f"link set dev {name} type bridge_slave learning off flood off mcast_flood off bcast_flood off"
            )
        batch.ip.append(f"link set dev {bridge} up")
        for entry in self.forwarding:
            if entry.switch == switch:
                attached = self.links[entry.enter]
                owner = attached.ends[0] if attached.ends[1] in self.switches else attached.ends[1]
                port = self.links[entry.leave].port_of(switch)
                batch.bridge.append(f"fdb add {attached.port_of(owner).mac} dev {port.interface} master static")
        return batch

    def _start_ports(self, owner: str, batch: Batch) -> None:
        for link in self.links_of[owner]:
            name, shape = link.port_of(owner).interface, link.shapes[link.ends.index(owner)]
            segments = link.segments(shape)
            batch.ip.append(interface_up(name, segments))
            batch.tc += rate_limit(name, shape, segments)

    def middle_batch(self, discipline: Callable[[str, LinkShape], str | None]) -> Batch:
        """Set-up of the middle namespace: its interfaces, and bridges and delays if `discipline` gives tc lines."""
        batch = Batch("the links' middle", settings=True)
        for link in self.links:
            ports = list(zip(link.ports, link.shapes[::-1], strict=True))  # towards an end go the other end's frames
            delays = [line for port, shape in ports if (line := discipline(port.middle, shape)) is not None]
            batch.tc += delays
            if delays:
                batch.ip.append(f"link add name b{link.index} type bridge stp_state 0 mcast_snooping 0")
            for port in link.ports:
                if delays:
                    batch.ip.append(f"link set dev {port.middle} master b{link.index}")
                batch.ip.append(f"link set dev {port.middle} up")
            if delays:
                batch.ip.append(f"link set dev b{link.index} up")
        return batch
