"""Topologies: read topology.yaml with the place of every value, check it as a whole, and resolve it into a scenario."""

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
