"""The unacknowledged segments of a sender, and the state of each."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence

from node_agent.errors import InvalidState

Ranges = Sequence[tuple[int, int]]


class Segment:
    """A piece of the stream that is not acknowledged yet."""

    __slots__ = ("end", "lost", "repeated", "sacked", "sent_s", "seq", "stuck", "under_way_again")

    def __init__(self, seq: int, end: int) -> None:
        self.seq = seq
        self.end = end
        self.sent_s = 0.0  # when it was last sent
        self.sacked = False  # arrived beyond a gap
        self.lost = False  # lost at least once
        self.repeated = False  # sent more than once
        self.under_way_again = False  # repeated, and not known to be lost again
        self.stuck: Callable[[], bool] = bool  # True if it still waits in the sending node's queue


class Flight:
    """Segments in the order of the stream, with the counts that Linux keeps."""

    __slots__ = ("again", "lost", "sacked", "segments")

    def __init__(self) -> None:
        self.segments: deque[Segment] = deque()
        self.sacked = self.lost = self.again = 0

    def __len__(self) -> int:
        return len(self.segments)

    @property
    def head(self) -> Segment:
        """The first unacknowledged segment."""
        return self.segments[0]

    @property
    def tail(self) -> Segment:
        """The last segment sent."""
        return self.segments[-1]

    @property
    def in_network(self) -> int:
        """The number of segments that are assumed to be in the network."""
        return len(self.segments) - self.sacked - self.lost + self.again

    @property
    def is_orderly(self) -> bool:
        """True if no segment is known to be missing."""
        return not (self.sacked or self.lost or self.again)

    def sack(self, ranges: Ranges, ack: int) -> list[Segment]:
        """Mark segments that have arrived beyond a gap; return those that are newly marked."""
        if not ranges:
            return []
        found = [
            segment for segment in self.segments
            if not segment.sacked and segment.end > ack
            and any(begin <= segment.seq and segment.end <= end for begin, end in ranges)
        ]  # fmt: skip
        for segment in found:
            self.unmark_lost(segment)
            self._no_longer_again(segment)
            segment.sacked = True
            self.sacked += 1
        return found

    def acknowledge(self, ack: int) -> list[Segment]:
        """Drop the segments before `ack`; return those that were not marked as arrived."""
        found = []
        while self.segments and self.segments[0].end <= ack:
            segment = self.segments.popleft()
            self._no_longer_again(segment)
            self.unmark_lost(segment)
            if segment.sacked:
                self.sacked -= 1
            else:
                found.append(segment)
        return found

    def mark_lost(self, segment: Segment) -> None:
        """Mark a segment as lost, or lost again."""
        self._no_longer_again(segment)
        if not segment.lost:
            segment.lost = True
            self.lost += 1

    def unmark_lost(self, segment: Segment) -> None:
        """Mark a segment as not lost."""
        if segment.lost:
            segment.lost = False
            self.lost -= 1

    def mark_again(self, segment: Segment) -> None:
        """Mark a segment as sent again."""
        segment.repeated = True
        if not segment.under_way_again:
            segment.under_way_again = True
            self.again += 1

    def to_repeat(self) -> Iterator[Segment]:
        """Yield the lost segments that are not under way again."""
        if self.lost:
            yield from [segment for segment in self.segments if segment.lost and not segment.under_way_again]

    def validate(self, name: str, una: int, nxt: int) -> None:
        """Raise InvalidState unless the segments cover the bytes `una` to `nxt`, and the counts match them."""
        bounds = [una, *(bound for each in self.segments for bound in (each.seq, each.end)), nxt]
        if bounds[::2] != bounds[1::2]:
            raise InvalidState(name, f"the flight is not {una} to {nxt} without gaps: {bounds[1:-1]}")
        counts = self.sacked, self.lost, self.again
        counted = tuple(
            sum(getattr(each, flag) for each in self.segments) for flag in ("sacked", "lost", "under_way_again")
        )
        if counts != counted or any(each.sacked and each.lost for each in self.segments):
            raise InvalidState(name, f"sacked, lost, again: {counts} counted, {counted} in the flight")

    def clear(self) -> None:
        """Drop all segments."""
        self.segments.clear()
        self.sacked = self.lost = self.again = 0

    def _no_longer_again(self, segment: Segment) -> None:
        if segment.under_way_again:
            segment.under_way_again = False
            self.again -= 1
