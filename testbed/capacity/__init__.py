"""Capacity: the highest load factor at which an objective holds."""

from testbed.capacity.capacity import Bracket, CapacityAsk, CapacityObserver, capacity
from testbed.capacity.capacity_files import as_json
from testbed.capacity.capacity_result import Capacity

__all__ = ["Bracket", "Capacity", "CapacityAsk", "CapacityObserver", "as_json", "capacity"]
