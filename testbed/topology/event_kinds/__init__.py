"""The kinds of timed events: a module for each, with all that is special to it.

A new kind is a module here, found by `registry`: a `TimedEntry`, which reads it from topology.yaml and compiles it, and
an `Event` (or one of the others'), which words it and carries it out. A test beside the others and its example among
the events in docs/topologies.md belong to it.
"""
