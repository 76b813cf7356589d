"""Importers of workload traces that other people published or recorded: one module per format."""
