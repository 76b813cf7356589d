"""Delays by the kernel's network emulator, netem."""

import json
import platform
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from testbed.host.ledger import Ledger
from testbed.network.commands import Namespaced, NetworkError, kernel_takes, netem_delay
from testbed.network.delays.backend import LinkStatistics, NetworkStatistics, Trial
from testbed.network.layout import LinkLayout
from testbed.network.rtnetlink import KernelLinks
from testbed.scenario import LinkShape


@dataclass(slots=True)
class DropCount:
    """Divides a netem's drops: while its shape loses frames, drops count as lost, otherwise as dropped."""

    loses: bool
    booked: int = 0  # the kernel's counter when `loses` changed last
    lost: int = 0
    dropped: int = 0

    def book(self, drops: int, *, loses: bool) -> None:
        """Divide the drops that the kernel counts by now; from here on the shape loses frames, or does not."""
        self.lost, self.dropped = self.so_far(drops)
        self.booked, self.loses = drops, loses

    def so_far(self, drops: int) -> tuple[int, int]:
        """Frames lost and frames dropped, when the kernel's counter stands at `drops`."""
        new = (drops - self.booked) % (1 << 32)
        return (self.lost + new, self.dropped) if self.loses else (self.lost, self.dropped + new)


class NetemDelay:
    """Delays by the kernel's own network emulator, which the plan's batch has set up."""

    name: ClassVar[str] = "netem"
    summary: ClassVar[str] = "the kernel"
    examined_as: ClassVar[str] = "netem (link delays)"
    tells_lateness: ClassVar[bool] = False

    @staticmethod
    def discipline(interface: str, shape: LinkShape) -> str:
        """A single netem for everything."""
        return netem_delay(interface, shape)

    @staticmethod
    def trial() -> Trial:
        """Add a netem with every option that links use, in a throw-away namespace."""
        trouble = kernel_takes("netem limit 10 delay 1ms 0.1ms distribution normal loss 1% rate 1mbit")
        if not trouble:
            return Trial(works=True)
        means = "delays run in user space: as exact on an idle machine, at some CPU time per frame"
        package = f"linux-modules-extra-{platform.release()}"
        return Trial(works=False, trouble=trouble, means=means, module="sch_netem", package=package)

    def __init__(self) -> None:
        self._middle: Namespaced | None = None
        self._kernel: KernelLinks | None = None
        self._links: tuple[LinkLayout, ...] = ()
        self._seed = self._changes = 0
        self._drops: dict[str, DropCount] = {}  # by interface

    def start(self, middle: Namespaced, links: tuple[LinkLayout, ...], seed: int, ledger: Ledger) -> None:
        """Check that each discipline is in place (some versions of `tc` only warn)."""
        del ledger  # the disciplines end with their namespace
        self._middle, self._links, self._seed = middle, links, seed
        self._drops = {
            port.middle: DropCount(shape.loss > 0)
            for link in links
            for port, shape in zip(link.ports[::-1], link.shapes, strict=True)
        }
        self.check()
        self._kernel = KernelLinks(f"/proc/{middle.pid}/ns/net")
        for link in links:
            for side, shape in enumerate(link.shapes):
                if shape.loss > 0 or shape.jitter_s > 0:
                    self.change(link, side, shape)  # sets the seed, which not every `tc` can

    def change(self, link: LinkLayout, side: int, shape: LinkShape) -> None:
        """Change netem in place, with a seed of its own: the kernel begins a new random series at every change."""
        assert self._kernel is not None
        middle = link.ports[1 - side].middle  # frames of one end leave the middle towards the other
        self._changes += 1
        self._kernel.change_netem(middle, shape, (self._seed << 32) + self._changes)
        if self._drops[middle].loses != (shape.loss > 0):
            self._drops[middle].book(self._kernel.drops(middle), loses=shape.loss > 0)

    @property
    def pid(self) -> int | None:
        """None: the kernel delays frames."""
        return None

    def check(self) -> None:
        """Raise NetworkError unless every middle interface carries netem."""
        present = {entry["dev"] for entry in self._disciplines()}
        for link in self._links:
            for port in link.ports:
                if port.middle not in present:
                    raise NetworkError(f"the link {link.ends[0]} - {link.ends[1]} has lost its delay (no netem)")

    def statistics(self) -> NetworkStatistics:
        """Sums of the kernel's counters.

        The kernel counts losses and drops of a full queue together: while a link loses frames, all count as lost.
        """
        entries = self._disciplines()
        links = tuple(self._links_statistics(entries))
        return NetworkStatistics(
            backend=self.name,
            frames_relayed=sum(int(entry["packets"]) for entry in entries),
            frames_late=0,
            worst_lateness_s=0.0,
            frames_lost=sum(link.lost for link in links),
            frames_dropped=sum(link.dropped for link in links),
            relay_cpu_s=0.0,
            realtime_priority=True,
            links=links,
        )

    def forget_lateness(self) -> None:
        """Do nothing: the kernel counts no lateness."""

    def _links_statistics(self, entries: list[dict[str, Any]]) -> Iterator[LinkStatistics]:
        found = {entry["dev"]: entry for entry in entries}
        for link in self._links:
            for side in (0, 1):
                # Frames that leave the middle towards an end came from the other end.
                entry = found[link.ports[1 - side].middle]
                lost, dropped = self._drops[entry["dev"]].so_far(int(entry["drops"]))
                yield LinkStatistics(
                    ends=link.ends if side == 0 else link.ends[::-1],
                    frames=int(entry["packets"]),
                    bytes=int(entry["bytes"]),
                    lost=lost,
                    dropped=dropped,
                    late=None,
                    lateness_p50_s=None,
                    lateness_p99_s=None,
                    worst_lateness_s=None,
                )

    def stop(self) -> None:
        """Close the socket; the disciplines disappear with the namespace."""
        if self._kernel is not None:
            self._kernel.close()
            self._kernel = None

    def _disciplines(self) -> list[dict[str, Any]]:
        assert self._middle is not None
        process = self._middle.popen(
            ["tc", "-s", "-j", "qdisc", "show"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        output, error = process.communicate()
        if process.returncode != 0:
            raise NetworkError(f"tc qdisc show failed: {error.strip()}")
        return [entry for entry in json.loads(output) if entry.get("kind") == "netem"]
