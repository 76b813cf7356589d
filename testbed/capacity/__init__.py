"""Capacity: the highest load factor at which an objective holds."""
