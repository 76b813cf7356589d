"""What drives the node state machine for real: sockets, the clock, the sub-model, processes of its own."""
