"""A scenario's links as a running Mininet network, with delays by netem or, where the kernel lacks it, by a relay."""

from testbed.network.commands import NetworkError
from testbed.network.delay import NetworkStatistics
from testbed.network.emulated import EmulatedNetwork

__all__ = ["EmulatedNetwork", "NetworkError", "NetworkStatistics"]
