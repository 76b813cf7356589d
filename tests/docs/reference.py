"""The blocks of fields in the pages under docs/, rendered from the classes that hold the fields."""

from collections.abc import Callable

from tests.docs import command_options, topology_keys

REFERENCE: dict[str, tuple[str, Callable[[], list[str]]]] = {
    "topology-keys": ("topologies/topology.schema.json", topology_keys.keys),
    "units": ("testbed/units.py", topology_keys.dimensions),
    "commands": ("the command line's own help", command_options.options),
}
"""For each block: what it is rendered from, and the function that returns its lines."""
