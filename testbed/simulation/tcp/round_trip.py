"""Linux's estimate of a connection's round trip, and the time-out from it (RFC 6298; tcp_rtt_estimator)."""

LEAST_VARIANCE_S = 0.2  # least part of a time-out beyond the round trip [real s]
# Decision 065: simulated TCP time-outs have a short bound (docs/decisions/065-bounded-time-outs.md).
MOST_TIME_OUT_S = 2.0  # [real s]


class RoundTrip:
    """The smoothed and the least round trip, and the time-out, in emulated seconds."""

    __slots__ = ("_deviation_s", "_end", "_largest_s", "_scale", "_variance_s", "least_s", "smoothed_s", "time_out_s")

    def __init__(self, rtt_s: float, time_scale: float) -> None:
        """`rtt_s` is the first sample, from the handshake [s]."""
        self._scale = time_scale
        self.smoothed_s = self.least_s = rtt_s
        self._deviation_s = rtt_s / 2
        self._variance_s = self._largest_s = max(2 * rtt_s, self.least_variance_s)
        self._end = 0  # next byte to send when the largest deviation was last reset
        self.time_out_s = self.smoothed_s + self._variance_s

    @property
    def least_variance_s(self) -> float:
        """The least part of a time-out beyond the round trip [s]."""
        return LEAST_VARIANCE_S / self._scale

    def sample(self, rtt_s: float, una: int, nxt: int) -> None:
        """Take a measured round trip [s]; `una` is the first unacknowledged byte, `nxt` the next one to send."""
        self.least_s = min(self.least_s, rtt_s)
        error_s = rtt_s - self.smoothed_s
        self.smoothed_s += error_s / 8
        change_s = abs(error_s) - self._deviation_s
        if error_s < 0 and change_s > 0:
            change_s /= 8
        self._deviation_s += change_s / 4
        deviation_s = 4 * self._deviation_s
        if deviation_s > self._largest_s:
            self._largest_s = deviation_s
            self._variance_s = max(self._variance_s, deviation_s)
        if una > self._end:  # once per round trip
            if self._largest_s < self._variance_s:
                self._variance_s -= (self._variance_s - self._largest_s) / 4
            self._end, self._largest_s = nxt, self.least_variance_s
        self.time_out_s = self.smoothed_s + self._variance_s

    def back_off(self) -> None:
        """Double the time-out, until the next sample."""
        most_s = max(MOST_TIME_OUT_S / self._scale, self.smoothed_s + self._variance_s)
        self.time_out_s = min(2 * self.time_out_s, most_s)
