"""The experiment, seen from outside the nodes: topology, emulated network, run, record."""
