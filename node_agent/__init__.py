"""What runs on one node: the node state machine, its transport, its sub-model and its offloading policy."""
