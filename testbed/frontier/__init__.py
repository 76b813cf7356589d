"""The frontier of accuracy against delay, by policy, and the comparison at equal accuracy."""

from testbed.frontier.frontier import FrontierAsk, FrontierObserver, frontier
from testbed.frontier.frontier_files import as_json
from testbed.frontier.frontier_result import Frontier

__all__ = ["Frontier", "FrontierAsk", "FrontierObserver", "as_json", "frontier"]
