"""Placement: where to cut the model, and which server hosts which stage."""
