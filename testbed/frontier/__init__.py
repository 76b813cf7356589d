"""The frontier of accuracy against delay, by policy, and the comparison at equal accuracy."""

from testbed.frontier.frontier_files import as_json
from testbed.frontier.frontier_result import Frontier
from testbed.frontier.tracing import FrontierAsk, FrontierObserver, frontier

__all__ = ["Frontier", "FrontierAsk", "FrontierObserver", "as_json", "frontier"]
