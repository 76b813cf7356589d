"""Estimators that distinguish a change from chance: long windows, and a new start as soon as something changes.

A cumulative sum test (CUSUM; Page 1954) adds up how much better a changed value explains the measurements than the
present one does. The sum starts anew at zero whenever the present value explains them better. Once it exceeds a bound,
the value has changed; it is estimated anew from the measurements since the sum was last zero.
"""

import math

from node_agent.core.estimators import ArrivalRate, ServiceTime
from node_agent.errors import refuse_negative

ALARM = 6.0  # bound of a sum; chance alone reaches it once in several hundred measurements


class WatchedServiceTime(ServiceTime):
    """Mean and variability of the service time since it last changed, of the last `WINDOW` tasks at most.

    The sums are of standardised times, for a shift by one standard deviation (Page 1954): z - 1/2 and -z - 1/2. The
    standard deviation counts as at least `LEAST_SPREAD` of the mean, so that equal times do not make it zero.
    """

    WINDOW = 64  # tasks
    LEAST_SPREAD = 0.05
    SLACK = 0.5  # half the shift that the test is tuned to, in standard deviations

    def __init__(self, declared_per_s: float) -> None:
        super().__init__(declared_per_s)
        self._count = 0  # times in the mean
        self._sums = {+1: 0.0, -1: 0.0}
        self._since: dict[int, list[float]] = {+1: [], -1: []}  # times since each sum was zero

    def observe(self, duration_s: float) -> None:
        """Take the service time of a task [s]."""
        spread_s = math.sqrt(self._variance_s2 + (self.LEAST_SPREAD * self._mean_s) ** 2)
        z = (duration_s - self._mean_s) / spread_s
        for sign, since in self._since.items():
            self._sums[sign] += sign * z - self.SLACK
            if self._sums[sign] <= 0:
                self._sums[sign] = 0.0
                since.clear()
                continue
            since.append(duration_s)
            if self._sums[sign] > ALARM:
                self._begin(since)
                return
        self._count = min(self._count + 1, self.WINDOW)
        weight = 1 / self._count
        error = duration_s - self._mean_s
        self._mean_s += weight * error
        self._variance_s2 = (1 - weight) * (self._variance_s2 + weight * error**2)

    def reset(self, duration_s: float) -> None:
        """Replace the estimate by an undisturbed measurement [s], with variance 0."""
        self._begin([duration_s])

    def _begin(self, times_s: list[float]) -> None:
        """Estimate from these times alone."""
        self._count = len(times_s)
        self._mean_s = sum(times_s) / self._count
        self._variance_s2 = sum([(time_s - self._mean_s) ** 2 for time_s in times_s]) / self._count
        self._sums = dict.fromkeys(self._sums, 0.0)
        self._since = {+1: [], -1: []}


class WatchedArrivalRate(ArrivalRate):
    """Arrival rate of a device's own tasks since it last changed, over the last `WINDOW` windows at most.

    The sums are log-likelihood ratios of Poisson streams: of a rate `SHIFT` times as high, and as low, against the
    present rate. A gap t between two arrivals adds ln r - (r - 1) rate t for the factor r.
    """

    SHIFT = 2.0
    ALARM = 9.0
    PRIOR = 8.0  # tasks
    WINDOW = 2.0  # times the window of `ArrivalRate`

    def __init__(self, declared_per_s: float, window_s: float) -> None:
        super().__init__(declared_per_s, window_s)
        self._longest_s = self.WINDOW * window_s
        # The declared rate counts as if it had been measured for one window.
        self._tasks, self._over_s = declared_per_s * window_s, window_s
        self._last_s: float | None = None  # time of the last arrival
        self._sums = dict.fromkeys((self.SHIFT, 1 / self.SHIFT), 0.0)
        self._runs = dict.fromkeys(self._sums, (0, 0.0))  # arrivals since each sum was zero, and that time

    def begin(self, now_s: float) -> None:
        """Count from `now_s` on, so that a device that comes up during the run does not seem to have been idle."""
        super().begin(now_s)
        self._last_s = now_s
        self._runs = dict.fromkeys(self._sums, (0, now_s))

    def arrived(self, now_s: float) -> None:
        """Count a task that has arrived now."""
        super().arrived(now_s)
        last_s, self._last_s = now_s if self._last_s is None else self._last_s, now_s
        for factor, before in self._sums.items():
            total = before + math.log(factor) - (factor - 1) * self.per_s * (now_s - last_s)
            count, since_s = self._runs[factor]
            if total <= 0:
                self._sums[factor], self._runs[factor] = 0.0, (0, now_s)
                continue
            self._sums[factor], self._runs[factor] = total, (count + 1, since_s)
            if total > self.ALARM and now_s > since_s:
                self._restart(factor, count + 1, now_s - since_s, now_s)
                return

    def update(self, now_s: float) -> float:
        """Update the rate with all arrivals up to `now_s` [s], and return it [task/s]."""
        elapsed_s = now_s - self._since_s
        if elapsed_s > 0:
            kept = math.exp(-elapsed_s / self._longest_s)
            self._tasks = kept * self._tasks + self._count
            self._over_s = kept * self._over_s + elapsed_s
            self.per_s = self._tasks / self._over_s
            self._count, self._since_s = 0, now_s
        falling, (count, since_s) = 1 / self.SHIFT, self._runs[1 / self.SHIFT]
        if self._last_s is not None:
            silent = (1 - falling) * self.per_s * (now_s - self._last_s)
            if self._sums[falling] + silent > self.ALARM and now_s > since_s:
                self._restart(falling, count, now_s - since_s, now_s)
        return self.per_s

    def _restart(self, factor: float, count: int, over_s: float, now_s: float) -> None:
        """Estimate from `count` arrivals in `over_s`, and from the changed rate as if it had brought `PRIOR` more."""
        self._tasks = count + self.PRIOR
        self._over_s = over_s + self.PRIOR / (self.per_s * factor)
        self.per_s = self._tasks / self._over_s
        self._count, self._since_s, self._last_s = 0, now_s, now_s
        self._sums = dict.fromkeys(self._sums, 0.0)
        self._runs = dict.fromkeys(self._sums, (0, now_s))
        self.changed = True

    def validate(self, now_s: float) -> None:
        """Raise InvalidState if a figure is negative or no number."""
        super().validate(now_s)
        refuse_negative(
            "arrival rate", tasks=self._tasks, over_s=self._over_s, **{f"{k:.2f}": v for k, v in self._sums.items()}
        )
