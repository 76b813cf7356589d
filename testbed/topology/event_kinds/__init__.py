"""The kinds of timed events: one module per kind, with everything that is special to it.

To add a kind, write a module here; `registry` finds it. It defines a `TimedEntry`, which reads the entry from
topology.yaml and compiles it, and an `Event` (or uses one of another kind), which words it and carries it out. Add a
test beside the others, and the kind's example to the events in docs/topologies.md.
"""
