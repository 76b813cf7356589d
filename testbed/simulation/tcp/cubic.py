"""CUBIC, as Linux has it: the congestion window of one sender, in segments (RFC 9438; net/ipv4/tcp_cubic.c).

Times are real seconds. The kernel counts in whole segments, ticks and 1/1024 s, and rounding shows in small windows:
the curve's value is rounded up, so that a window regains one segment soon after each loss.
"""

import math

UNIT = 1024  # fractions, and parts of a second
BETA = 717  # of UNIT
SCALING = 410  # C of the RFC, 0.4 segments / s^3, of UNIT
SHIFT = 40  # of SCALING times a cubed time
LEAST_SSTHRESH = 2
FRIENDLY_EIGHTHS = 15  # acknowledged segments, per eight of the window, by which Reno's window grows by one
TICKS_PER_S = 250
INITIAL_WINDOW = 10
UNKNOWN_COUNT = 20  # acknowledged segments a step while no loss has shown where the limit is
UPDATE_TICKS = TICKS_PER_S // 32
# HyStart: the end of slow start without a loss.
HYSTART_LEAST_WINDOW = 16
HYSTART_SAMPLES = 8
HYSTART_TRAIN_S = 0.002
HYSTART_LEAST_S, HYSTART_MOST_S = 0.004, 0.016
HYSTART_ACK_DELAY_S = 0.001
SETTLE_S = 1.0  # after a reduction: delays are no measure of the path's own


class Cubic:
    """The window `cwnd` and the end of slow start `ssthresh`, both in segments."""

    def __init__(self) -> None:
        self.cwnd = INITIAL_WINDOW
        self.ssthresh = math.inf
        self._credit = 0  # acknowledged segments since the window last grew
        self._delay_min_s = math.inf
        self.forget()

    def forget(self) -> None:
        """After a time-out nothing of the former window counts."""
        self._last_max = 0
        self._epoch_tick: int | None = None
        self._origin = self._climb = 0
        self._acknowledged = self._friendly = 0
        self._count = 0
        self._last_cwnd = self._last_tick = 0
        self._found = False
        self._delay_min_s = math.inf
        self._round_end = -1
        self._round_s = self._train_s = -math.inf
        self._round_delay_s, self._samples = math.inf, 0

    @property
    def in_slow_start(self) -> bool:
        """Whether the window still grows by every acknowledged segment."""
        return self.cwnd < self.ssthresh

    def reduced(self) -> int:
        """The window that a loss leaves; remembers the one it was lost at."""
        self._epoch_tick = None
        cwnd = self.cwnd
        self._last_max = cwnd * (UNIT + BETA) // (2 * UNIT) if cwnd < self._last_max else cwnd
        self._credit = 0
        return max(LEAST_SSTHRESH, cwnd * BETA // UNIT)

    def resumed(self, idle_s: float, now_s: float) -> None:
        """Sending begins again after `idle_s`: the window's growth takes up where it was."""
        if self._epoch_tick is not None and idle_s > 0:
            tick = math.floor(now_s * TICKS_PER_S)
            self._epoch_tick = min(tick, self._epoch_tick + tick - math.floor((now_s - idle_s) * TICKS_PER_S))

    def acknowledged(self, count: int, now_s: float) -> None:
        """Grow, by `count` segments that were acknowledged while the window was what limited sending."""
        if self.in_slow_start:
            grown = min(self.cwnd + count, self.ssthresh)
            count -= int(grown - self.cwnd)
            self.cwnd = int(grown)
            if count <= 0:
                return
        self._update(count, now_s)
        if self._credit >= self._count:
            self._credit = 0
            self.cwnd += 1
        self._credit += count
        if self._credit >= self._count:
            steps = self._credit // self._count
            self._credit -= steps * self._count
            self.cwnd += steps

    def _update(self, count: int, now_s: float) -> None:
        """How many acknowledged segments the next step of the window takes.

        The curve is looked at once a tick at most, so that acknowledgements that come together count alike.
        """
        cwnd, tick = self.cwnd, math.floor(now_s * TICKS_PER_S)
        self._acknowledged += count
        if self._last_cwnd == cwnd and tick - self._last_tick <= UPDATE_TICKS:
            return
        if self._epoch_tick is None or tick != self._last_tick:
            self._last_cwnd, self._last_tick = cwnd, tick
            self._count = self._steps_of_curve(count, tick)
        a_step = max(1, cwnd * FRIENDLY_EIGHTHS >> 3)
        while self._acknowledged > a_step:
            self._acknowledged -= a_step
            self._friendly += 1
        if self._friendly > cwnd:
            self._count = min(self._count, cwnd // (self._friendly - cwnd))
        self._count = max(self._count, 2)

    def _steps_of_curve(self, count: int, tick: int) -> int:
        cwnd = self.cwnd
        if self._epoch_tick is None:
            self._epoch_tick = tick
            self._acknowledged, self._friendly = count, cwnd
            missing = max(0, self._last_max - cwnd)
            self._climb = round(((missing << SHIFT) / SCALING) ** (1 / 3))
            self._origin = cwnd + missing
        delay_s = 0.0 if math.isinf(self._delay_min_s) else self._delay_min_s
        ticks = tick - self._epoch_tick + math.ceil(delay_s * TICKS_PER_S)
        behind = self._climb - ticks * UNIT // TICKS_PER_S
        rise = SCALING * abs(behind) ** 3 >> SHIFT
        target = self._origin - rise if behind > 0 else self._origin + rise
        steps = cwnd // (target - cwnd) if target > cwnd else 100 * cwnd
        return steps if self._last_max else min(steps, UNKNOWN_COUNT)

    def sampled(self, rtt_s: float, now_s: float, una: int, nxt: int) -> None:
        """A round trip was measured, with these first unacknowledged and next bytes: HyStart."""
        if self._epoch_tick is not None and now_s - self._epoch_tick / TICKS_PER_S < SETTLE_S:
            return
        self._delay_min_s = min(self._delay_min_s, rtt_s)
        if self._found or not self.in_slow_start:
            return
        if una > self._round_end:
            self._round_end, self._round_s, self._train_s = nxt, now_s, now_s
            self._round_delay_s, self._samples = math.inf, 0
        if self.cwnd < HYSTART_LEAST_WINDOW:
            return
        if now_s - self._train_s <= HYSTART_TRAIN_S:
            self._train_s = now_s
            if now_s - self._round_s > (self._delay_min_s + HYSTART_ACK_DELAY_S) / 2:
                self._leave_slow_start()
        self._round_delay_s = min(self._round_delay_s, rtt_s)
        if self._samples < HYSTART_SAMPLES:
            self._samples += 1
            return
        slack_s = min(max(self._delay_min_s / 8, HYSTART_LEAST_S), HYSTART_MOST_S)
        if self._round_delay_s > self._delay_min_s + slack_s:
            self._leave_slow_start()

    def _leave_slow_start(self) -> None:
        self._found = True
        self.ssthresh = self.cwnd
