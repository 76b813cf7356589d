"""Fidelity of the emulation: the evidence of a run, its figures, and the verdict that rests on them."""
