"""A node: its state machine, its transport, its sub-model and its offloading policy."""
