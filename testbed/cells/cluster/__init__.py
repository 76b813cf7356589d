"""Cells on many machines, by Dask distributed (the extra `cluster`): docs/cluster.md describes it for users.

Scheduling, heartbeats and transfers are Dask's. This room checks the address and the keys, sends cells and their input
files, compares the workers with this machine, and gathers run directories.
"""
