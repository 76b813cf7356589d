"""The receivers of a node, the links to them, and the choice of one for each task."""
