"""The form of topology.yaml: every value with its place, checked before anything refers to anything."""
