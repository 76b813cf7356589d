"""The node state machine, without I/O: events and the time in, effects out."""
