"""Reno's congestion window of a sender, in segments, as in Linux (RFC 5681; net/ipv4/tcp_cong.c)."""

import math

INITIAL_WINDOW = 10  # segments
LEAST_SSTHRESH = 2  # segments


class Reno:
    """The window `cwnd` and the slow-start threshold `ssthresh`, both in segments."""

    __slots__ = ("_credit", "cwnd", "ssthresh")

    def __init__(self) -> None:
        self.cwnd = INITIAL_WINDOW
        self.ssthresh = math.inf
        self._credit = 0  # acknowledged segments since the window last grew

    @property
    def in_slow_start(self) -> bool:
        """True if the window still grows by every acknowledged segment."""
        return self.cwnd < self.ssthresh

    def reduced(self) -> int:
        """Return the window after a loss [segments]; `cwnd` stays."""
        self._credit = 0
        return max(LEAST_SSTHRESH, self.cwnd // 2)

    def acknowledged(self, count: int) -> None:
        """Grow for `count` acknowledged segments. Call this only while the window limits sending."""
        if self.in_slow_start:
            grown = int(min(self.cwnd + count, self.ssthresh))
            count -= grown - self.cwnd
            self.cwnd = grown
            if count <= 0:
                return
        size = self.cwnd
        if self._credit >= size:
            self._credit = 0
            self.cwnd += 1
        self._credit += count
        if self._credit >= size:
            steps = self._credit // size
            self._credit -= steps * size
            self.cwnd += steps
