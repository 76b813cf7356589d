"""The live driver of the node state machine: sockets, the clock, the sub-model, child processes."""
