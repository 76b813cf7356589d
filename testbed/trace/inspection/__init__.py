"""Figures and pictures of traces, computed in constant memory."""
