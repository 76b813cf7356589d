"""Capacity: the highest load factor at which an objective holds."""

from testbed.capacity.capacity_files import as_json
from testbed.capacity.capacity_result import Capacity
from testbed.capacity.probing import Bracket, CapacityAsk, CapacityObserver, capacity

__all__ = ["Bracket", "Capacity", "CapacityAsk", "CapacityObserver", "as_json", "capacity"]
