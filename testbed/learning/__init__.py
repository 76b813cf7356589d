"""Offloading as a problem of reinforcement learning: the environment, random networks, and the training of a policy."""
