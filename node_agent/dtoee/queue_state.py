"""The price of one more task at a server whose queue is known: one policy improvement over the plan.

Under the plan, tasks arrive at a server at random. One more task that finds the unfinished work u waits for it, is
served, and makes later tasks wait. Its marginal cost is

    d(u) = u + x + phi x (2 u + x (1+v)) / (2 (1-rho)) = x + W + u / (1-rho)                             [s]

with the service time x = 1/s, rho = phi x and the mean wait W = phi x^2 (1+v) / (2 (1-rho)). This is the difference of
the relative values of the M/G/1 queue with and without the task (Krishnan 1990; Hyytia, Penttinen and Aalto 2012). Its
mean over the stationary queue is the marginal time D' of the plan, since the mean of u is W. For arrivals of
variability a, W is that of Kingman's formula, with a + v in place of 1 + v, and the same holds:

    d(u) = D' + (u - W) / (1-rho)                                                                        [s]

So choosing the receiver with the least price at its present queue is the first step of policy iteration from the plan
(Norman 1972; Ott and Krishnan 1985).

Knowledge of a queue ages. Between two reports the work falls by service and rises by random arrivals, and it is never
negative: approximately a reflected Brownian motion with drift rho - 1 and variance phi x^2 (a+v) per second. Its mean
after a time has a closed form (Abate and Whitt 1987), and its stationary mean is W, exactly. As d is linear in u, the
expected price is the price at the expected work. So the price of old knowledge falls back to D', the plan's.
"""

import math

from node_agent.dtoee.queueing import RHO_EXTENSION, server_cost

FAR = 6.0  # standard deviations from which the tail of the normal law is computed by its asymptotic series
LEAST_DRIFT = 1e-3  # of the capacity: with less, the queue is taken as critical
LEAST_TIME = 1e-9  # of the time in which a queue relaxes: stands for no time


def state_price_s(
    work_s: float, arrival_per_s: float, service_per_s: float, variability: float = 0.0,
    arrival_variability: float = 1.0,
) -> float:  # fmt: skip
    """Marginal cost of one more task that finds the work `work_s` at a server, d(u) [s].

    Above the utilisation `RHO_EXTENSION` D' is the extension of `queueing`, and the slope in u stays that of the edge.

    Args:
        work_s: u, expected unfinished work when the task arrives [s].
        arrival_per_s: phi, planned arrival rate [task/s].
        service_per_s: s > 0 [task/s].
        variability: v, squared coefficient of variation of the service time [1].
        arrival_variability: a, of the number of arrivals in a window [1]; Poisson: 1.

    >>> round(state_price_s(0.0, 5.0, 10.0), 6), round(state_price_s(0.1, 5.0, 10.0), 6)  # M/D/1 at half load: W = 0.05
    (0.15, 0.35)
    """
    inside = min(arrival_per_s, RHO_EXTENSION * service_per_s)
    mean_s = mean_wait_s(inside, service_per_s, variability, arrival_variability)
    slope_s = server_cost(arrival_per_s, service_per_s, variability, arrival_variability).slope_s
    return slope_s + (work_s - mean_s) / (1 - inside / service_per_s)


def mean_wait_s(
    arrival_per_s: float, service_per_s: float, variability: float = 0.0, arrival_variability: float = 1.0
) -> float:
    """W, mean unfinished work of the stationary queue below full load (Kingman) [s]; arguments as above.

    >>> mean_wait_s(5.0, 10.0)
    0.05
    """
    slack = service_per_s - arrival_per_s
    return arrival_per_s * (arrival_variability + variability) / (2 * service_per_s * slack)


def work_after_s(
    work_s: float, elapsed_s: float, arrival_per_s: float, service_per_s: float, variability: float = 0.0,
    arrival_variability: float = 1.0,
) -> float:  # fmt: skip
    """Expected unfinished work of a queue after a time, if it was `work_s` at the start [s].

    The work falls by one second a second and rises with random arrivals. The result goes from `work_s` at no time to
    the mean wait W at a long time.

    Args:
        work_s: unfinished work at the start [s].
        elapsed_s: time since then [s].
        arrival_per_s: rate of the arrivals that are not known one by one [task/s].
        service_per_s: s > 0 [task/s].
        variability: v, squared coefficient of variation of the service time [1].
        arrival_variability: a, of the number of arrivals in a window [1]; Poisson: 1.

    >>> round(work_after_s(0.5, 0.2, 0.0, 10.0), 6), round(work_after_s(0.5, 100.0, 5.0, 10.0), 6)
    (0.3, 0.05)
    """
    if elapsed_s <= 0:
        return work_s
    drift = 1 - arrival_per_s / service_per_s
    both = arrival_variability + variability
    spread_s = arrival_per_s * both / (service_per_s * service_per_s)  # variance per time [s^2/s]
    if drift < LEAST_DRIFT:
        return max(0.0, work_s - drift * elapsed_s)
    time, start = elapsed_s * drift * drift / max(spread_s, LEAST_TIME), work_s * drift / max(spread_s, LEAST_TIME)
    if spread_s <= LEAST_TIME or time > start + FAR * FAR * (1 + math.sqrt(start)):
        fluid_s = work_s - drift * elapsed_s
        return max(fluid_s, spread_s / (2 * drift))
    return spread_s / drift * _reflected_mean(start, max(time, LEAST_TIME))


def work_error_s(
    elapsed_s: float, arrival_per_s: float, service_per_s: float, variability: float = 0.0,
    arrival_variability: float = 1.0,
) -> float:  # fmt: skip
    """Standard deviation of the unfinished work that was known a time ago [s]; arguments as in `work_after_s`.

    At first it grows like the root of the time. It ends at that of the stationary law, which is exponential for the
    Brownian motion: at the mean wait W.

    >>> work_error_s(0.0, 5.0, 10.0), round(work_error_s(9.0, 5.0, 10.0), 6), work_error_s(9.0, 0.0, 10.0)
    (0.0, 0.05, 0.0)
    """
    inside = min(arrival_per_s, RHO_EXTENSION * service_per_s)
    longest_s = mean_wait_s(inside, service_per_s, variability, arrival_variability)
    if longest_s <= 0:
        return 0.0
    spread_s = inside * (arrival_variability + variability) / (service_per_s * service_per_s)
    return longest_s * math.sqrt(-math.expm1(-spread_s * max(0.0, elapsed_s) / (longest_s * longest_s)))


def _reflected_mean(start: float, time: float) -> float:
    """Mean of the reflected Brownian motion with drift -1 and variance 1 (Abate and Whitt 1987, corollary 1.1.1)."""
    root = math.sqrt(time)
    near, far = (time - start) / root, (time + start) / root
    return (
        0.5 + root * math.exp(-near * near / 2) / math.sqrt(2 * math.pi)
        - (time - start + 0.5) * _tail(near) - 0.5 * _scaled_tail(far, 2 * start)
    )  # fmt: skip


def _tail(z: float) -> float:
    """Probability that a standard normal variable exceeds z."""
    return 0.5 * math.erfc(z / math.sqrt(2))


def _scaled_tail(z: float, exponent: float) -> float:
    """exp(exponent) times the tail of the normal law at z > 0, without overflow."""
    if z < FAR:
        return math.exp(min(exponent, 700.0)) * _tail(z)
    inverse = 1 / (z * z)
    return math.exp(exponent - z * z / 2) / (z * math.sqrt(2 * math.pi)) * (1 - inverse + 3 * inverse * inverse)
