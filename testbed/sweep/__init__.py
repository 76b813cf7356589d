"""Sweeps: figures of runs over a grid of values of the topology."""
