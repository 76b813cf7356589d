"""The run directory: written during a run, read again afterwards."""
