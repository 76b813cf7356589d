"""Was this machine busy with something else? Then times and CPU counts of a bench are void.

While a bench runs, the load is its own; so the machine is looked at just before and just after.
"""

import os
import time

from testbed.host.load import HostMeter, HostUse

GLANCE_S = 2.0
MOST_BUSY = 0.10  # of all processors' time; a machine at rest spends 1 or 2 %
MOST_WAITING = 0.10  # of the span, in which a process waited for a processor


def glance(seconds: float = GLANCE_S) -> HostUse:
    """The load of the machine while this process sleeps for `span_s`."""
    meter = HostMeter()
    time.sleep(seconds)
    return meter.so_far()


def disturbance(before: HostUse, after: HostUse) -> str | None:
    """Why figures taken between the two cannot be trusted, or None where the machine was at rest both times."""
    for when, use in (("before", before), ("after", after)):
        if use.cpu_share is None:
            return f"nobody knows how busy this machine was {when}: /proc/stat does not tell"
        if use.cpu_share > MOST_BUSY:
            return f"this machine was busy {when}: {use.cpu_share:.0%} of its processors' time (bound {MOST_BUSY:.0%})"
        waiting = use.pressure_some_share  # None where the kernel does not tell; the processors' time remains
        if waiting is not None and waiting > MOST_WAITING:
            told = f"processes waited {waiting:.0%} of the time (bound {MOST_WAITING:.0%})"
            return f"this machine was busy {when}: {told}"
    return None


def busy_cores(use: HostUse) -> float | None:
    """Processors in use, on average over the span; None if the kernel does not say."""
    return None if use.cpu_share is None else use.cpu_share * (os.cpu_count() or 1)
