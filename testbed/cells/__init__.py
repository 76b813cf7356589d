"""Cells: runs that differ in policy, seed and values of the topology; carried out together, and resumable."""
