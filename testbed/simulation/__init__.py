"""Runs in virtual time: the simulator, its nodes and links, and the recorded answers of the sub-models."""
