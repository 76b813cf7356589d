"""Estimators of a node's own measurements: arrival rate, service time and link times."""

import math

from node_agent.errors import InvalidState, refuse_negative


class ArrivalRate:
    """Arrival rate of a device's own tasks: an exponential window over time that starts from the declared rate."""

    def __init__(self, declared_per_s: float, window_s: float) -> None:
        self.per_s = declared_per_s
        self.changed = False  # the rate has changed by more than chance since the flag was last cleared
        self._window_s = window_s
        self._count = 0
        self._since_s = 0.0

    def begin(self, now_s: float) -> None:
        """Count from `now_s` on, so that a device that comes up during the run does not seem to have been idle."""
        self._count, self._since_s = 0, now_s

    def arrived(self, now_s: float) -> None:  # noqa: ARG002 - other estimators need the time
        """Count a task that has arrived now."""
        self._count += 1

    def update(self, now_s: float) -> float:
        """Update the rate with all arrivals up to `now_s` [s], and return it [task/s]."""
        elapsed = now_s - self._since_s
        if elapsed > 0:
            weight = 1 - math.exp(-elapsed / self._window_s)
            self.per_s += weight * (self._count / elapsed - self.per_s)
            self._count, self._since_s = 0, now_s
        return self.per_s

    def validate(self, now_s: float) -> None:
        """Raise InvalidState if the rate is negative or no number, or the window begins after `now_s`."""
        refuse_negative("arrival rate", per_s=self.per_s, count=self._count, since_s=self._since_s)
        if self._since_s > max(0.0, now_s):
            raise InvalidState("arrival rate", f"counted since {self._since_s} s, but it is {now_s} s")


class Stillness:
    """Detects, once a slot, that tasks have stopped coming to a device.

    A device with rare tasks is not still after a few slots without one: at the rate before the pause, 10 tasks must be
    missing. A Poisson stream has such a pause with probability exp(-10). Bursty streams have longer pauses, so the
    pause must also last a minimum time.
    """

    MISSED_TASKS = 10.0  # expected tasks that did not come

    def __init__(self, window_s: float) -> None:
        """`window_s` is the least length of a pause [s]."""
        self._window_s = window_s
        self._arrived = -1  # tasks at the last call
        self._since_s = 0.0
        self._rate_per_s = 0.0  # before the pause

    def at_rest(self, arrived: int, rate_per_s: float, now_s: float) -> bool:
        """Return True if the pause since the last task is so long that no further task is expected.

        Args:
            arrived: tasks that have arrived so far.
            rate_per_s: their estimated rate [task/s].
            now_s: the present time [s].
        """
        if arrived != self._arrived:
            self._arrived, self._rate_per_s, self._since_s = arrived, rate_per_s, now_s
        pause_s = now_s - self._since_s
        return pause_s >= self._window_s and self._rate_per_s * pause_s >= self.MISSED_TASKS

    def validate(self, arrived: int) -> None:
        """Raise InvalidState if more tasks were counted than have `arrived`."""
        refuse_negative("stillness", rate_per_s=self._rate_per_s)
        if self._arrived > arrived:
            raise InvalidState("stillness", f"{self._arrived} tasks were seen, but {arrived} have arrived")


class ServiceTime:
    """Mean and variability of the service time, exponentially weighted.

    Decision 005: a task has weight 0.25 in the estimated service time, so that a slowed server shows in a few tasks
    (docs/decisions/005-weight-of-a-task-in-the-service-time.md).
    """

    WEIGHT = 0.25

    def __init__(self, declared_per_s: float) -> None:
        self._mean_s = 1 / declared_per_s
        self._variance_s2 = 0.0

    def observe(self, duration_s: float) -> None:
        """Take the service time of a task [s] into the estimate."""
        error = duration_s - self._mean_s
        self._mean_s += self.WEIGHT * error
        self._variance_s2 = (1 - self.WEIGHT) * (self._variance_s2 + self.WEIGHT * error**2)

    def reset(self, duration_s: float) -> None:
        """Replace the estimate by an undisturbed measurement [s], with variance 0."""
        self._mean_s, self._variance_s2 = duration_s, 0.0

    def rate_per_s(self, in_service_s: float = 0.0) -> float:
        """Return the service rate s [task/s]; a task in service counts as soon as it takes longer than the mean."""
        return 1 / max(self._mean_s, in_service_s, 1e-9)

    @property
    def variability(self) -> float:
        """Squared coefficient of variation of the service time, v; at most 10."""
        return min(self._variance_s2 / self._mean_s**2, 10.0)

    def validate(self) -> None:
        """Raise InvalidState unless the mean is positive and finite, and the variance not negative."""
        refuse_negative("service time", variance_s2=self._variance_s2)
        if not 0 < self._mean_s < math.inf:
            raise InvalidState("service time", f"the mean is {self._mean_s} s")


class ArrivalVariability:
    """Variability a of a server's arrivals: variance of their number in a window over its mean; 1 for a Poisson stream.

    A window lasts `WINDOW` times 1/(s - phi), the time in which the server works off a task of its backlog. That is how
    long arrivals have to come in order to decide a wait. So a is what Kingman's formula needs (see `dtoee.queueing`).

    Each window's number is compared with the mean of the windows before, which follows changes of the rate. Squared
    errors over their Poisson variance are averaged over `MEMORY` windows, beginning with `PRIOR` windows of a Poisson
    stream. A window counts in proportion to its tasks, but not beyond `FULL_WINDOW` of them. One with an error beyond
    chance is a change of the rate: then the mean begins anew.

    Decision 097: waiting is priced by the variance of the number of arrivals in a window, not by that of the times
    between them (docs/decisions/097-smooth-draws-and-their-price.md).
    """

    WINDOW = 3.0
    MEMORY = 64
    PRIOR = 8  # windows
    RATE_WINDOWS = 8  # windows that the mean rate covers; no error counts before
    FULL_WINDOW = 4.0  # tasks
    MOST_UTILISATION = 0.9  # of the server, where windows stop to grow
    MOST_ERROR = 16.0  # squared error, in variances, that may be chance
    MOST_EMPTY = 32  # windows without a task, after which counting begins anew
    LEAST, MOST = 0.05, 10.0

    def __init__(self) -> None:
        self._begin_s: float | None = None  # of the present window
        self._window_s = 0.0
        self._count = 0  # of tasks in it
        self._rate_per_s = 0.0  # mean rate before it
        self._rated = 0  # windows that the mean rate covers, at most RATE_WINDOWS
        self._errors = self._weights = 0.0  # sums over past windows, of weighted squared errors and of the weights

    @property
    def variability(self) -> float:
        """The variability a, between `LEAST` and `MOST`."""
        return min(self.MOST, max(self.LEAST, self._errors / self._weights)) if self._weights > 0 else 1.0

    def arrived(self, at_s: float, service_per_s: float) -> None:
        """Count a task that arrived at `at_s` [s] at a server of rate `service_per_s` [task/s]."""
        if self._begin_s is None or at_s >= self._begin_s + (self.MOST_EMPTY + 1) * self._window_s:
            self._begin(at_s, service_per_s)
            return  # the task that begins a window is no part of it
        while at_s >= self._begin_s + self._window_s:
            self._end_window()
            self._begin_s += self._window_s
            self._count, self._window_s = 0, self._length_s(service_per_s)
        self._count += 1

    def _begin(self, at_s: float, service_per_s: float) -> None:
        self._begin_s, self._count, self._rate_per_s, self._rated = at_s, 0, 0.0, 0
        self._window_s = self._length_s(service_per_s)

    def _length_s(self, service_per_s: float) -> float:
        busy = min(self._rate_per_s / service_per_s, self.MOST_UTILISATION)
        return self.WINDOW / (service_per_s * (1 - busy))

    def _end_window(self) -> None:
        expected = self._rate_per_s * self._window_s
        if expected > 0 and self._rated == self.RATE_WINDOWS:
            # An exponential mean with weight 1/n has 1/(2n-1) of a window's variance: it adds to that of the error.
            error = (self._count - expected) ** 2 / expected * (1 - 1 / (2 * self.RATE_WINDOWS))
            if error > self.MOST_ERROR * max(1.0, self.variability) and expected > 1:
                self._rated = 0
            else:
                self._weigh(error, min(expected, self.FULL_WINDOW))
        self._rated = min(self._rated + 1, self.RATE_WINDOWS)
        self._rate_per_s += (self._count / self._window_s - self._rate_per_s) / self._rated

    def _weigh(self, error: float, weight: float) -> None:
        if self._weights == 0:
            self._errors = self._weights = self.PRIOR * weight
        kept = 1 - 1 / self.MEMORY
        self._errors, self._weights = kept * self._errors + weight * error, kept * self._weights + weight

    def validate(self) -> None:
        """Raise InvalidState if a sum is negative or no number."""
        refuse_negative(
            "arrivals", count=self._count, window_s=self._window_s, rate_per_s=self._rate_per_s,
            errors=self._errors, weights=self._weights,
        )  # fmt: skip


class LinkTime:
    """Time of a task and of a small message to a receiver, and rate of the link: exponentially weighted means.

    `back_s` is the time of a small message, such as a result, from the receiver [s]; None until one is measured.
    """

    WEIGHT = 0.2  # of a new time
    RATE_WEIGHT = 0.3  # of a new time per byte

    def __init__(self) -> None:
        self._task_s: float | None = None
        self._small_s: float | None = None
        self._s_per_byte: float | None = None
        self.back_s: float | None = None
        self.fresh = False  # a task was measured since the flag was last cleared

    def observe_task(self, link_s: float) -> None:
        """Take the time of a task from offered to received [s] into the mean."""
        self._task_s = _smooth(self._task_s, max(0.0, link_s), self.WEIGHT)
        self.fresh = True

    def reset_task(self, link_s: float) -> None:
        """Replace the time of a task by that of a probe over an idle link [s]: older measurements are outdated."""
        self._task_s = max(0.0, link_s)

    def observe_small(self, link_s: float) -> None:
        """Take the time of a control message to the receiver [s] into the mean."""
        self._small_s = _smooth(self._small_s, max(0.0, link_s), self.WEIGHT)

    def observe_back(self, link_s: float) -> float:
        """Take the time of a control message from the receiver [s] into `back_s`, and return that."""
        self.back_s = _smooth(self.back_s, max(0.0, link_s), self.WEIGHT)
        return self.back_s

    def observe_rate(self, byte_per_s: float) -> None:
        """Take a rate of the link [B/s], its delay excluded, into the mean, which is that of times per byte."""
        self._s_per_byte = _smooth(self._s_per_byte, 1 / byte_per_s, self.RATE_WEIGHT)

    def reset_rate(self, byte_per_s: float) -> None:
        """Replace the rate [B/s]: older measurements were taken while the connection was starting."""
        self._s_per_byte = 1 / byte_per_s

    @property
    def transfer_s(self) -> float:
        """Transfer time of a task, t [s]; that of a small message until a task is measured."""
        return self._task_s if self._task_s is not None else (self._small_s or 0.0)

    @property
    def small_s(self) -> float:
        """Time of a small message [s], at most that of a task; equal to it until a small message is measured."""
        return min(self.transfer_s, self.transfer_s if self._small_s is None else self._small_s)

    @property
    def byte_per_s(self) -> float:
        """Rate of the link [B/s]; 0 until it is measured."""
        return 1 / self._s_per_byte if self._s_per_byte else 0.0

    def validate(self, receiver: str) -> None:
        """Raise InvalidState if a time is negative or no number."""
        times = {
            "task_s": self._task_s, "small_s": self._small_s, "back_s": self.back_s, "s_per_byte": self._s_per_byte
        }  # fmt: skip
        refuse_negative(f"link to {receiver}", **{name: time for name, time in times.items() if time is not None})


def _smooth(old: float | None, new: float, weight: float) -> float:
    return new if old is None else old + weight * (new - old)
