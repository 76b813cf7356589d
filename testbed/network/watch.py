"""A watch over the delays of a running network by small probes.

Few paths get about a probe a second each. Many paths take turns: quickly until each has had the ten probes that a
verdict on it needs, then slowly. Decision 038: paths take turns, at first quickly
(docs/decisions/038-watched-paths-take-turns.md).
"""

import bisect
import time
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from testbed.network.paths import Path
from testbed.network.probe import SMALLEST_PACKET_BYTES, Prober
from testbed.scenario import LinkShape

EVERY_S = 1.0  # between two probes of a path, at least
ENOUGH = 10  # probes of a path for a verdict on it
MOST_EARLY_PER_S = 300.0  # over all paths, until each has enough
MOST_PER_S = 30.0  # over all paths, afterwards
PATIENCE_S = 2.0  # beyond the time of the links; then a probe counts as lost
MOST_AT_ONCE = 200
MOST_KEPT = 1024  # times of a path: a quarter of an hour


@dataclass(frozen=True, slots=True)
class WatchedPath:
    """The watch's findings on a path, in one direction: one-way time [s] in excess of the links' own at that moment.

    The 10 % quantile shows the links: such probes hardly waited for other frames. The median also shows the cost of the
    run's own traffic. Both are None before the first arrival. `lost` includes the topology's own losses.
    """

    path: tuple[str, ...]
    probes: int
    lost: int
    excess_p10_s: float | None
    excess_p50_s: float | None


class Times:
    """Quantiles of a growing number of times in bounded memory: the times in order, thinned out to every other one.

    After each thinning only every second (fourth, and so on) new time is kept, so that all times weigh the same.
    """

    __slots__ = ("_kept", "_stride", "count")

    def __init__(self) -> None:
        self.count = 0  # times added
        self._kept = array("f")
        self._stride = 1

    def add(self, time_s: float) -> None:
        """Add a time [s]."""
        if self.count % self._stride == 0:
            bisect.insort(self._kept, time_s)
            if len(self._kept) >= MOST_KEPT:
                self._kept = self._kept[::2]
                self._stride *= 2
        self.count += 1

    def quantile(self, tenths: int) -> float | None:
        """The quantile at `tenths` tenths, in seconds; None without times."""
        return self._kept[len(self._kept) * tenths // 10] if self._kept else None


class DelayWatch:
    """Sends and receives probes whenever its `beat` is called; made by `EmulatedNetwork.watch`."""

    def __init__(
        self,
        paths: Sequence[Path],
        shapes: Mapping[int, LinkShape],
        prober: Prober,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Watch these paths.

        Args:
            shapes: real-time shapes by the number of a direction; read at every probe, so that changes count.
            prober: sends and receives the probes; closed with this watch.
            clock: gives real time [s].
        """
        self._paths, self._shapes, self._prober, self._clock = paths, shapes, prober, clock
        self._sent = 0  # probes over all paths, in turn
        self._beat_s = clock()
        self._owed = 1.0  # probes that are due, and a part of the next one
        self._asked: dict[tuple[int, int], tuple[float, float]] = {}  # on their way: time sent, time of the links
        self._excess_s = [Times() for _ in paths]
        self._probes = [0] * len(paths)
        self._closed = False

    def beat(self) -> None:
        """Receive the probes that have arrived, and send those that are due; never blocks.

        Call it about ten times a second.
        """
        if self._closed or not self._paths:
            return
        self._take()
        now_s = self._clock()
        self._owed += (now_s - self._beat_s) * self._per_s
        self._beat_s = now_s
        due = int(self._owed)
        self._owed -= due
        due = min(due, MOST_AT_ONCE, len(self._paths))  # no catching up after a long pause
        for turn in range(self._sent, self._sent + due):
            number, index = divmod(turn, len(self._paths))
            path = self._paths[index]
            ask_s = path.delay_s(self._shapes) + path.transmission_s(SMALLEST_PACKET_BYTES, self._shapes)
            self._asked[index, number] = now_s, ask_s
            self._probes[index] += 1
            self._prober.send(
                path.ends[0], path.ends[-1], path=index, number=number, packet_bytes=SMALLEST_PACKET_BYTES
            )
        self._sent += due

    def watched(self) -> list[WatchedPath]:
        """The findings so far on each path; probes that may still arrive count neither as sent nor as lost."""
        if not self._closed:
            self._take()
        hoped = self._hoped()
        found = []
        for index, path in enumerate(self._paths):
            probes, seen = self._probes[index] - hoped[index], self._excess_s[index]
            found.append(
                WatchedPath(
                    path.ends,
                    probes,
                    probes - seen.count,
                    seen.quantile(1),
                    seen.quantile(5),
                )
            )
        return found

    def close(self) -> None:
        """Receive the probes that have arrived, and end; `watched` stays usable. May be called twice."""
        if not self._closed:
            self._take()
            self._probes = [sent - hoped for sent, hoped in zip(self._probes, self._hoped(), strict=True)]
            self._asked.clear()
            self._closed = True
            self._prober.close()

    @property
    def _per_s(self) -> float:
        """Probes a second over all paths, now."""
        early = self._sent < ENOUGH * len(self._paths)
        return min(len(self._paths) / EVERY_S, MOST_EARLY_PER_S if early else MOST_PER_S)

    def _hoped(self) -> list[int]:
        """For each path the number of probes that may still arrive."""
        now_s = self._clock()
        hoped = [0] * len(self._paths)
        for (index, _), (sent_s, ask_s) in self._asked.items():
            hoped[index] += now_s - sent_s < ask_s + PATIENCE_S
        return hoped

    def _take(self) -> None:
        for arrival in self._prober.arrivals(0):
            asked = self._asked.pop((arrival.path, arrival.number), None)
            if asked is not None:
                self._excess_s[arrival.path].add(arrival.one_way_s - asked[1])
        now_s = self._clock()
        while self._asked:  # in the order of sending
            key, (sent_s, ask_s) = next(iter(self._asked.items()))
            if now_s - sent_s < ask_s + 2 * PATIENCE_S:
                return
            del self._asked[key]
