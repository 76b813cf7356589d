"""Bundles: trained models on disk. Reading one loads no torch; what is read is checked first."""
