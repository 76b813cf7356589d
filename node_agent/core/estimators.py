"""What a node measures by itself: its arrival rate, its service time, and how long its links take."""

import math

from node_agent.errors import InvalidState, refuse_negative


class ArrivalRate:
    """Arrival rate of a device's own tasks: an exponential window over time, which starts from the declared rate."""

    def __init__(self, declared_per_s: float, window_s: float) -> None:
        self.per_s = declared_per_s
        self._window_s = window_s
        self._count = 0
        self._since_s = 0.0

    def begin(self, now_s: float) -> None:
        """Count from now on: a device that comes up during the run has not been idle before."""
        self._count, self._since_s = 0, now_s

    def arrived(self) -> None:
        """One task has arrived."""
        self._count += 1

    def update(self, now_s: float) -> float:
        """The rate [task/s], with all arrivals up to now counted."""
        elapsed = now_s - self._since_s
        if elapsed > 0:
            weight = 1 - math.exp(-elapsed / self._window_s)
            self.per_s += weight * (self._count / elapsed - self.per_s)
            self._count, self._since_s = 0, now_s
        return self.per_s

    def validate(self, now_s: float) -> None:
        """Raise InvalidState if the rate is none, or the window begins after `now_s`."""
        refuse_negative("arrival rate", per_s=self.per_s, count=self._count, since_s=self._since_s)
        if self._since_s > max(0.0, now_s):
            raise InvalidState("arrival rate", f"counted since {self._since_s} s, but it is {now_s} s")


class Stillness:
    """Whether tasks have stopped coming to a device, looked at once a slot.

    A device that seldom has a task is not still just because none came for some slots: so many must be missing at the
    rate before that a Poisson stream makes such a pause with probability exp(-10). Bursts have longer pauses than that;
    therefore it also takes some slots.
    """

    MISSED_TASKS = 10.0

    def __init__(self, window_s: float) -> None:
        """A pause is at least `window_s` long."""
        self._window_s = window_s
        self._arrived = -1  # tasks, when it was looked at last
        self._since_s = 0.0
        self._rate_per_s = 0.0  # before the pause

    def at_rest(self, arrived: int, rate_per_s: float, now_s: float) -> bool:
        """`arrived` tasks have come until now, of late at this rate: whether none has for so long that none will."""
        if arrived != self._arrived:
            self._arrived, self._rate_per_s, self._since_s = arrived, rate_per_s, now_s
        pause_s = now_s - self._since_s
        return pause_s >= self._window_s and self._rate_per_s * pause_s >= self.MISSED_TASKS

    def validate(self, arrived: int) -> None:
        """Raise InvalidState if more tasks were seen than the `arrived` ones."""
        refuse_negative("stillness", rate_per_s=self._rate_per_s)
        if self._arrived > arrived:
            raise InvalidState("stillness", f"{self._arrived} tasks were seen, but {arrived} have arrived")


class ServiceTime:
    """Mean and variability of the service time, exponentially weighted: a slowed server is noticed in a few tasks.

    Decision: weight 0.25 a task. Paced service has hardly any noise, so a quick estimate costs nothing; rejected: a
    window of 20 s, in which a slow-down takes several slots to show.
    """

    WEIGHT = 0.25

    def __init__(self, declared_per_s: float) -> None:
        self._mean_s = 1 / declared_per_s
        self._variance_s2 = 0.0

    def observe(self, duration_s: float) -> None:
        """One task has been served in `duration_s`."""
        error = duration_s - self._mean_s
        self._mean_s += self.WEIGHT * error
        self._variance_s2 = (1 - self.WEIGHT) * (self._variance_s2 + self.WEIGHT * error**2)

    def reset(self, duration_s: float) -> None:
        """A measurement that nothing disturbed: it takes the place of all before."""
        self._mean_s, self._variance_s2 = duration_s, 0.0

    def rate_per_s(self, in_service_s: float = 0.0) -> float:
        """Service rate s [task/s]; a task that has been in service longer than the mean already counts as that long."""
        return 1 / max(self._mean_s, in_service_s, 1e-9)

    @property
    def variability(self) -> float:
        """Squared coefficient of variation of the service time, v."""
        return min(self._variance_s2 / self._mean_s**2, 10.0)

    def validate(self) -> None:
        """Raise InvalidState if the mean is no time, or the variance negative."""
        refuse_negative("service time", variance_s2=self._variance_s2)
        if not 0 < self._mean_s < math.inf:
            raise InvalidState("service time", f"the mean is {self._mean_s} s")


class LinkTime:
    """How long a task, and how long a small message, takes to a receiver, and at what rate the link carries bytes.

    `back_s`: how long a small message, as a result is, takes from the receiver to here; None until one is measured.
    """

    WEIGHT = 0.2
    RATE_WEIGHT = 0.3

    def __init__(self) -> None:
        self._task_s: float | None = None
        self._small_s: float | None = None
        self._s_per_byte: float | None = None
        self.back_s: float | None = None
        self.fresh = False  # a task was measured since the flag was last cleared

    def observe_task(self, link_s: float) -> None:
        """A task took this long from offered to received."""
        self._task_s = _smooth(self._task_s, max(0.0, link_s), self.WEIGHT)
        self.fresh = True

    def reset_task(self, link_s: float) -> None:
        """A probe of a task's size over an idle link took this long: older measurements tell of other times."""
        self._task_s = max(0.0, link_s)

    def observe_small(self, link_s: float) -> None:
        """A control message took this long."""
        self._small_s = _smooth(self._small_s, max(0.0, link_s), self.WEIGHT)

    def observe_back(self, link_s: float) -> float:
        """A control message from the receiver took this long; `back_s` with it."""
        self.back_s = _smooth(self.back_s, max(0.0, link_s), self.WEIGHT)
        return self.back_s

    def observe_rate(self, byte_per_s: float) -> None:
        """The link carried bytes at this rate, its delay left out; times are averaged, as one is never far off."""
        self._s_per_byte = _smooth(self._s_per_byte, 1 / byte_per_s, self.RATE_WEIGHT)

    def reset_rate(self, byte_per_s: float) -> None:
        """As `observe_rate`, where older measurements were taken while the connection was starting."""
        self._s_per_byte = 1 / byte_per_s

    @property
    def transfer_s(self) -> float:
        """Transfer time of a task, t; of a small message while no task has been measured."""
        return self._task_s if self._task_s is not None else (self._small_s or 0.0)

    @property
    def small_s(self) -> float:
        """Time of a small message: a task's while none has been measured, and never longer than that."""
        return min(self.transfer_s, self.transfer_s if self._small_s is None else self._small_s)

    @property
    def byte_per_s(self) -> float:
        """Rate of the link [B/s], 0 while it has not been measured."""
        return 1 / self._s_per_byte if self._s_per_byte else 0.0

    def validate(self, receiver: str) -> None:
        """Raise InvalidState if a time is negative or no number."""
        times = {
            "task_s": self._task_s, "small_s": self._small_s, "back_s": self.back_s, "s_per_byte": self._s_per_byte
        }  # fmt: skip
        refuse_negative(f"link to {receiver}", **{name: time for name, time in times.items() if time is not None})


def _smooth(old: float | None, new: float, weight: float) -> float:
    return new if old is None else old + weight * (new - old)
