"""topology.yaml: read with the place of every value, checked as a whole, drawn and expanded into a scenario."""

from testbed.topology.topology_file import (
    Topology,
    TopologyError,
    load_topology,
    load_topology_text,
    resolve_text,
    topology_json_schema,
    topology_json_schema_text,
)

__all__ = [
    "Topology",
    "TopologyError",
    "load_topology",
    "load_topology_text",
    "resolve_text",
    "topology_json_schema",
    "topology_json_schema_text",
]
