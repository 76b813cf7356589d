"""The form of topology.yaml: every value with its place, checked before references between entries are resolved."""
