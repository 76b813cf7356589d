"""Whether the emulation held: the evidence of a run, its figures, and the verdict on both."""
