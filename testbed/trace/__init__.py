"""Traces of workloads (device, sample and time of every task), and of links (rate and delay over time)."""
