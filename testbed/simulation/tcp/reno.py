"""Reno's congestion window of one sender, in segments, as Linux counts it (RFC 5681; net/ipv4/tcp_cong.c)."""

import math

INITIAL_WINDOW = 10
LEAST_SSTHRESH = 2


class Reno:
    """The window `cwnd` and the end of slow start `ssthresh`, both in segments."""

    __slots__ = ("_credit", "cwnd", "ssthresh")

    def __init__(self) -> None:
        self.cwnd = INITIAL_WINDOW
        self.ssthresh = math.inf
        self._credit = 0  # acknowledged segments since the window last grew

    @property
    def in_slow_start(self) -> bool:
        """Whether the window still grows by every acknowledged segment."""
        return self.cwnd < self.ssthresh

    def reduced(self) -> int:
        """The window that a loss leaves."""
        self._credit = 0
        return max(LEAST_SSTHRESH, self.cwnd // 2)

    def acknowledged(self, count: int) -> None:
        """Grow, by `count` segments that were acknowledged while the window was what limited sending."""
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
