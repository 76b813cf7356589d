"""A scenario's links as a running Mininet network, with delays by netem or, where the kernel lacks it, by a relay."""

from testbed.network.commands import NetworkError
from testbed.network.delays.backend import LinkStatistics, NetworkStatistics
from testbed.network.emulated import EmulatedNetwork
from testbed.network.measure import MeasuredPath
from testbed.network.watch import DelayWatch, WatchedPath

__all__ = [
    "DelayWatch",
    "EmulatedNetwork",
    "LinkStatistics",
    "MeasuredPath",
    "NetworkError",
    "NetworkStatistics",
    "WatchedPath",
]
