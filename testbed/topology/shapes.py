"""Bounds on links: checks of a whole shape, and of the ranges that an entry states."""

from dataclasses import dataclass

from testbed.scenario import LinkShape
from testbed.topology.form.link_entries import AnyLinkEntry
from testbed.trace.link_trace import MOST_DELAY_S, MOST_MBIT_PER_S
from testbed.units import BIT_RATE
from testbed.wording import milliseconds

# Rates in real time, after `time_scale`, are from this to MOST_MBIT_PER_S. Decision 046: links carry 100 bit/s to
# 100 Gbit/s in real time (docs/decisions/046-rates-of-links.md).
LEAST_MBIT_PER_S = 1e-4
ROUNDING = 1e-9  # of quantities read and scaled


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault of a link's shape: the key at fault, a message, and a hint."""

    key: str
    message: str
    hint: str


def shape_fault(shape: LinkShape, time_scale: float) -> Fault | None:
    """Return the first fault of a link's shape, or None; the rate must also be possible in real time."""
    return (
        _rate_fault(shape.rate_mbit_per_s, time_scale)
        or _delay_fault(shape.delay_s)
        or _jitter_fault(shape.jitter_s, shape.delay_s, "would")
        or _loss_fault(shape.loss)
    )


def stated_faults(entry: AnyLinkEntry, time_scale: float) -> list[Fault]:
    """Return the faults of an entry's ranges, for any values that may be drawn from them."""
    found: list[Fault | None] = [_loss_fault(entry.loss.high)]
    if entry.rate is not None:
        found.append(_rate_fault(entry.rate.low, time_scale) or _rate_fault(entry.rate.high, time_scale))
    if entry.delay is not None:
        found.append(_delay_fault(entry.delay.high))
        found.append(_jitter_fault(entry.jitter.high, entry.delay.low, "can"))
    return [fault for fault in found if fault is not None]


def _rate_fault(rate_mbit_per_s: float, time_scale: float) -> Fault | None:
    least, most = LEAST_MBIT_PER_S * time_scale, MOST_MBIT_PER_S * time_scale
    if least * (1 - ROUNDING) <= rate_mbit_per_s <= most * (1 + ROUNDING):
        return None
    shown, least_shown, most_shown = map(_rate_shown, (rate_mbit_per_s, least, most))
    scaled = f" at time_scale {time_scale:g}" if time_scale != 1 else ""
    message = f"no link can be emulated at {shown}: {least_shown} to {most_shown} is possible{scaled}"
    return Fault("rate", message, "state another rate, scale or time_scale")


def _rate_shown(rate_mbit_per_s: float) -> str:
    units = sorted(BIT_RATE.units.items(), key=lambda item: -item[1])
    fitting = (item for item in units if rate_mbit_per_s >= item[1] * (1 - ROUNDING))
    unit, factor = next(fitting, units[-1])
    return f"{rate_mbit_per_s / factor:g} {unit}"


def _delay_fault(delay_s: float) -> Fault | None:
    if delay_s <= MOST_DELAY_S:
        return None
    return Fault("delay", f"a delay of {delay_s:g} s: a link may have {MOST_DELAY_S:g} s at most", "lower the delay")


def _jitter_fault(jitter_s: float, delay_s: float, may: str) -> Fault | None:
    if jitter_s <= delay_s:
        return None
    message = f"the jitter ({milliseconds(jitter_s, 'g')}) {may} exceed the delay ({milliseconds(delay_s, 'g')})"
    return Fault("jitter", message, "lower the jitter, or raise the delay (the lower end of a range)")


def _loss_fault(loss: float) -> Fault | None:
    if loss < 1:
        return None
    hint = "lower it, or remove the link; to cut a node off for a time, state events: {node: …, state: down}, then up"
    return Fault("loss", "a link must lose less than 100 % of its frames", hint)
