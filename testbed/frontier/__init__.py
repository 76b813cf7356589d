"""The frontier of accuracy against delay, by policy, and the comparison at equal accuracy."""
