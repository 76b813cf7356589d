"""A scenario's network, built with Mininet in namespaces, for as long as a run lasts."""

import contextlib
import resource
import threading
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from node_agent.errors import EnvironmentLacking
from testbed.host.idle_cpus import AwakeCpus
from testbed.host.ledger import Ledger
from testbed.network.commands import NetworkError, queue_places, run, run_batches
from testbed.network.delays.backend import DelayBackend, NetworkStatistics
from testbed.network.delays.choice import AUTO, choose_backend
from testbed.network.layout import MIDDLE, LinkLayout, NetworkPlan, scaled
from testbed.network.measure import MeasuredPath, Progress, measure, no_progress, silence_is_chance
from testbed.network.paths import Path, covering, direction, neighbour_paths
from testbed.network.probe import Prober
from testbed.network.rtnetlink import KernelLinks
from testbed.network.watch import DelayWatch
from testbed.scenario import LinkShape, Scenario

if TYPE_CHECKING:
    from mininet.net import Mininet

MininetNode = Any  # mininet has no types
BackendChoice = str  # a key of `delays.choice.BACKENDS`, or AUTO
DESCRIPTORS_PER_NODE = 8
# A delay counts as missing when a probe arrives this much too early: clocks and rounding explain less.
EARLY_SHARE = 0.1
EARLY_S = 0.0002


class EmulatedNetwork:
    """The running network of a scenario; a context manager.

    Call `start` in a thread that outlives the network, usually the main one: the relay dies with the thread that
    started it. `net` is the Mininet object underneath; its nodes have their short names.
    """

    def __init__(self, scenario: Scenario, *, run_id: str, ledger: Ledger, backend: BackendChoice = AUTO) -> None:
        """Plan the network, without touching the system.

        Args:
            run_id: name of the run, as in its ledger.
            ledger: every process of the network is written there.
            backend: a key of `delays.choice.BACKENDS`, or `auto`.

        Raises:
            InputError: a link joins an end to itself or to an unknown name, or there are too many nodes.
        """
        self.run_id = run_id
        self.plan = NetworkPlan(scenario)
        self.net: Mininet | None = None
        self._ledger = ledger
        self._choice: BackendChoice = backend
        self._delay: DelayBackend | None = None
        self._middle: MininetNode = None
        self._shapes = {
            direction(link.index, back=bool(side)): shape
            for link in self.plan.links
            for side, shape in enumerate(link.shapes)
        }
        self._kernel: dict[str, KernelLinks] = {}  # by the name of a node or switch
        self.measured: list[MeasuredPath] = []  # filled by `check_delays`
        self._lock = threading.Lock()
        self.awake_cpus = AwakeCpus()

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
        """Build the network, then check its delays; raises as `build` and `check_delays`."""
        self.build()
        self.check_delays()

    def build(self, progress: Progress = no_progress) -> None:
        """Build everything and start the delays.

        Args:
            progress: called with a name of the step, the number of things done and their total.

        Raises:
            EnvironmentLacking: the machine lacks something.
            NetworkError: building failed; `stop` then removes the parts already built.
        """
        if self.net is not None:
            raise NetworkError("the network has been started already")
        self._raise_descriptor_limit()
        self.awake_cpus.begin()
        self._delay = choose_backend(self._choice)
        self._make_nodes(progress)
        self._make_links(progress)
        self._delay.start(self._middle, self.plan.links, self.plan.seed, self._ledger)

    def stop(self) -> None:
        """Stop and remove everything; may be called twice, and after a start that failed half-way."""
        self.awake_cpus.end()
        if self._delay is not None:
            self._delay.stop()
        while self._kernel:
            self._kernel.popitem()[1].close()
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

    def _make_nodes(self, progress: Progress) -> None:
        from testbed.network.fabric import empty_network, need_namespaces, settle  # noqa: PLC0415 - loads mininet

        need_namespaces()
        self.net = net = empty_network()
        for number, name in enumerate(self.plan.nodes, start=1):
            node = net.addHost(self.plan.short[name], ip=self.plan.address[name])
            self._ledger.add_process(node.pid)
            progress("namespaces made", number, len(self.plan.nodes))
        for name in self.plan.switches:
            switch = net.addSwitch(self.plan.short[name], inNamespace=True)
            self._ledger.add_process(switch.pid)
        self._middle = net.addHost(MIDDLE, ip=None)
        self._ledger.add_process(self._middle.pid)
        settle(net.hosts + net.switches, self._known_as)

    def _make_links(self, progress: Progress) -> None:
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
            progress("links made", 0, len(self.plan.links))
            lines = self.plan.veth_lines(pids, self._middle.pid)
            run(["ip", "-batch", "-"], text="\n".join(lines) + "\n", name="making the links")
            progress("links made", len(self.plan.links), len(self.plan.links))
        # The middle first: its batch takes by far the longest.
        batches = [(self._middle, self.plan.middle_batch(self._delay.discipline))]
        batches += [(self._node(name), self.plan.node_batch(name)) for name in self.plan.nodes]
        batches += [(self._node(name), self.plan.switch_batch(name)) for name in self.plan.switches]
        run_batches(batches, progress=lambda done: progress("namespaces set up", done, len(batches)))
        self.net.build()
        self.net.start()

    # Reading

    @property
    def relay_pid(self) -> int | None:
        """Id of the process that delays frames; None if the kernel does."""
        return None if self._delay is None else self._delay.pid

    @property
    def backend(self) -> str:
        """Name of the delay backend in use; the choice before `start`."""
        return self._choice if self._delay is None else self._delay.name

    def address(self, node: str) -> str:
        """The IPv4 address at which the node is reached; NetworkError for an unknown node.

        It is the node's only address and the source of all its frames, except for a device's own processor: that has
        the loopback address of the device's namespace.
        """
        try:
            return self.plan.address[node]
        except KeyError:
            raise NetworkError(f"there is no node named {node}") from None

    def namespace_path(self, node: str) -> str:
        """The network namespace at the node's place, as a path for setns(2), valid while the network runs.

        Raises:
            NetworkError: the network does not run, or has no such node.
        """
        return f"/proc/{self._node(node).pid}/ns/net"

    def node(self, name: str) -> MininetNode:
        """The Mininet node behind a node or switch of the scenario; raises as `namespace_path`."""
        return self._node(name)

    def shape(self, ends: tuple[str, str]) -> LinkShape:
        """The present shape of the direction from the first to the second end, in real time (time scale applied).

        Raises:
            InputError: no link joins these ends.
        """
        link = self.plan.link_between(ends)
        return self._shapes[direction(link.index, back=link.ends != tuple(ends))]

    @cached_property
    def _known_as(self) -> dict[str, str]:
        """Users' names of the Mininet nodes, by short name. Keys are never users' names."""
        return {short: name for name, short in self.plan.short.items()} | {MIDDLE: "the links' middle"}

    def _node(self, name: str) -> MininetNode:
        if self.net is None:
            raise NetworkError("the network does not run")
        try:
            return self.net[self.plan.short[self.plan.place_of.get(name, name)]]
        except KeyError:
            raise NetworkError(f"there is no node named {name}") from None

    # Changing

    def change_link(self, ends: tuple[str, str], shape: LinkShape, *, sender: str | None = None) -> None:
        """Give the link between `ends` (in either order) a new shape, in emulated units, while it carries frames.

        With a `sender`, one of its ends, only the direction from that end changes. Frames in flight are neither dropped
        nor overtaken: they arrive at their old time, later ones behind them. The change is in force when this method
        returns, also for frames that wait at the link's ends. A queue that becomes shorter keeps all frames in it, and
        takes new ones once these fit its new room. Routes do not change. Safe to call from any thread.

        Raises:
            InputError: no link joins these ends, or `sender` is not one of them.
            NetworkError: the network does not run, or the kernel or the relay refuses the change.
        """
        link = self.plan.link_between(ends)
        sides = link.sides(sender)
        real = scaled(shape, self.plan.time_scale)
        with self._lock:
            if self.net is None or self._delay is None:
                raise NetworkError("the network does not run")
            for side in sides:
                self._change_direction(self._delay, link, side, real)

    def _change_direction(self, delay: DelayBackend, link: LinkLayout, side: int, shape: LinkShape) -> None:
        way = direction(link.index, back=bool(side))
        before = self._shapes[way]
        # A slower link slows at its end first, a faster one speeds up there last: else its middle would fill up.
        if shape.rate_mbit_per_s <= before.rate_mbit_per_s:
            self._limit_rate(link, side, before, shape)
            delay.change(link, side, shape)
        else:
            delay.change(link, side, shape)
            self._limit_rate(link, side, before, shape)
        self._shapes[way] = shape

    def _limit_rate(self, link: LinkLayout, side: int, before: LinkShape, shape: LinkShape) -> None:
        segments, places = link.segments(shape), queue_places(shape, link.segments(shape))
        port = link.ports[side]
        kernel = self._kernel.get(port.owner)
        if kernel is None:
            kernel = self._kernel[port.owner] = KernelLinks(self.namespace_path(port.owner))
        kernel.change_rate(port.interface, shape)
        if segments != link.segments(before):
            kernel.change_segments(port.interface, segments)
        if places != queue_places(before, link.segments(before)):
            kernel.change_room(port.interface, places)

    # Watching

    def check(self) -> None:
        """Raise NetworkError if a part of the network has died; cheap with the relay, one `tc` call with netem."""
        if self.net is None or self._delay is None:
            raise NetworkError("the network does not run")
        for node in self.net.hosts + self.net.switches:
            if node.shell is None or node.shell.poll() is not None:
                raise NetworkError(f"the namespace of {self._known_as[node.name]} has ended")
        self._delay.check()

    def statistics(self) -> NetworkStatistics:
        """The network's counters so far, times in real seconds; NetworkError before the start."""
        if self._delay is None:
            raise NetworkError("the network does not run")
        return self._delay.statistics()

    def forget_lateness(self) -> None:
        """Restart the counts of late frames and of lateness: `statistics` then covers later frames only."""
        if self._delay is None:
            raise NetworkError("the network does not run")
        self._delay.forget_lateness()

    @cached_property
    def _paths(self) -> list[Path]:
        return covering(neighbour_paths(self.plan))

    def _prober(self) -> Prober:
        names = list(dict.fromkeys(end for path in self._paths for end in (path.ends[0], path.ends[-1])))
        return Prober({name: self.namespace_path(name) for name in names}, {name: self.address(name) for name in names})

    def measure_links(self, progress: Progress = no_progress) -> list[MeasuredPath]:
        """Probe delay and rate of paths that cover each link in use both ways.

        The network must be idle otherwise. Probing takes the longest delay, and some 5 ms a link and direction for the
        rates.

        Args:
            progress: called with a name of the step, the number of paths done and their total.

        Returns:
            A result for each path, times in real seconds.

        Raises:
            NetworkError: a part of the network has died, or a node cannot be probed.
        """
        self.check()
        if not self._paths:
            return []
        with self._prober() as prober:
            return measure(self._paths, self._shapes, prober, progress)

    def watch(self) -> DelayWatch:
        """Return a watch over the delays of the same paths while the network is in use; `close` ends it."""
        return DelayWatch(self._paths, self._shapes, self._prober())

    def check_delays(self, progress: Progress = no_progress) -> None:
        """Measure the links, and keep the results as `measured`.

        Raises:
            NetworkError: frames over a link in use do not arrive, or arrive before their delay has passed.
        """
        self.measured = self.measure_links(progress)
        for way, path in zip(self._paths, self.measured, strict=True):
            between = f"between {path.path[0]} and {path.path[-1]}"
            least_s = max(0.0, path.delay_s - 5 * path.jitter_s)
            if path.measured_delay_s is None:
                if not silence_is_chance(way, self._shapes):
                    raise NetworkError(f"no frame gets through {between}")
            elif path.measured_delay_s < least_s * (1 - EARLY_SHARE) - EARLY_S:
                raise NetworkError(
                    f"frames {between} take {path.measured_delay_s * 1e3:.3f} ms instead of at least "
                    f"{least_s * 1e3:.3f} ms: the delay is not in force"
                )
