"""What every delay backend is and tells."""

from dataclasses import dataclass
from typing import ClassVar, Protocol

from testbed.host.ledger import Ledger
from testbed.network.commands import Namespaced
from testbed.network.layout import LinkLayout
from testbed.scenario import LinkShape


@dataclass(frozen=True, slots=True)
class LinkStatistics:
    """What one direction of one link did so far, in its middle; `ends` are the sending and the receiving end.

    `lost` frames were lost as the topology asks, `dropped` ones against its will; `late` ones were sent more than 1 ms
    after they were due. Lateness is in real seconds, and that of a frame sent early (the relay does so by up to 100 us)
    counts as none. It is counted in octaves from 4 us on, so that a quantile may be off by a factor of two, or by 4 us;
    the worst is exact. Lateness is None with netem, which does not tell, and before the first frame.
    """

    ends: tuple[str, str]
    frames: int
    bytes: int
    lost: int
    dropped: int
    late: int | None
    lateness_p50_s: float | None
    lateness_p99_s: float | None
    worst_lateness_s: float | None


@dataclass(frozen=True, slots=True)
class NetworkStatistics:
    """What the middle of all links did so far; lateness: since `forget_lateness`.

    `frames_late` were sent more than 1 ms after they were due, `worst_lateness_s` is the worst of them (both only
    known, and only possible, with the user-space backend); `frames_lost` were lost as the topology asks,
    `frames_dropped` against its will (a full queue in the middle); `relay_cpu_s` is the CPU time of the relay process.
    """

    backend: str
    frames_relayed: int
    frames_late: int
    worst_lateness_s: float
    frames_lost: int
    frames_dropped: int
    relay_cpu_s: float
    realtime_priority: bool
    links: tuple[LinkStatistics, ...] = ()
    stalls_s: tuple[tuple[float, float], ...] = ()  # when the relay did not run though it had to [CLOCK_MONOTONIC]


@dataclass(frozen=True, slots=True)
class Trial:
    """Whether this machine has what a backend stands on, and what can be done about it.

    `trouble` is what is wrong, though it may still work; empty where all is well. Then the rest is empty, too: what the
    trouble means for a run, and how to mend it, be it by a kernel module (in this package) or in another way.
    """

    works: bool
    trouble: str = ""
    means: str = ""
    module: str = ""
    package: str = ""
    remedy: str = ""


class DelayBackend(Protocol):
    """Delays the frames of every link in the middle namespace."""

    name: ClassVar[str]  # as --backend and manifests have it
    summary: ClassVar[str]  # what delays frames, in a few words
    examined_as: ClassVar[str]  # what `doctor` calls the thing that it stands on
    tells_lateness: ClassVar[bool]  # whether its statistics know of late frames

    @staticmethod
    def discipline(interface: str, shape: LinkShape) -> str | None:
        """The tc line that has the kernel delay, lose and space out what leaves an interface of the middle.

        The two interfaces of a link are then bridged. None if a process takes the frames from one to the other.
        """

    @staticmethod
    def trial() -> Trial:
        """Really try what it stands on, in a throw-away namespace or socket."""

    def start(self, middle: Namespaced, links: tuple[LinkLayout, ...], seed: int, ledger: Ledger) -> None:
        """Begin; the middle's interfaces are up."""

    def change(self, link: LinkLayout, side: int, shape: LinkShape) -> None:
        """Give what one end of a link sends (0: its first) a new shape; nothing in flight is dropped or overtaken."""

    @property
    def pid(self) -> int | None:
        """The process that delays frames, if one does."""

    def check(self) -> None:
        """Raise NetworkError if frames are no longer delayed."""

    def statistics(self) -> NetworkStatistics:
        """What happened so far."""

    def forget_lateness(self) -> None:
        """Count late frames, and how late they are, anew."""

    def stop(self) -> None:
        """End; may be called twice, and before start."""
