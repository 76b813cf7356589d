"""Explanations: what limits a run, in words and figures, and the way of one task."""
