"""Traces: of workloads (which device offers which sample when), and of links (their rate and delay over time)."""
