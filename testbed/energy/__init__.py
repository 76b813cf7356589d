"""Energy: the joules of nodes and links, from their states and bytes."""
