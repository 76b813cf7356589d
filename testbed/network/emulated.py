"""A scenario's network, built with Mininet in namespaces, for as long as a run lasts."""

import contextlib
import resource
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from node_agent.errors import EnvironmentLacking
from testbed.ledger import Ledger
from testbed.network.commands import Batch, NetworkError, queue_room, rate_limit_change, run, run_batches
from testbed.network.delay import DelayBackend, NetworkStatistics, choose_backend
from testbed.network.plan import MIDDLE, NetworkPlan, PlannedLink, scaled
from testbed.network.probe import Adjacency, Probed, probe
from testbed.scenario import LinkShape, Scenario

if TYPE_CHECKING:
    from mininet.net import Mininet

MininetNode = Any  # mininet has no types
BackendChoice = Literal["auto", "netem", "userspace"]
DESCRIPTORS_PER_NODE = 8
PROBE_PATIENCE_S = 0.5
# A delay counts as missing when a probe arrives this much too early: clocks and rounding explain less.
EARLY_SHARE = 0.1
EARLY_S = 0.0002


class EmulatedNetwork:
    """The running network of a scenario; a context manager.

    `start` belongs in the thread that outlives the network, usually the main one: the relay is told to die with the
    thread that started it. `net` is the Mininet object underneath, its nodes under their short names.
    """

    def __init__(self, scenario: Scenario, *, run_id: str, ledger: Ledger, backend: BackendChoice = "auto") -> None:
        """Plans the network; touches nothing. Raises InputError if the scenario's links make no sense."""
        self.run_id = run_id
        self.plan = NetworkPlan(scenario)
        self.net: Mininet | None = None
        self._ledger = ledger
        self._choice: BackendChoice = backend
        self._delay: DelayBackend | None = None
        self._middle: MininetNode = None
        self._shapes = {link.index: link.shape for link in self.plan.links}
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # Building and ending

    def start(self) -> None:
        """Build everything, start the delays and check them with a probe over every link in use.

        Raises EnvironmentLacking where the machine lacks something, NetworkError where building or the check fails;
        `stop` then clears what had been built.
        """
        if self.net is not None:
            raise NetworkError("the network has been started already")
        self._raise_descriptor_limit()
        self._delay = choose_backend(self._choice)
        self._make_nodes()
        self._make_links()
        self._delay.start(self._middle, self.plan.links, self.plan.seed, self._ledger)
        self.check_delays()

    def stop(self) -> None:
        """End everything; may be called twice, and after a start that failed half-way."""
        if self._delay is not None:
            self._delay.stop()
        net, self.net, self._middle = self.net, None, None
        if net is None:
            return
        shells = [node.shell for node in net.hosts + net.switches]
        with contextlib.suppress(OSError):
            net.stop()
        for shell in shells:
            if shell is not None and shell.poll() is None:
                shell.kill()
                shell.wait()

    def _raise_descriptor_limit(self) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = 1024 + DESCRIPTORS_PER_NODE * (len(self.plan.short) + 1)
        if soft < wanted:
            if hard != resource.RLIM_INFINITY and hard < wanted:
                raise EnvironmentLacking(
                    f"{wanted} open files are needed and {hard} allowed", hint=f"ulimit -n {wanted}"
                )
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))

    def _make_nodes(self) -> None:
        from testbed.network.fabric import empty_network  # noqa: PLC0415  # mininet loads where it is needed

        self.net = net = empty_network()
        for name in self.plan.nodes:
            node = net.addHost(self.plan.short[name], ip=self.plan.address[name])
            self._ledger.add_process(node.pid)
        for name in self.plan.switches:
            switch = net.addSwitch(self.plan.short[name], inNamespace=True)
            self._ledger.add_process(switch.pid)
        self._middle = net.addHost(MIDDLE, ip=None)
        self._ledger.add_process(self._middle.pid)

    def _make_links(self) -> None:
        assert self.net is not None
        assert self._delay is not None
        for link in self.plan.links:
            for port in link.ports:
                made = self.net.addLink(
                    self.plan.short[port.owner],
                    MIDDLE,
                    intfName1=port.interface,
                    intfName2=port.middle,
                    addr1=port.mac,
                    addr2=port.middle_mac,
                )
                if port.owner in self.plan.address:
                    made.intf1.setIP(self.plan.address[port.owner], 32)
        pids = {name: self.net[short].pid for name, short in self.plan.short.items()}
        if self.plan.links:
            pids[MIDDLE] = self._middle.pid
            run(["ip", "-batch", "-"], text="\n".join(self.plan.veth_lines(pids)) + "\n")
        batches = [(self._node(name), self.plan.node_batch(name)) for name in self.plan.nodes]
        batches += [(self._node(name), self.plan.switch_batch(name)) for name in self.plan.switches]
        batches.append((self._middle, self.plan.middle_batch(netem=self._delay.name == "netem")))
        run_batches(batches)
        self.net.build()
        self.net.start()

    # Looking at it

    @property
    def backend(self) -> str:
        """The delay backend in use, `netem` or `userspace`; the choice before `start`."""
        return self._choice if self._delay is None else self._delay.name

    def address(self, node: str) -> str:
        """The node's one stable IPv4 address; every peer sees its frames come from there."""
        try:
            return self.plan.address[node]
        except KeyError:
            raise NetworkError(f"there is no node named {node}") from None

    def namespace_path(self, node: str) -> str:
        """The node's network namespace as a path for setns(2), valid while the network runs."""
        return f"/proc/{self._node(node).pid}/ns/net"

    def node(self, name: str) -> MininetNode:
        """The Mininet node behind a node or switch of the scenario."""
        return self._node(name)

    def shape(self, ends: tuple[str, str]) -> LinkShape:
        """The link's shape at present, in real time (time scale applied)."""
        return self._shapes[self.plan.link_between(ends).index]

    def _node(self, name: str) -> MininetNode:
        if self.net is None:
            raise NetworkError("the network does not run")
        try:
            return self.net[self.plan.short[name]]
        except KeyError:
            raise NetworkError(f"there is no node named {name}") from None

    # Changing it

    def change_link(self, ends: tuple[str, str], shape: LinkShape) -> None:
        """Give the link between `ends` (in either order) a new shape, in emulated units, while it carries frames.

        Nothing in flight is dropped, nor does anything overtake it: frames that are on their way arrive when they would
        have, later ones behind them. Routes stay as they are. Safe to call from any thread.
        """
        link = self.plan.link_between(ends)
        real = scaled(shape, self.plan.time_scale)
        with self._lock:
            if self.net is None or self._delay is None:
                raise NetworkError("the network does not run")
            # A slower link becomes slow at its ends first, a faster one last: else its middle would fill up.
            if real.rate_mbit_per_s <= self._shapes[link.index].rate_mbit_per_s:
                self._limit_rate(link, real)
                self._delay.change(link, real)
            else:
                self._delay.change(link, real)
                self._limit_rate(link, real)
            self._shapes[link.index] = real

    def _limit_rate(self, link: PlannedLink, shape: LinkShape) -> None:
        run_batches(
            [
                (
                    self._node(port.owner),
                    Batch(ip=[queue_room(port.interface, shape)], tc=[rate_limit_change(port.interface, shape)]),
                )
                for port in link.ports
            ]
        )

    # Watching it

    def check(self) -> None:
        """Raise NetworkError if a part of the network has died; cheap with the relay, one `tc` call with netem."""
        if self.net is None or self._delay is None:
            raise NetworkError("the network does not run")
        for node in self.net.hosts + self.net.switches:
            if node.shell is None or node.shell.poll() is not None:
                raise NetworkError(f"the namespace of {node.name} has ended")
        self._delay.check()

    def statistics(self) -> NetworkStatistics:
        """What the network did so far (times are real seconds)."""
        if self._delay is None:
            raise NetworkError("the network does not run")
        return self._delay.statistics()

    def measure_delays(self, *, rounds: int = 3) -> list[Probed]:
        """Send small probes between all neighbours, both ways at once; the quickest of `rounds` counts.

        `adjacency.least_s` is what the links should take; times are real seconds.
        """
        adjacencies = self._adjacencies()
        if not adjacencies:
            return []
        longest_s = max(adjacency.least_s for adjacency in adjacencies)
        longest_s += 5 * sum(sorted((shape.jitter_s for shape in self._shapes.values()), reverse=True)[:4])
        names = {end for adjacency in adjacencies for end in (adjacency.source, adjacency.target)}
        return probe(
            adjacencies,
            {name: self.namespace_path(name) for name in names},
            {name: self.address(name) for name in names},
            timeout_s=longest_s + PROBE_PATIENCE_S,
            rounds=rounds,
        )

    def check_delays(self) -> None:
        """Raise NetworkError unless every link in use carries frames, and not before their delay has passed."""
        self.check()
        for probed in self.measure_delays():
            between = f"between {probed.adjacency.source} and {probed.adjacency.target}"
            if probed.one_way_s is None:
                if not probed.adjacency.lossy:
                    raise NetworkError(f"no frame gets through {between}")
            elif probed.one_way_s < probed.adjacency.least_s * (1 - EARLY_SHARE) - EARLY_S:
                raise NetworkError(
                    f"frames {between} take {probed.one_way_s * 1e3:.3f} ms instead of at least "
                    f"{probed.adjacency.least_s * 1e3:.3f} ms: the delay is not in force"
                )

    def _adjacencies(self) -> list[Adjacency]:
        found = []
        for node, table in self.plan.routes.items():
            for route in table:
                if route.destination == route.next_hop:
                    shapes = [self._shapes[link] for link in route.links]
                    least_s = sum(max(0.0, shape.delay_s - 5 * shape.jitter_s) for shape in shapes)
                    lossy = any(shape.loss > 0 for shape in shapes)
                    found.append(Adjacency(node, route.next_hop, least_s, lossy))
        return found
