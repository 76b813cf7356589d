"""Arrival processes: how the tasks of a device come. One module per process; `registry` finds one by its name."""
