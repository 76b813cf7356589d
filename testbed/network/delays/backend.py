"""The interface of delay backends, and the statistics that they report."""

from dataclasses import dataclass
from typing import ClassVar, Protocol

from testbed.host.ledger import Ledger
from testbed.network.commands import Namespaced
from testbed.network.layout import LinkLayout
from testbed.scenario import LinkShape


@dataclass(frozen=True, slots=True)
class LinkStatistics:
    """Counters of one direction of one link, in its middle; `ends` are the sending and the receiving end.

    `lost` frames were lost as the topology asks, `dropped` ones against its will. `late` frames were sent more than
    1 ms after they were due. Lateness is in real seconds; a frame that the relay sends early, by up to 100 us, counts
    as on time. Lateness is counted by powers of two from 4 us up, so that a quantile may be off by a factor of two, or
    by 4 us; the worst is exact. Lateness is None with netem, which does not report it, and before the first frame.
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
    """Counters of the middle of all links; lateness counts from the last `forget_lateness`.

    `frames_late` were sent more than 1 ms after they were due; `worst_lateness_s` is the worst lateness. Only the
    user-space backend knows and can cause lateness. `frames_lost` were lost as the topology asks, `frames_dropped`
    against its will (a full queue in the middle). `relay_cpu_s` is the CPU time of the relay process.
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
    stalls_s: tuple[tuple[float, float], ...] = ()  # begin and end of the relay's stalls [s, CLOCK_MONOTONIC]


@dataclass(frozen=True, slots=True)
class Trial:
    """The result of trying a backend on this machine.

    `trouble` says what is wrong, even if the backend works; all texts are empty if nothing is. `means` is the
    consequence for a run. The trouble is mended by the kernel module `module`, in `package`, or by `remedy`.
    """

    works: bool
    trouble: str = ""
    means: str = ""
    module: str = ""
    package: str = ""
    remedy: str = ""


class DelayBackend(Protocol):
    """Delays the frames of every link in the middle namespace."""

    name: ClassVar[str]  # for --backend and manifests
    summary: ClassVar[str]  # the thing that delays frames, in a few words
    examined_as: ClassVar[str]  # `doctor`'s name for the thing that it needs
    tells_lateness: ClassVar[bool]  # True if its statistics count late frames

    @staticmethod
    def discipline(interface: str, shape: LinkShape) -> str | None:
        """The tc line that makes the kernel delay, lose and space out the frames that leave an interface of the middle.

        The two interfaces of a link are then bridged. None if a process moves frames from one to the other.
        """

    @staticmethod
    def trial() -> Trial:
        """Try the things that the backend needs, in a throw-away namespace or socket."""

    def start(self, middle: Namespaced, links: tuple[LinkLayout, ...], seed: int, ledger: Ledger) -> None:
        """Begin to delay frames; the middle's interfaces are up. Raises NetworkError if that fails."""

    def change(self, link: LinkLayout, side: int, shape: LinkShape) -> None:
        """Give the direction from one end of a link (0: its first) a new shape, in force on return.

        Frames in flight are neither dropped nor overtaken. Raises NetworkError if the change is refused.
        """

    @property
    def pid(self) -> int | None:
        """Id of the process that delays frames; None if the kernel does."""

    def check(self) -> None:
        """Raise NetworkError if frames are no longer delayed."""

    def statistics(self) -> NetworkStatistics:
        """The counters so far; NetworkError if they cannot be read."""

    def forget_lateness(self) -> None:
        """Restart the counts of late frames and of lateness."""

    def stop(self) -> None:
        """Stop delaying frames; may be called twice, and before `start`."""
