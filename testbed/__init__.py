"""The experiment, seen from outside the nodes: topology, emulated network, run, record."""

__version__ = "0.2.0"  # as in pyproject.toml; stated here because an editable installation keeps an old number
