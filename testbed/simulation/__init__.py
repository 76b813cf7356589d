"""A run in virtual time: the simulator, its nodes and links, and what their sub-models answer."""
