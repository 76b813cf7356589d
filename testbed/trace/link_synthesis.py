"""Synthetic network traces: a cellular link whose rate wanders and sometimes fails."""

import math
from dataclasses import dataclass

import numpy as np

from node_agent.errors import InputError
from testbed.trace.link_reading import MAX_STEPS, MAX_TIME_S
from testbed.trace.link_trace import MOST_DELAY_S, MOST_MBIT_PER_S, LinkTrace
from testbed.wording import percent


@dataclass(frozen=True, slots=True)
class Fading:
    """The parameters of a synthetic link.

    The logarithm of the rate is a stationary Ornstein-Uhlenbeck process, so that rates are log-normal. Outages begin
    and end like those of a two-state Markov chain (Gilbert). The delay, if there is one, is log-normal, too, and
    independent of the rate.

    Attributes:
        mean_rate_mbit_per_s: mean rate outside of outages.
        variability: standard deviation of the rate over its mean.
        coherence_s: time after which the correlation of the rate's logarithm has fallen to 1/e.
        outage_share: long-run share of the time without any rate, 0 to 0.9.
        outage_s: mean length of an outage.
        delay_s: mean one-way delay; None leaves it to the topology.
        delay_variability: standard deviation of the delay over its mean.
    """

    mean_rate_mbit_per_s: float
    variability: float = 0.5
    coherence_s: float = 5.0
    outage_share: float = 0.0
    outage_s: float = 0.5
    delay_s: float | None = None
    delay_variability: float = 0.5


def synthesise(fading: Fading, *, duration_s: float, every_s: float, seed: int) -> LinkTrace:
    """Draw a trace in steps of `every_s`, the same for the same arguments; values are cut at the bounds of traces.

    Raises:
        InputError: an argument is impossible, or there are too many steps.
    """
    steps = round(duration_s / every_s) if every_s > 0 else 0
    if not 2 <= steps <= MAX_STEPS:
        raise InputError(
            f"a trace of {duration_s:g} s in steps of {every_s:g} s has {steps} steps",
            hint=f"2 to {MAX_STEPS} steps are possible",
        )
    if duration_s > MAX_TIME_S:
        raise InputError(f"a trace of {duration_s:g} s is too long", hint=f"at most {MAX_TIME_S:g} s are possible")
    if not 0 <= fading.outage_share <= 0.9:
        message = f"an outage share of {percent(fading.outage_share, '.0f')} is impossible"
        raise InputError(message, hint="state 0 to 90 %")
    if not fading.outage_s * (1 - fading.outage_share) >= fading.outage_share * every_s or fading.outage_s < every_s:
        raise InputError("outages cannot be shorter than a step", hint="lower --every, or lengthen --outage")
    if fading.mean_rate_mbit_per_s > MOST_MBIT_PER_S:
        message = f"a mean rate of {fading.mean_rate_mbit_per_s:g} Mbit/s is too high for a trace"
        raise InputError(message, hint=f"the most is {MOST_MBIT_PER_S:g} Mbit/s")
    if fading.delay_s is not None and fading.delay_s > MOST_DELAY_S:
        message = f"a mean delay of {fading.delay_s:g} s is too long for a trace"
        raise InputError(message, hint=f"the most is {MOST_DELAY_S:g} s")
    random = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, 0x11_7E])))
    rates = _walk(random, steps, every_s, fading.mean_rate_mbit_per_s, fading.variability, fading.coherence_s)
    for step, out in enumerate(_outages(random, steps, every_s, fading)):
        if out:
            rates[step] = 0.0
    delays_s = None
    if fading.delay_s is not None:
        walk = _walk(random, steps, every_s, fading.delay_s, fading.delay_variability, fading.coherence_s)
        delays_s = tuple(min(MOST_DELAY_S, round(value, 6)) for value in walk)
    starts_s = tuple(round(step * every_s, 9) for step in range(steps))
    told_rates = tuple(min(MOST_MBIT_PER_S, round(rate, 6)) for rate in rates)
    return LinkTrace(starts_s, round(steps * every_s, 9), told_rates, delays_s)


def _walk(
    random: np.random.Generator, steps: int, every_s: float, mean: float, variability: float, coherence_s: float
) -> list[float]:
    """Sample a stationary log-normal process of the given mean at every step."""
    deviation = math.sqrt(math.log1p(variability**2))
    kept = math.exp(-every_s / coherence_s)
    fresh = deviation * math.sqrt(1 - kept * kept)
    level = deviation * random.standard_normal()
    values = []
    for noise in random.standard_normal(steps).tolist():
        values.append(mean * math.exp(level - deviation**2 / 2))
        level = kept * level + fresh * noise
    return values


def _outages(random: np.random.Generator, steps: int, every_s: float, fading: Fading) -> list[bool]:
    """Draw, for each step, whether it lies in an outage."""
    share = fading.outage_share
    ends = every_s / fading.outage_s
    begins = ends * share / (1 - share)
    out = bool(random.random() < share)
    found = []
    for chance in random.random(steps).tolist():
        found.append(out)
        out = chance >= ends if out else chance < begins
    return found
